"""Fashion-MNIST from its own idx files, plain or gzipped, padded from 28x28 to 32x32."""

from __future__ import annotations

import gzip
import zlib
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from germline.data.dataset import DataSet, Images, Split
from germline.data.placeholder import MissingDataError, make_placeholder
from germline.data.search_path import find_data_folder
from germline.errors import DataError

_NAME = "fashion-mnist"
_LAYOUTS = ("", "raw", "FashionMNIST/raw")
_CLASSES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
_TRAINING = 60_000
_HELD_BACK = 10_000
_PAD = 2
_PLACEHOLDER = make_placeholder(_NAME, _CLASSES, _TRAINING - _HELD_BACK, side=32, channels=1)
_FETCH = (
    "Install the Debian package dataset-fashion-mnist, set GERMLINE_DATA to a folder that holds 'fashion-mnist', "
    "or use fashion-mnist:/folder with the four idx files, "
    "which torchvision.datasets.FashionMNIST(folder, download=True) can fetch"
)


def read_idx(path: Path) -> NDArray[np.uint8]:
    """Read the array of unsigned bytes in an idx file, gzipped if the name ends in .gz.

    Raises:
        DataError: The file is unreadable, truncated, too long, or not an idx file of bytes.
    """
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} cannot be read", str(error), "Use a fresh download") from error
    if len(content) < 4 or content[:3] != b"\0\0\x08":
        raise DataError(
            f"{path} is not an idx file of bytes", "It does not begin with 00 00 08", "Use the original file"
        )
    start = 4 + 4 * content[3]
    shape = tuple(int(size) for size in np.frombuffer(content[4:start][: (len(content) - 4) // 4 * 4], ">u4"))
    expected = start + int(np.prod(shape, dtype=np.int64))
    if len(shape) != content[3] or len(content) != expected:
        raise DataError(
            f"{path} is damaged", f"Its header gives {expected} bytes, it has {len(content)}", "Use a fresh download"
        )
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape).copy()


def _find(folder: Path, name: str) -> Path:
    for layout in _LAYOUTS:
        for candidate in (folder / layout / name, folder / layout / f"{name}.gz"):
            if candidate.is_file():
                return candidate
    raise MissingDataError(f"No {_NAME} in {folder}", f"{name}[.gz] is not there", _FETCH, _PLACEHOLDER)


def _read(folder: Path, split: Split) -> Images:
    stem = "t10k" if split == "test" else "train"
    image_file, label_file = _find(folder, f"{stem}-images-idx3-ubyte"), _find(folder, f"{stem}-labels-idx1-ubyte")
    pixels, labels = torch.from_numpy(read_idx(image_file)), torch.from_numpy(read_idx(label_file)).long()
    if pixels.ndim != 3 or labels.shape != pixels.shape[:1]:
        raise DataError(
            f"{image_file} holds {tuple(pixels.shape)} and {label_file.name} {tuple(labels.shape)}",
            "Images are [N, height, width], labels [N]",
            "Use the original files",
        )
    padded = torch.nn.functional.pad(pixels[:, None], (_PAD,) * 4)
    images = Images(padded, labels, _CLASSES)
    if split == "test":
        return images
    # A copy with fewer images holds out the same share.
    edge = len(images) - min(_HELD_BACK, len(images) // 6)
    return images.subset(torch.arange(edge) if split == "train" else torch.arange(edge, len(images)))


def read_fashion_mnist(location: str | None = None) -> DataSet:
    """Fashion-MNIST; the last 10,000 training images are the validation split.

    Args:
        location: Folder of the idx files, or one where torchvision put them; None for the one in GERMLINE_DATA.

    Raises:
        MissingDataError: The files are not there.
    """
    folder = find_data_folder(_NAME, location, (_NAME,), _PLACEHOLDER, _FETCH)
    for name in ("train-images-idx3-ubyte", "t10k-images-idx3-ubyte"):
        _find(folder, name)
    return DataSet(
        name=_NAME,
        read=partial(_read, folder),
        augmentation=("shift", "mirror"),
        licence="MIT",
        source="Zalando Research, Fashion-MNIST, padded to 32x32",
    )
