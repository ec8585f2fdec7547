"""The `resnet12` architecture: residual stages of three 3x3 convolutions a block."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

from torch import nn

from germline.architectures.channel_groups import ChannelGroup, GroupMember, list_readers, list_writers
from germline.architectures.conv_base import ConvArchitecture
from germline.architectures.size import Size
from germline.architectures.staged import StagedSpec, list_residual_blocks, resize_stages
from germline.errors import SettingError
from germline.timm import Block, ResNet12


class ResNet12Spec(StagedSpec):
    """All that is needed to build one ResNet12.

    Attributes:
        depths: Residual blocks of each stage.
        widths: Channels of each stage, those inside its blocks included.
    """

    depths: tuple[int, ...]
    widths: tuple[int, ...]

    def model_post_init(self, _: Any) -> None:
        """Refuse what cannot be built."""
        self.check()
        if len(self.widths) != len(self.depths) or min(self.widths) < 1:
            raise SettingError(f"widths={self.widths}", f"there are {len(self.depths)} stages of at least one channel")

    @property
    def stages(self) -> tuple[int, ...]:
        """Residual blocks of each stage."""
        return self.depths

    @property
    def features(self) -> int:
        """Channels of the last stage."""
        return self.widths[-1]

    @property
    def blocks(self) -> tuple[tuple[int, int, int], ...]:
        """For each block its stage, the channels that it reads, and those that it writes."""
        return list_residual_blocks(self.channels, self.depths, self.widths)


class ResNet12Architecture(ConvArchitecture[ResNet12Spec]):
    """How a ResNet12 is put together; its blocks are the residual blocks."""

    name: ClassVar[str] = "resnet12"
    timm_name: ClassVar[str] = "germline_resnet12"
    module = ResNet12
    readers = ("stages.0.blocks.0.units.0.conv", "stages.0.blocks.0.shortcut.conv")
    chain = ("units.0.", "units.1.", "units.2.")
    shortcut = "shortcut."
    spec_type = ResNet12Spec

    def arguments(self, spec: ResNet12Spec) -> dict[str, Any]:
        """Depths and widths."""
        return {"depths": list(spec.depths), "widths": list(spec.widths)}

    def read(self, model: Any) -> ResNet12Spec:
        """The spec of a ResNet12."""
        return ResNet12Spec(
            image_size=model.img_size,
            channels=model.in_chans,
            classes=model.num_classes,
            depths=tuple(len(stage.blocks) for stage in model.stages),
            widths=tuple(stage.blocks[0].units[0].conv.out_channels for stage in model.stages),
        )

    def resize(self, spec: ResNet12Spec, size: Size) -> ResNet12Spec:
        """The spec with depths and widths changed.

        `depth2=3` sets the residual blocks of one stage; `width=32` sets the first stage's width and scales the others
        in proportion; `width2=48` then sets one stage's.

        Raises:
            SettingError: A key that a ResNet12 has not, or a size that cannot be built.
        """
        depths, widths = resize_stages(self.name, size, spec.depths, spec.widths)
        return ResNet12Spec(**{**spec.model_dump(), "depths": depths, "widths": widths})

    def block(self, spec: ResNet12Spec, index: int = 0) -> nn.Module:
        """One freshly initialised residual block, with a shortcut where the one at `index` has one."""
        stage, reads, width = spec.blocks[index]
        return Block(reads, width, project=index == sum(spec.depths[:stage]))

    def groups(self, spec: ResNet12Spec) -> tuple[ChannelGroup, ...]:
        """Two groups within each block, and one a stage for what its blocks are added to."""
        streams: list[list[GroupMember]] = [[] for _ in spec.depths]
        inside: list[ChannelGroup] = []
        taps, blocks = self.feature_names(spec), self.parts(spec).blocks
        for number, (tap, block, (stage, _, width)) in enumerate(zip(taps, blocks, spec.blocks, strict=True)):
            makers = {place: _made(block, place) for place in ("units.0", "units.1", "units.2", "shortcut")}
            for inner, reader in (("units.0", "units.1"), ("units.1", "units.2")):
                members = (*list_writers(0, *makers[inner]), *list_readers(1, block[f"{reader}.conv.weight"]))
                inside.append(ChannelGroup(f"{tap}.{inner}", width, members, stage))
            streams[stage] += list_writers(0, *makers["units.2"], *makers["shortcut"])
            first = number == sum(spec.depths[:stage])
            if number:
                streams[stage - first] += list_readers(1, *(block[n] for n in _READERS if n in block))
        streams[-1] += list_readers(1, "head.fc.weight")
        outer = [
            ChannelGroup(f"stages.{index}", width, tuple(members), index)
            for index, (width, members) in enumerate(zip(spec.widths, streams, strict=True))
        ]
        return (*outer, *inside)

    def convolutions(self, spec: ResNet12Spec) -> Iterator[tuple[int, int]]:
        """Weights and height of the maps of each convolution, shortcuts included."""
        for index, (stage, reads, width) in enumerate(spec.blocks):
            shortcut = reads if index == sum(spec.depths[:stage]) else 0
            yield (9 * (reads + 2 * width) + shortcut) * width, spec.image_size >> stage


_READERS = ("units.0.conv.weight", "shortcut.conv.weight")


def _made(block: Any, place: str) -> list[str]:
    """Tensors of one unit of a block whose first dimension is the channels that the unit writes."""
    return [full for name, full in block.items() if name.startswith(f"{place}.") and not name.endswith("tracked")]
