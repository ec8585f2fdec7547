"""A data set in memory with its pictures brought to another size."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import torch
from torch.nn.functional import interpolate

from germline.data.dataset import AnyImages, DataSet, Images, Split
from germline.data.placeholder import PlaceholderImages
from germline.errors import DataError

MAX_SIDE = 1024
CHUNK = 1024  # pictures that are floats at once


def resize_data_set(source: DataSet, side: int) -> DataSet:
    """The same pictures at another height and width, bicubic with antialiasing; named `SET@SIDE`.

    Nothing is added by enlarging: it lets networks look that were made for larger pictures.

    Args:
        source: Of pictures in memory.
        side: In pixels.

    Raises:
        DataError: No such size, or when a split is first read: its pictures lie in files.
    """
    if not 1 <= side <= MAX_SIDE:
        raise DataError(f"{source.name}@{side}", f"pictures have between 1 and {MAX_SIDE} pixels a side")
    return replace(source, name=f"{source.name}@{side}", read=partial(_read, source, side), _cache={})


def _read(source: DataSet, side: int, split: Split) -> AnyImages:
    own = source.split(split)
    if isinstance(own, PlaceholderImages):
        return replace(own, side=side)
    if not isinstance(own, Images):
        raise DataError(f"'{source.name}' cannot be resized", "its pictures are in files")
    chunks = [
        interpolate(chunk.float(), size=(side, side), mode="bicubic", antialias=True).round().clamp(0, 255).byte()
        for chunk in torch.split(own.images, CHUNK)
    ]
    images = torch.cat(chunks) if chunks else own.images.new_empty(0, own.channels, side, side)
    return Images(images, own.labels, own.classes)
