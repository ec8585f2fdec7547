"""A folder of images, with one subfolder per class or with none."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

from germline.data.dataset import AnyImages, DataSet, ImageFiles, Images, Split
from germline.data.image_files import open_image
from germline.errors import DataError

IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"}
LARGEST_IN_MEMORY = 64
DEFAULT_SIDE = 224
_GREY_MODES = {"1", "L", "LA"}


@dataclass(frozen=True)
class FileListing:
    """The image files of one split, before any is opened.

    Attributes:
        paths: Paths in the order of class, then name.
        labels: One label per path; None if the folder has no class folders.
        classes: Sorted names of the class folders.
    """

    paths: tuple[Path, ...]
    labels: tuple[int, ...] | None
    classes: tuple[str, ...]


def _folders(folder: Path) -> list[Path]:
    return sorted(entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))


def _files(folder: Path) -> list[Path]:
    paths = []
    for parent, inner, names in os.walk(folder):
        inner[:] = [name for name in inner if not name.startswith(".")]
        paths += [Path(parent, name) for name in names if not name.startswith(".")]
    return sorted(path for path in paths if path.suffix.lower() in IMAGE_SUFFIXES)


def list_folder(folder: Path) -> FileListing:
    """List all image files below a folder that holds class folders or images."""
    groups = [(inner.name, files) for inner in _folders(folder) if (files := _files(inner))]
    if not groups:
        return FileListing(tuple(_files(folder)), None, ())
    paths = tuple(path for _, files in groups for path in files)
    labels = tuple(label for label, (_, files) in enumerate(groups) for _ in files)
    return FileListing(paths, labels, tuple(name for name, _ in groups))


def _share(path: Path, root: Path) -> Split:
    """Return the split of an image from its path alone, so new images do not move others."""
    digest = hashlib.sha256(path.relative_to(root).as_posix().encode("utf-8", "surrogateescape")).digest()
    tenth = int.from_bytes(digest[:8], "big") % 10
    return "train" if tenth < 8 else "val" if tenth == 8 else "test"


def _with_classes(listing: FileListing, classes: tuple[str, ...], folder: Path) -> FileListing:
    """Relabel a listing with the training classes, which may be more than its own."""
    if listing.labels is None:
        if classes and listing.paths:
            raise DataError(
                f"{folder} has no class folders",
                f"The training folder has some, such as '{classes[0]}'",
                "Use the same layout for every split",
            )
        return listing
    if unknown := sorted(set(listing.classes) - set(classes)):
        raise DataError(
            f"{folder} has a class '{unknown[0]}'",
            "The training folder has no such class",
            "Remove it or add it to training",
        )
    return FileListing(listing.paths, tuple(classes.index(listing.classes[label]) for label in listing.labels), classes)


def list_split(root: Path, split: Split) -> FileListing:
    """List the files of one split.

    Raises:
        DataError: The split is missing, or has a class that training does not have.
    """
    if (root / "train").is_dir():
        if not (root / split).is_dir():
            raise DataError(f"{root} has no folder '{split}'", fix=f"Give it a folder {root / split}")
        listing = _with_classes(list_folder(root / split), list_folder(root / "train").classes, root / split)
    else:
        every = list_folder(root)
        keep = [index for index, path in enumerate(every.paths) if _share(path, root) == split]
        labels = None if every.labels is None else tuple(every.labels[index] for index in keep)
        listing = FileListing(tuple(every.paths[index] for index in keep), labels, every.classes)
    if not listing.paths:
        raise DataError(
            f"No images for '{split}' in {root}",
            f"Files end in {' '.join(sorted(IMAGE_SUFFIXES))}",
            "Choose a folder with such files",
        )
    return listing


def _check_small(path: Path, size: tuple[int, int]) -> None:
    if max(size) > LARGEST_IN_MEMORY:
        raise DataError(
            f"{path} is {size[0]}x{size[1]} px, the first image at most {LARGEST_IN_MEMORY}",
            "Small images are in memory and have one size",
            "Use a size for all, as in folder:PATH@224",
        )


def _load(listing: FileListing) -> Images:
    images = [open_image(path, _check_small) for path in listing.paths]
    width, height = images[0].size
    for path, image in zip(listing.paths, images, strict=True):
        if image.size != (width, height):
            raise DataError(
                f"{path} is {image.size[0]}x{image.size[1]} px and {listing.paths[0]} {width}x{height}",
                "Small images are in memory and have one size",
                "Use a size for all, as in folder:PATH@224",
            )
    mode = "L" if all(image.mode in _GREY_MODES for image in images) else "RGB"
    pixels = [np.asarray(image.convert(mode)) for image in images]
    stacked = torch.from_numpy(np.stack(pixels).reshape(len(pixels), height, width, -1)).permute(0, 3, 1, 2)
    labels = None if listing.labels is None else torch.tensor(listing.labels, dtype=torch.int64)
    return Images(stacked.contiguous(), labels, listing.classes)


def _read(root: Path, side: int | None, split: Split) -> AnyImages:
    listing = list_split(root, split)
    if side is None and max(open_image(listing.paths[0]).size) <= LARGEST_IN_MEMORY:
        return _load(listing)
    labels = None if listing.labels is None else torch.tensor(listing.labels, dtype=torch.int64)
    return ImageFiles(labels, listing.classes, listing.paths, side or DEFAULT_SIDE)


def parse_side(location: str) -> tuple[str, int | None]:
    """Split `/photos@160` into the folder and the side of its images in pixels, or None."""
    matched = re.fullmatch(r"(.*)@([0-9]+)", location, re.DOTALL)
    return (matched[1], int(matched[2])) if matched else (location, None)


def read_folder(location: str | None = None) -> DataSet:
    """A folder with train, val and test, or one that is split 80/10/10 by file names.

    Images of one size of at most 64 pixels are in memory. Larger images are decoded batch by batch.

    Args:
        location: The folder, with @SIDE after it for a size other than 224. Each subfolder is a class. A folder of
            images without subfolders has no labels.

    Raises:
        DataError: There is no such folder.
    """
    place, side = parse_side(location or "")
    if not place or not (root := Path(place).expanduser()).is_dir():
        raise DataError(f"folder:{location or ''} is not a folder", fix="Use folder:/path/to/images")
    read = partial(_read, root, side)
    return DataSet(name=f"folder:{location}", read=read, augmentation=("shift", "mirror"), source=str(root))
