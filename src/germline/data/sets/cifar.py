"""CIFAR-10 and CIFAR-100 (fine labels) from a folder, in the binary or the Python version."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from germline.data.dataset import DataSet, Images, Split
from germline.data.placeholder import MissingDataError, make_placeholder
from germline.data.search_path import find_data_folder
from germline.data.sets.safe_pickle import read_plain_pickle
from germline.errors import DataError

Version = Literal["binary", "python"]
_PIXELS = 3 * 32 * 32
_TRAINING = 50_000
_HELD_BACK = 5_000
_NAMES10 = "airplane automobile bird cat deer dog frog horse ship truck"
_NAMES100 = (
    "apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can castle "
    "caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin elephant "
    "flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster man "
    "maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree "
    "plain plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper "
    "snail snake spider squirrel streetcar sunflower sweet_pepper table tank telephone television tiger tractor train "
    "trout tulip turtle wardrobe whale willow_tree wolf woman worm"
)


@dataclass(frozen=True)
class _Layout:
    """Names of files, folders and keys of one of the two data sets."""

    name: str
    names: tuple[str, ...]
    folders: dict[Version, str]
    train: tuple[str, ...]
    test: str
    suffix: str
    meta: dict[Version, str]
    label_key: bytes
    names_key: bytes
    label_bytes: int


_CIFAR10 = _Layout(
    "cifar10", tuple(_NAMES10.split()), {"binary": "cifar-10-batches-bin", "python": "cifar-10-batches-py"},
    tuple(f"data_batch_{number}" for number in range(1, 6)), "test_batch", ".bin",
    {"binary": "batches.meta.txt", "python": "batches.meta"}, b"labels", b"label_names", 1,
)  # fmt: skip
_CIFAR100 = _Layout(
    "cifar100", tuple(_NAMES100.split()), {"binary": "cifar-100-binary", "python": "cifar-100-python"},
    ("train",), "test", ".bin",
    {"binary": "fine_label_names.txt", "python": "meta"}, b"fine_labels", b"fine_label_names", 2,
)  # fmt: skip


def _make_placeholder(layout: _Layout) -> DataSet:
    return make_placeholder(layout.name, layout.names, _TRAINING - _HELD_BACK, side=32)


def _find(layout: _Layout, root: Path, set_name: str = "", placeholder: DataSet | None = None) -> tuple[Path, Version]:
    versions: tuple[tuple[Version, str], ...] = (("binary", layout.suffix), ("python", ""))
    for version, suffix in versions:
        for folder in (root, root / layout.folders[version]):
            if (folder / f"{layout.test}{suffix}").is_file():
                return folder, version
    raise MissingDataError(
        f"No {layout.name} in {root}",
        f"Neither {layout.test}{layout.suffix} nor {layout.test} is there or in {' or '.join(layout.folders.values())}",
        f"Use {set_name or layout.name}:/folder with the unpacked archive",
        placeholder or _make_placeholder(layout),
    )


def _read_binary(layout: _Layout, path: Path) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    try:
        content = np.fromfile(path, np.uint8)
    except OSError as error:
        raise DataError(
            f"{path} cannot be read", str(error), "Unpack the archive again: use the original file"
        ) from error
    row = layout.label_bytes + _PIXELS
    if len(content) == 0 or len(content) % row:
        raise DataError(
            f"{path} is damaged", f"{len(content)} bytes are not a multiple of {row}", "Use a fresh download"
        )
    rows = content.reshape(-1, row)
    return rows[:, layout.label_bytes :], rows[:, layout.label_bytes - 1].astype(np.int64)


def _read_python(layout: _Layout, path: Path) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    batch = _entries(read_plain_pickle(path))
    pixels, labels = batch.get(b"data"), batch.get(layout.label_key)
    if not isinstance(pixels, np.ndarray) or not isinstance(labels, (list, np.ndarray)):
        raise DataError(
            f"{path} is not a batch of {layout.name}",
            f"Its 'data' or '{layout.label_key.decode()}' is missing",
            "Use a fresh download",
        )
    if pixels.dtype != np.uint8 or pixels.shape != (len(labels), _PIXELS):
        raise DataError(
            f"{path} is damaged",
            f"Pixels are {pixels.dtype} {pixels.shape} for {len(labels)} labels",
            "Use a fresh download",
        )
    try:
        return pixels, np.asarray(labels, np.int64)
    except (TypeError, ValueError, OverflowError) as error:
        raise DataError(f"{path} is damaged", f"Its labels are not numbers: {error}", "Use a fresh download") from error


def _entries(content: Any) -> dict[bytes, Any]:
    """Return a dictionary with keys as bytes, for files of Python 2 and 3."""
    if not isinstance(content, dict):
        return {}
    return {key.encode() if isinstance(key, str) else key: value for key, value in content.items()}


def _class_names(layout: _Layout, folder: Path, version: Version) -> tuple[str, ...]:
    path = folder / layout.meta[version]
    if not path.is_file():
        return layout.names
    if version == "binary":
        names = path.read_text(encoding="utf-8").split()
    else:
        listed = _entries(read_plain_pickle(path)).get(layout.names_key, [])
        names = [name.decode() if isinstance(name, bytes) else str(name) for name in listed]
    if len(names) != len(layout.names):
        raise DataError(
            f"{path} names {len(names)} classes", f"{layout.name} has {len(layout.names)}", "Use a fresh download"
        )
    return tuple(names)


def _read_batches(layout: _Layout, root: Path, batches: tuple[str, ...]) -> Images:
    folder, version = _find(layout, root)
    reader, suffix = (_read_binary, layout.suffix) if version == "binary" else (_read_python, "")
    read = [reader(layout, folder / f"{batch}{suffix}") for batch in batches]
    images = torch.from_numpy(np.concatenate([pixels for pixels, _ in read])).reshape(-1, 3, 32, 32)
    labels = torch.from_numpy(np.concatenate([labels for _, labels in read]))
    return Images(images, labels, _class_names(layout, folder, version))


def _read(layout: _Layout, root: Path, split: Split) -> Images:
    if split == "test":
        return _read_batches(layout, root, (layout.test,))
    images = _read_batches(layout, root, layout.train)
    # A copy with fewer images holds out the same share.
    edge = len(images) - min(_HELD_BACK, len(images) // 10)
    return images.subset(torch.arange(edge) if split == "train" else torch.arange(edge, len(images)))


def _data_set(layout: _Layout, location: str | None) -> DataSet:
    root = find_data_folder(layout.name, location, (layout.name,), _make_placeholder(layout))
    _find(layout, root)
    return DataSet(
        name=layout.name,
        read=partial(_read, layout, root),
        augmentation=("shift", "mirror"),
        source="A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009",
    )


def check_cifar100(root: Path, set_name: str, placeholder: DataSet) -> None:
    """Check that a folder holds CIFAR-100.

    Args:
        root: The unpacked folder, or the one above it.
        set_name: Name of the data set made from CIFAR-100, for the message.
        placeholder: Placeholder of that data set.

    Raises:
        MissingDataError: CIFAR-100 is not in the folder.
    """
    _find(_CIFAR100, root, set_name, placeholder)


def read_all_cifar100(root: Path) -> Images:
    """Read all images of CIFAR-100, training images first.

    Raises:
        DataError: The data set is not in that folder, or is damaged.
    """
    return _read_batches(_CIFAR100, root, (*_CIFAR100.train, _CIFAR100.test))


def read_cifar10(location: str | None = None) -> DataSet:
    """CIFAR-10; the last 5,000 training images are the validation split.

    Args:
        location: The unpacked folder, or the one above it; None for the one in GERMLINE_DATA.

    Raises:
        MissingDataError: The folder or the data set in it is missing.
    """
    return _data_set(_CIFAR10, location)


def read_cifar100(location: str | None = None) -> DataSet:
    """CIFAR-100 with its 100 fine labels; the last 5,000 training images are the validation split.

    Args:
        location: The unpacked folder, or the one above it; None for the one in GERMLINE_DATA.

    Raises:
        MissingDataError: The folder or the data set in it is missing.
    """
    return _data_set(_CIFAR100, location)
