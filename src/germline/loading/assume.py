"""Preprocessing of networks whose source does not say it: the module's own, then timm's, then the data's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from germline.architectures import Preprocess
from germline.data import DataSet
from germline.errors import ArtefactError

ASSUMED = "assumed preprocessing:"  # how a note on it begins
IMAGENET_STATISTICS = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
# Those of timm's ViTs, and of networks that read pixels in [0, 1].
OTHER_STATISTICS = (((0.5,) * 3, (0.5,) * 3), ((0.0,) * 3, (1.0,) * 3))


def assume_preprocess(model: nn.Module, data: DataSet) -> tuple[Preprocess, tuple[str, ...]]:
    """Assume the preprocessing of a bare module: its own size and channels, then those of timm, then the data's.

    Args:
        model: Module as it is given.
        data: Data that it is used on.

    Returns:
        The preprocessing, and what was assumed in one sentence.

    Raises:
        ArtefactError: The module reads images that are not square.
    """
    config: Mapping[str, Any] = getattr(model, "pretrained_cfg", None) or {}
    fallback = Preprocess.from_images(data.train.sample())
    channels = read_own_channels(model) or _read_input(config)[0] or fallback.channels
    size = read_own_size(model)
    size_origin = "the module's"
    if size is None:
        size, size_origin = _read_input(config)[1] or fallback.image_size, "timm's" if config else "the data's"
    statistics = read_statistics(config, channels)
    origin = "timm's" if statistics else "the data's"
    chosen = fallback.adapt(channels, size) if statistics is None else make_preprocess(channels, size, *statistics)
    note = f"{ASSUMED} {describe_preprocess(chosen)}; the size is {size_origin}, mean and std are {origin}"
    return chosen, (note,)


def list_alternatives(preprocess: Preprocess, data: DataSet, *, has_fixed_size: bool) -> list[Preprocess]:
    """List other preprocessings that a network may have been trained with.

    Args:
        preprocess: Preprocessing that is assumed.
        data: Data that the network is used on.
        has_fixed_size: Whether the network reads images of one size alone.
    """
    own = Preprocess.from_images(data.train.sample())
    channels, sizes = preprocess.channels, [preprocess.image_size]
    if not has_fixed_size and own.image_size not in sizes:
        sizes.append(own.image_size)
    found = []
    for size in sizes:
        found += [preprocess.model_copy(update={"image_size": size}), own.adapt(channels, size)]
        found += [make_preprocess(channels, size, *values) for values in (IMAGENET_STATISTICS, *OTHER_STATISTICS)]
    return [other for other in dict.fromkeys(found) if other != preprocess]


def describe_preprocess(preprocess: Preprocess) -> str:
    """Return channels, size, mean and std of a preprocessing in words."""
    mean, std = (", ".join(f"{value:.4g}" for value in values) for values in (preprocess.mean, preprocess.std))
    side = preprocess.image_size
    return f"{preprocess.channels} x {side} x {side}, mean {mean}, std {std}"


def make_preprocess(channels: int, image_size: int, mean: tuple[float, ...], std: tuple[float, ...]) -> Preprocess:
    """Make a preprocessing; statistics of colour become those of grey, or those of grey are repeated."""
    return Preprocess(channels=len(mean), image_size=image_size, mean=mean, std=std).adapt(channels, image_size)


def read_statistics(config: Mapping[str, Any], channels: int) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """Read mean and std from timm's `pretrained_cfg`; None if it has none that fit."""
    mean, std = (tuple(float(value) for value in config.get(key) or ()) for key in ("mean", "std"))
    return (mean, std) if mean and len(mean) == len(std) and len(mean) in (1, 3, channels) else None


def read_own_size(model: nn.Module) -> int | None:
    """Read the image size that a module stores; None if it stores none, or reads images of any size.

    Raises:
        ArtefactError: The images are not square.
    """
    patches = getattr(model, "patch_embed", None)
    size = None if getattr(patches, "strict_img_size", True) is False else getattr(patches, "img_size", None)
    for holder in (model, getattr(model, "config", None)):
        if size is None:
            size = getattr(holder, "image_size", None)
    return check_square(size, type(model).__name__)


def check_square(size: Any, name: str) -> int | None:
    """Return the side of square images; None for something that is no size.

    Raises:
        ArtefactError: The images are not square.
    """
    sides = tuple(size) if isinstance(size, (tuple, list)) else (size, size)
    if not sides or not all(isinstance(side, int) and side > 0 for side in sides):
        return None
    if len(set(sides[-2:])) > 1:
        raise ArtefactError(
            f"'{name}' reads images of {sides[-2]} x {sides[-1]} pixels",
            "germline's images are square",
            "use a network for square images",
        )
    return int(sides[-1])


def read_own_channels(model: nn.Module) -> int | None:
    """Read the channels of the first convolution, in the order of the module's parts; None if there is none."""
    first = next((part for part in model.modules() if isinstance(part, nn.Conv2d)), None)
    return None if first is None else int(first.in_channels)


def _read_input(config: Mapping[str, Any]) -> tuple[int | None, int | None]:
    """Read channels and size from timm's `pretrained_cfg`."""
    size = config.get("input_size")
    if not size or len(size) != 3:
        return None, None
    return int(size[0]), check_square(tuple(size[1:]), str(config.get("architecture", "the network")))
