"""What all networks of stages share: counts and widths of their blocks, and how one is told from an altered one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

from timm.layers import DropPath
from torch import Tensor, nn

from germline.architectures.base import Spec, adapt_kernel
from germline.architectures.meta_device import on_meta_device
from germline.architectures.size import Size, check_size_keys
from germline.errors import ArtefactError, SettingError
from germline.ledger import Ledger

MAX_STAGE_DEPTH = 1000


class StagedSpec(Spec, ABC):
    """A network of stages."""

    @property
    @abstractmethod
    def stages(self) -> tuple[int, ...]:
        """Blocks of each stage."""

    @property
    @abstractmethod
    def features(self) -> int:
        """Channels of the last stage, which the head reads."""

    @property
    def halvings(self) -> int:
        """How often the picture is halved, rounded down."""
        return len(self.stages)

    def check(self) -> None:
        """Refuse what cannot be built.

        Raises:
            SettingError: A stage without blocks or with too many, or a picture that the pools shrink to nothing.
        """
        if not self.stages or not all(1 <= depth <= MAX_STAGE_DEPTH for depth in self.stages):
            depths = ", ".join(map(str, self.stages))
            raise SettingError(f"stages of {depths} blocks", f"a stage has between 1 and {MAX_STAGE_DEPTH} blocks")
        least: int = 2**self.halvings
        if self.image_size < least:
            raise SettingError(
                f"image_size={self.image_size} with {len(self.stages)} stages",
                "each stage halves the picture, and nothing would be left of it",
                f"the least size is {least}",
            )


def read_checked_spec(architecture: Any, model: nn.Module) -> Any:
    """The spec that an architecture's `read` finds in a network, once what is built of it has the network's own parts.

    Raises:
        ArtefactError: It has others.
    """
    try:
        spec = architecture.read(model)
        with on_meta_device():
            own, found = _leaves(architecture.build(spec)), _leaves(model)
    except (AttributeError, IndexError, TypeError) as error:
        raise rebuild_error(architecture.name, model, str(error)) from error
    odd = sorted(name for name in own.keys() | found.keys() if own.get(name) != found.get(name))
    if odd:
        raise rebuild_error(architecture.name, model, ", ".join(odd[:4]))
    return spec


def rebuild_error(architecture: str, model: nn.Module, odd: str) -> ArtefactError:
    """What is said of a network of an architecture's own class that was altered."""
    what = f"this {type(model).__name__} has parts that the {architecture} architecture does not rebuild"
    return ArtefactError(what, odd, "as a teacher any classifier will do")


def _leaves(model: nn.Module) -> dict[str, str]:
    """All that a network computes with, by name; dropped units and paths are training settings, not the network's."""
    dropped = (nn.Dropout, DropPath)
    parts = model.named_modules()
    return {name: repr(part) for name, part in parts if not isinstance(part, dropped) and not [*part.children()]}


def adapt_tensors(
    channels: int, tensors: Mapping[str, Tensor], readers: Sequence[str], ledger: Ledger
) -> dict[str, Tensor]:
    """Tensors of which those that read the picture are brought to its channels; entered in the ledger."""
    adapted = {}
    for name, tensor in tensors.items():
        changed = name in readers and tensor.shape[1] != channels
        adapted[name] = (adapt_kernel(tensor, channels) if changed else tensor).clone()
        ledger.add(name, "adapted" if changed else "copied", adapted[name].numel())
    return adapted


def resize_stages(
    architecture: str, size: Size, depths: Sequence[int], widths: Sequence[int]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Depths and widths of stages of one width each, as a size changes them.

    `depth2=3` sets a stage's blocks; `width=32` the first stage's channels, all others in proportion; `width3=48` then
    those of one stage.

    Raises:
        SettingError: A key that they have not, or a stage that cannot be built.
    """
    first, count = widths[0], len(depths)
    depth_keys, width_keys = ([f"{key}{n}" for n in range(1, count + 1)] for key in ("depth", "width"))
    text = f"depth1 to depth{count}, width, or width1 to width{count}"
    check_size_keys(architecture, size, ["width", *depth_keys, *width_keys], text)
    scaled = [scale_width(width, size.get("width", first), first) for width in widths]
    return (
        tuple(check_stage_depth(key, size.get(key, own)) for key, own in zip(depth_keys, depths, strict=True)),
        tuple(size.get(key, own) for key, own in zip(width_keys, scaled, strict=True)),
    )


def list_residual_blocks(reads: int, depths: Sequence[int], widths: Sequence[int]) -> tuple[tuple[int, int, int], ...]:
    """For each residual block its stage, the channels that it reads, and those that it writes.

    Args:
        reads: Channels that the first block reads.
        depths: Blocks of each stage.
        widths: Channels of each stage.
    """
    inputs = (reads, *widths)
    return tuple(
        (stage, inputs[stage + (index > 0)], widths[stage])
        for stage, depth in enumerate(depths)
        for index in range(depth)
    )


def check_stage_depth(key: str, depth: int) -> int:
    """A stage's depth, refused before a network of it is thought of.

    Raises:
        SettingError: It is more than can be built.
    """
    if depth > MAX_STAGE_DEPTH:
        raise SettingError(f"{key}={depth}", f"a stage has at most {MAX_STAGE_DEPTH} blocks", f"use {key}=2 or so")
    return depth


def scale_width(width: int, wanted: int, first: int) -> int:
    """A width of a network whose first width becomes `wanted`; at least 1."""
    return max(1, round(width * wanted / first))
