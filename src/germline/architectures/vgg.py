"""The `vgg` architecture: stages of 3x3 convolutions with BatchNorm, every conv unit of its own width."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any, ClassVar

from torch import nn

from germline.architectures.channel_groups import ChannelGroup, list_readers, list_writers
from germline.architectures.conv_base import ConvArchitecture
from germline.architectures.size import Size, check_size_keys
from germline.architectures.staged import StagedSpec, check_stage_depth, scale_width
from germline.errors import SettingError
from germline.timm import VGG, Unit, make_head

# The published depths count three dense layers, of which one is left here.
PUBLISHED_DEPTHS = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}


class VggSpec(StagedSpec):
    """All that is needed to build one VGG.

    Attributes:
        widths: For each stage, the channels of each of its conv units.
        hidden: Widths of the head's hidden layers, the first of which reads the last maps laid flat; none for an
            average of the maps and one linear layer.
    """

    widths: tuple[tuple[int, ...], ...]
    hidden: tuple[int, ...] = ()

    def model_post_init(self, _: Any) -> None:
        """Refuse what cannot be built."""
        self.check()
        if min(width for stage in self.widths for width in stage) < 1:
            raise SettingError(f"widths={self.widths}", "every conv unit has at least one channel")
        if any(width < 1 for width in self.hidden):
            raise SettingError(f"hidden={self.hidden}", "every hidden layer has at least one unit")

    @property
    def stages(self) -> tuple[int, ...]:
        """Conv units of each stage."""
        return tuple(len(stage) for stage in self.widths)

    @property
    def features(self) -> int:
        """Channels of the last unit."""
        return self.widths[-1][-1]

    @property
    def side(self) -> int:
        """Height of the maps that the head reads, in pixels."""
        return self.image_size >> len(self.widths)

    @property
    def units(self) -> tuple[tuple[int, int, int], ...]:
        """For each conv unit its stage, the channels that it reads, and those that it writes."""
        flat = [(stage, width) for stage, widths in enumerate(self.widths) for width in widths]
        inputs = (self.channels, *(width for _, width in flat))
        return tuple((stage, reads, width) for (stage, width), reads in zip(flat, inputs, strict=False))


class VggArchitecture(ConvArchitecture[VggSpec]):
    """How a VGG is put together; its blocks are the conv units."""

    name: ClassVar[str] = "vgg"
    timm_name: ClassVar[str] = "germline_vgg"
    module = VGG
    readers = ("stages.0.blocks.0.conv",)
    chain = ("",)
    shortcut = None
    spec_type = VggSpec

    def arguments(self, spec: VggSpec) -> dict[str, Any]:
        """The widths, and those of hidden layers where there are any."""
        hidden = {"hidden": list(spec.hidden)} if spec.hidden else {}
        return {"widths": [list(stage) for stage in spec.widths], **hidden}

    def head(self, spec: VggSpec) -> nn.Module:
        """A fresh head, with its hidden layers."""
        head: nn.Module = make_head(spec.features, spec.classes, hidden=spec.hidden, side=spec.side)
        return head

    def head_weights(self, spec: VggSpec) -> int:
        """Weights of the head's linear layers."""
        if not spec.hidden or not spec.classes:
            return spec.features * spec.classes
        return sum(
            reads * width for reads, width in pairwise((spec.features * spec.side**2, *spec.hidden, spec.classes))
        )

    def read(self, model: Any) -> VggSpec:
        """The spec of a VGG."""
        return VggSpec(
            image_size=model.img_size,
            channels=model.in_chans,
            classes=model.num_classes,
            widths=tuple(tuple(unit.conv.out_channels for unit in stage.blocks) for stage in model.stages),
            hidden=tuple(getattr(model.head, "hidden", ())),
        )

    def resize(self, spec: VggSpec, size: Size) -> VggSpec:
        """The spec with depths and widths changed.

        `depth=11|13|16|19` sets the published stage depths, `depth2=3` one stage's; a stage made deeper repeats its
        last width, one made shallower keeps its first units. `width=32` sets the first unit's width and scales all
        others in proportion, hidden layers of the head included; `width2=48` then sets all units of one stage.

        Raises:
            SettingError: A key that a VGG has not, or a size that cannot be built.
        """
        count = len(spec.widths)
        depth_keys, width_keys = ([f"{key}{n}" for n in range(1, count + 1)] for key in ("depth", "width"))
        text = f"depth, depth1 to depth{count}, width, or width1 to width{count}"
        check_size_keys(self.name, size, ["depth", "width", *depth_keys, *width_keys], text)
        depths = self._depths(spec, size)
        depths = tuple(
            check_stage_depth(key, size.get(key, depth)) for key, depth in zip(depth_keys, depths, strict=True)
        )
        first = spec.widths[0][0]
        widths = []
        for key, stage, depth in zip(width_keys, spec.widths, depths, strict=True):
            units = (*stage[:depth], *[stage[-1]] * (depth - len(stage)))
            scaled = tuple(scale_width(width, size.get("width", first), first) for width in units)
            widths.append((size[key],) * depth if key in size else scaled)
        hidden = tuple(scale_width(width, size.get("width", first), first) for width in spec.hidden)
        return VggSpec(**{**spec.model_dump(), "widths": tuple(widths), "hidden": hidden})

    def _depths(self, spec: VggSpec, size: Size) -> tuple[int, ...]:
        if "depth" not in size:
            return spec.stages
        known = {depth: stages for depth, stages in PUBLISHED_DEPTHS.items() if len(stages) == len(spec.widths)}
        if size["depth"] not in known:
            raise SettingError(
                f"depth={size['depth']}",
                "a VGG of five stages has 11, 13, 16 or 19 layers, its dense ones counted",
                f"use one of these, or depth1 to depth{len(spec.widths)} for the units of a stage",
            )
        return known[size["depth"]]

    def block(self, spec: VggSpec, index: int = 0) -> nn.Module:
        """One freshly initialised conv unit."""
        _, reads, width = spec.units[index]
        return Unit(reads, width)

    def groups(self, spec: VggSpec) -> tuple[ChannelGroup, ...]:
        """One group a conv unit: its convolution and norm write the channels, the next unit or the head reads them."""
        blocks = self.parts(spec).blocks
        head = (
            list_readers(1, "head.dense.0.weight", inner=spec.side**2)
            if spec.hidden
            else list_readers(1, "head.fc.weight")
        )
        readers = [*(list_readers(1, block["conv.weight"]) for block in blocks[1:]), head]
        found = []
        for tap, block, (stage, _, width), reader in zip(
            self.feature_names(spec), blocks, spec.units, readers, strict=True
        ):
            channels = [full for name, full in block.items() if name != "norm.num_batches_tracked"]
            found.append(ChannelGroup(tap, width, (*list_writers(0, *channels), *reader), stage))
        return tuple(found)

    def convolutions(self, spec: VggSpec) -> Iterator[tuple[int, int]]:
        """Weights and height of the maps of each unit's convolution."""
        for stage, reads, width in spec.units:
            yield 9 * reads * width, spec.image_size >> stage
