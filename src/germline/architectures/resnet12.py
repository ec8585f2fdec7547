"""The `resnet12` architecture: residual stages with three 3x3 convolutions per block."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from torch import nn

from germline.architectures.channel_groups import ChannelGroup, GroupMember, list_readers, list_writers
from germline.architectures.conv_base import ConvArchitecture
from germline.architectures.size import Size
from germline.architectures.staged import StagedSpec, list_residual_blocks, resize_stages
from germline.errors import SettingError
from germline.timm import Block, ResNet12

_UNITS = ("units.0", "units.1", "units.2", "shortcut")
_READERS = ("units.0.conv.weight", "shortcut.conv.weight")


class ResNet12Spec(StagedSpec):
    """Everything that is needed to build one ResNet12.

    Attributes:
        depths: Number of residual blocks of each stage.
        widths: Channels of each stage, those inside its blocks included.
    """

    depths: tuple[int, ...]
    widths: tuple[int, ...]

    def model_post_init(self, _: Any) -> None:
        """Refuse a network that cannot be built."""
        self.check()
        if len(self.widths) != len(self.depths) or min(self.widths) < 1:
            raise SettingError(
                f"widths={self.widths}",
                f"there are {len(self.depths)} stages of at least one channel",
                f"give {len(self.depths)} widths of 1 or more",
            )

    @property
    def stages(self) -> tuple[int, ...]:
        """Number of residual blocks of each stage."""
        return self.depths

    @property
    def features(self) -> int:
        """Channels of the last stage."""
        return self.widths[-1]

    @property
    def blocks(self) -> tuple[tuple[int, int, int], ...]:
        """For each block, its stage, the channels that it reads, and the channels that it writes."""
        return list_residual_blocks(self.channels, self.depths, self.widths)


class ResNet12Architecture(ConvArchitecture[ResNet12Spec]):
    """How a ResNet12 is put together; its blocks are the residual blocks."""

    name: ClassVar[str] = "resnet12"
    timm_name: ClassVar[str] = "germline_resnet12"
    timm_class = ResNet12
    image_readers = ("stages.0.blocks.0.units.0.conv", "stages.0.blocks.0.shortcut.conv")
    chain = ("units.0.", "units.1.", "units.2.")
    shortcut = "shortcut."
    spec_type = ResNet12Spec

    def size_arguments(self, spec: ResNet12Spec) -> dict[str, Any]:
        """Return depths and widths."""
        return {"depths": list(spec.depths), "widths": list(spec.widths)}

    def read_spec(self, model: Any) -> ResNet12Spec:
        """Read the spec of a ResNet12."""
        return ResNet12Spec(
            image_size=model.img_size,
            channels=model.in_chans,
            classes=model.num_classes,
            depths=tuple(len(stage.blocks) for stage in model.stages),
            widths=tuple(stage.blocks[0].units[0].conv.out_channels for stage in model.stages),
        )

    def resize(self, spec: ResNet12Spec, size: Size) -> ResNet12Spec:
        """Return the spec with depths and widths changed.

        `depth2=3` sets the residual blocks of one stage. `width=32` sets the first stage's width and scales the others
        in proportion; `width2=48` then sets that of one stage.

        Raises:
            SettingError: A ResNet12 does not have such a key, or cannot be built in that size.
        """
        depths, widths = resize_stages(self.name, size, spec.depths, spec.widths)
        return ResNet12Spec(**{**spec.model_dump(), "depths": depths, "widths": widths})

    def block(self, spec: ResNet12Spec, index: int = 0) -> nn.Module:
        """Build the residual block at `index`, freshly initialised; the first of a stage has a shortcut."""
        stage, reads, width = spec.blocks[index]
        return Block(reads, width, project=index == sum(spec.depths[:stage]))

    def groups(self, spec: ResNet12Spec) -> tuple[ChannelGroup, ...]:
        """Return two groups within each block, and one per stage for its residual stream."""
        streams: list[list[GroupMember]] = [[] for _ in spec.depths]
        inside: list[ChannelGroup] = []
        names, blocks = self.feature_names(spec), self.parts(spec).blocks
        for number, (name, block, (stage, _, width)) in enumerate(zip(names, blocks, spec.blocks, strict=True)):
            writers = {unit: _list_written(block, unit) for unit in _UNITS}
            for inner, reader in (("units.0", "units.1"), ("units.1", "units.2")):
                members = (*list_writers(0, *writers[inner]), *list_readers(1, block[f"{reader}.conv.weight"]))
                inside.append(ChannelGroup(f"{name}.{inner}", width, members, stage))
            streams[stage] += list_writers(0, *writers["units.2"], *writers["shortcut"])
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
        """Yield, for each block, the weights of its convolutions, shortcut included, and the height of their maps."""
        for index, (stage, reads, width) in enumerate(spec.blocks):
            shortcut = reads if index == sum(spec.depths[:stage]) else 0
            yield (9 * (reads + 2 * width) + shortcut) * width, spec.image_size >> stage


def _list_written(block: Mapping[str, str], unit: str) -> list[str]:
    """List the tensors of one unit of a block whose first dimension is the channels that the unit writes."""
    return [full for name, full in block.items() if name.startswith(f"{unit}.") and not name.endswith("tracked")]
