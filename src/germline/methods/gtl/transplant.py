"""Transplant of a circuit into a fresh network of stages, of any width and depth, and of the other family."""

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

# What a unit of the host gets on the circuit's channels: a unit of the gene, an identity, or a norm that gives 0.
UnitContent: TypeAlias = ConvUnit | Literal["identity", "silent"]
OriginCounts: TypeAlias = dict[Origin, int]
# With this factor and a variance of 1 a norm changes nothing.
_UNIT_FACTOR = math.sqrt(1 + nn.BatchNorm2d(1).eps)


def transplant_circuit(
    fresh: Mapping[str, Tensor],
    gene: Mapping[str, Tensor],
    narrow: Spec,
    host: Spec,
    channels: Circuit | None = None,
) -> tuple[dict[str, Tensor], dict[str, OriginCounts]]:
    """Write a circuit's tensors to some channels of a host, and close it with zeros against all other channels.

    Stages are matched by their order, and so by resolution. Within a stage the host's conv units take the gene's, first
    to first. All kernels of both chains have the same size.

    - A stage of the host may be narrower than the gene's. It takes the channels with the strongest kernels of each
      group, and the columns that read them.
    - If the gene has more units, the surplus is left out. The next stage reads the channels of the last unit taken, by
      rank.
    - If the gene has fewer units, the host's others pass the circuit's channels on. In a surplus residual block the
      last norm gives 0 on those channels instead. A deeper ResNet12 then computes the same but for one more leaky ReLU.
      Both are exact in evaluation mode. In training, an identity norm takes the batch's statistics like any other.
    - A projecting shortcut without a counterpart gives 0 on the circuit's channels. A shortcut that is the plain input
      is still added. Units of a VGG's gene therefore compute something else in a second residual block. The activations
      of the two families differ anyway.
    - Stages that only the gene has are dropped; those that only the host has are fresh.

    Args:
        fresh: Fresh state dict of the host, with or without its head, which is not changed.
        gene: Tensors of the circuit, see `circuits.extract_circuit`.
        narrow: Spec of the circuit alone.
        host: Spec of the host. If its image channels are not the gene's, kernels are adapted first.
        channels: Channels of each group of the host for the gene's, in the gene's order; None for the first ones.

    Returns:
        The host's tensors, and the elements of each by origin, which add up to its size.

    Raises:
        SettingError: The numbers of channels differ, or a network has no stages of convolutions.
    """
    limited = _limit_widths(narrow, host)
    if limited != narrow:
        gene, narrow = extract_circuit(gene, narrow, select_strongest_circuit(gene, narrow, limited)), limited
    first = first_channels(narrow, host)
    channels = first if channels is None else channels
    if any(len(channels.get(name, ())) != len(indices) for name, indices in first.items()):
        raise SettingError(
            "These channels do not fit the gene", "They are not as many as its channels", "Remove `channels`"
        )
    tensors = {name: tensor.detach().clone() for name, tensor in fresh.items()}
    counts: dict[str, OriginCounts] = {name: {} for name in tensors}
    for unit, content in _match_units(describe_layout(narrow).units, describe_layout(host).units):
        rows = channels[unit.writes]
        columns = torch.arange(host.channels) if unit.reads is None else channels[unit.reads]
        for name, values, origin in _unit_tensors(content, gene, host.channels, len(columns), unit.reads is None):
            full = f"{unit.name}.{name}"
            counts[full] = _write_tensor(tensors[full], values, origin, rows, columns)
    for name, tensor in tensors.items():
        if left := tensor.numel() - sum(counts[name].values()):
            counts[name]["fresh"] = left
    return tensors, counts


def mark_inherited(
    fresh: Mapping[str, Tensor],
    gene: Mapping[str, Tensor],
    narrow: Spec,
    host: Spec,
    channels: Circuit | None = None,
) -> dict[str, Tensor]:
    """Mark the elements of a host's parameters that a transplant writes, zeros around the circuit included.

    Args:
        fresh: State dict of the host; its values do not matter.
        gene: Tensors of the circuit.
        narrow: Spec of the circuit alone.
        host: Spec of the host.
        channels: Channels of the host, as in `transplant_circuit`.

    Returns:
        Masks by name of each parameter with such elements: bool, in the parameter's shape.
    """
    blank = {name: torch.full_like(t, math.nan) if t.is_floating_point() else t for name, t in fresh.items()}
    written, _ = transplant_circuit(blank, gene, narrow, host, channels)
    masks = {name: ~written[name].isnan() for name in describe_layout(host).parameters}
    return {name: mask for name, mask in masks.items() if mask.any()}


def first_channels(narrow: Spec, host: Spec) -> dict[str, Tensor]:
    """List the first channels of each group of a host, as many as the circuit has in that stage."""
    widths = describe_layout(narrow).narrowest
    return {
        group.name: torch.arange(widths[group.stage] if group.stage < len(widths) else 0)
        for group in describe_layout(host).groups
    }


def _limit_widths(narrow: Spec, host: Spec) -> Spec:
    """Return the gene's spec with no stage wider than the host's narrowest group."""
    gene_widths, limits = describe_layout(narrow).narrowest, describe_layout(host).narrowest
    widths = (*map(min, gene_widths, limits), *gene_widths[len(limits) :])
    return narrow if widths == gene_widths else narrow_spec(narrow, widths)


def _match_units(gene: tuple[StageUnits, ...], host: tuple[StageUnits, ...]) -> Iterator[tuple[ConvUnit, UnitContent]]:
    for gene_stage, stage in zip(gene, host, strict=False):
        covered = {unit.block for unit in stage.chain[: len(gene_stage.chain)]}
        for index, unit in enumerate(stage.chain):
            if index < len(gene_stage.chain):
                yield unit, gene_stage.chain[index]
            elif not stage.is_residual or unit.block in covered:
                yield unit, "identity"
            elif unit.is_last:
                yield unit, "silent"
        for index, shortcut in enumerate(stage.shortcuts):
            yield shortcut, gene_stage.shortcuts[index] if index < len(gene_stage.shortcuts) else "silent"


def _unit_tensors(
    content: UnitContent, gene: Mapping[str, Tensor], channels: int, width: int, images: bool
) -> Iterator[tuple[str, Tensor, Origin]]:
    """Yield the tensors of a unit on the circuit's channels: name within the unit, tensor, origin."""
    if content == "silent":
        yield "norm.weight", torch.zeros(1), "zero-filled"
        yield "norm.bias", torch.zeros(1), "zero-filled"
    elif content == "identity":
        # A narrow unit is as wide as what it reads, because it is never the first of its stage.
        yield "conv.weight", nn.init.dirac_(torch.empty(width, width, 3, 3)), "identity"
        for name, value in (("weight", _UNIT_FACTOR), ("bias", 0.0), ("running_mean", 0.0), ("running_var", 1.0)):
            yield f"norm.{name}", torch.tensor(value), "identity"
    else:
        kernel = gene[f"{content.name}.conv.weight"]
        adapted = images and kernel.shape[1] != channels
        yield "conv.weight", adapt_kernel(kernel, channels) if adapted else kernel, "adapted" if adapted else "copied"
        for name in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked"):
            yield f"norm.{name}", gene[f"{content.name}.norm.{name}"], "copied"


def _write_tensor(tensor: Tensor, values: Tensor, origin: Origin, rows: Tensor, columns: Tensor) -> OriginCounts:
    """Write a part of a tensor in place and count its elements by origin."""
    if tensor.ndim == 0:
        tensor.copy_(values)
        return {origin: 1}
    if tensor.ndim == 1:
        tensor[rows] = values
        return {origin: len(rows)}
    tensor[rows] = 0
    tensor[rows[:, None], columns] = values
    zeros = len(rows) * tensor[0].numel() - values.numel()
    return {origin: values.numel(), **({"zero-filled": zeros} if zeros else {})}
