"""A data set of which only the numbers are known: enough to price work on it, not to do any."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from germline.data.dataset import DataSet, ImageFiles, Split
from germline.errors import DataError


class MissingDataError(DataError):
    """A data set that is not on this machine.

    Attributes:
        described: The set by its published numbers, for pricing; None where they are not known.
    """

    def __init__(self, what: str, why: str = "", fix: str = "", placeholder: DataSet | None = None) -> None:
        super().__init__(what, why, fix)
        self.placeholder = placeholder


@dataclass(frozen=True)
class PlaceholderImages(ImageFiles):
    """Pictures that nobody can open."""

    def sample(self) -> Tensor:
        """Two empty pictures, uint8 [2, C, side, side]."""
        return torch.zeros(2, self.channels, self.side, self.side, dtype=torch.uint8)

    def fingerprint(self) -> str:
        """Nothing that real pictures could have."""
        return f"described: {len(self)} pictures of {len(self.classes)} classes"


def make_placeholder(name: str, classes: int | Sequence[str], images: int, side: int, channels: int = 3) -> DataSet:
    """A data set by its numbers, the same for every split, its classes of equal size.

    Args:
        name: What it stands for.
        classes: Number of classes, or their names.
        images: Training pictures.
        side: Height and width in pixels.
        channels: 1 for grey, 3 for colour.
    """
    names = tuple(map(str, range(classes))) if isinstance(classes, int) else tuple(classes)
    return DataSet(name=name, read=partial(_read, names, images, side, channels))


def _read(classes: tuple[str, ...], images: int, side: int, channels: int, split: Split) -> ImageFiles:
    return PlaceholderImages(torch.arange(images) % len(classes), classes, (Path("nowhere"),) * images, side, channels)
