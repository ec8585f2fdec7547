"""Build descendants from tensors, and account for every element: shared by all methods."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from germline.architectures import Architecture, Parts, Target, adapt_kernel, count_elements, on_meta_device
from germline.errors import SettingError
from germline.learngene import Descendant, Learngene
from germline.ledger import Ledger, Origin
from germline.network import Network, load_strict
from germline.randomness import use_generator
from germline.registry import architecture_of

# A tensor with the origin of all its elements, or with the number of its elements by origin.
TensorWithOrigin = tuple[Tensor, Origin | Mapping[Origin, int]]


def build_descendant(
    gene: Learngene,
    target: Target,
    *,
    frame: Mapping[str, Tensor],
    blocks: Mapping[str, TensorWithOrigin],
    generator: torch.Generator,
    fresh: Iterable[str] = (),
) -> Descendant:
    """Build the target from a frame and blocks.

    All names are those of a whole network of the target's spec.

    Args:
        gene: Gene that the tensors come from.
        target: Network to build.
        frame: Stem, norm and head. Stem and norm are adapted to the target's channels and image size. The head is
            copied if the gene knows all of the target's classes, with the output of each class at its place. Otherwise
            it is fresh. Stem and norm may be among the blocks instead.
        blocks: Tensors of the blocks, buffers included, with their origins. They become the descendant's own. One that
            reads images is adapted if the target has other channels.
        generator: Source of a fresh head.
        fresh: Names of tensors outside the head that may hold fresh elements.

    Raises:
        SettingError: The head that is copied reads maps of another image size.
        LedgerError: An element is not accounted for.
    """
    architecture: Architecture[Any] = architecture_of(target.spec)
    ledger, parts = Ledger(), architecture.parts(target.spec)
    outside = {name: frame[name] for name in (*parts.stem, *parts.norm) if name not in blocks}
    tensors = architecture.adapt(outside, gene.spec, target.spec, ledger)
    tensors |= _adapt_blocks(blocks, parts.image_kernels, target.spec.channels, ledger)
    outputs = find_outputs(gene, target)
    head = _draw_frame(architecture, target, generator) if outputs is None else _select_outputs(frame, parts, outputs)
    with on_meta_device():
        model = architecture.build(target.spec)
    shapes = {name: tensor.shape for name, tensor in model.state_dict().items()}
    for name in parts.head:
        _check_head(name, head[name], shapes[name], gene, target)
        tensors[name] = head[name].clone()
        ledger.add(name, "fresh" if outputs is None else "copied", tensors[name].numel())
    load_strict(model, tensors, "the gene", assign=True)
    ledger.check(count_elements(model), fresh_allowed=(*parts.head, *fresh))
    return Descendant(_make_network(model, gene, target), ledger)


def build_fresh_descendant(
    gene: Learngene,
    target: Target,
    inherited: Mapping[str, TensorWithOrigin],
    generator: torch.Generator,
    frame: Mapping[str, Tensor] | None = None,
) -> Descendant:
    """Build a fresh network in which some tensors are inherited; the head is fresh too.

    Args:
        gene: Gene that the tensors come from.
        target: Network to build.
        inherited: Inherited tensors with their origins. One that reads images is adapted if the target has other
            channels.
        generator: Source of all fresh tensors.
        frame: Tensors of stem and norm that are inherited too.

    Raises:
        LedgerError: An element is not accounted for.
    """
    architecture: Architecture[Any] = architecture_of(target.spec)
    with use_generator(generator):
        drawn = architecture.build(target.spec.model_copy(update={"classes": 0})).state_dict()
    outside = frame or {}
    blocks: dict[str, TensorWithOrigin] = {
        name: inherited.get(name, (tensor, "fresh")) for name, tensor in drawn.items() if name not in outside
    }
    fresh = blocks.keys() - inherited.keys()
    return build_descendant(gene, target, frame=outside, blocks=blocks, generator=generator, fresh=fresh)


def find_outputs(gene: Learngene, target: Target) -> Tensor | None:
    """Return the output of the gene's head for each class of the target [classes]; None if it lacks a class."""
    places = {name: place for place, name in enumerate(gene.classes or ())}
    if not all(name in places for name in target.classes):
        return None
    return torch.tensor([places[name] for name in target.classes])


def copy_tensors(tensors: Mapping[str, Tensor]) -> dict[str, TensorWithOrigin]:
    """Copy tensors, with "copied" as their origin."""
    return {name: (tensor.clone(), "copied") for name, tensor in tensors.items()}


def _adapt_blocks(
    blocks: Mapping[str, TensorWithOrigin], image_kernels: Collection[str], channels: int, ledger: Ledger
) -> dict[str, Tensor]:
    """Adapt those blocks that read images of another number of channels, and enter the origins of all."""
    tensors: dict[str, Tensor] = {}
    for name, (tensor, origin) in blocks.items():
        is_adapted = name in image_kernels and tensor.shape[1] != channels
        tensors[name] = adapt_kernel(tensor, channels) if is_adapted else tensor
        if isinstance(origin, str):
            ledger.add(name, "adapted" if is_adapted else origin, tensors[name].numel())
        else:
            for part, elements in origin.items():
                ledger.add(name, part, elements)
    return tensors


def _select_outputs(frame: Mapping[str, Tensor], parts: Parts, outputs: Tensor) -> dict[str, Tensor]:
    """Select the rows of the head's last layer; its hidden layers remain."""
    last = parts.head[-1].rpartition(".")[0]
    return {name: frame[name][outputs] if name.rpartition(".")[0] == last else frame[name] for name in parts.head}


def _check_head(name: str, tensor: Tensor, shape: torch.Size, gene: Learngene, target: Target) -> None:
    """Refuse another image size for a copied head whose hidden layers read flattened maps."""
    own, wanted = gene.spec.image_size, target.spec.image_size
    if tensor.shape != shape and own != wanted:
        raise SettingError(
            f"This gene cannot grow image_size={wanted} with its own classes",
            f"'{name}' of its head reads flattened maps of images of {own} pixels",
            f"Use image_size={own}, to which images are resized, or give other classes",
        )


def _make_network(model: nn.Module, gene: Learngene, target: Target) -> Network:
    """Return a built model as a network with the target's images and classes, and the gene's licence and source."""
    made = gene.provenance
    return Network(
        model.eval(),
        target.preprocess,
        target.classes,
        spec=target.spec,
        licence=made.ancestor_licence,
        source=f"grown by {gene.method} from {made.ancestor}, condensed on {made.data}",
    )


def _draw_frame(architecture: Architecture[Any], target: Target, generator: torch.Generator) -> dict[str, Tensor]:
    with use_generator(generator):
        return dict(architecture.frame(target.spec).state_dict())
