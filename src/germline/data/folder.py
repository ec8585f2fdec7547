"""A folder of pictures: one sub-folder a class, or none; of small pictures, held in memory."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps

from germline.data.pictures import DataSet, Pictures, Split
from germline.errors import DataError

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"}
LARGEST = 64
_GREY_MODES = {"1", "L", "LA"}


@dataclass(frozen=True)
class Listing:
    """The picture files of one split, before any is opened.

    Attributes:
        paths: In order of class, then name.
        labels: One a path; None when the folder has no class folders.
        classes: Names of the class folders, sorted.
    """

    paths: tuple[Path, ...]
    labels: tuple[int, ...] | None
    classes: tuple[str, ...]


def _folders(folder: Path) -> list[Path]:
    return sorted(entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))


def _files(folder: Path) -> list[Path]:
    found = []
    for parent, inner, names in os.walk(folder):
        inner[:] = [name for name in inner if not name.startswith(".")]
        found += [Path(parent, name) for name in names if not name.startswith(".")]
    return sorted(path for path in found if path.suffix.lower() in SUFFIXES)


def _list(folder: Path) -> Listing:
    """Everything under a folder that holds either class folders or pictures."""
    groups = [(inner.name, files) for inner in _folders(folder) if (files := _files(inner))]
    if not groups:
        return Listing(tuple(_files(folder)), None, ())
    paths = tuple(path for _, files in groups for path in files)
    labels = tuple(label for label, (_, files) in enumerate(groups) for _ in files)
    return Listing(paths, labels, tuple(name for name, _ in groups))


def _share(path: Path, root: Path) -> Split:
    """The split a picture falls in by its place in the folder alone, so that new pictures move no old one."""
    digest = hashlib.sha256(path.relative_to(root).as_posix().encode("utf-8", "surrogateescape")).digest()
    tenth = int.from_bytes(digest[:8], "big") % 10
    return "train" if tenth < 8 else "val" if tenth == 8 else "test"


def _with_classes(listing: Listing, classes: tuple[str, ...], folder: Path) -> Listing:
    """The same files, their labels counted in the training classes, which may be more."""
    if listing.labels is None:
        if classes and listing.paths:
            raise DataError(f"{folder} has no class folders", f"training has, such as '{classes[0]}'")
        return listing
    if unknown := sorted(set(listing.classes) - set(classes)):
        raise DataError(f"{folder} has a class '{unknown[0]}'", "training has no such class folder")
    return Listing(listing.paths, tuple(classes.index(listing.classes[label]) for label in listing.labels), classes)


def list_split(root: Path, split: Split) -> Listing:
    """The files of one split.

    Raises:
        DataError: The folder lacks that split, or has a class there that training does not have.
    """
    if (root / "train").is_dir():
        if not (root / split).is_dir():
            raise DataError(f"{root} has no folder '{split}'", fix=f"add {root / split}")
        listing = _with_classes(_list(root / split), _list(root / "train").classes, root / split)
    else:
        every = _list(root)
        keep = [index for index, path in enumerate(every.paths) if _share(path, root) == split]
        labels = None if every.labels is None else tuple(every.labels[index] for index in keep)
        listing = Listing(tuple(every.paths[index] for index in keep), labels, every.classes)
    if not listing.paths:
        raise DataError(f"no pictures for '{split}' in {root}", f"looked for {' '.join(sorted(SUFFIXES))}")
    return listing


def _open(path: Path) -> Image.Image:
    try:
        with Image.open(path) as opened:
            _check_small(path, opened.size)
            opened.load()
            return ImageOps.exif_transpose(opened)
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        raise DataError(f"{path} cannot be read as a picture", str(error), "mend it or take it away") from error


def _check_small(path: Path, size: tuple[int, int]) -> None:
    """Half of the seam (see `_load` too): what fails here has to be decoded as it is used."""
    if max(size) > LARGEST:
        raise DataError(
            f"{path} is {size[0]}x{size[1]} px",
            f"a folder of large images, over {LARGEST} px, is not held in memory",
            "make the pictures smaller",
        )


def _load(listing: Listing, shorter_side: int | None) -> Pictures:
    images = [_open(path) for path in listing.paths]
    width, height = images[0].size
    for path, image in zip(listing.paths, images, strict=True):
        if image.size != (width, height):
            raise DataError(
                f"{path} is {image.size[0]}x{image.size[1]} px and {listing.paths[0]} {width}x{height}",
                "pictures in memory are of one size; only a folder of large images could mix them",
                "bring them to one size",
            )
    mode = "L" if all(image.mode in _GREY_MODES for image in images) else "RGB"
    factor = shorter_side / min(width, height) if shorter_side else 1.0
    size = (round(width * factor), round(height * factor))
    pixels = [np.asarray(image.convert(mode).resize(size, Image.Resampling.BILINEAR)) for image in images]
    stacked = torch.from_numpy(np.stack(pixels).reshape(len(pixels), size[1], size[0], -1)).permute(0, 3, 1, 2)
    labels = None if listing.labels is None else torch.tensor(listing.labels, dtype=torch.int64)
    return Pictures(stacked.contiguous(), labels, listing.classes)


def _read(root: Path, shorter_side: int | None, split: Split) -> Pictures:
    return _load(list_split(root, split), shorter_side)


def read_folder(location: str | None = None, shorter_side: int | None = 32) -> DataSet:
    """A folder with train, val and perhaps test inside, or one that is split 80/10/10 by the names of its files.

    Args:
        location: The folder. Each sub-folder is a class; a folder of plain pictures has no labels.
        shorter_side: What pictures are resized to, in px; None leaves them.

    Raises:
        DataError: There is no such folder.
    """
    if not location or not (root := Path(location).expanduser()).is_dir():
        raise DataError(f"folder:{location or ''} is not a folder", fix="ask for folder:/path/to/pictures")
    return DataSet(name=f"folder:{location}", read=partial(_read, root, shorter_side), source=str(root))
