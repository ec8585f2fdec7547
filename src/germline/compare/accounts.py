"""What is stored and what it cost: the accounts of a family of descendants."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import torch

from germline.anatomy import Spec
from germline.compare.cost import ancestor_cost, gene_cost
from germline.compare.workshop import Workshop
from germline.learngene import Learngene
from germline.methods.scratch import Scratch
from germline.registry import anatomy_of


def stored(gene: Learngene) -> dict[str, int]:
    """Bytes and elements of a gene, with its head and, as the papers count, without."""
    sizes = {name: tensor.numel() for name, tensor in gene.tensors.items()}
    return {
        "bytes": gene.bytes(),
        "elements": sum(sizes.values()),
        "headless_elements": headless_elements(gene.spec, sizes),
    }


def headless_elements(form: Spec, sizes: Mapping[str, int]) -> int:
    """Elements of a gene condensed in a network of that form, as the papers count: heads and buffers are left out.

    A gene may hold several networks or their frame, each under a name of its own: `24.head.weight` is a head too.
    """
    anatomy = anatomy_of(form)
    with torch.device("meta"):
        buffers = [name for name, _ in anatomy.build(form).named_buffers()]
    left_out = {*anatomy.parts(form).head, *buffers}
    return sum(count for name, count in sizes.items() if not {name, name.partition(".")[2]} & left_out)


def parameters(spec: Spec) -> tuple[int, int]:
    """Parameters of a network of that spec, with its head and without; counted without making room for them."""
    anatomy = anatomy_of(spec)
    with torch.device("meta"):
        sizes = {name: parameter.numel() for name, parameter in anatomy.build(spec).named_parameters()}
    return sum(sizes.values()), sum(count for name, count in sizes.items() if name not in anatomy.parts(spec).head)


def costs(shop: Workshop) -> dict[str, Any]:
    """Samples and operations of one ancestor and one gene an arm, and the parameters of each size.

    The ancestor is None where the first arm's gene needs none.
    """
    recipe, genes = shop.recipe, {}
    for arm in recipe.arms:
        method = shop.method(arm)
        genes[arm] = None if isinstance(method, Scratch) else asdict(gene_cost(shop, method, recipe.sizes[0]))
    sizes = {size: dict(zip(("full", "headless"), parameters(shop.form(size)), strict=True)) for size in recipe.sizes}
    ancestor = asdict(ancestor_cost(shop)) if shop.subject.ancestor != "none" else None
    return {"ancestor": ancestor, "genes": genes, "parameters": sizes}


def stored_ratio(gene: int, descendants: Sequence[int]) -> float:
    """How many times more parameters are stored where each descendant is pretrained and kept, than in one gene.

    Args:
        gene: Head-less elements of the gene.
        descendants: Head-less parameters of each descendant.
    """
    return sum(descendants) / gene
