"""Closed circuits of channels: their size, their choice, their mutation and their similarity.

A circuit leads from the image to the last maps of a network of stages. Within a stage every channel group keeps the
same number of channels. A circuit alone is therefore a network of the same architecture with narrower stages.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor

from germline.architectures import (
    ChannelGroup,
    ConvArchitecture,
    Size,
    Spec,
    StageUnits,
    on_meta_device,
    select_channels,
)
from germline.errors import SettingError
from germline.registry import architecture_of

Circuit: TypeAlias = Mapping[str, Tensor]  # rising channel indices of a host, int64 [kept], by group name
StrengthMeasure = Literal["norm", "scale"]
# Shares that differ by less count as equal. Among these the circuit nearest to the uniform ratio is taken.
SHARE_TOLERANCE = 1e-4
WIDTH_MARGIN = 1  # how far a stage's width is searched beyond the two whole numbers next to the uniform ratio


@dataclass(frozen=True)
class HostLayout:
    """Channel groups, units and tensors of a network of stages.

    Attributes:
        groups: Channel groups of the network.
        units: Conv units, stage by stage.
        tensors: Names of the backbone's tensors, buffers included.
        parameters: Shapes of the backbone's parameters by name, without the head.
        narrowest: Fewest channels of a group, for each stage.
    """

    groups: tuple[ChannelGroup, ...]
    units: tuple[StageUnits, ...]
    tensors: tuple[str, ...]
    parameters: Mapping[str, torch.Size]
    narrowest: tuple[int, ...]


@lru_cache(maxsize=64)
def describe_layout(spec: Spec) -> HostLayout:
    """Describe a network of stages without allocating its tensors.

    Raises:
        SettingError: The network has no stages of convolutions.
    """
    architecture = require_convolutional(spec)
    groups = architecture.groups(spec)
    with on_meta_device():
        model = architecture.build(remove_head(spec))
    widths: dict[int, list[int]] = {}
    for group in groups:
        widths.setdefault(group.stage, []).append(group.width)
    return HostLayout(
        groups=groups,
        units=architecture.units(spec),
        tensors=tuple(model.state_dict()),
        parameters={name: tensor.shape for name, tensor in model.named_parameters()},
        narrowest=tuple(min(widths[stage]) for stage in sorted(widths)),
    )


def require_convolutional(spec: Spec) -> ConvArchitecture[Any]:
    """Return the architecture of a network of stages.

    Raises:
        SettingError: The network has no stages of convolutions.
    """
    architecture = architecture_of(spec)
    if not isinstance(architecture, ConvArchitecture):
        raise SettingError(
            f"A circuit cannot grow in a {architecture.name}",
            "It follows channels through germline's own convolutions",
            "Use a vgg or a resnet12",
        )
    return architecture


def remove_head(spec: Spec) -> Spec:
    """Return the spec of the same network without its head."""
    return spec.model_copy(update={"classes": 0})


def narrow_spec(spec: Spec, widths: tuple[int, ...]) -> Spec:
    """Return the headless spec in which all groups of a stage have the same width."""
    size = Size(**{f"width{stage}": width for stage, width in enumerate(widths, 1)})
    narrow: Spec = remove_head(require_convolutional(spec).resize(spec, size))
    return narrow


@lru_cache(maxsize=64)
def circuit_spec(spec: Spec, share: float = 0.2) -> Spec:
    """Find the spec of a circuit that has a given share of a host's parameters.

    The share is that of the backbone, convolutions and norms. Each stage keeps about sqrt(share) of its channels. Whole
    numbers near that are tried, all stages together. Parameters are counted without building anything.

    Args:
        spec: Spec of the host.
        share: Share of the host's backbone, above 0 and at most 1.

    Returns:
        The headless spec of the circuit alone.

    Raises:
        SettingError: The host has no stages of convolutions.
    """
    layout, ratio = describe_layout(spec), math.sqrt(share)
    wide = torch.tensor(_mean_widths(layout.groups))
    choices = [
        torch.tensor([kept for kept in _candidate_widths(ratio * float(mean)) if kept <= least] or [least])
        for mean, least in zip(wide, layout.narrowest, strict=True)
    ]
    tried = torch.cartesian_prod(*choices).view(-1, len(choices))
    host = sum(shape.numel() for shape in layout.parameters.values())
    error = (_count_parameters(layout, tried).double() / host - share).abs()
    odd = ((tried / wide - ratio) ** 2).sum(dim=1)
    near = (error <= error.min() + SHARE_TOLERANCE).nonzero().flatten()
    best = near[odd[near].argmin()]
    return narrow_spec(spec, tuple(tried[best].tolist()))


def _candidate_widths(width: float) -> range:
    return range(max(1, math.floor(width) - WIDTH_MARGIN), max(1, math.ceil(width) + WIDTH_MARGIN) + 1)


def _mean_widths(groups: tuple[ChannelGroup, ...]) -> list[float]:
    stages = sorted({group.stage for group in groups})
    widths = [[group.width for group in groups if group.stage == stage] for stage in stages]
    return [sum(stage_widths) / len(stage_widths) for stage_widths in widths]


def _count_parameters(layout: HostLayout, kept: Tensor) -> Tensor:
    """Count the parameters of circuits, int64 [candidates]; `kept` [candidates, stages] are channels of each stage."""
    stages: dict[str, list[int]] = {name: [] for name in layout.parameters}
    outside = {name: shape.numel() for name, shape in layout.parameters.items()}
    for group in layout.groups:
        for member in group.members:
            if member.tensor in outside:
                stages[member.tensor].append(group.stage)
                outside[member.tensor] //= group.width
    # The count is a polynomial in the kept channels: a kernel has degree two, a norm degree one.
    terms: Counter[tuple[int, ...]] = Counter()
    for name, dimensions in stages.items():
        terms[tuple(sorted(dimensions))] += outside[name]
    total = torch.zeros(len(kept), dtype=torch.int64)
    for term, factor in terms.items():
        total += factor * kept[:, list(term)].prod(dim=1)
    return total


def draw_circuit(spec: Spec, narrow: Spec, generator: torch.Generator) -> dict[str, Tensor]:
    """Draw a random circuit of a host; the channels of a group are equally likely.

    Args:
        spec: Spec of the host.
        narrow: Spec of the circuit, see `circuit_spec`.
        generator: Generator of the draw.
    """
    kept = describe_layout(narrow).narrowest
    return {
        group.name: torch.randperm(group.width, generator=generator)[: kept[group.stage]].sort().values
        for group in describe_layout(spec).groups
    }


def select_strongest_circuit(
    tensors: Mapping[str, Tensor], spec: Spec, narrow: Spec, by: StrengthMeasure = "norm"
) -> dict[str, Tensor]:
    """Select the circuit of a host's strongest channels; the first of equal ones wins.

    Args:
        tensors: Tensors of the host, by full name.
        spec: Spec of the host.
        narrow: Spec of the circuit.
        by: Strength of a channel: the size of its BatchNorm's factor (`scale`), or that times the norm of its kernel
            (`norm`). Strengths are summed over all units that write the channel.
    """
    kept, strengths = describe_layout(narrow).narrowest, _channel_strengths(tensors, spec, by)
    return {
        group.name: strengths[group.name].argsort(descending=True, stable=True)[: kept[group.stage]].sort().values
        for group in describe_layout(spec).groups
    }


def _channel_strengths(tensors: Mapping[str, Tensor], spec: Spec, by: StrengthMeasure) -> dict[str, Tensor]:
    strengths: dict[str, Tensor] = {}
    for stage in describe_layout(spec).units:
        for unit in (*stage.chain, *stage.shortcuts):
            strength = tensors[f"{unit.name}.norm.weight"].detach().abs()
            if by == "norm":
                strength = strength * tensors[f"{unit.name}.conv.weight"].detach().flatten(1).norm(dim=1)
            strengths[unit.writes] = strengths[unit.writes] + strength if unit.writes in strengths else strength
    return strengths


def extract_circuit(tensors: Mapping[str, Tensor], spec: Spec, circuit: Circuit) -> dict[str, Tensor]:
    """Copy the tensors of a circuit out of its host, without the head.

    Buffers are included. The tensors have the same names as in the host.

    Args:
        tensors: Tensors of the host.
        spec: Spec of the host.
        circuit: Channels to extract.
    """
    layout = describe_layout(spec)
    backbone = {name: tensors[name] for name in layout.tensors}
    return {name: tensor.detach().clone() for name, tensor in select_channels(backbone, layout.groups, circuit).items()}


def mutate_circuit(circuit: Circuit, spec: Spec, generator: torch.Generator, chance: float = 0.05) -> dict[str, Tensor]:
    """Swap a few channels of each group for others of the host; sizes stay.

    This operator is our own, because the paper's operator is not known to us. A number m ~ Binomial(kept, chance) of
    members leave. In their places come m others, all equally likely. A group mutates once, so maps that are added
    together keep the same channels.

    Args:
        circuit: Circuit to start from, which is not changed.
        spec: Spec of the host.
        generator: Generator that draws which channels leave and come.
        chance: Chance that a member leaves.
    """
    mutated = {}
    for group in describe_layout(spec).groups:
        members = circuit[group.name]
        inside = torch.zeros(group.width, dtype=torch.bool)
        inside[members] = True
        others = (~inside).nonzero().flatten()
        leaving = members[torch.rand(len(members), generator=generator) < chance]
        # If fewer channels are outside than leave, the leaving ones are drawn too.
        leaving = leaving[torch.randperm(len(leaving), generator=generator)[: len(others)]]
        coming = others[torch.randperm(len(others), generator=generator)[: len(leaving)]]
        inside[leaving], inside[coming] = False, True
        mutated[group.name] = inside.nonzero().flatten()
    return mutated


def circuit_similarity(first: Circuit, second: Circuit, spec: Spec) -> float:
    """Measure how much two circuits of a host have in common, between 0 and 1.

    The similarity is sum_g w_g |A_g and B_g| / sum_g w_g |A_g or B_g|. w_g is the number of parameters that write one
    channel of group g in the host: kernel and norm, of all units that are added together.
    """
    layout, shared, total = describe_layout(spec), 0, 0
    for group in layout.groups:
        written = [member.tensor for member in group.members if member.role == "written"]
        weight = sum(layout.parameters[name].numel() for name in written if name in layout.parameters) // group.width
        first_channels, second_channels = set(first[group.name].tolist()), set(second[group.name].tolist())
        shared += weight * len(first_channels & second_channels)
        total += weight * len(first_channels | second_channels)
    return shared / total
