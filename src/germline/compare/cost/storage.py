"""What is stored and what it cost: the accounts of a family of descendants."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import lru_cache
from typing import Any

from germline.architectures import Spec, on_meta_device
from germline.compare.cost.cost import ancestor_cost, gene_cost, spec_flops, sum_costs
from germline.compare.run.store import ArtifactStore
from germline.learngene import Learngene
from germline.registry import architecture_of


def gene_storage(gene: Learngene) -> dict[str, int]:
    """Bytes and elements of a gene, with its head and, as the papers count, without."""
    sizes = {name: tensor.numel() for name, tensor in gene.tensors.items()}
    return {
        "bytes": gene.bytes(),
        "elements": sum(sizes.values()),
        "headless_elements": count_headless_elements(gene.spec, sizes),
    }


def count_headless_elements(form: Spec, sizes: Mapping[str, int]) -> int:
    """Elements of a gene condensed in a network of that form, as the papers count: heads and buffers are left out.

    A gene may hold several networks or their frame, each under a name of its own: `24.head.weight` is a head too.
    """
    architecture = architecture_of(form)
    with on_meta_device():
        buffers = [name for name, _ in architecture.build(form).named_buffers()]
    left_out = {*architecture.parts(form).head, *buffers}
    return sum(count for name, count in sizes.items() if not {name, name.partition(".")[2]} & left_out)


@lru_cache(maxsize=128)
def count_network_parameters(spec: Spec) -> tuple[int, int]:
    """Parameters of a network of that spec, with its head and without; counted without making room for them."""
    architecture = architecture_of(spec)
    head = architecture.parts(spec).head
    with on_meta_device():
        sizes = {name: parameter.numel() for name, parameter in architecture.build(spec).named_parameters()}
    return sum(sizes.values()), sum(count for name, count in sizes.items() if name not in head)


def summarise_costs(store: ArtifactStore) -> dict[str, Any]:
    """Samples and operations of one ancestor and one gene an arm, and parameters and a forward pass of each size.

    The ancestor is None where the first arm's gene needs none; `families` are all ancestors and genes of one seed.
    """
    recipe, genes = store.recipe, {}
    for arm in recipe.arms:
        method, size = store.get_method(arm), recipe.sizes_of(arm)[0]
        genes[arm] = None if not method.traits.has_gene else asdict(gene_cost(store, method, size))
    ancestor = asdict(ancestor_cost(store)) if store.first_method.ancestor != "none" else None
    return {
        "ancestor": ancestor,
        "genes": genes,
        "families": {arm: _family_cost(store, arm) for arm in recipe.arms},
        "parameters": {size: _counts(store.descendant_spec(size)) for size in recipe.sizes},
    }


def _counts(form: Spec) -> dict[str, int]:
    full, headless = count_network_parameters(form)
    return {"full": full, "headless": headless, "flops": spec_flops(form)}


def _family_cost(store: ArtifactStore, arm: str) -> dict[str, Any]:
    """What all ancestors and genes of one seed that an arm's sizes need cost, and whether its sizes share one gene."""
    method, sizes = store.get_method(arm), store.recipe.sizes_of(arm)
    own_size = method.traits.needs_own_size
    wanted = sizes if own_size else sizes[:1]
    made = wanted if method.traits.has_gene else ()
    grown_from = made if method.ancestor != "none" else ()
    # A method without sizes of its own takes the one ancestor that is trained at no size in particular.
    ancestors = sum_costs(ancestor_cost(store, size if own_size else None) for size in grown_from)
    genes = sum_costs(gene_cost(store, method, size) for size in made)
    return {"ancestors": asdict(ancestors), "genes": asdict(genes), "shared": bool(made) and not own_size}


def storage_ratio(gene: int, descendants: Sequence[int]) -> float:
    """How many times more parameters are stored where each descendant is pretrained and kept, than in one gene.

    Args:
        gene: Head-less elements of the gene.
        descendants: Head-less parameters of each descendant.
    """
    return sum(descendants) / gene
