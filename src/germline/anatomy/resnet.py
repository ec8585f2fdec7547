"""The `resnet` anatomy: timm's own ResNet of basic blocks, so that descendants carry no germline code."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from timm.models.resnet import BasicBlock, ResNet, downsample_conv
from torch import Tensor, nn

from germline.anatomy.base import Parts, TimmForm
from germline.anatomy.channels import Group
from germline.anatomy.hollow import hollow
from germline.anatomy.resnet_channels import resnet_groups
from germline.anatomy.resnet_spec import STAGES, ResNetSpec
from germline.anatomy.size import Size
from germline.anatomy.stages import adapted_to, cannot_rebuild, in_proportion, rebuilt, sized
from germline.errors import ArtefactError
from germline.ledger import Ledger

IMAGENET_SIDE = 224  # of a network built without timm's configuration, which alone knows the size of pictures


class ResNetAnatomy:
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
        past = downsample_conv(reads, width, 1, stride=stride) if spec.projects(index) else None
        block = BasicBlock(reads, width, stride, past)
        ResNet.init_weights(block)  # which asks no more of a module than its parts
        return block

    def describe(self, model: nn.Module) -> ResNetSpec:
        """The spec of a timm ResNet; its picture size is that of timm's configuration, or 224.

        Raises:
            ArtefactError: It is another architecture, or has a part that this anatomy does not rebuild: bottlenecks,
                other stems, attention, averaging ways past.
        """
        if type(model) is not ResNet:
            raise ArtefactError(
                f"a {type(model).__name__} is not timm's ResNet",
                fix="choose `resnet18` or `resnet34`; as a teacher any classifier will do",
            )
        kinds = {type(block).__name__ for stage in _stages(model) for block in stage if type(block) is not BasicBlock}
        if kinds:
            raise cannot_rebuild(self.name, model, f"blocks of {', '.join(sorted(kinds))}")
        spec: ResNetSpec = rebuilt(self, model)
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
        depths, widths = sized(self.name, size, spec.depths, spec.widths)
        first = spec.widths[0]
        stem = in_proportion(spec.stem_width, size.get("width", first), first) if spec.stem_type else spec.stem_width
        return ResNetSpec(**{**spec.model_dump(), "depths": depths, "widths": widths, "stem_width": stem})

    def parts(self, spec: ResNetSpec) -> Parts:
        """Names of the tensors; the stem is the first convolutions with their norms."""
        with hollow():
            names = list(self.build(spec).state_dict())
        return Parts(
            stem=tuple(name for name in names if name.startswith(("conv1.", "bn1."))),
            blocks=tuple(
                {n.removeprefix(f"{tap}."): n for n in names if n.startswith(f"{tap}.")} for tap in self.taps(spec)
            ),
            norm=(),
            head=tuple(name for name in names if name.startswith("fc.")),
            stages=spec.stages,
            pictures=(f"{_first(spec)}.weight",),
        )

    def groups(self, spec: ResNetSpec) -> tuple[Group, ...]:
        """One group within each block, those of the stem, and one a stage for what its blocks are added to.

        The stem's last group is the first stage's where the first block adds what it reads as it is.
        """
        return resnet_groups(spec, self.parts(spec))

    def taps(self, spec: ResNetSpec) -> tuple[str, ...]:
        """The blocks: maps [B, C, H, W], of which only the first of a stage has halved the ones before."""
        return tuple(f"layer{stage}.{index}" for stage, depth in enumerate(spec.depths, 1) for index in range(depth))

    def adapt(
        self, tensors: Mapping[str, Tensor], source: ResNetSpec, target: ResNetSpec, ledger: Ledger
    ) -> dict[str, Tensor]:
        """The stem's first convolution brought to the target's channels; all others as they are."""
        return adapted_to(target.channels, tensors, (f"{_first(target)}.weight",), ledger)

    def flops(self, spec: ResNetSpec) -> int:
        """Operations of one picture's forward pass in the convolutions and the head."""
        maps = sum(weights * side**2 for weights, side in _convolutions(spec))
        return 2 * (maps + spec.features * spec.classes)

    def export_config(self, spec: ResNetSpec) -> TimmForm:
        """timm's name and arguments; every argument is given, so the name's own defaults do not matter."""
        facts = {"first_conv": _first(spec), "classifier": "fc", "fixed_input_size": False}
        return TimmForm("resnet18", _arguments(spec), facts)


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
        past = reads if spec.projects(index) else 0
        yield (9 * (reads + writes) + past) * writes, -(-side // 2 ** (stage + 1))
