"""Layers of an ancestor stacked into another network: where each goes, and whether it fits there."""

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
from germline.methods.slicing import parts_of, shapes_of, stages
from germline.randomness import use_generator

Place = Literal["relative", "positions"]


def placed(own: Spec, wanted: Spec, chosen: Sequence[int], place: Place) -> dict[int, int]:
    """For each chosen block of an ancestor, which block of a descendant it becomes.

    Stage by stage. At `positions` a block keeps its index within the stage; at `relative` ones block i of s becomes
    block floor(i t / s) of t, moved no further than it takes for all to stand in their order. Where a stage is as deep
    as the ancestor's these are the same.

    Args:
        own: The ancestor's form.
        wanted: The descendant's.
        chosen: Indices of the ancestor's blocks, rising.
        place: How.

    Raises:
        SettingError: There are other stages, or too few blocks in one.
    """
    have, want = stages(own), stages(wanted)
    if len(have) != len(want):
        raise SettingError(f"this gene cannot grow {len(want)} stages", f"the ancestor has {len(have)}", "keep these")
    found: dict[int, int] = {}
    for depth, asked, first, start in zip(have, want, accumulate((0, *have)), accumulate((0, *want)), strict=False):
        inside = [at - first for at in chosen if first <= at < first + depth]
        places = inside if place == "positions" else _relative(inside, depth, asked)
        least = max(places) + 1 if place == "positions" and places else len(places)
        if asked < least:
            where = f" in stage {have.index(depth) + 1}" if len(have) > 1 else ""
            raise SettingError(
                f"this gene cannot grow {asked} blocks{where}", f"its layers need {least}", f"ask for {least} or more"
            )
        found |= {first + one: start + other for one, other in zip(inside, places, strict=True)}
    return found


def _relative(inside: Sequence[int], depth: int, asked: int) -> list[int]:
    places: list[int] = []
    for at in inside:
        places.append(max(at * asked // depth, places[-1] + 1 if places else 0))
    for back in range(len(places)):
        places[-1 - back] = min(places[-1 - back], asked - 1 - back)
    return places


def sources(own: Spec, wanted: Spec, where: Mapping[int, int]) -> dict[str, str]:
    """Names of the ancestor's tensors, by name in the descendant.

    Raises:
        SettingError: A block has other tensors, or one that does not fit and that no adapter can lead to.
    """
    elder, parts = parts_of(own), parts_of(wanted)
    found: dict[str, str] = {}
    for index, at in where.items():
        block = parts.blocks[at]
        if block.keys() != elder.blocks[index].keys():
            raise SettingError(
                f"this gene cannot grow its block {index} as block {at}",
                "one of them has tensors that the other has not",
                "ask for the ancestor's own depths and widths",
            )
        found |= {full: elder.blocks[index][name] for name, full in block.items()}
    _check_shapes(own, wanted, found)
    return found


def check_stem(own: Spec, wanted: Spec) -> None:
    """Refuse a descendant that the ancestor's stem does not fit.

    Raises:
        SettingError: Names the tensor.
    """
    stem = parts_of(own).stem
    if set(stem) != set(parts_of(wanted).stem):
        raise SettingError("this gene cannot grow another stem", "it holds the ancestor's", "condense with frame=none")
    _check_shapes(own, wanted, {name: name for name in stem})


def _check_shapes(own: Spec, wanted: Spec, names: Mapping[str, str]) -> None:
    given, shapes = shapes_of(own), shapes_of(wanted)
    for name, source in names.items():
        if not _fits(given[source], shapes[name]):
            raise SettingError(
                f"this gene cannot grow '{name}' of shape {tuple(shapes[name])}",
                f"the ancestor's '{source}' has shape {tuple(given[source])}",
                "keep the widths of inherited layers",
            )


def _fits(have: torch.Size, want: torch.Size) -> bool:
    """Whether they are equal, or kernels that differ in the channels they read alone."""
    return have == want or (len(have) == len(want) == 4 and (have[0], *have[2:]) == (want[0], *want[2:]))


def stacked(
    tensors: Mapping[str, Tensor], own: Spec, wanted: Spec, names: Mapping[str, str], generator: torch.Generator
) -> dict[str, tuple[Tensor, Origin]]:
    """The inherited tensors of a descendant, each with its origin.

    A convolution that reads other channels than it did gets an adapter before it: a 1x1 map, drawn semi-orthogonal and
    scaled so that channels of unit variance stay so, folded into its kernel. All convolutions that read so many
    channels of so many share one.

    Args:
        tensors: The gene's, by name in the ancestor.
        own: The ancestor's form.
        wanted: The descendant's form.
        names: What `sources` gave.
        generator: Draws the adapters.
    """
    shapes, images = shapes_of(wanted), parts_of(own).image_kernels
    adapters: dict[tuple[int, int], Tensor] = {}
    found: dict[str, tuple[Tensor, Origin]] = {}
    for name, source in names.items():
        tensor, want = tensors[source].clone(), shapes[name]
        if tensor.shape == want or source in images:  # other channels of pictures are adapted elsewhere
            found[name] = tensor, "copied"
            continue
        pair = (tensor.shape[1], want[1])
        if pair not in adapters:
            adapters[pair] = _adapter(*pair, generator)
        found[name] = torch.einsum("oihw,ij->ojhw", tensor, adapters[pair]).contiguous(), "adapted"
    return found


def _adapter(inputs: int, given: int, generator: torch.Generator) -> Tensor:
    """A map [inputs, given] from the channels that there are to those that a layer reads."""
    with use_generator(generator):
        drawn: Tensor = nn.init.orthogonal_(torch.empty(inputs, given))
    return drawn * math.sqrt(max(1.0, inputs / given))
