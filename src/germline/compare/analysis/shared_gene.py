"""Whether all seeds of an arm start from one gene, so that its accuracy before training is one measurement."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from germline.methods.base import find_method
from germline.registry import METHODS


def has_one_ancestor(recipe: Mapping[str, Any]) -> bool:
    """Tell whether all seeds share one ancestor: a given network, that of one seed, or that of the only gene.

    Args:
        recipe: Stored recipe of a comparison.
    """
    ancestor = recipe["ancestor"]
    return bool(recipe["one_gene"]) or ancestor.get("path") is not None or ancestor.get("seed") is not None


def has_one_gene(recipe: Mapping[str, Any], arm: str) -> bool:
    """Tell whether all seeds of an arm share one gene.

    They do with `one_gene`. So do those of a method without randomness, if it has a shared ancestor or needs none. A
    gene from a folder is the same for every seed.

    Args:
        recipe: Stored recipe of a comparison.
        arm: Name of the arm.
    """
    if recipe["one_gene"]:
        return True
    name = recipe["arms"][arm]["method"]
    if name not in METHODS:
        return False
    method = find_method(name)
    return not method.traits.varies_with_seed and (method.ancestor == "none" or has_one_ancestor(recipe))
