"""Net2Wider: units become wider while the network computes the same."""

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
    """The channels that a group gets in addition to its own.

    Attributes:
        group: Group before it becomes wider.
        picks: Source channel of each added channel, int64 [added].
    """

    group: ChannelGroup
    picks: Tensor

    @property
    def copies(self) -> Tensor:
        """Number of copies of each channel of the wider group, itself included, [width + added]."""
        counts = 1 + torch.bincount(self.picks, minlength=self.group.width)
        return counts[self.sources]

    @property
    def sources(self) -> Tensor:
        """Source channel of each channel of the wider group, int64 [width + added]."""
        return torch.cat((torch.arange(self.group.width), self.picks))


def draw_widening(group: ChannelGroup, added: int, generator: torch.Generator) -> Widening:
    """Draw which channels are copied, each with equal chance.

    Raises:
        SettingError: Fewer than one channel would be added.
    """
    if added < 1:
        raise SettingError(f"{added} channels for '{group.name}'", "Widening adds at least one", "Use 1 or more")
    return Widening(group, torch.randint(group.width, (added,), generator=generator))


def widen_tensors(tensors: Mapping[str, Tensor], widening: Widening, kind: TensorKind = "weights") -> dict[str, Tensor]:
    """Widen tensors by Net2Wider: channels are copied, and their readers divide the weight among the copies.

    Running statistics are copied with their channels. Evaluation then gives the same outputs up to rounding, and so
    does training before its first step. Source: Chen et al., arXiv 1511.05641; Open-World Learngene, arXiv 2106.06788.

    Args:
        tensors: Tensors of the network by full name, or others of the same names and shapes. Tensors outside the group
            do not change.
        widening: Widening of one channel group.
        kind: Kind of the tensors. `weights` includes anchors. `gradients`, such as momentum: a copy has 1/n of its
            source's gradient, because its reader has 1/n of the weight. The reader's own gradient stays. `squares`,
            such as an importance or a second moment: a copy has 1/n^2.

    Returns:
        All tensors; the widened ones are new.
    """
    wider = dict(tensors)
    for member in widening.group.members:
        if member.tensor in wider:
            wider[member.tensor] = _widen_tensor(wider[member.tensor], member, widening, kind)
    return wider


def _widen_tensor(tensor: Tensor, member: GroupMember, widening: Widening, kind: TensorKind) -> Tensor:
    indices = channel_indices(member, widening.group.width, widening.sources)
    wider = tensor.index_select(member.dim, indices.to(tensor.device))
    is_buffer = member.tensor.endswith(("running_mean", "running_var"))
    if is_buffer or (member.role == "read") != (kind == "weights"):
        return wider
    copies = widening.copies[:, None].expand(-1, member.inner).repeat(member.outer, 1).flatten()
    shape = [1] * tensor.ndim
    shape[member.dim] = -1
    return wider / copies.to(tensor).view(shape) ** (2 if kind == "squares" else 1)


def add_noise_to_copies(
    tensors: Mapping[str, Tensor], widening: Widening, noise: float, generator: torch.Generator
) -> dict[str, Tensor]:
    """Add noise to copied channels, because exact copies have equal gradients forever.

    Args:
        tensors: Tensors of the widened network.
        widening: Widening of the network.
        noise: Noise on the kernels that write the copies, in standard deviations of each kernel; 0 adds none.
        generator: Generator of the noise.
    """
    noisy = dict(tensors)
    for member in widening.group.members:
        kernel = noisy.get(member.tensor)
        if noise and kernel is not None and member.role == "written" and kernel.ndim > 1:
            width = widening.group.width
            drawn = noise * kernel.std() * torch.randn(kernel[width:].shape, generator=generator)
            noisy[member.tensor] = torch.cat((kernel[:width], kernel[width:] + drawn))
    return noisy


def widen_spec(spec: VggSpec, unit: int, added: int) -> VggSpec:
    """Return the spec with one conv unit wider; units are counted from 0."""
    _check_unit(spec, unit)
    stage = spec.units[unit][0]
    index = unit - sum(spec.stages[:stage])
    widths = [list(stage_widths) for stage_widths in spec.widths]
    widths[stage][index] += added
    return VggSpec.model_validate({**spec.model_dump(), "widths": widths})


def group_of_unit(architecture: VggArchitecture, spec: VggSpec, unit: int) -> ChannelGroup:
    """Return the channel group that a conv unit writes; units are counted from 0.

    Raises:
        SettingError: There is no such unit.
    """
    _check_unit(spec, unit)
    return architecture.groups(spec)[unit]


def _check_unit(spec: VggSpec, unit: int) -> None:
    if not 0 <= unit < sum(spec.stages):
        raise SettingError(
            f"conv unit {unit + 1} does not exist", f"There are {sum(spec.stages)}", "Use a number from 1 to that"
        )
