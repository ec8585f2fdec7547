"""A data set known only by its numbers: enough to estimate costs, not to train."""

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
        placeholder: Data set with the published numbers, for cost estimates; None if they are unknown.
    """

    def __init__(self, what: str, why: str = "", fix: str = "", placeholder: DataSet | None = None) -> None:
        super().__init__(what, why, fix)
        self.placeholder = placeholder


@dataclass(frozen=True)
class PlaceholderImages(ImageFiles):
    """Images that cannot be opened."""

    def sample(self) -> Tensor:
        """Return two black images, uint8 [2, C, side, side]."""
        return torch.zeros(2, self.channels, self.side, self.side, dtype=torch.uint8)

    def fingerprint(self) -> str:
        """Return a text that no real images have."""
        return f"described: {len(self)} pictures of {len(self.classes)} classes"


def make_placeholder(name: str, classes: int | Sequence[str], images: int, side: int, channels: int = 3) -> DataSet:
    """Build a data set from its numbers, the same for every split, with classes of equal size.

    Args:
        name: Name of the data set it replaces.
        classes: Number of classes, or their names.
        images: Number of training images.
        side: Height and width in pixels.
        channels: 1 for grey, 3 for colour.
    """
    names = tuple(map(str, range(classes))) if isinstance(classes, int) else tuple(classes)
    return DataSet(name=name, read=partial(_read, names, images, side, channels))


def _read(classes: tuple[str, ...], images: int, side: int, channels: int, split: Split) -> ImageFiles:
    return PlaceholderImages(torch.arange(images) % len(classes), classes, (Path("nowhere"),) * images, side, channels)
