"""Several data sets as one: the classes of all of them side by side."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from germline.data.dataset import AnyImages, DataSet, Images, Split
from germline.data.placeholder import PlaceholderImages
from germline.errors import DataError


def concat_data_sets(name: str, parts: Sequence[DataSet]) -> DataSet:
    """The pictures of all parts, classes named `PART:CLASS`; what all of them allow may be done to a picture.

    Args:
        name: Of the whole.
        parts: Of pictures in memory, of one size and number of channels.

    Raises:
        DataError: A name stands twice, or when a split is first read: pictures differ in form, or have no labels.
    """
    names = [part.name for part in parts]
    if len(set(names)) != len(names):
        raise DataError(f"'{name}' names a set twice", "its classes would be there twice", "name it once")
    return DataSet(
        name=name,
        read=partial(_read, tuple(parts)),
        augmentation=tuple(kind for kind in parts[0].augmentation if all(kind in part.augmentation for part in parts)),
        licence="; ".join(dict.fromkeys(part.licence for part in parts)),
        source="; ".join(dict.fromkeys(part.source for part in parts)),
    )


def _read(parts: Sequence[DataSet], split: Split) -> AnyImages:
    every = [part.split(split) for part in parts]
    images: list[Tensor] = []
    labels: list[Tensor] = []
    classes: list[str] = []
    first = _shape(every[0])
    for part, own in zip(parts, every, strict=True):
        if not isinstance(own, Images | PlaceholderImages) or own.labels is None:
            raise DataError(
                f"'{part.name}' cannot be joined with others", "its pictures are in files, or without labels"
            )
        if _shape(own) != first:
            shapes = f"{first} and {_shape(own)}"
            raise DataError(f"pictures of {shapes} cannot be joined", f"'{part.name}' differs from '{parts[0].name}'")
        if isinstance(own, Images):
            images.append(own.images)
        labels.append(own.labels + len(classes))
        classes += [f"{part.name}:{one}" for one in own.classes]
    if len(images) < len(parts):
        counts = torch.cat(labels)
        return PlaceholderImages(
            counts, tuple(classes), (Path("nowhere"),) * len(counts), every[0].side, every[0].channels
        )
    return Images(torch.cat(images), torch.cat(labels), tuple(classes))


def _shape(images: AnyImages) -> tuple[int, ...]:
    if isinstance(images, Images):
        return tuple(images.images.shape[1:])
    return images.channels, images.side, images.side
