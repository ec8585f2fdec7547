"""Putting a descendant together: what all methods that inherit tensors share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from germline.architectures import Architecture, Target, adapt_kernel, count_elements, on_meta_device
from germline.learngene import Descendant, Learngene
from germline.ledger import Ledger, Origin
from germline.network import Network, load_strict
from germline.randomness import use_generator
from germline.registry import architecture_of


def build_descendant(
    gene: Learngene,
    target: Target,
    *,
    frame: Mapping[str, Tensor],
    blocks: Mapping[str, tuple[Tensor, Origin | Mapping[Origin, int]]],
    generator: torch.Generator,
    fresh: Iterable[str] = (),
) -> Descendant:
    """Build the target from a frame and blocks.

    Args:
        gene: Where they come from.
        target: What to grow.
        frame: Stem, norm and head under the names that they have in a whole network; adapted to the target's channels
            and picture size; the head is kept where the class names are equal and fresh otherwise. What it lacks of
            stem and norm is looked for among the blocks.
        blocks: Block tensors by full name, buffers included, each with its origin, or with its elements by origin; they
            become the descendant's own. One that reads pictures of other channels than the target's is adapted to them.
        generator: Draws a fresh head.
        fresh: Names of the tensors outside the head that may hold fresh elements.

    Raises:
        LedgerError: An element is not accounted for.
    """
    architecture: Architecture[Any] = architecture_of(target.spec)
    ledger, parts = Ledger(), architecture.parts(target.spec)
    kept = {name: frame[name] for name in (*parts.stem, *parts.norm) if name not in blocks}
    tensors = architecture.adapt(kept, gene.spec, target.spec, ledger)
    for name, (tensor, origin) in blocks.items():
        adapted = name in parts.image_kernels and tensor.shape[1] != target.spec.channels
        tensors[name] = adapt_kernel(tensor, target.spec.channels) if adapted else tensor
        if isinstance(origin, str):
            ledger.add(name, "adapted" if adapted else origin, tensors[name].numel())
        else:
            for one, elements in origin.items():
                ledger.add(name, one, elements)
    same_labels = gene.classes == target.classes
    head = frame if same_labels else _fresh_frame(architecture, target, generator)
    for name in parts.head:
        tensors[name] = head[name].clone()
        ledger.add(name, "copied" if same_labels else "fresh", tensors[name].numel())
    with on_meta_device():
        model = architecture.build(target.spec)
    load_strict(model, tensors, "the gene", assign=True)
    ledger.check(count_elements(model), fresh_allowed=(*parts.head, *fresh))
    origin_of_gene = gene.provenance
    source = f"grown by {gene.method} from {origin_of_gene.ancestor}, condensed on {origin_of_gene.data}"
    licence = origin_of_gene.ancestor_licence
    network = Network(model.eval(), target.preprocess, target.classes, spec=target.spec, licence=licence, source=source)
    return Descendant(network, ledger)


def build_fresh_descendant(
    gene: Learngene,
    target: Target,
    kept: Mapping[str, tuple[Tensor, Origin]],
    generator: torch.Generator,
    frame: Mapping[str, Tensor] | None = None,
) -> Descendant:
    """A fresh network with some tensors in their places; the head is fresh too.

    Args:
        gene: Where they come from.
        target: What to grow.
        kept: By full name, with what the ledger says of them; adapted besides where they read the picture.
        generator: Draws all else.
        frame: Tensors round the blocks that are kept, too.

    Raises:
        LedgerError: An element is not accounted for.
    """
    architecture: Architecture[Any] = architecture_of(target.spec)
    with use_generator(generator):
        drawn = architecture.build(target.spec.model_copy(update={"classes": 0})).state_dict()
    outside = frame or {}
    blocks: dict[str, tuple[Tensor, Origin | Mapping[Origin, int]]] = {
        name: kept.get(name, (tensor, "fresh")) for name, tensor in drawn.items() if name not in outside
    }
    fresh = blocks.keys() - kept.keys()
    return build_descendant(gene, target, frame=outside, blocks=blocks, generator=generator, fresh=fresh)


def copy_tensors(tensors: Mapping[str, Tensor]) -> dict[str, tuple[Tensor, Origin]]:
    """Tensors as they are, for a descendant of its own."""
    return {name: (tensor.clone(), "copied") for name, tensor in tensors.items()}


def _fresh_frame(architecture: Architecture[Any], target: Target, generator: torch.Generator) -> dict[str, Tensor]:
    with use_generator(generator):
        return dict(architecture.frame(target.spec).state_dict())
