"""A data set in memory, resized to another image size."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import torch
from torch.nn.functional import interpolate

from germline.data.dataset import AnyImages, DataSet, Images, Split
from germline.data.placeholder import PlaceholderImages
from germline.errors import DataError

MAX_SIDE = 1024
CHUNK = 1024  # images converted to float at once, to bound memory


def resize_data_set(source: DataSet, side: int) -> DataSet:
    """Resize all images, bicubic with antialiasing; the result is named `SET@SIDE`.

    Enlarging adds no information. It serves networks that expect larger images.

    Args:
        source: Data set in memory.
        side: Height and width in pixels.

    Raises:
        DataError: The size is not allowed. When a split is first read: its images are in files.
    """
    if not 1 <= side <= MAX_SIDE:
        raise DataError(
            f"{source.name}@{side}",
            f"An image has between 1 and {MAX_SIDE} pixels per side",
            f"Use a size from 1 to {MAX_SIDE}",
        )
    return replace(source, name=f"{source.name}@{side}", read=partial(_read, source, side), _cache={})


def _read(source: DataSet, side: int, split: Split) -> AnyImages:
    source_images = source.split(split)
    if isinstance(source_images, PlaceholderImages):
        return replace(source_images, side=side)
    if not isinstance(source_images, Images):
        raise DataError(f"'{source.name}' cannot be resized", "Its images are in files", "Use a data set in memory")
    chunks = [
        interpolate(chunk.float(), size=(side, side), mode="bicubic", antialias=True).round().clamp(0, 255).byte()
        for chunk in torch.split(source_images.images, CHUNK)
    ]
    images = torch.cat(chunks) if chunks else source_images.images.new_empty(0, source_images.channels, side, side)
    return Images(images, source_images.labels, source_images.classes)
