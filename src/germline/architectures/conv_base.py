"""Base class of `vgg` and `resnet12`: stages of convolutions with BatchNorm, each ending in a 2x2 pool."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, ClassVar, Generic, TypeVar

from torch import Tensor, nn

from germline.architectures.base import Parts, TimmArguments
from germline.architectures.channel_groups import ChannelGroup
from germline.architectures.meta_device import on_meta_device
from germline.architectures.size import Size
from germline.architectures.staged import StagedSpec, adapt_tensors, read_checked_spec
from germline.errors import ArtefactError
from germline.ledger import Ledger
from germline.timm import Staged, make_head

StagedT = TypeVar("StagedT", bound=StagedSpec)


@dataclass(frozen=True)
class ConvUnit:
    """A convolution with its norm: tensors `<name>.conv.weight` and `<name>.norm.*`.

    Attributes:
        name: Of the module.
        block: Index among all blocks of the one that it stands in.
        last: Whether its maps are what the block gives out, or are added to that.
        reads: Name of the channel group that it takes; None where it takes the picture.
        writes: Name of the channel group that it makes.
    """

    name: str
    block: int
    last: bool
    reads: str | None
    writes: str


@dataclass(frozen=True)
class StageUnits:
    """The conv units of one stage.

    Attributes:
        chain: Those that take each other's maps, in order, block by block.
        shortcuts: Those that stand beside the chain; their maps are added to its.
        residual: Whether what goes into a block is added to what its chain makes.
    """

    chain: tuple[ConvUnit, ...]
    shortcuts: tuple[ConvUnit, ...]
    residual: bool


class ConvArchitecture(ABC, Generic[StagedT]):
    """How a network of stages is put together; what one family does otherwise stands in its own class."""

    name: ClassVar[str]
    timm_name: ClassVar[str]
    module: ClassVar[type[Staged]]
    readers: ClassVar[tuple[str, ...]]  # convolutions that read the picture, by module name
    chain: ClassVar[tuple[str, ...]]  # conv units of a block, one after another, as prefixes of names within it
    shortcut: ClassVar[str | None]  # the unit beside them that some blocks have; None where nothing is added
    spec_type: type[StagedT]

    @abstractmethod
    def arguments(self, spec: StagedT) -> dict[str, Any]:
        """What the module's class is called with for its stages, JSON-able."""

    @abstractmethod
    def read(self, model: Any) -> StagedT:
        """The spec of a network of this architecture's own class."""

    @abstractmethod
    def convolutions(self, spec: StagedT) -> Iterator[tuple[int, int]]:
        """For each convolution its weights and the height of its maps, in pixels."""

    @abstractmethod
    def groups(self, spec: StagedT) -> tuple[ChannelGroup, ...]:
        """The channel groups."""

    @abstractmethod
    def resize(self, spec: StagedT, size: Size) -> StagedT:
        """The spec with its stages' depths and widths changed."""

    @abstractmethod
    def block(self, spec: StagedT, index: int = 0) -> nn.Module:
        """The block at `index`, freshly initialised."""

    def build(self, spec: StagedT) -> Staged:
        """A freshly initialised network."""
        arguments = {**self.arguments(spec), "in_chans": spec.channels, "img_size": spec.image_size}
        return self.module(num_classes=spec.classes, **arguments)

    def describe(self, model: nn.Module) -> StagedT:
        """The spec of a network of our own class.

        Raises:
            ArtefactError: It is of another class, or was changed by hand.
        """
        if type(model) is not self.module:
            raise ArtefactError(
                f"a {type(model).__name__} is not germline's {self.module.__name__}",
                fix=f"see germline list models for those of the {self.name} architecture",
            )
        spec: StagedT = read_checked_spec(self, model)
        return spec

    def parts(self, spec: StagedT) -> Parts:
        """Names of the tensors; there is no stem, the first block takes the pictures."""
        with on_meta_device():
            names = list(self.build(spec).state_dict())
        taps = self.feature_names(spec)
        return Parts(
            stem=(),
            blocks=tuple({n.removeprefix(f"{tap}."): n for n in names if n.startswith(f"{tap}.")} for tap in taps),
            norm=(),
            head=tuple(name for name in names if name.startswith("head.")),
            stages=spec.stages,
            image_kernels=tuple(f"{name}.weight" for name in self.readers),
        )

    def feature_names(self, spec: StagedT) -> tuple[str, ...]:
        """The blocks: maps [B, C, H, W] before a stage's pool."""
        return tuple(f"stages.{s}.blocks.{b}" for s, depth in enumerate(spec.stages) for b in range(depth))

    def units(self, spec: StagedT) -> tuple[StageUnits, ...]:
        """The conv units, stage by stage, for whoever follows channels from the picture to the head."""
        reads: dict[str, str] = {}
        writes: dict[str, str] = {}
        for group in self.groups(spec):
            for member in group.members:
                (writes if member.role == "written" else reads)[member.tensor] = group.name
        blocks = list(enumerate(zip(self.feature_names(spec), self.parts(spec).blocks, strict=True)))

        def found(prefixes: Sequence[str], first: int, depth: int) -> tuple[ConvUnit, ...]:
            return tuple(
                ConvUnit(f"{tap}.{prefix}".rstrip("."), index, prefix == prefixes[-1], reads.get(name), writes[name])
                for index, (tap, names) in blocks[first : first + depth]
                for prefix in prefixes
                if (name := names.get(f"{prefix}conv.weight"))
            )

        beside = () if self.shortcut is None else (self.shortcut,)
        return tuple(
            StageUnits(found(self.chain, first, depth), found(beside, first, depth), self.shortcut is not None)
            for first, depth in zip(accumulate((0, *spec.stages)), spec.stages, strict=False)
        )

    def frame(self, spec: StagedT) -> nn.Module:
        """The head alone."""
        return nn.ModuleDict({"head": self.head(spec)})

    def head(self, spec: StagedT) -> nn.Module:
        """A fresh head."""
        head: nn.Module = make_head(spec.features, spec.classes)
        return head

    def head_weights(self, spec: StagedT) -> int:
        """Weights of the head's linear layers."""
        return spec.features * spec.classes

    def adapt(
        self, tensors: Mapping[str, Tensor], source: StagedT, target: StagedT, ledger: Ledger
    ) -> dict[str, Tensor]:
        """Convolutions that read the picture brought to the target's channels; all others as they are."""
        return adapt_tensors(target.channels, tensors, [f"{name}.weight" for name in self.readers], ledger)

    def flops(self, spec: StagedT) -> int:
        """Operations of one picture's forward pass in the convolutions and the head."""
        maps = sum(weights * side**2 for weights, side in self.convolutions(spec))
        return 2 * (maps + self.head_weights(spec))

    def export_config(self, spec: StagedT) -> TimmArguments:
        """timm's name, which `import germline.timm` registers, and its arguments."""
        arguments = {**self.arguments(spec), "in_chans": spec.channels, "img_size": spec.image_size}
        first = self.readers[0] if len(self.readers) == 1 else list(self.readers)
        facts = {"first_conv": first, "classifier": "head.fc", "fixed_input_size": False}
        return TimmArguments(self.timm_name, arguments, facts)
