"""Several data sets as one data set with the classes of all."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from germline.data.dataset import AnyImages, DataSet, Images, Split
from germline.data.placeholder import PlaceholderImages
from germline.errors import DataError
from germline.sharing import name_data


def concat_data_sets(name: str, parts: Sequence[DataSet]) -> DataSet:
    """Concatenate data sets; classes are named `PART:CLASS`.

    The result allows an augmentation only where all parts allow it.

    Args:
        name: Name of the new data set.
        parts: Data sets in memory, with images of one size and one number of channels.

    Raises:
        DataError: A name is there twice. When a split is first read: the images differ in shape or have no labels.
    """
    names = [part.name for part in parts]
    if len(set(names)) != len(names):
        raise DataError(f"'{name}' names a data set twice", "Its classes would be there twice", "Use each name once")
    return DataSet(
        name=name,
        read=partial(_read, tuple(parts)),
        augmentation=tuple(kind for kind in parts[0].augmentation if all(kind in part.augmentation for part in parts)),
        licence="; ".join(dict.fromkeys(part.licence for part in parts)),
        source="; ".join(dict.fromkeys(part.source for part in parts)),
    )


def _read(parts: Sequence[DataSet], split: Split) -> AnyImages:
    read_parts = [part.split(split) for part in parts]
    images: list[Tensor] = []
    labels: list[Tensor] = []
    classes: list[str] = []
    names = _name_parts(parts)
    first = _shape(read_parts[0])
    for part, name, images_of_part in zip(parts, names, read_parts, strict=True):
        if not isinstance(images_of_part, Images | PlaceholderImages) or images_of_part.labels is None:
            raise DataError(
                f"'{part.name}' cannot be joined with other data sets",
                "Its images are in files or have no labels",
                "Use labelled images of at most 64 pixels",
            )
        if _shape(images_of_part) != first:
            shapes = f"{first} and {_shape(images_of_part)}"
            raise DataError(
                f"Images of shapes {shapes} cannot be joined",
                f"'{part.name}' differs from '{parts[0].name}'",
                "Use one size for all, for example with @32 after each name",
            )
        if isinstance(images_of_part, Images):
            images.append(images_of_part.images)
        labels.append(images_of_part.labels + len(classes))
        classes += [f"{name}:{one}" for one in images_of_part.classes]
    if len(images) < len(parts):
        counts = torch.cat(labels)
        return PlaceholderImages(
            counts, tuple(classes), (Path("nowhere"),) * len(counts), read_parts[0].side, read_parts[0].channels
        )
    return Images(torch.cat(images), torch.cat(labels), tuple(classes))


def _name_parts(parts: Sequence[DataSet]) -> list[str]:
    """Name parts without the places of their folders; folders of one name are numbered."""
    names = [name_data(part.name) for part in parts]
    return [name if names.count(name) == 1 else f"{name}-{number}" for number, name in enumerate(names, 1)]


def _shape(images: AnyImages) -> tuple[int, ...]:
    if isinstance(images, Images):
        return tuple(images.images.shape[1:])
    return images.channels, images.side, images.side
