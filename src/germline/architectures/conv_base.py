"""Base class of `vgg` and `resnet12`: stages of convolutions with BatchNorm, each ending in a 2x2 pool."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from typing import Any, ClassVar, Generic, TypeVar

from torch import Tensor, nn

from germline.architectures.base import Parts, TimmArguments, check_timm_class
from germline.architectures.channel_groups import ChannelGroup
from germline.architectures.meta_device import on_meta_device
from germline.architectures.size import Size
from germline.architectures.staged import StagedSpec, adapt_tensors, read_checked_spec
from germline.ledger import Ledger
from germline.timm import Staged, make_head

StagedT = TypeVar("StagedT", bound=StagedSpec)


@dataclass(frozen=True)
class ConvUnit:
    """A convolution with its norm: tensors `<name>.conv.weight` and `<name>.norm.*`.

    Attributes:
        name: Name of the module.
        block: Index of its block among all blocks of the network.
        is_last: Whether its maps are the block's output, or a summand of it.
        reads: Name of the channel group that it reads; None if it reads the images.
        writes: Name of the channel group that it writes.
    """

    name: str
    block: int
    is_last: bool
    reads: str | None
    writes: str


@dataclass(frozen=True)
class StageUnits:
    """The conv units of one stage.

    Attributes:
        chain: Units that read each other's maps, in order, block by block.
        shortcuts: Units beside the chain, whose maps are added to the chain's.
        is_residual: Whether a block's input is added to the output of its chain.
    """

    chain: tuple[ConvUnit, ...]
    shortcuts: tuple[ConvUnit, ...]
    is_residual: bool


class ConvArchitecture(ABC, Generic[StagedT]):
    """How a network of convolutional stages is put together; subclasses add what one family does differently.

    Attributes:
        timm_name: Name of the model in timm that the networks are rebuilt with.
        image_readers: Module names of the convolutions that read the images.
        chain: Conv units of a block in order, as prefixes of tensor names within the block.
        shortcut: Prefix of the unit beside the chain that some blocks have; None if nothing is added to a chain.
    """

    name: ClassVar[str]
    timm_name: ClassVar[str]
    timm_class: ClassVar[type[Staged]]
    stores_image_size: ClassVar[bool] = True
    image_readers: ClassVar[tuple[str, ...]]
    chain: ClassVar[tuple[str, ...]]
    shortcut: ClassVar[str | None]
    spec_type: type[StagedT]

    @abstractmethod
    def size_arguments(self, spec: StagedT) -> dict[str, Any]:
        """Return the arguments of the network's class for its stages, JSON-able."""

    @abstractmethod
    def read_spec(self, model: Any) -> StagedT:
        """Read the spec of a network of the architecture's own class."""

    @abstractmethod
    def convolutions(self, spec: StagedT) -> Iterator[tuple[int, int]]:
        """Yield, for each convolution, its number of weights and the height of its maps in pixels."""

    @abstractmethod
    def groups(self, spec: StagedT) -> tuple[ChannelGroup, ...]:
        """Return the channel groups."""

    @abstractmethod
    def resize(self, spec: StagedT, size: Size) -> StagedT:
        """Return the spec with the depths and widths of its stages changed."""

    @abstractmethod
    def block(self, spec: StagedT, index: int = 0) -> nn.Module:
        """Build the block at `index`, freshly initialised."""

    def build(self, spec: StagedT) -> Staged:
        """Build a freshly initialised network."""
        return self.timm_class(num_classes=spec.classes, **self._arguments(spec))

    def _arguments(self, spec: StagedT) -> dict[str, Any]:
        return {**self.size_arguments(spec), "in_chans": spec.channels, "img_size": spec.image_size}

    def describe(self, model: nn.Module) -> StagedT:
        """Return the spec of a network of the architecture's own class.

        Raises:
            ArtefactError: The network is of another class, or was altered.
        """
        check_timm_class(self, model)
        spec: StagedT = read_checked_spec(self, model)
        return spec

    def parts(self, spec: StagedT) -> Parts:
        """Return the names of the network's tensors by part; there is no stem, the first block reads the images."""
        return _find_parts(self, spec)

    def _find_parts(self, spec: StagedT) -> Parts:
        with on_meta_device():
            names = list(self.build(spec).state_dict())
        return Parts(
            stem=(),
            blocks=tuple(
                {name.removeprefix(f"{block}."): name for name in names if name.startswith(f"{block}.")}
                for block in self.feature_names(spec)
            ),
            norm=(),
            head=tuple(name for name in names if name.startswith("head.")),
            stages=spec.stages,
            image_kernels=tuple(f"{name}.weight" for name in self.image_readers),
        )

    def feature_names(self, spec: StagedT) -> tuple[str, ...]:
        """Return the names of the blocks, whose outputs are maps [B, C, H, W] before a stage's pool."""
        return tuple(f"stages.{s}.blocks.{b}" for s, depth in enumerate(spec.stages) for b in range(depth))

    def as_maps(self, spec: StagedT, features: Tensor) -> Tensor:
        """Return the features as they are: they are maps [B, C, H, W]."""
        return features

    def units(self, spec: StagedT) -> tuple[StageUnits, ...]:
        """Return the conv units stage by stage, for following channels from the images to the head."""
        reads: dict[str, str] = {}
        writes: dict[str, str] = {}
        for group in self.groups(spec):
            for member in group.members:
                (writes if member.role == "written" else reads)[member.tensor] = group.name
        blocks = list(enumerate(zip(self.feature_names(spec), self.parts(spec).blocks, strict=True)))

        def list_units(prefixes: Sequence[str], first: int, depth: int) -> tuple[ConvUnit, ...]:
            return tuple(
                ConvUnit(f"{block}.{prefix}".rstrip("."), index, prefix == prefixes[-1], reads.get(name), writes[name])
                for index, (block, names) in blocks[first : first + depth]
                for prefix in prefixes
                if (name := names.get(f"{prefix}conv.weight"))
            )

        is_residual = self.shortcut is not None
        beside = () if self.shortcut is None else (self.shortcut,)
        return tuple(
            StageUnits(list_units(self.chain, first, depth), list_units(beside, first, depth), is_residual)
            for first, depth in zip(accumulate((0, *spec.stages)), spec.stages, strict=False)
        )

    def frame(self, spec: StagedT) -> nn.Module:
        """Build the head alone, under its name in the network."""
        return nn.ModuleDict({"head": self.head(spec)})

    def head(self, spec: StagedT) -> nn.Module:
        """Build a fresh head."""
        head: nn.Module = make_head(spec.features, spec.classes)
        return head

    def head_weights(self, spec: StagedT) -> int:
        """Count the weights of the head's linear layers."""
        return spec.features * spec.classes

    def adapt(
        self, tensors: Mapping[str, Tensor], source: StagedT, target: StagedT, ledger: Ledger
    ) -> dict[str, Tensor]:
        """Adapt convolutions that read the images to the target's channels; copy all other tensors."""
        return adapt_tensors(target.channels, tensors, [f"{name}.weight" for name in self.image_readers], ledger)

    def flops(self, spec: StagedT) -> int:
        """Count the operations of one image's forward pass in the convolutions and the head."""
        maps = sum(weights * side**2 for weights, side in self.convolutions(spec))
        return 2 * (maps + self.head_weights(spec))

    def export_config(self, spec: StagedT) -> TimmArguments:
        """Return timm's name, which `import germline.timm` registers, and its arguments."""
        first = self.image_readers[0] if len(self.image_readers) == 1 else list(self.image_readers)
        pretrained_cfg = {"first_conv": first, "classifier": "head.fc", "fixed_input_size": False}
        return TimmArguments(self.timm_name, self._arguments(spec), pretrained_cfg)


@lru_cache(maxsize=64)  # the same few specs are asked for again and again
def _find_parts(architecture: ConvArchitecture[Any], spec: StagedSpec) -> Parts:
    return architecture._find_parts(spec)
