"""The contract of an architecture: how a family of networks is put together and what its parts are called."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator
from torch import Tensor, nn

from germline.architectures.channel_groups import ChannelGroup
from germline.architectures.preprocess import Preprocess
from germline.architectures.size import Size
from germline.errors import ArtefactError, SettingError
from germline.ledger import Ledger

# No network of this package is near these limits. Beyond them, a machine would spend its memory before it fails.
MAX_IMAGE_SIZE, MAX_CHANNELS, MAX_CLASSES, MAX_WIDTH, MAX_ELEMENTS = 4096, 1024, 1_000_000, 65_536, 10**10
_MOST = {"image_size": MAX_IMAGE_SIZE, "channels": MAX_CHANNELS, "classes": MAX_CLASSES}
_LEAST = {"channels": 1, "classes": 0}  # the least image size depends on the architecture


class Spec(BaseModel):
    """Everything that is needed to build one network of an architecture; frozen and JSON-able.

    Attributes:
        image_size: Height and width of the input images, in pixels.
        channels: Channels of the input images: 1 for grey, 3 for colour.
        classes: Number of outputs of the head; 0 for a network without a head.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    image_size: int
    channels: int
    classes: int

    @field_validator("image_size", "channels", "classes")
    @classmethod
    def _check_most(cls, value: int, info: ValidationInfo) -> int:
        name = str(info.field_name)
        check_most(name, value, _MOST[name])
        least = _LEAST.get(name, value)
        if value < least:
            raise SettingError(f"{name}={value}", f"a network has {least} or more", f"use {name}={least} or more")
        return value


def check_most(name: str, value: float, most: int) -> None:
    """Refuse a number that no real network has, before anything of that size is built.

    Raises:
        SettingError: The number is larger than `most`, or is not finite.
    """
    if not value <= most:
        raise SettingError(
            f"{name}={str(value)[:40]}", f"germline builds networks of at most {most:,}", f"use {name}={most} or less"
        )


def check_elements(count: float) -> None:
    """Refuse a network of more tensor elements than a machine holds, before it is built.

    Raises:
        SettingError: There are more than `MAX_ELEMENTS`.
    """
    if not count <= MAX_ELEMENTS:
        raise SettingError(
            f"a network of about {count:.2g} elements",
            f"germline builds networks of at most {MAX_ELEMENTS:.0e}",
            "use a smaller width or depth",
        )


SpecT = TypeVar("SpecT", bound=Spec)


def read_width(spec: Spec, stage: int = 0) -> int:
    """Read the width of a network in the size language; 1 if its architecture has none.

    Args:
        spec: Spec of the network.
        stage: Index of the stage whose first unit is read. It does not matter for a network without stages.
    """
    fields = spec.model_dump()
    if "widths" not in fields:
        return int(fields.get("width", 1))
    width = fields["widths"][stage]
    return int(width[0] if isinstance(width, (list, tuple)) else width)


@dataclass(frozen=True)
class Parts:
    """Names of a network's tensors by part; stem, blocks, norm and head together hold each tensor exactly once.

    Attributes:
        stem: Tensors before the blocks, position table included; empty if the first block reads the images.
        blocks: For each block or conv unit, full tensor name by name within the block, buffers included.
        norm: Tensors between the blocks and the head.
        head: Tensors of the classifier.
        stages: Number of blocks of each stage, in order; one stage if the resolution never changes.
        image_kernels: Those of the tensors above whose second dimension is the channels of the images.
    """

    stem: tuple[str, ...]
    blocks: tuple[Mapping[str, str], ...]
    norm: tuple[str, ...]
    head: tuple[str, ...]
    stages: tuple[int, ...]
    image_kernels: tuple[str, ...]


@dataclass(frozen=True)
class TimmArguments:
    """Everything that timm needs to rebuild a network.

    Attributes:
        model_name: Name of the model in timm.
        arguments: Arguments of that model's function.
        pretrained_cfg: Entries of timm's description of the weights that depend on the architecture: `first_conv`,
            `classifier`, `fixed_input_size`.
    """

    model_name: str
    arguments: dict[str, Any]
    pretrained_cfg: dict[str, Any]


class Architecture(Protocol[SpecT]):
    """How one family of networks is put together. It trains nothing: tensors in, tensors out.

    Attributes:
        name: Name in the registry.
        spec_type: Class of its specs.
        timm_class: Class of its networks; subclasses of it are other networks.
        stores_image_size: Whether a built network stores the size of its images. If not, the spec takes the size from
            the network's preprocessing.
    """

    name: ClassVar[str]
    spec_type: type[SpecT]
    timm_class: ClassVar[type[Any]]
    stores_image_size: ClassVar[bool]

    def build(self, spec: SpecT) -> nn.Module:
        """Build a freshly initialised network; the global generator draws its weights."""

    def describe(self, model: nn.Module) -> SpecT:
        """Return the spec of a built network.

        Raises:
            ArtefactError: The architecture cannot rebuild the network.
        """

    def resize(self, spec: SpecT, size: Size) -> SpecT:
        """Return the spec with its size changed.

        Raises:
            SettingError: The architecture does not have such a size.
        """

    def parts(self, spec: SpecT) -> Parts:
        """Return the names of the network's tensors by part."""

    def frame(self, spec: SpecT) -> nn.Module:
        """Build the network without its blocks; stem, norm and head keep their names."""

    def block(self, spec: SpecT, index: int = 0) -> nn.Module:
        """Build the block at `index`, freshly initialised."""

    def groups(self, spec: SpecT) -> tuple[ChannelGroup, ...]:
        """Return the channel groups, whose channels can be cut or reordered only together.

        The channels of the images and the outputs of the head are in no group.
        """

    def feature_names(self, spec: SpecT) -> tuple[str, ...]:
        """Return, for each block, the name of the module whose output is the features after it."""

    def as_maps(self, spec: SpecT, features: Tensor) -> Tensor:
        """Return the output of a module in `feature_names` as maps [B, C, H, W]."""

    def adapt(self, tensors: Mapping[str, Tensor], source: SpecT, target: SpecT, ledger: Ledger) -> dict[str, Tensor]:
        """Adapt frame tensors of `source` to the channels and image size of `target`, and enter them in the ledger.

        Block tensors that read the images (`Parts.image_kernels`) go through `adapt_kernel` when a descendant is built.
        """

    def flops(self, spec: SpecT) -> int:
        """Count the floating-point operations of one image's forward pass; a multiply-add counts as two."""

    def export_config(self, spec: SpecT) -> TimmArguments:
        """Return what timm needs to rebuild the network."""


@dataclass(frozen=True)
class Target:
    """The descendant that is to be built.

    Attributes:
        architecture: Name of its architecture.
        spec: Its size, number of classes, channels and image size.
        classes: Ordered class names, one for each output of the head.
        preprocess: Its preprocessing of images.
        size: Size that the user asked for. It may say more than the spec: which parts of a gene to take.
    """

    architecture: str
    spec: Spec
    classes: tuple[str, ...]
    preprocess: Preprocess
    size: Size = field(default_factory=Size)


def check_timm_class(architecture: Architecture[Any], model: nn.Module) -> None:
    """Refuse a network that is not of an architecture's own class.

    Raises:
        ArtefactError: The network is of another class, if only a subclass.
    """
    own = architecture.timm_class
    if type(model) is not own:
        owner = own.__module__.partition(".")[0]
        raise ArtefactError(
            f"a {type(model).__name__} is not {owner}'s {own.__name__}",
            f"the {architecture.name} architecture rebuilds no other class",
            "choose a name from `germline list models`, or use this network only as a teacher",
        )


def count_outputs(head: nn.Module) -> int:
    """Count the outputs of a classifier; 0 if there is none. timm's `num_classes` ignores a replaced head."""
    return head.out_features if isinstance(head, nn.Linear) else 0


def adapt_kernel(kernel: Tensor, channels: int) -> Tensor:
    """Adapt a kernel [outputs, inputs, h, w] to images with another number of channels.

    From grey to colour the kernel is repeated and divided by 3; from colour to grey it is summed over its inputs.
    Either way a grey image gives the same outputs, in one channel or in three equal ones.

    Raises:
        SettingError: Neither number of channels is 1.
    """
    given = kernel.shape[1]
    if given == channels:
        return kernel
    if 1 not in (given, channels):
        why = f"Its network reads {given} channels, and only grey and colour are converted into each other"
        raise SettingError(f"This gene cannot grow channels={channels}", why, f"Use channels=1 or images of {given}")
    return kernel.repeat(1, channels, 1, 1) / channels if kernel.shape[1] == 1 else kernel.sum(dim=1, keepdim=True)


def count_elements(model: nn.Module) -> dict[str, int]:
    """Count the elements of every parameter and buffer of a network, by name."""
    tensors = [*model.named_parameters(), *model.named_buffers()]
    return {name: tensor.numel() for name, tensor in tensors}
