"""Stored elements and total costs of families of descendants."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import lru_cache
from typing import Any

from germline.architectures import Spec, on_meta_device
from germline.compare.cost.cost import ancestor_cost, gene_cost, spec_flops, sum_costs
from germline.compare.run.store import ArtifactStore
from germline.errors import GermlineError
from germline.learngene import Learngene
from germline.registry import architecture_of


def gene_storage(gene: Learngene) -> dict[str, int]:
    """Count the bytes and elements of a gene, with its head and (as papers count) without."""
    sizes = {name: tensor.numel() for name, tensor in gene.tensors.items()}
    return {
        "bytes": gene.count_bytes(),
        "elements": sum(sizes.values()),
        "headless_elements": count_headless_elements(gene.spec, sizes),
    }


def count_headless_elements(spec: Spec, sizes: Mapping[str, int]) -> int:
    """Count the elements of a gene as papers do: without heads and buffers.

    A gene can hold several networks with a prefix each, so `24.head.weight` is a head too.

    Args:
        spec: Spec of the network in which the gene was condensed.
        sizes: Number of elements of each tensor, by name.
    """
    architecture = architecture_of(spec)
    with on_meta_device():
        buffers = [name for name, _ in architecture.build(spec).named_buffers()]
    excluded = {*architecture.parts(spec).head, *buffers}
    return sum(count for name, count in sizes.items() if not {name, name.partition(".")[2]} & excluded)


@lru_cache(maxsize=128)
def count_network_parameters(spec: Spec) -> tuple[int, int]:
    """Count the parameters of a network, with its head and without; no memory is allocated for them."""
    architecture = architecture_of(spec)
    head = architecture.parts(spec).head
    with on_meta_device():
        sizes = {name: parameter.numel() for name, parameter in architecture.build(spec).named_parameters()}
    return sum(sizes.values()), sum(count for name, count in sizes.items() if name not in head)


def summarise_costs(store: ArtifactStore) -> dict[str, Any]:
    """Summarise the costs of a comparison for its results.

    Returns:
        `ancestor` and `genes`: samples and operations of one ancestor, and of one gene per arm. The ancestor is None if
        the first arm's gene needs none. `families`: all ancestors and genes of one seed, per arm. `parameters`:
        parameters and forward operations of each size.
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
        "parameters": {size: _count_network(store.descendant_spec(size)) for size in recipe.sizes},
    }


def count_own_size(store: ArtifactStore) -> dict[str, int] | None:
    """Count parameters and forward operations of a descendant of the ancestor's own size; None if there is none."""
    try:
        return _count_network(store.descendant_spec(""))
    except GermlineError:  # a finished comparison is never lost for a mark in its report
        return None


def _count_network(spec: Spec) -> dict[str, int]:
    full, headless = count_network_parameters(spec)
    return {"full": full, "headless": headless, "flops": spec_flops(spec)}


def _family_cost(store: ArtifactStore, arm: str) -> dict[str, Any]:
    """Sum the costs of the ancestors and genes of one seed for all sizes of an arm."""
    method, sizes = store.get_method(arm), store.recipe.sizes_of(arm)
    needs_own_size = method.traits.needs_own_size
    gene_sizes = (sizes if needs_own_size else sizes[:1]) if method.traits.has_gene else ()
    ancestor_sizes = gene_sizes if method.ancestor != "none" else ()
    # A method whose sizes share a gene uses the one ancestor of the model's own size.
    ancestors = sum_costs(ancestor_cost(store, size if needs_own_size else None) for size in ancestor_sizes)
    genes = sum_costs(gene_cost(store, method, size) for size in gene_sizes)
    has_shared_gene = bool(gene_sizes) and not needs_own_size
    return {"ancestors": asdict(ancestors), "genes": asdict(genes), "shared": has_shared_gene}


def storage_ratio(gene: int, descendants: Sequence[int]) -> float:
    """Divide the parameters of all descendants, if each is stored, by the elements of one gene.

    Args:
        gene: Elements of the gene without heads.
        descendants: Parameters of each descendant without heads.
    """
    return sum(descendants) / gene
