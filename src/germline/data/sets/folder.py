"""A folder of images, with one subfolder per class or with none."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

import numpy as np
import torch

from germline.data.dataset import AnyImages, DataSet, ImageFiles, Images, Split
from germline.data.image_files import check_header, is_grey_file, open_image
from germline.data.pixels import PixelReader, warn_once
from germline.data.resize import MAX_SIDE
from germline.data.sets.folder_listing import FileListing
from germline.data.sets.folder_splits import list_split
from germline.errors import DataError
from germline.paths import check_text

LARGEST_IN_MEMORY = 64
DEFAULT_SIDE = 224
_HEADERS = 5_000  # files whose header is read
_PROBED = 16  # 16-bit files that are opened to see their range


def _check_small(path: Path, size: tuple[int, int]) -> None:
    if max(size) > LARGEST_IN_MEMORY:
        raise DataError(
            f"{path} is {size[0]}x{size[1]} px, the first image at most {LARGEST_IN_MEMORY}",
            "Small images are in memory and have one size",
            "Use a size for all, as in folder:PATH@224",
        )


def _load(listing: FileListing, training: FileListing) -> Images:
    """Load images of the size of the first training image."""
    first = training.paths[0]
    width, height = open_image(first, check=_check_small).size
    if width != height:
        raise DataError(
            f"{first} is {width}x{height} px",
            "Networks take square images, and germline neither stretches nor cuts them unasked",
            f"Use folder:PATH@{max(width, height)}, which crops squares of that size",
        )
    reader = PixelReader(f"folder {listing.paths[0].parent.parent}")
    images = [open_image(path, reader, _check_small) for path in listing.paths]
    for path, image in zip(listing.paths, images, strict=True):
        if image.size != (width, height):
            raise DataError(
                f"{path} is {image.size[0]}x{image.size[1]} px and {first} {width}x{height}",
                "Small images are in memory and have one size",
                "Use a size for all, as in folder:PATH@224",
            )
    reader.check_range()
    mode = "L" if all(image.mode == "L" for image in images) else "RGB"
    if mode == "RGB" and listing is not training and all(map(is_grey_file, training.paths)):
        path = next(path for path, image in zip(listing.paths, images, strict=True) if image.mode == "RGB")
        raise DataError(f"{path} has colours", "All training images are grey", "Use grey or RGB images in all splits")
    pixels = [np.asarray(image.convert(mode)) for image in images]
    stacked = torch.from_numpy(np.stack(pixels).reshape(len(pixels), height, width, -1)).permute(0, 3, 1, 2)
    return Images(stacked.contiguous(), _labels(listing), listing.classes)


def _labels(listing: FileListing) -> torch.Tensor | None:
    return None if listing.labels is None else torch.tensor(listing.labels, dtype=torch.int64)


def _check_files(listing: FileListing) -> None:
    """Open some large images, so that what a header shows is refused before training, not when it is decoded."""
    for path in listing.paths[:: max(1, len(listing.paths) // _HEADERS)]:
        check_header(path)
    reader = PixelReader(f"folder {listing.paths[0].parent.parent}")
    open_image(listing.paths[0], reader)
    if reader.has_16_bits:
        for path in listing.paths[:: max(1, len(listing.paths) // _PROBED)]:
            open_image(path, reader)
    reader.check_range()


def _read(root: Path, side: int | None, split: Split) -> AnyImages:
    listing, training = list_split(root, split)
    for note in listing.notes:
        warn_once(note)
    if split == "train" and listing.labels is not None:
        for label in sorted(set(range(len(listing.classes))) - set(listing.labels)):
            warn_once(f"Class '{listing.classes[label]}' of {root} has no training images.")
    probe = training.paths[0] if training.paths else listing.paths[0]
    if side is None and max(open_image(probe).size) <= LARGEST_IN_MEMORY:
        return _load(listing, listing if split == "train" else training)
    _check_files(listing)
    return ImageFiles(_labels(listing), listing.classes, listing.paths, side or DEFAULT_SIDE)


def parse_side(location: str) -> tuple[str, int | None]:
    """Split `/photos@160` into the folder and the side of its images in pixels, or None.

    A folder whose own name ends in `@160` is found by its name.

    Raises:
        DataError: There are folders of both names, or the side is not allowed.
    """
    matched = re.fullmatch(r"(.*)@([0-9]+)", location, re.DOTALL)
    if not matched:
        return location, None
    if Path(location).expanduser().is_dir():
        if Path(matched[1] or ".").expanduser().is_dir() and not matched[1].endswith("/"):
            raise DataError(
                f"'{location}' and '{matched[1]}' are folders",
                f"It is unclear whether @{matched[2]} is part of the name or a size",
                f"Use '{location}/' for the folder of that name, or '{matched[1]}/@{matched[2]}' for the size",
            )
        return location, None
    side = int(matched[2])
    if not 1 <= side <= MAX_SIDE:
        raise DataError(
            f"'{location}' asks for images of {side} px",
            f"An image has between 1 and {MAX_SIDE} pixels per side",
            f"Use a size from 1 to {MAX_SIDE}",
        )
    return matched[1], side


def read_folder(location: str | None = None) -> DataSet:
    """A folder with train, val and test, or one that is split 80/10/10 by file names.

    Images of one size of at most 64 pixels are in memory. Larger images are decoded batch by batch. Without test
    images, the test split is the validation split, with a warning.

    Args:
        location: The folder, with @SIDE after it for a size other than 224. Each subfolder is a class. A folder of
            images without subfolders has no labels.

    Raises:
        DataError: There is no such folder.
        ArtefactError: Its name is not UTF-8.
    """
    place, side = parse_side(location or "")
    if not place or not (root := Path(place).expanduser()).is_dir():
        raise DataError(f"folder:{location or ''} is not a folder", fix="Use folder:/path/to/images")
    check_text(place)
    read = partial(_read, root, side)
    return DataSet(name=f"folder:{location}", read=read, augmentation=("shift", "mirror"), source=str(root))
