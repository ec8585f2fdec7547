"""The embedded `digits` data set for quick tests: 1,797 handwritten digits of 8x8, enlarged to 32x32."""

from __future__ import annotations

import zipfile
from importlib.resources import files

import numpy as np
import torch

from germline.data.dataset import DataSet, Images, Split
from germline.errors import DataError

_ENLARGE = 4
_CLASSES = tuple("0123456789")
_SEED = 0
_BOUNDS = {"train": (0.0, 0.6), "val": (0.6, 0.8), "test": (0.8, 1.0)}


def _read(split: Split) -> Images:
    try:
        with (files("germline.data") / "packs" / "digits.npz").open("rb") as file:
            arrays = dict(np.load(file, allow_pickle=False))
        small, labels = torch.from_numpy(arrays["pictures"]), torch.from_numpy(arrays["labels"]).long()
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise DataError("The embedded digits cannot be read", str(error), "Install germline again") from error
    images = (small.float() * (255 / 16)).round().to(torch.uint8)[:, None]
    images = images.repeat_interleave(_ENLARGE, dim=2).repeat_interleave(_ENLARGE, dim=3)
    return Images(images, labels, _CLASSES).subset(_members(labels, split))


def _members(labels: torch.Tensor, split: Split) -> torch.Tensor:
    """Return the indices of a split: a fixed share of every class, drawn with a fixed seed."""
    generator = torch.Generator().manual_seed(_SEED)
    low, high = _BOUNDS[split]
    chosen = []
    for label in range(len(_CLASSES)):
        members = torch.nonzero(labels == label).flatten()
        members = members[torch.randperm(len(members), generator=generator)]
        chosen.append(members[round(low * len(members)) : round(high * len(members))])
    return torch.cat(chosen).sort().values


def read_digits(location: str | None = None) -> DataSet:
    """Scikit-learn's digits, split 60/20/20 within each class.

    Args:
        location: Always None, since the data set is embedded.

    Raises:
        DataError: A location was given.
    """
    if location is not None:
        raise DataError(f"digits:{location}", "The digits are embedded and have no location", "Use digits")
    return DataSet(
        name="digits",
        read=_read,
        augmentation=("shift",),
        licence="CC BY 4.0",
        source="E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits (UCI), by way of scikit-learn; "
        "enlarged four times",
    )
