"""Data sets with a published split of their classes: names of parts, and splits within a class."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from germline.data.dataset import Split
from germline.errors import DataError, UnknownNameError

FEW_SHOT_PARTS = ("base", "open", "novel")
TRAINING = 400  # training images per class of the published data sets, with 600 images per class
_LEAST = 3


def split_location(name: str, location: str | None) -> tuple[str, str]:
    """Split `base:/folder`, the end of a name such as `cifar-fs/base:/folder`.

    Returns:
        Part and folder; an empty folder if none is given.

    Raises:
        UnknownNameError: There is no such part.
        DataError: The part is missing.
    """
    part, _, folder = (location or "").partition(":")
    if not part or "/" in part:
        parts = f"Its classes are split in {', '.join(FEW_SHOT_PARTS[:-1])} and {FEW_SHOT_PARTS[-1]}"
        raise DataError(f"{name} without a part", parts, f"Use {name}/{FEW_SHOT_PARTS[0]}:/folder")
    if part not in FEW_SHOT_PARTS:
        raise UnknownNameError.with_nearest(f"part of {name}", part, FEW_SHOT_PARTS)
    return part, folder


def check_published_classes(place: object, found: Iterable[str], published: Sequence[str]) -> None:
    """Check that the classes found are exactly the published ones.

    Raises:
        DataError: A class is missing or unknown; the message names the first.
    """
    names = set(found)
    if unknown := sorted(names - set(published)):
        raise DataError(
            f"{place} has a class '{unknown[0]}'",
            f"It is not one of the {len(published)} published classes",
            "Remove it",
        )
    if missing := [name for name in published if name not in names]:
        raise DataError(
            f"{place} has no images of class '{missing[0]}'",
            f"{len(missing)} of the {len(published)} published classes are missing",
            "Use the complete data set",
        )


def select_split(labels: Tensor, classes: Sequence[str], keys: Iterable[bytes], split: Split) -> Tensor:
    """Select the images of a split: of every class four sixths for training, one sixth for each other split.

    Within a class, images are ranked by the sha256 of their keys. So a split depends neither on their order nor on
    other classes.

    Args:
        labels: Labels, int64 [N].
        classes: Names of the classes.
        keys: Identity of each image, such as its pixels or the name of its file.
        split: Split to select.

    Returns:
        Indices of the images, int64 [M], ascending.

    Raises:
        DataError: A class has fewer than three images.
    """
    digests = [hashlib.sha256(key).digest() for key in keys]
    chosen: list[int] = []
    for label, name in enumerate(classes):
        members = sorted(torch.nonzero(labels == label).flatten().tolist(), key=digests.__getitem__)
        if len(members) < _LEAST:
            raise DataError(
                f"Class '{name}' has {len(members)} images",
                "Each split needs at least one",
                f"Use {_LEAST} or more images per class",
            )
        held = max(1, len(members) // 6)  # 100 of the usual 600
        edges: dict[Split, slice] = {"test": slice(held), "val": slice(held, 2 * held), "train": slice(2 * held, None)}
        chosen += members[edges[split]]
    return torch.tensor(sorted(chosen), dtype=torch.int64)
