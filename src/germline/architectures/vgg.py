"""The `vgg` architecture: stages of 3x3 convolutions with BatchNorm, each conv unit with a width of its own."""

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

# The published depths count three dense layers; these networks have one.
PUBLISHED_DEPTHS = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}


class VggSpec(StagedSpec):
    """Everything that is needed to build one VGG.

    Attributes:
        widths: For each stage, the channels of each of its conv units.
        hidden: Widths of the head's hidden layers; the first one reads the flattened last maps. Empty for an average of
            the maps and one linear layer.
    """

    widths: tuple[tuple[int, ...], ...]
    hidden: tuple[int, ...] = ()

    def model_post_init(self, _: Any) -> None:
        """Refuse a network that cannot be built."""
        self.check()
        if min(width for stage in self.widths for width in stage) < 1:
            raise SettingError(
                f"widths={self.widths}", "every conv unit has at least one channel", "use widths of 1 or more"
            )
        if any(width < 1 for width in self.hidden):
            raise SettingError(
                f"hidden={self.hidden}", "every hidden layer has at least one unit", "use widths of 1 or more"
            )

    @property
    def stages(self) -> tuple[int, ...]:
        """Number of conv units of each stage."""
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
        """For each conv unit, its stage, the channels that it reads, and the channels that it writes."""
        flat = [(stage, width) for stage, widths in enumerate(self.widths) for width in widths]
        inputs = (self.channels, *(width for _, width in flat))
        return tuple((stage, reads, width) for (stage, width), reads in zip(flat, inputs, strict=False))


class VggArchitecture(ConvArchitecture[VggSpec]):
    """How a VGG is put together; its blocks are the conv units."""

    name: ClassVar[str] = "vgg"
    timm_name: ClassVar[str] = "germline_vgg"
    timm_class = VGG
    image_readers = ("stages.0.blocks.0.conv",)
    chain = ("",)
    shortcut = None
    spec_type = VggSpec

    def size_arguments(self, spec: VggSpec) -> dict[str, Any]:
        """Return the widths, and those of hidden layers if there are any."""
        hidden = {"hidden": list(spec.hidden)} if spec.hidden else {}
        return {"widths": [list(stage) for stage in spec.widths], **hidden}

    def head(self, spec: VggSpec) -> nn.Module:
        """Build a fresh head with its hidden layers."""
        head: nn.Module = make_head(spec.features, spec.classes, hidden=spec.hidden, side=spec.side)
        return head

    def head_weights(self, spec: VggSpec) -> int:
        """Count the weights of the head's linear layers, hidden ones included."""
        if not spec.hidden or not spec.classes:
            return spec.features * spec.classes
        widths = (spec.features * spec.side**2, *spec.hidden, spec.classes)
        return sum(reads * width for reads, width in pairwise(widths))

    def read_spec(self, model: Any) -> VggSpec:
        """Read the spec of a VGG."""
        return VggSpec(
            image_size=model.img_size,
            channels=model.in_chans,
            classes=model.num_classes,
            widths=tuple(tuple(unit.conv.out_channels for unit in stage.blocks) for stage in model.stages),
            hidden=tuple(getattr(model.head, "hidden", ())),
        )

    def resize(self, spec: VggSpec, size: Size) -> VggSpec:
        """Return the spec with depths and widths changed.

        `depth=11|13|16|19` sets the published stage depths, `depth2=3` that of one stage. A deeper stage repeats its
        last width, a shallower one keeps its first units. `width=32` sets the first unit's width. All other units
        and the head's hidden layers are scaled in proportion. `width2=48` then sets all units of one stage.

        Raises:
            SettingError: A VGG does not have such a key, or cannot be built in that size.
        """
        count = len(spec.widths)
        depth_keys, width_keys = ([f"{key}{n}" for n in range(1, count + 1)] for key in ("depth", "width"))
        text = f"depth, depth1 to depth{count}, width, or width1 to width{count}"
        check_size_keys(self.name, size, ["depth", "width", *depth_keys, *width_keys], text)
        depths = tuple(
            check_stage_depth(key, size.get(key, depth))
            for key, depth in zip(depth_keys, self._published_depths(spec, size), strict=True)
        )
        first = spec.widths[0][0]
        widths = []
        for key, stage, depth in zip(width_keys, spec.widths, depths, strict=True):
            units = (*stage[:depth], *[stage[-1]] * (depth - len(stage)))
            scaled = tuple(scale_width(width, size.get("width", first), first) for width in units)
            widths.append((size[key],) * depth if key in size else scaled)
        hidden = tuple(scale_width(width, size.get("width", first), first) for width in spec.hidden)
        return VggSpec(**{**spec.model_dump(), "widths": tuple(widths), "hidden": hidden})

    def _published_depths(self, spec: VggSpec, size: Size) -> tuple[int, ...]:
        if "depth" not in size:
            return spec.stages
        known = {depth: stages for depth, stages in PUBLISHED_DEPTHS.items() if len(stages) == len(spec.widths)}
        if size["depth"] not in known:
            raise SettingError(
                f"depth={size['depth']}",
                "a VGG of five stages has 11, 13, 16 or 19 layers, dense layers included",
                f"use one of these, or depth1 to depth{len(spec.widths)} for the units of a stage",
            )
        return known[size["depth"]]

    def block(self, spec: VggSpec, index: int = 0) -> nn.Module:
        """Build the conv unit at `index`, freshly initialised."""
        _, reads, width = spec.units[index]
        return Unit(reads, width)

    def groups(self, spec: VggSpec) -> tuple[ChannelGroup, ...]:
        """Return one group per conv unit: its convolution and norm write it, the next unit or the head reads it."""
        blocks = self.parts(spec).blocks
        if spec.hidden:
            head = list_readers(1, "head.dense.0.weight", inner=spec.side**2)
        else:
            head = list_readers(1, "head.fc.weight")
        readers = [*(list_readers(1, block["conv.weight"]) for block in blocks[1:]), head]
        groups = []
        names = self.feature_names(spec)
        for name, block, (stage, _, width), reader in zip(names, blocks, spec.units, readers, strict=True):
            tensors = [full for inner, full in block.items() if inner != "norm.num_batches_tracked"]
            groups.append(ChannelGroup(name, width, (*list_writers(0, *tensors), *reader), stage))
        return tuple(groups)

    def convolutions(self, spec: VggSpec) -> Iterator[tuple[int, int]]:
        """Yield, for each unit's convolution, its number of weights and the height of its maps in pixels."""
        for stage, reads, width in spec.units:
            yield 9 * reads * width, spec.image_size >> stage
