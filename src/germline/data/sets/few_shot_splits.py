"""Sets whose classes are split in published parts: how they are named, and how a class's pictures are shared out."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from germline.data.dataset import Split
from germline.errors import DataError, UnknownNameError

FEW_SHOT_PARTS = ("base", "open", "novel")
TRAINING = 400  # training images per class of the published sets, which have 600
_LEAST = 3


def split_location(name: str, location: str | None) -> tuple[str, str]:
    """Take `base:/folder`, as it stands behind a set's name in `cifar-fs/base:/folder`, apart.

    Returns:
        The part, and the folder or an empty text.

    Raises:
        UnknownNameError: There is no such part.
        DataError: The part is left out.
    """
    part, _, folder = (location or "").partition(":")
    if not part or "/" in part:
        parts = f"its classes are split in {', '.join(FEW_SHOT_PARTS[:-1])} and {FEW_SHOT_PARTS[-1]}"
        raise DataError(f"{name} without a part", parts, f"ask for {name}/{FEW_SHOT_PARTS[0]}:/folder")
    if part not in FEW_SHOT_PARTS:
        raise UnknownNameError.with_nearest(f"part of {name}", part, FEW_SHOT_PARTS)
    return part, folder


def check_published_classes(place: object, found: Iterable[str], published: Sequence[str]) -> None:
    """See that a place holds just the classes that were published.

    Raises:
        DataError: One is missing or unknown; the message names the first.
    """
    there = set(found)
    if unknown := sorted(there - set(published)):
        raise DataError(
            f"{place} has a class '{unknown[0]}'", f"it is none of the {len(published)} published", "take it away"
        )
    if missing := [name for name in published if name not in there]:
        raise DataError(
            f"{place} has no pictures of class '{missing[0]}'",
            f"{len(missing)} of the {len(published)} published classes are missing",
            "add them",
        )


def select_split(labels: Tensor, classes: Sequence[str], keys: Iterable[bytes], split: Split) -> Tensor:
    """Which pictures fall in a split: in every class four sixths are for training, one for each of the others.

    Within a class the pictures are ranked by sha256 of their keys, so a split depends neither on their order nor on
    other classes.

    Args:
        labels: int64 [N].
        classes: Their names.
        keys: What each picture is known by, such as its pixels or the name of its file.
        split: The split wanted.

    Returns:
        Positions, int64 [M], ascending.

    Raises:
        DataError: A class has fewer than three pictures.
    """
    digests = [hashlib.sha256(key).digest() for key in keys]
    chosen: list[int] = []
    for label, name in enumerate(classes):
        members = sorted(torch.nonzero(labels == label).flatten().tolist(), key=digests.__getitem__)
        if len(members) < _LEAST:
            raise DataError(
                f"class '{name}' has {len(members)} pictures",
                "each split takes at least one",
                f"add pictures to make it {_LEAST} or more",
            )
        held = max(1, len(members) // 6)  # 100 of the usual 600
        edges: dict[Split, slice] = {"test": slice(held), "val": slice(held, 2 * held), "train": slice(2 * held, None)}
        chosen += members[edges[split]]
    return torch.tensor(sorted(chosen), dtype=torch.int64)
