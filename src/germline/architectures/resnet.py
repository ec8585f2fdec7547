"""The `resnet` architecture: timm's own ResNet of basic blocks, so that descendants need no germline code."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache, partial
from typing import Any, ClassVar, Literal

from timm.models.resnet import BasicBlock, ResNet, downsample_conv
from torch import Tensor, nn

from germline.architectures.base import Parts, TimmArguments, check_timm_class, count_outputs
from germline.architectures.channel_groups import ChannelGroup, GroupMember, list_readers, list_writers
from germline.architectures.meta_device import on_meta_device
from germline.architectures.size import Size
from germline.architectures.staged import (
    StagedSpec,
    adapt_tensors,
    list_residual_blocks,
    read_checked_spec,
    rebuild_error,
    resize_stages,
    scale_width,
)
from germline.errors import SettingError
from germline.ledger import Ledger
from germline.timm.resnet import build_small_stem_resnet

PLAIN_STEM = 64  # channels of timm's plain stem
STAGES = 4  # fixed by timm's forward pass
IMAGENET_SIDE = 224  # image size of a network without timm's configuration, which alone stores it

_READERS = ("conv1.weight", "downsample.0.weight")
# Within the stem: writers and reader of channels that only the next convolution reads, and writers of the stream.
_CHAINS = {"": (), "small": (), "deep": ((("conv1.0", "conv1.1"), "conv1.3"), (("conv1.3", "conv1.4"), "conv1.6"))}
_ENDS = {"": ("conv1", "bn1"), "small": ("conv1", "bn1"), "deep": ("conv1.6", "bn1")}


class ResNetSpec(StagedSpec):
    """Everything that is needed to build one ResNet of basic blocks; names are timm's except depths and widths.

    Attributes:
        depths: Number of basic blocks of each of the four stages, timm's `layers`.
        widths: Channels of each stage, timm's `channels`.
        stem_type: One 7x7 convolution of 64 channels (empty), or three 3x3 convolutions (`deep`). Both halve the image,
            and a pool behind them halves it again. Or one 3x3 convolution that keeps the image size (`small`).
        stem_width: Channels of the first two convolutions of a deep stem, whose last has twice as many. Of a small
            stem, its channels.
    """

    depths: tuple[int, ...]
    widths: tuple[int, ...]
    stem_type: Literal["", "deep", "small"] = ""
    stem_width: int = 64

    def model_post_init(self, _: Any) -> None:
        """Refuse a network that cannot be built."""
        if (len(self.depths), len(self.widths)) != (STAGES, STAGES):
            raise SettingError(
                f"{len(self.depths)} depths and {len(self.widths)} widths",
                f"timm's ResNet has {STAGES} stages",
                f"give {STAGES} of each",
            )
        self.check()
        if min(*self.widths, self.stem_width) < 1:
            raise SettingError(
                f"widths={self.widths}, stem_width={self.stem_width}",
                "a convolution has at least one channel",
                "use widths of 1 or more",
            )
        if not self.stem_type and self.stem_width != PLAIN_STEM:
            raise SettingError(
                f"stem_width={self.stem_width}",
                f"timm's plain stem has {PLAIN_STEM} channels",
                "remove it, or use stem_type=deep",
            )
        if self.stem_type == "small" and self.stem_width % 2:
            raise SettingError(
                f"stem_width={self.stem_width} with stem_type=small",
                "a small stem has an even number of channels",
                f"use stem_width={self.stem_width + 1}",
            )

    @property
    def stages(self) -> tuple[int, ...]:
        """Number of basic blocks of each stage."""
        return self.depths

    @property
    def features(self) -> int:
        """Channels of the last stage."""
        return self.widths[-1]

    @property
    def halvings(self) -> int:
        """Always 0: maps are halved but rounded up, so that at least one position is left."""
        return 0

    @property
    def stem(self) -> int:
        """Channels that the first block reads."""
        return 2 * self.stem_width if self.stem_type == "deep" else self.stem_width

    @property
    def blocks(self) -> tuple[tuple[int, int, int], ...]:
        """For each block, its stage, the channels that it reads, and the channels that it writes."""
        return list_residual_blocks(self.stem, self.depths, self.widths)

    def has_projection(self, index: int) -> bool:
        """Whether the block at `index` has a convolution in its shortcut, timm's `downsample`."""
        stage, reads, width = self.blocks[index]
        return reads != width or (stage > 0 and index == sum(self.depths[:stage]))


class ResNetArchitecture:
    """How timm's ResNet is put together; its blocks are the basic blocks."""

    name: ClassVar[str] = "resnet"
    timm_class: ClassVar[type[Any]] = ResNet
    stores_image_size: ClassVar[bool] = False
    spec_type = ResNetSpec

    def build(self, spec: ResNetSpec) -> Any:
        """Build a freshly initialised network; as in timm, its blocks add nothing to their inputs at first."""
        return self._build_timm(spec, spec.depths)

    def frame(self, spec: ResNetSpec) -> Any:
        """Build the network without its blocks."""
        return self._build_timm(spec, (0,) * STAGES)

    def _build_timm(self, spec: ResNetSpec, depths: tuple[int, ...]) -> Any:
        build = build_small_stem_resnet if spec.stem_type == "small" else partial(ResNet, BasicBlock)
        model = build(num_classes=spec.classes, **{**_timm_arguments(spec), "layers": depths})
        # timm itself stores the size of a network's images here.
        model.pretrained_cfg = {"input_size": (spec.channels, spec.image_size, spec.image_size)}
        return model

    def block(self, spec: ResNetSpec, index: int = 0) -> Any:
        """Build the block at `index`, initialised as inside a whole network."""
        stage, reads, width = spec.blocks[index]
        stride = 2 if stage and index == sum(spec.depths[:stage]) else 1
        shortcut = downsample_conv(reads, width, 1, stride=stride) if spec.has_projection(index) else None
        block = BasicBlock(reads, width, stride, shortcut)
        ResNet.init_weights(block)  # works on any module, since it uses only the module's parts
        return block

    def describe(self, model: nn.Module) -> ResNetSpec:
        """Return the spec of a timm ResNet; the image size is that of timm's configuration, or 224.

        Raises:
            ArtefactError: The network is of another architecture, or has a part that this one does not rebuild:
                bottlenecks, other stems, attention, averaging shortcuts.
        """
        check_timm_class(self, model)
        blocks = [block for stage in _list_stages(model) for block in stage]
        kinds = {type(block).__name__ for block in blocks if type(block) is not BasicBlock}
        if kinds:
            raise rebuild_error(self.name, model, f"it has blocks of {', '.join(sorted(kinds))}")
        spec: ResNetSpec = read_checked_spec(self, model)
        return spec

    def read_spec(self, model: Any) -> ResNetSpec:
        """Read the spec of a ResNet of basic blocks."""
        deep, small = isinstance(model.conv1, nn.Sequential), isinstance(model.maxpool, nn.Identity)
        size = (getattr(model, "pretrained_cfg", None) or {}).get("input_size", (IMAGENET_SIDE,))
        return ResNetSpec(
            image_size=size[-1],
            channels=model.in_chans,
            classes=count_outputs(model.fc),
            depths=tuple(len(stage) for stage in _list_stages(model)),
            widths=tuple(stage[0].conv2.out_channels for stage in _list_stages(model)),
            **({"stem_type": "deep", "stem_width": model.conv1[0].out_channels} if deep else {}),
            **({"stem_type": "small", "stem_width": model.conv1.out_channels} if small and not deep else {}),
        )

    def resize(self, spec: ResNetSpec, size: Size) -> ResNetSpec:
        """Return the spec with depths and widths changed.

        `depth2=3` sets the blocks of one stage. `width=32` sets the first stage's width and scales the others and the
        stem in proportion; `width2=48` then sets that of one stage. A plain stem does not change.

        Raises:
            SettingError: A ResNet does not have such a key, or cannot be built in that size.
        """
        depths, widths = resize_stages(self.name, size, spec.depths, spec.widths)
        first = spec.widths[0]
        stem = scale_width(spec.stem_width, size.get("width", first), first) if spec.stem_type else spec.stem_width
        if spec.stem_type == "small":
            stem += stem % 2
        return ResNetSpec(**{**spec.model_dump(), "depths": depths, "widths": widths, "stem_width": stem})

    def parts(self, spec: ResNetSpec) -> Parts:
        """Return the names of the network's tensors by part; the stem is the first convolutions with their norms."""
        return _find_parts(self, spec)

    def _find_parts(self, spec: ResNetSpec) -> Parts:
        with on_meta_device():
            names = list(self.build(spec).state_dict())
        return Parts(
            stem=tuple(name for name in names if name.startswith(("conv1.", "bn1."))),
            blocks=tuple(
                {name.removeprefix(f"{block}."): name for name in names if name.startswith(f"{block}.")}
                for block in self.feature_names(spec)
            ),
            norm=(),
            head=tuple(name for name in names if name.startswith("fc.")),
            stages=spec.stages,
            image_kernels=(f"{_first_convolution(spec)}.weight",),
        )

    def groups(self, spec: ResNetSpec) -> tuple[ChannelGroup, ...]:
        """Return one group within each block, those of the stem, and one per stage for its residual stream.

        If the first block adds its input unchanged, the stem's last group is the first stage's.
        """
        parts = self.parts(spec)
        first = dict(zip(parts.stem, parts.stem, strict=True))
        # The stream of the stem, then those of the stages.
        streams: list[list[GroupMember]] = [[] for _ in range(len(spec.depths) + 1)]
        if not spec.has_projection(0):
            streams[0] = streams[1]
        inside = [_make_inner_group(first, *chain, spec.stem_width, 0) for chain in _CHAINS[spec.stem_type]]
        streams[0] += list_writers(0, *_list_written(first, *_ENDS[spec.stem_type]))
        for index, (block, (stage, _, width)) in enumerate(zip(parts.blocks, spec.blocks, strict=True)):
            inside.append(_make_inner_group(block, ("conv1", "bn1"), "conv2", width, stage))
            stream = streams[stage + (index > sum(spec.depths[:stage]))]
            stream += list_readers(1, *(block[name] for name in _READERS if name in block))
            streams[stage + 1] += list_writers(0, *_list_written(block, "conv2", "bn2", "downsample"))
        streams[-1] += list_readers(1, "fc.weight")
        stem = [ChannelGroup("stem", spec.stem, tuple(streams[0]))] if spec.has_projection(0) else []
        outer = [
            ChannelGroup(f"stages.{stage}", width, tuple(members), stage)
            for stage, (width, members) in enumerate(zip(spec.widths, streams[1:], strict=True))
        ]
        return (*outer, *stem, *inside)

    def feature_names(self, spec: ResNetSpec) -> tuple[str, ...]:
        """Return the names of the blocks, whose outputs are maps [B, C, H, W]; the first of a stage halves the maps."""
        return tuple(f"layer{stage}.{index}" for stage, depth in enumerate(spec.depths, 1) for index in range(depth))

    def as_maps(self, spec: ResNetSpec, features: Tensor) -> Tensor:
        """Return the features as they are: they are maps [B, C, H, W]."""
        return features

    def adapt(
        self, tensors: Mapping[str, Tensor], source: ResNetSpec, target: ResNetSpec, ledger: Ledger
    ) -> dict[str, Tensor]:
        """Adapt the stem's first convolution to the target's channels; copy all other tensors."""
        return adapt_tensors(target.channels, tensors, (f"{_first_convolution(target)}.weight",), ledger)

    def flops(self, spec: ResNetSpec) -> int:
        """Count the operations of one image's forward pass in the convolutions and the head."""
        maps = sum(weights * side**2 for weights, side in _list_convolutions(spec))
        return 2 * (maps + spec.features * spec.classes)

    def export_config(self, spec: ResNetSpec) -> TimmArguments:
        """Return timm's name and all its arguments, so that the defaults of that name do not matter."""
        pretrained_cfg = {"first_conv": _first_convolution(spec), "classifier": "fc", "fixed_input_size": False}
        name = "germline_resnet" if spec.stem_type == "small" else "resnet18"
        return TimmArguments(name, _timm_arguments(spec), pretrained_cfg)


def _timm_arguments(spec: ResNetSpec) -> dict[str, Any]:
    """Return timm's arguments, JSON-able."""
    stem: dict[str, Any] = {"stem_width": spec.stem_width}
    if spec.stem_type != "small":
        stem = {"stem_type": spec.stem_type, **stem}
    return {"layers": list(spec.depths), "channels": list(spec.widths), **stem, "in_chans": spec.channels}


def _list_stages(model: Any) -> list[Any]:
    return [getattr(model, f"layer{stage}", ()) for stage in range(1, STAGES + 1)]


def _first_convolution(spec: ResNetSpec) -> str:
    """Return the name of the convolution that reads the images."""
    return "conv1.0" if spec.stem_type == "deep" else "conv1"


def _list_written(names: Mapping[str, str], *modules: str) -> list[str]:
    """List the tensors of the modules whose first dimension is the channels that the modules write, by full name."""
    prefixes = tuple(f"{module}." for module in modules)
    return [full for name, full in names.items() if name.startswith(prefixes) and not name.endswith("tracked")]


def _make_inner_group(
    names: Mapping[str, str], modules: tuple[str, ...], reader: str, width: int, stage: int
) -> ChannelGroup:
    """Make the group of channels that one convolution writes and only the next one reads."""
    writers = _list_written(names, *modules)
    members = (*list_writers(0, *writers), *list_readers(1, names[f"{reader}.weight"]))
    return ChannelGroup(writers[0].removesuffix(".weight"), width, members, stage)


def _list_convolutions(spec: ResNetSpec) -> Iterator[tuple[int, int]]:
    """Yield, for stem and blocks, weights of the convolutions and height of their maps; timm rounds halves up."""
    side, width, reduction = -(-spec.image_size // 2), spec.stem_width, 2
    if spec.stem_type == "deep":
        yield 9 * width * (spec.channels + width + 2 * width), side
    elif spec.stem_type == "small":
        side, reduction = spec.image_size, 1
        yield 9 * spec.channels * width, side
    else:
        yield 49 * spec.channels * width, side
    for index, (stage, reads, writes) in enumerate(spec.blocks):
        shortcut = reads if spec.has_projection(index) else 0
        yield (9 * (reads + writes) + shortcut) * writes, -(-side // (reduction * 2**stage))


@lru_cache(maxsize=64)  # the same few specs are asked for again and again
def _find_parts(architecture: ResNetArchitecture, spec: ResNetSpec) -> Parts:
    return architecture._find_parts(spec)
