"""The `resnet` architecture: timm's own ResNet of basic blocks, so that descendants carry no germline code."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal

from timm.models.resnet import BasicBlock, ResNet, downsample_conv
from torch import Tensor, nn

from germline.architectures.base import Parts, TimmArguments
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
from germline.errors import ArtefactError, SettingError
from germline.ledger import Ledger

_READERS = ("conv1.weight", "downsample.0.weight")
# Within the stem: what makes channels that nothing but the next convolution reads, and what makes those of the stream.
_CHAINS = {"": (), "deep": ((("conv1.0", "conv1.1"), "conv1.3"), (("conv1.3", "conv1.4"), "conv1.6"))}
_ENDS = {"": ("conv1", "bn1"), "deep": ("conv1.6", "bn1")}


def list_resnet_groups(spec: ResNetSpec, parts: Parts) -> tuple[ChannelGroup, ...]:
    """One group within each block, those of the stem, and one a stage for what its blocks are added to.

    Args:
        spec: Of the network.
        parts: Names of its tensors.
    """
    first = dict(zip(parts.stem, parts.stem, strict=True))
    # The stem's, then each stage's.
    streams: list[list[GroupMember]] = [[] for _ in range(len(spec.depths) + 1)]
    if not spec.has_projection(0):
        streams[0] = streams[1]
    inside = [_within(first, made, reader, spec.stem_width, 0) for made, reader in _CHAINS[spec.stem_type]]
    streams[0] += list_writers(0, *_made(first, *_ENDS[spec.stem_type]))
    for index, (block, (stage, _, width)) in enumerate(zip(parts.blocks, spec.blocks, strict=True)):
        inside.append(_within(block, ("conv1", "bn1"), "conv2", width, stage))
        streams[stage + (index > sum(spec.depths[:stage]))] += list_readers(
            1, *(block[n] for n in _READERS if n in block)
        )
        streams[stage + 1] += list_writers(0, *_made(block, "conv2", "bn2", "downsample"))
    streams[-1] += list_readers(1, "fc.weight")
    apart = [ChannelGroup("stem", spec.stem, tuple(streams[0]))] if spec.has_projection(0) else []
    outer = [
        ChannelGroup(f"stages.{stage}", width, tuple(members), stage)
        for stage, (width, members) in enumerate(zip(spec.widths, streams[1:], strict=True))
    ]
    return (*outer, *apart, *inside)


def _made(names: Mapping[str, str], *places: str) -> list[str]:
    """Tensors of the places whose first dimension is the channels that these write, by full name."""
    starts = tuple(f"{place}." for place in places)
    return [full for name, full in names.items() if name.startswith(starts) and not name.endswith("tracked")]


def _within(names: Mapping[str, str], made: tuple[str, ...], reader: str, width: int, stage: int) -> ChannelGroup:
    """Channels that one convolution makes and only the next one reads."""
    makers = _made(names, *made)
    return ChannelGroup(
        makers[0].removesuffix(".weight"),
        width,
        (*list_writers(0, *makers), *list_readers(1, names[f"{reader}.weight"])),
        stage,
    )


PLAIN_STEM = 64  # channels of timm's plain stem, whatever it is asked for
STAGES = 4  # timm's forward pass names them


class ResNetSpec(StagedSpec):
    """All that is needed to build one ResNet of basic blocks; the names are timm's but for depths and widths.

    Attributes:
        depths: Basic blocks of each of the four stages, timm's `layers`.
        widths: Channels of each stage, timm's `channels`.
        stem_type: One 7x7 convolution of 64 channels, or three 3x3 ones (`deep`); both halve the picture, and a pool
            behind them halves it again.
        stem_width: Channels of the first two convolutions of a deep stem, whose last has twice as many.
    """

    depths: tuple[int, ...]
    widths: tuple[int, ...]
    stem_type: Literal["", "deep"] = ""
    stem_width: int = 64

    def model_post_init(self, _: Any) -> None:
        """Refuse what cannot be built."""
        if (len(self.depths), len(self.widths)) != (STAGES, STAGES):
            raise SettingError(
                f"{len(self.depths)} depths and {len(self.widths)} widths", f"timm's ResNet has {STAGES} stages"
            )
        self.check()
        if min(*self.widths, self.stem_width) < 1:
            raise SettingError(
                f"widths={self.widths}, stem_width={self.stem_width}", "a convolution has at least one channel"
            )
        if not self.stem_type and self.stem_width != PLAIN_STEM:
            raise SettingError(
                f"stem_width={self.stem_width}",
                f"timm's plain stem has {PLAIN_STEM} channels",
                "leave it out, or use stem_type=deep",
            )

    @property
    def stages(self) -> tuple[int, ...]:
        """Basic blocks of each stage."""
        return self.depths

    @property
    def features(self) -> int:
        """Channels of the last stage."""
        return self.widths[-1]

    @property
    def halvings(self) -> int:
        """None: maps are halved, but rounded up, so that one place is always left."""
        return 0

    @property
    def stem(self) -> int:
        """Channels that the first block reads."""
        return 2 * self.stem_width if self.stem_type else PLAIN_STEM

    @property
    def blocks(self) -> tuple[tuple[int, int, int], ...]:
        """For each block its stage, the channels that it reads, and those that it writes."""
        return list_residual_blocks(self.stem, self.depths, self.widths)

    def has_projection(self, index: int) -> bool:
        """Whether the block at `index` has a convolution on its way past, timm's `downsample`."""
        stage, reads, width = self.blocks[index]
        return reads != width or (stage > 0 and index == sum(self.depths[:stage]))


IMAGENET_SIDE = 224  # of a network built without timm's configuration, which alone knows the size of pictures


class ResNetArchitecture:
    """How timm's ResNet is put together; its blocks are the basic blocks."""

    name: ClassVar[str] = "resnet"
    spec_type = ResNetSpec

    def build(self, spec: ResNetSpec) -> Any:
        """A freshly initialised network, timm's ResNet; like timm's it begins with blocks that add nothing."""
        return self._timm(spec, spec.depths)

    def frame(self, spec: ResNetSpec) -> Any:
        """The network without its blocks."""
        return self._timm(spec, (0,) * STAGES)

    def _timm(self, spec: ResNetSpec, depths: tuple[int, ...]) -> Any:
        model = ResNet(BasicBlock, num_classes=spec.classes, **{**_arguments(spec), "layers": depths})
        # Where timm itself keeps the size of a network's pictures.
        model.pretrained_cfg = {"input_size": (spec.channels, spec.image_size, spec.image_size)}
        return model

    def block(self, spec: ResNetSpec, index: int = 0) -> Any:
        """The block at `index`, initialised as inside a whole network."""
        stage, reads, width = spec.blocks[index]
        stride = 2 if stage and index == sum(spec.depths[:stage]) else 1
        past = downsample_conv(reads, width, 1, stride=stride) if spec.has_projection(index) else None
        block = BasicBlock(reads, width, stride, past)
        ResNet.init_weights(block)  # which asks no more of a module than its parts
        return block

    def describe(self, model: nn.Module) -> ResNetSpec:
        """The spec of a timm ResNet; its picture size is that of timm's configuration, or 224.

        Raises:
            ArtefactError: The network is of another architecture, or has a part that this one does not rebuild:
                bottlenecks, other stems, attention, averaging shortcuts.
        """
        if type(model) is not ResNet:
            raise ArtefactError(
                f"a {type(model).__name__} is not timm's ResNet",
                fix="choose `resnet18` or `resnet34`; as a teacher any classifier will do",
            )
        kinds = {type(block).__name__ for stage in _stages(model) for block in stage if type(block) is not BasicBlock}
        if kinds:
            raise rebuild_error(self.name, model, f"blocks of {', '.join(sorted(kinds))}")
        spec: ResNetSpec = read_checked_spec(self, model)
        return spec

    def read(self, model: Any) -> ResNetSpec:
        """The spec of a ResNet of basic blocks."""
        deep = isinstance(model.conv1, nn.Sequential)
        size = (getattr(model, "pretrained_cfg", None) or {}).get("input_size", (IMAGENET_SIDE,))
        return ResNetSpec(
            image_size=size[-1],
            channels=model.in_chans,
            classes=model.num_classes,
            depths=tuple(len(stage) for stage in _stages(model)),
            widths=tuple(stage[0].conv2.out_channels for stage in _stages(model)),
            **({"stem_type": "deep", "stem_width": model.conv1[0].out_channels} if deep else {}),
        )

    def resize(self, spec: ResNetSpec, size: Size) -> ResNetSpec:
        """The spec with depths and widths changed.

        `depth2=3` sets the blocks of one stage; `width=32` sets the first stage's width and scales the others and a
        deep stem in proportion; `width2=48` then sets one stage's. A plain stem stays as it is.

        Raises:
            SettingError: A key that a ResNet has not, or a size that cannot be built.
        """
        depths, widths = resize_stages(self.name, size, spec.depths, spec.widths)
        first = spec.widths[0]
        stem = scale_width(spec.stem_width, size.get("width", first), first) if spec.stem_type else spec.stem_width
        return ResNetSpec(**{**spec.model_dump(), "depths": depths, "widths": widths, "stem_width": stem})

    def parts(self, spec: ResNetSpec) -> Parts:
        """Names of the tensors; the stem is the first convolutions with their norms."""
        with on_meta_device():
            names = list(self.build(spec).state_dict())
        return Parts(
            stem=tuple(name for name in names if name.startswith(("conv1.", "bn1."))),
            blocks=tuple(
                {n.removeprefix(f"{tap}."): n for n in names if n.startswith(f"{tap}.")}
                for tap in self.feature_names(spec)
            ),
            norm=(),
            head=tuple(name for name in names if name.startswith("fc.")),
            stages=spec.stages,
            image_kernels=(f"{_first(spec)}.weight",),
        )

    def groups(self, spec: ResNetSpec) -> tuple[ChannelGroup, ...]:
        """One group within each block, those of the stem, and one a stage for what its blocks are added to.

        The stem's last group is the first stage's where the first block adds what it reads as it is.
        """
        return list_resnet_groups(spec, self.parts(spec))

    def feature_names(self, spec: ResNetSpec) -> tuple[str, ...]:
        """The blocks: maps [B, C, H, W], of which only the first of a stage has halved the ones before."""
        return tuple(f"layer{stage}.{index}" for stage, depth in enumerate(spec.depths, 1) for index in range(depth))

    def adapt(
        self, tensors: Mapping[str, Tensor], source: ResNetSpec, target: ResNetSpec, ledger: Ledger
    ) -> dict[str, Tensor]:
        """The stem's first convolution brought to the target's channels; all others as they are."""
        return adapt_tensors(target.channels, tensors, (f"{_first(target)}.weight",), ledger)

    def flops(self, spec: ResNetSpec) -> int:
        """Operations of one picture's forward pass in the convolutions and the head."""
        maps = sum(weights * side**2 for weights, side in _convolutions(spec))
        return 2 * (maps + spec.features * spec.classes)

    def export_config(self, spec: ResNetSpec) -> TimmArguments:
        """timm's name and arguments; every argument is given, so the name's own defaults do not matter."""
        facts = {"first_conv": _first(spec), "classifier": "fc", "fixed_input_size": False}
        return TimmArguments("resnet18", _arguments(spec), facts)


def _arguments(spec: ResNetSpec) -> dict[str, Any]:
    """What timm is called with, JSON-able."""
    stem = {"stem_type": spec.stem_type, "stem_width": spec.stem_width}
    return {"layers": list(spec.depths), "channels": list(spec.widths), **stem, "in_chans": spec.channels}


def _stages(model: Any) -> list[Any]:
    return [getattr(model, f"layer{stage}", ()) for stage in range(1, STAGES + 1)]


def _first(spec: ResNetSpec) -> str:
    """The convolution that reads the picture."""
    return "conv1.0" if spec.stem_type else "conv1"


def _convolutions(spec: ResNetSpec) -> Iterator[tuple[int, int]]:
    """Weights and height of the maps of each convolution; timm rounds up what it halves."""
    side, width = -(-spec.image_size // 2), spec.stem_width
    if spec.stem_type:
        yield 9 * width * (spec.channels + width + 2 * width), side
    else:
        yield 49 * spec.channels * width, side
    for index, (stage, reads, writes) in enumerate(spec.blocks):
        past = reads if spec.has_projection(index) else 0
        yield (9 * (reads + writes) + past) * writes, -(-side // 2 ** (stage + 1))
