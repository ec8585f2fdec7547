"""Place layers of an ancestor in a descendant: which block each becomes, and whether it fits."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Literal

import torch
from torch import Tensor, nn

from germline.architectures import Spec
from germline.errors import SettingError
from germline.ledger import Origin
from germline.methods.slicing import parts_of, shapes_of, stage_depths
from germline.randomness import use_generator

Placement = Literal["relative", "positions"]


def place_blocks(own: Spec, wanted: Spec, chosen: Sequence[int], place: Placement) -> dict[int, int]:
    """Return the descendant's block index for each chosen block of an ancestor.

    Blocks are placed stage by stage. With `positions`, a block keeps its index in the stage. With `relative`, block i
    of s becomes block floor(i t / s) of t. Blocks that collide are moved by the least possible number of places.
    For stages of equal depth both give the same result.

    Args:
        own: Spec of the ancestor.
        wanted: Spec of the descendant.
        chosen: Indices of the ancestor's blocks, in ascending order.
        place: Rule of placement.

    Raises:
        SettingError: The number of stages differs, or a stage has too few blocks.
    """
    have, want = stage_depths(own), stage_depths(wanted)
    if len(have) != len(want):
        raise SettingError(
            f"This gene cannot grow {len(want)} stages", f"The ancestor has {len(have)}", f"Use {len(have)} stages"
        )
    placement: dict[int, int] = {}
    stages = zip(have, want, accumulate((0, *have)), accumulate((0, *want)), strict=False)
    for stage, (depth, asked, first, start) in enumerate(stages, 1):
        inside = [index - first for index in chosen if first <= index < first + depth]
        places = inside if place == "positions" else _place_relative(inside, depth, asked)
        least = max(places) + 1 if place == "positions" and places else len(places)
        if asked < least:
            where = f" in stage {stage}" if len(have) > 1 else ""
            raise SettingError(
                f"This gene cannot grow {asked} blocks{where}",
                f"Its layers need {least}",
                f"Use {least} blocks or more",
            )
        placement |= {first + source: start + index for source, index in zip(inside, places, strict=True)}
    return placement


def _place_relative(inside: Sequence[int], depth: int, asked: int) -> list[int]:
    places: list[int] = []
    for index in inside:
        places.append(max(index * asked // depth, places[-1] + 1 if places else 0))
    for back in range(len(places)):
        places[-1 - back] = min(places[-1 - back], asked - 1 - back)
    return places


def find_sources(own: Spec, wanted: Spec, where: Mapping[int, int]) -> dict[str, str]:
    """Return the name of the ancestor's tensor for each inherited tensor of a descendant.

    Raises:
        SettingError: A block has other tensors, or a tensor has a shape that no adapter can produce.
    """
    source_parts, parts = parts_of(own), parts_of(wanted)
    names: dict[str, str] = {}
    for source, index in where.items():
        block = parts.blocks[index]
        if block.keys() != source_parts.blocks[source].keys():
            raise SettingError(
                f"This gene cannot grow its block {source} as block {index}",
                "The two blocks have different tensors",
                "Use the ancestor's own depths and widths",
            )
        names |= {full: source_parts.blocks[source][name] for name, full in block.items()}
    _check_shapes(own, wanted, names)
    return names


def check_stem(own: Spec, wanted: Spec) -> None:
    """Refuse a descendant whose stem differs from the ancestor's.

    Raises:
        SettingError: Names the tensor.
    """
    stem = parts_of(own).stem
    if set(stem) != set(parts_of(wanted).stem):
        raise SettingError(
            "This gene cannot grow another stem", "It holds the ancestor's", "Set frame=none when you condense"
        )
    _check_shapes(own, wanted, {name: name for name in stem})


def _check_shapes(own: Spec, wanted: Spec, names: Mapping[str, str]) -> None:
    given, shapes = shapes_of(own), shapes_of(wanted)
    for name, source in names.items():
        if not _fits(given[source], shapes[name]):
            raise SettingError(
                f"This gene cannot grow '{name}' of shape {tuple(shapes[name])}",
                f"The ancestor's '{source}' has shape {tuple(given[source])}",
                "Use the ancestor's widths for inherited layers",
            )


def _fits(have: torch.Size, want: torch.Size) -> bool:
    """Whether shapes are equal, or those of kernels that differ only in their input channels."""
    return have == want or (len(have) == len(want) == 4 and (have[0], *have[2:]) == (want[0], *want[2:]))


def stack_tensors(
    tensors: Mapping[str, Tensor], own: Spec, wanted: Spec, names: Mapping[str, str], generator: torch.Generator
) -> dict[str, tuple[Tensor, Origin]]:
    """Return the inherited tensors of a descendant, each with its origin.

    A convolution with another number of input channels gets an adapter, folded into its kernel. The adapter is a random
    semi-orthogonal 1x1 map, scaled to keep unit variance. Convolutions with the same pair of channel counts share one.

    Args:
        tensors: Tensors of the gene by their name in the ancestor.
        own: Spec of the ancestor.
        wanted: Spec of the descendant.
        names: Result of `find_sources`.
        generator: Random generator of the adapters.
    """
    shapes, images = shapes_of(wanted), parts_of(own).image_kernels
    adapters: dict[tuple[int, int], Tensor] = {}
    inherited: dict[str, tuple[Tensor, Origin]] = {}
    for name, source in names.items():
        tensor, want = tensors[source].clone(), shapes[name]
        if tensor.shape == want or source in images:  # `build_descendant` adapts image channels
            inherited[name] = tensor, "copied"
            continue
        pair = (tensor.shape[1], want[1])
        if pair not in adapters:
            adapters[pair] = _draw_adapter(*pair, generator)
        inherited[name] = torch.einsum("oihw,ij->ojhw", tensor, adapters[pair]).contiguous(), "adapted"
    return inherited


def _draw_adapter(inputs: int, given: int, generator: torch.Generator) -> Tensor:
    """Draw a map [inputs, given] from the given channels to those that a layer reads."""
    with use_generator(generator):
        drawn: Tensor = nn.init.orthogonal_(torch.empty(inputs, given))
    return drawn * math.sqrt(max(1.0, inputs / given))
