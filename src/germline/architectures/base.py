"""What an architecture is: how a family of architectures is put together, and what its parts are called."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from germline.architectures.channel_groups import ChannelGroup
from germline.architectures.preprocess import Preprocess
from germline.architectures.size import Size
from germline.ledger import Ledger


class Spec(BaseModel):
    """All that is needed to build one network of an architecture; frozen and JSON-able.

    Attributes:
        image_size: Height and width of the pictures it takes, in pixels.
        channels: 1 for grey, 3 for colour.
        classes: Outputs of the head; 0 for a network without a head.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    image_size: int
    channels: int
    classes: int


SpecT = TypeVar("SpecT", bound=Spec)


@dataclass(frozen=True)
class Parts:
    """Names of a network's tensors, part by part; stem, blocks, norm and head are all of its tensors, each once.

    Attributes:
        stem: What stands before the blocks, position table included; empty where the first block takes the pictures.
        blocks: For each block or conv unit, full tensor name by name within the block, buffers included.
        norm: What stands between the blocks and the head.
        head: The classifier.
        stages: Blocks of each stage, in order; one stage where the resolution never changes.
        image_kernels: Of the tensors above, those whose second dimension is the picture's channels.
    """

    stem: tuple[str, ...]
    blocks: tuple[Mapping[str, str], ...]
    norm: tuple[str, ...]
    head: tuple[str, ...]
    stages: tuple[int, ...]
    image_kernels: tuple[str, ...]


@dataclass(frozen=True)
class TimmArguments:
    """How timm rebuilds a network.

    Attributes:
        model_name: timm's name.
        arguments: What that name is called with.
        pretrained_cfg: Entries of timm's description of the weights that depend on the architecture: `first_conv`,
            `classifier`, `fixed_input_size`.
    """

    model_name: str
    arguments: dict[str, Any]
    pretrained_cfg: dict[str, Any]


class Architecture(Protocol[SpecT]):
    """How one family of architectures is put together. No training, no learning; tensors in, tensors out."""

    name: ClassVar[str]
    spec_type: type[SpecT]

    def build(self, spec: SpecT) -> nn.Module:
        """A freshly initialised network; the global generator decides the draw."""

    def describe(self, model: nn.Module) -> SpecT:
        """The spec of a built network; refuses one that the architecture cannot rebuild."""

    def resize(self, spec: SpecT, size: Size) -> SpecT:
        """The spec with its size changed, checked."""

    def parts(self, spec: SpecT) -> Parts:
        """Names of the tensors of a network of that spec."""

    def frame(self, spec: SpecT) -> nn.Module:
        """The network without its blocks: stem, norm and head under the names they have in the whole network."""

    def block(self, spec: SpecT, index: int = 0) -> nn.Module:
        """One freshly initialised block: the one at `index`, where they differ."""

    def groups(self, spec: SpecT) -> tuple[ChannelGroup, ...]:
        """The channel groups: what can be cut or reordered only together; neither the picture's channels nor labels."""

    def feature_names(self, spec: SpecT) -> tuple[str, ...]:
        """For each block, the name of the module whose output is the features after it."""

    def adapt(self, tensors: Mapping[str, Tensor], source: SpecT, target: SpecT, ledger: Ledger) -> dict[str, Tensor]:
        """Frame tensors of `source` brought to the channels and picture size of `target`; entered in the ledger.

        Block tensors that read the picture (`Parts.image_readers`) go through `adapt_kernel` when a descendant is put
        together.
        """

    def flops(self, spec: SpecT) -> int:
        """Floating-point operations of one picture's forward pass; a multiply-add counts as two."""

    def export_config(self, spec: SpecT) -> TimmArguments:
        """What timm needs to rebuild the network."""


@dataclass(frozen=True)
class Target:
    """What is to be grown.

    Attributes:
        architecture: Name of the family.
        spec: Size, label count, channels and picture size.
        classes: Ordered class names; their count is the head's.
        preprocess: How the network sees pictures.
        size: What was asked for, where that says more than the spec: which parts of a gene are to be taken.
    """

    architecture: str
    spec: Spec
    classes: tuple[str, ...]
    preprocess: Preprocess
    size: Size = field(default_factory=Size)


def adapt_kernel(kernel: Tensor, channels: int) -> Tensor:
    """A kernel [outputs, inputs, h, w] that reads pictures of other channels.

    Grey to colour repeats it and divides by 3, colour to grey sums it; a picture that is grey in colour gives the same.
    """
    if kernel.shape[1] == channels:
        return kernel
    return kernel.repeat(1, channels, 1, 1) / channels if kernel.shape[1] == 1 else kernel.sum(dim=1, keepdim=True)


def count_elements(model: nn.Module) -> dict[str, int]:
    """Elements of every parameter and buffer of a network, by name."""
    tensors = [*model.named_parameters(), *model.named_buffers()]
    return {name: tensor.numel() for name, tensor in tensors}
