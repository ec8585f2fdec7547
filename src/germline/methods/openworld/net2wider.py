"""Growing a network that goes on computing what it did: wider units, and units that pass maps on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from germline.architectures.channel_groups import ChannelGroup, GroupMember, channel_indices
from germline.architectures.vgg import VggArchitecture, VggSpec
from germline.errors import SettingError

TensorKind = Literal["weights", "gradients", "squares"]


@dataclass(frozen=True)
class Widening:
    """Which channels a group gets beside its own.

    Attributes:
        group: That becomes wider, as it was.
        picks: For each further channel the one that it is a copy of, int64 [added].
    """

    group: ChannelGroup
    picks: Tensor

    @property
    def copies(self) -> Tensor:
        """How often each channel of the wider group is there, [width + added]."""
        counts = 1 + torch.bincount(self.picks, minlength=self.group.width)
        return counts[self.sources]

    @property
    def sources(self) -> Tensor:
        """For each channel of the wider group the one that it comes from, int64 [width + added]."""
        return torch.cat((torch.arange(self.group.width), self.picks))


def draw_widening(group: ChannelGroup, added: int, generator: torch.Generator) -> Widening:
    """Draw which channels are copied, each with equal chance.

    Raises:
        SettingError: Less than one is to be added.
    """
    if added < 1:
        raise SettingError(f"{added} channels for '{group.name}'", "widening adds at least one", "add 1 or more")
    return Widening(group, torch.randint(group.width, (added,), generator=generator))


def widen_tensors(tensors: Mapping[str, Tensor], widening: Widening, kind: TensorKind = "weights") -> dict[str, Tensor]:
    """Net2Wider: channels are copied, and whoever reads them shares its weight among the copies.

    Running statistics are copied with their channels, so evaluation gives the same outputs up to rounding, and so does
    training before its first step. Source: Chen et al., arXiv 1511.05641; Open-World Learngene, arXiv 2106.06788.

    Args:
        tensors: By full name: the network's, or others of the same names and shapes. Those of no member stay.
        widening: Of one channel group.
        kind: `weights`, anchors included; `gradients`, such as momentum: a copy has 1/n of the gradient of what it is
            a copy of, since its reader has 1/n of the weight, and the reader's own is the same; `squares`, such as an
            importance or a second moment: with 1/n^2.

    Returns:
        All of them, those widened as new tensors.
    """
    wider = dict(tensors)
    for member in widening.group.members:
        if member.tensor in wider:
            wider[member.tensor] = _widen_tensor(wider[member.tensor], member, widening, kind)
    return wider


def _widen_tensor(tensor: Tensor, member: GroupMember, widening: Widening, kind: TensorKind) -> Tensor:
    at = channel_indices(member, widening.group.width, widening.sources)
    found = tensor.index_select(member.dim, at.to(tensor.device))
    buffer = member.tensor.endswith(("running_mean", "running_var"))
    if buffer or (member.role == "read") != (kind == "weights"):
        return found
    each = widening.copies[:, None].expand(-1, member.inner).repeat(member.outer, 1).flatten()
    shape = [1] * tensor.ndim
    shape[member.dim] = -1
    return found / each.to(tensor).view(shape) ** (2 if kind == "squares" else 1)


def add_noise_to_copies(
    tensors: Mapping[str, Tensor], widening: Widening, noise: float, generator: torch.Generator
) -> dict[str, Tensor]:
    """A widened network whose copies differ a little, for exact ones have equal gradients for ever.

    Args:
        tensors: Of the widened network.
        widening: That it went through.
        noise: Added to the kernels that write the copies, in standard deviations of each kernel; 0 adds none.
        generator: Draws it.
    """
    moved = dict(tensors)
    for member in widening.group.members:
        kernel = moved.get(member.tensor)
        if noise and kernel is not None and member.role == "written" and kernel.ndim > 1:
            own = widening.group.width
            drawn = noise * kernel.std() * torch.randn(kernel[own:].shape, generator=generator)
            moved[member.tensor] = torch.cat((kernel[:own], kernel[own:] + drawn))
    return moved


def widen_spec(spec: VggSpec, unit: int, added: int) -> VggSpec:
    """The form with one conv unit wider; units are counted from 0."""
    _check_unit(spec, unit)
    stage = spec.units[unit][0]
    place = unit - sum(spec.stages[:stage])
    widths = [list(own) for own in spec.widths]
    widths[stage][place] += added
    return VggSpec.model_validate({**spec.model_dump(), "widths": widths})


def group_of_unit(architecture: VggArchitecture, spec: VggSpec, unit: int) -> ChannelGroup:
    """The channel group that a conv unit writes; units are counted from 0.

    Raises:
        SettingError: There is no such unit.
    """
    _check_unit(spec, unit)
    return architecture.groups(spec)[unit]


def _check_unit(spec: VggSpec, unit: int) -> None:
    if not 0 <= unit < sum(spec.stages):
        raise SettingError(f"conv unit {unit + 1}", f"there are {sum(spec.stages)}", "units are counted from 1")
