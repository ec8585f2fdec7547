"""Specs and helpers that all networks of stages have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from timm.layers import DropPath
from torch import Tensor, nn

from germline.architectures.base import MAX_WIDTH, Spec, adapt_kernel, check_elements
from germline.architectures.meta_device import on_meta_device
from germline.architectures.size import Size, check_size_keys
from germline.errors import ArtefactError, SettingError
from germline.ledger import Ledger

MAX_STAGES, MAX_STAGE_DEPTH = 12, 1000


class StagedSpec(Spec, ABC):
    """Spec of a network of stages."""

    @property
    @abstractmethod
    def stages(self) -> tuple[int, ...]:
        """Number of blocks of each stage."""

    @property
    @abstractmethod
    def features(self) -> int:
        """Channels of the last stage, which the head reads."""

    @property
    def halvings(self) -> int:
        """Number of times that height and width are halved and rounded down."""
        return len(self.stages)

    def check(self) -> None:
        """Refuse a network that cannot be built.

        Raises:
            SettingError: A stage has no blocks or too many, or the pools leave nothing of the image.
        """
        is_real = all(1 <= depth <= MAX_STAGE_DEPTH for depth in self.stages)
        if not is_real or not 1 <= len(self.stages) <= MAX_STAGES:
            depths = ", ".join(map(str, self.stages[:MAX_STAGES]))
            raise SettingError(
                f"stages of {depths} blocks",
                f"a network has at most {MAX_STAGES} stages, and a stage has between 1 and {MAX_STAGE_DEPTH} blocks",
                "use for example 2 blocks per stage",
            )
        self._check_sizes()
        least: int = 2**self.halvings
        if self.image_size < least:
            raise SettingError(
                f"image_size={self.image_size} with {len(self.stages)} stages",
                "each stage halves the image, and nothing would be left of it",
                f"use image_size={least} or more",
            )

    def _check_sizes(self) -> None:
        """Refuse widths that no real network has; the estimate of elements takes every layer as the widest."""
        fields = self.model_dump()
        hidden = fields.get("hidden", ())
        widest = max(_flatten(fields["widths"]), default=0)
        most = max(widest, *hidden, fields.get("stem_width", 0))
        if most > MAX_WIDTH:
            # A size names the width of the first stage, and all others follow, so that this is no value of a key.
            raise SettingError(
                f"a layer of {most} channels",
                f"germline builds layers of at most {MAX_WIDTH:,} channels",
                "use a smaller width",
            )
        convolutions = 27 * sum(self.stages) * max(widest, fields.get("stem_width", 0)) ** 2
        side = self.image_size >> self.halvings
        dense = (widest * side**2, *hidden, self.classes) if hidden else (widest, self.classes)
        check_elements(convolutions + sum(one * other for one, other in pairwise(dense)))


def _flatten(widths: Sequence[Any]) -> list[int]:
    return [width for stage in widths for width in (_flatten(stage) if isinstance(stage, Sequence) else [stage])]


def read_checked_spec(architecture: Any, model: nn.Module) -> Any:
    """Read the spec of a network, and check that a network built from it has the same parts.

    Raises:
        ArtefactError: It has other parts.
    """
    try:
        spec = architecture.read_spec(model)
        with on_meta_device():
            rebuilt, given = _list_leaves(architecture.build(spec)), _list_leaves(model)
    except (AttributeError, IndexError, TypeError) as error:
        raise rebuild_error(architecture.name, model, str(error)) from error
    odd = sorted(name for name in rebuilt.keys() | given.keys() if rebuilt.get(name) != given.get(name))
    if odd:
        raise rebuild_error(architecture.name, model, f"the first are {', '.join(odd[:4])}")
    return spec


def rebuild_error(architecture: str, model: nn.Module, reason: str) -> ArtefactError:
    """Return the error for an altered network of an architecture's own class."""
    what = f"this {type(model).__name__} has parts that the {architecture} architecture does not rebuild"
    return ArtefactError(what, reason, "use this network only as a teacher")


def _list_leaves(model: nn.Module) -> dict[str, str]:
    """List the modules that compute something, by name.

    Dropped units and paths are left out: they are settings of a training, not facts of the network.
    """
    dropped = (nn.Dropout, DropPath)
    parts = model.named_modules()
    return {name: repr(part) for name, part in parts if not isinstance(part, dropped) and not [*part.children()]}


def adapt_tensors(
    channels: int, tensors: Mapping[str, Tensor], readers: Sequence[str], ledger: Ledger
) -> dict[str, Tensor]:
    """Copy tensors, adapt those that read the images to another number of channels, and enter all in the ledger.

    Args:
        channels: Channels of the images.
        tensors: Tensors by name.
        readers: Names of kernels that read the images.
        ledger: Ledger of the descendant.
    """
    adapted = {}
    for name, tensor in tensors.items():
        changed = name in readers and tensor.shape[1] != channels
        adapted[name] = (adapt_kernel(tensor, channels) if changed else tensor).clone()
        ledger.add(name, "adapted" if changed else "copied", adapted[name].numel())
    return adapted


def resize_stages(
    architecture: str, size: Size, depths: Sequence[int], widths: Sequence[int]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return depths and widths of stages of one width each, changed by a size.

    `depth2=3` sets the blocks of one stage. `width=32` sets the first stage's channels and scales all others in
    proportion; `width3=48` then sets those of one stage.

    Raises:
        SettingError: The stages do not have such a key, or cannot be built in that size.
    """
    first, count = widths[0], len(depths)
    depth_keys, width_keys = ([f"{key}{n}" for n in range(1, count + 1)] for key in ("depth", "width"))
    text = f"depth1 to depth{count}, width, or width1 to width{count}"
    check_size_keys(architecture, size, ["width", *depth_keys, *width_keys], text)
    scaled = [scale_width(width, size.get("width", first), first) for width in widths]
    return (
        tuple(check_stage_depth(key, size.get(key, depth)) for key, depth in zip(depth_keys, depths, strict=True)),
        tuple(size.get(key, width) for key, width in zip(width_keys, scaled, strict=True)),
    )


def list_residual_blocks(inputs: int, depths: Sequence[int], widths: Sequence[int]) -> tuple[tuple[int, int, int], ...]:
    """List, for each residual block, its stage, the channels that it reads, and the channels that it writes.

    Args:
        inputs: Channels that the first block reads.
        depths: Number of blocks of each stage.
        widths: Channels of each stage.
    """
    read = (inputs, *widths)
    return tuple(
        (stage, read[stage + (index > 0)], widths[stage])
        for stage, depth in enumerate(depths)
        for index in range(depth)
    )


def check_stage_depth(key: str, depth: int) -> int:
    """Refuse a stage that is too deep before anything of that size is built.

    Raises:
        SettingError: The stage has more blocks than can be built.
    """
    if depth > MAX_STAGE_DEPTH:
        raise SettingError(
            f"{key}={depth}", f"a stage has at most {MAX_STAGE_DEPTH} blocks", f"use for example {key}=2"
        )
    return depth


def scale_width(width: int, wanted: int, first: int) -> int:
    """Scale a width of a network whose first width changes from `first` to `wanted`; at least 1."""
    return max(1, round(width * wanted / first))
