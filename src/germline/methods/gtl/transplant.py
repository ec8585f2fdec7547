"""Planting a circuit in a fresh network of stages: of any width and depth, and of the other family."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn

from germline.architectures import ConvUnit, Spec, StageUnits, adapt_kernel
from germline.errors import SettingError
from germline.ledger import Origin
from germline.methods.gtl.circuits import (
    Circuit,
    describe_layout,
    extract_circuit,
    narrow_spec,
    select_strongest_circuit,
)

# What a unit of the host gets on the circuit's channels: a unit of the gene, what passes its maps on, or nothing but a
# norm that gives 0.
UnitContent: TypeAlias = ConvUnit | Literal["identity", "silent"]
OriginCounts: TypeAlias = dict[Origin, int]
# With this factor and a variance of 1 a norm changes nothing.
_UNIT_FACTOR = math.sqrt(1 + nn.BatchNorm2d(1).eps)


def transplant_circuit(
    fresh: Mapping[str, Tensor],
    gene: Mapping[str, Tensor],
    narrow: Spec,
    host: Spec,
    places: Circuit | None = None,
) -> tuple[dict[str, Tensor], dict[str, OriginCounts]]:
    """Put a circuit's tensors on some channels of a host, closed: zeros stand where others would come into it.

    Stages are matched by their order, and so by resolution; within one the host's conv units take the gene's, first to
    first, all kernels of both chains being alike.

    - A stage of the host that is narrower than the gene's takes the channels with the strongest kernels of each group,
      and the columns that read them.
    - Units that the gene has too many are left out; the next stage reads the channels of the last one taken, by rank.
    - Units that it has too few pass the circuit's channels on. Where a whole residual block is too many, its last norm
      gives 0 on those channels instead, so that a deeper ResNet12 computes the same but for one more leaky ReLU.
      Both hold in evaluation mode; training, a norm that passes maps on takes the batch's statistics like any other.
    - A projecting shortcut without a counterpart gives 0 on the circuit's channels. One that is the plain input is
      still added, so units of a VGG's gene compute something else in a second residual block; the two families'
      activations differ anyway.
    - Stages that only the gene has are dropped; those that only the host has are fresh.

    Args:
        fresh: The host's state dict, freshly initialised, with or without its head; stays as it is.
        gene: The circuit's tensors, see `circuits.extract`.
        narrow: The form of the circuit alone.
        host: The host's form; of other picture channels than the gene's, kernels are adapted first.
        places: Where the channels of each group of the host go, in the gene's order; None for the first ones.

    Returns:
        The host's tensors, and for each of them its elements by origin, which add up to its size.

    Raises:
        SettingError: The places are not as many as the channels, or a network has no stages of convolutions.
    """
    kept = _limit_widths(narrow, host)
    if kept != narrow:
        gene, narrow = extract_circuit(gene, narrow, select_strongest_circuit(gene, narrow, kept)), kept
    wanted = first_channels(narrow, host)
    places = wanted if places is None else places
    if any(len(places.get(name, ())) != len(channels) for name, channels in wanted.items()):
        raise SettingError("places for this gene", "they are not as many as its channels", "leave them out")
    tensors = {name: tensor.detach().clone() for name, tensor in fresh.items()}
    counts: dict[str, OriginCounts] = {name: {} for name in tensors}
    for unit, content in _match_units(describe_layout(narrow).units, describe_layout(host).units):
        rows = places[unit.writes]
        columns = torch.arange(host.channels) if unit.reads is None else places[unit.reads]
        for name, planted, origin in _unit_tensors(content, gene, host.channels, len(columns), unit.reads is None):
            full = f"{unit.name}.{name}"
            counts[full] = _write_tensor(tensors[full], planted, origin, rows, columns)
    for name, tensor in tensors.items():
        if left := tensor.numel() - sum(counts[name].values()):
            counts[name]["fresh"] = left
    return tensors, counts


def first_channels(narrow: Spec, host: Spec) -> dict[str, Tensor]:
    """The first channels of each group of a host, as many as a circuit has there; none in a stage that it has not."""
    widths = describe_layout(narrow).narrowest
    return {
        group.name: torch.arange(widths[group.stage] if group.stage < len(widths) else 0)
        for group in describe_layout(host).groups
    }


def _limit_widths(narrow: Spec, host: Spec) -> Spec:
    """The gene's form with no stage wider than the host's narrowest group there."""
    own, limits = describe_layout(narrow).narrowest, describe_layout(host).narrowest
    beyond = own[len(limits) :]
    widths = (*map(min, own, limits), *beyond)
    return narrow if widths == own else narrow_spec(narrow, widths)


def _match_units(gene: tuple[StageUnits, ...], host: tuple[StageUnits, ...]) -> Iterator[tuple[ConvUnit, UnitContent]]:
    for own, stage in zip(gene, host, strict=False):
        covered = {unit.block for unit in stage.chain[: len(own.chain)]}
        for index, unit in enumerate(stage.chain):
            if index < len(own.chain):
                yield unit, own.chain[index]
            elif not stage.residual or unit.block in covered:
                yield unit, "identity"
            elif unit.last:
                yield unit, "silent"
        for index, shortcut in enumerate(stage.shortcuts):
            yield shortcut, own.shortcuts[index] if index < len(own.shortcuts) else "silent"


def _unit_tensors(
    content: UnitContent, gene: Mapping[str, Tensor], channels: int, width: int, images: bool
) -> Iterator[tuple[str, Tensor, Origin]]:
    """A unit's tensors on the circuit's channels, by name within it, each with its origin."""
    if content == "silent":
        yield "norm.weight", torch.zeros(1), "zero-filled"
        yield "norm.bias", torch.zeros(1), "zero-filled"
    elif content == "identity":
        # A narrow chain is as wide as what it reads, since it is never the first of its stage.
        yield "conv.weight", nn.init.dirac_(torch.empty(width, width, 3, 3)), "identity"
        for name, value in (("weight", _UNIT_FACTOR), ("bias", 0.0), ("running_mean", 0.0), ("running_var", 1.0)):
            yield f"norm.{name}", torch.tensor(value), "identity"
    else:
        kernel = gene[f"{content.name}.conv.weight"]
        adapted = images and kernel.shape[1] != channels
        yield "conv.weight", adapt_kernel(kernel, channels) if adapted else kernel, "adapted" if adapted else "copied"
        for name in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked"):
            yield f"norm.{name}", gene[f"{content.name}.norm.{name}"], "copied"


def _write_tensor(tensor: Tensor, planted: Tensor, origin: Origin, rows: Tensor, columns: Tensor) -> OriginCounts:
    """Write one tensor's part in place and count it."""
    if tensor.ndim == 0:
        tensor.copy_(planted)
        return {origin: 1}
    if tensor.ndim == 1:
        tensor[rows] = planted
        return {origin: len(rows)}
    tensor[rows] = 0
    tensor[rows[:, None], columns] = planted
    closed = len(rows) * tensor[0].numel() - planted.numel()
    return {origin: planted.numel(), **({"zero-filled": closed} if closed else {})}
