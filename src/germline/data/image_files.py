"""Image files: how one is opened, and what is wrong with a damaged one."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import ExifTags, Image, UnidentifiedImageError

from germline.data.pixels import GREY_MODES, PixelReader
from germline.errors import DataError

_OTHER_CONTENT = {
    b"git-lfs": "a pointer of Git LFS, and the image was never fetched",
    b"ftyphei": "a HEIC image, which Pillow does not read",
    b"ftypmif1": "a HEIC image, which Pillow does not read",
    b"<svg": "an SVG drawing",
    b"<!doctype": "a web page",
    b"<html": "a web page",
}
# Pillow's readers raise these for damaged files.
_DAMAGE = (
    *(OSError, ValueError, SyntaxError, EOFError, TypeError, LookupError, AttributeError, ArithmeticError),
    *(RuntimeError, MemoryError, struct.error, zlib.error, Image.DecompressionBombError),
)
# What turns an image upright, by the orientation in its EXIF data.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def open_image(
    path: Path, reader: PixelReader | None = None, check: Callable[[Path, tuple[int, int]], None] | None = None
) -> Image.Image:
    """Open one image in mode L or RGB, and rotate it according to its EXIF data.

    Args:
        path: Path of the image file.
        reader: Reader that converts pixels to bytes, shared by the images of a split; None for one of its own.
        check: Function called with path and size before decoding.

    Raises:
        DataError: The file cannot be read.
    """
    reader = reader or PixelReader(str(path))
    with _naming(path), Image.open(path) as opened:
        if check is not None:
            check(path, opened.size)
        opened.load()
        if opened.format == "JPEG" and opened.mode == "RGB":  # most photos: they need no copy
            return _turn(opened)
        image = reader.read_image(_turn(opened), str(path), image_format=opened.format)
        reader.note_frames(getattr(opened, "n_frames", 1))
        return image


def _turn(image: Image.Image) -> Image.Image:
    """Turn an image upright by its EXIF data; damaged ones say nothing.

    `ImageOps.exif_transpose` also writes the data anew, which fails for a sound image with one odd entry.
    """
    try:
        turn = _TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except _DAMAGE:
        return image
    return image if turn is None else image.transpose(turn)


def check_header(path: Path) -> None:
    """Check that a file begins as an image, without decoding it.

    Raises:
        DataError: The file cannot be read.
    """
    with _naming(path), Image.open(path):
        pass


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Name the file in errors of Pillow."""
    try:
        if not path.is_file():
            raise OSError("it is no file, or a link to a missing file")
        yield
    except _DAMAGE as error:
        raise DataError(
            f"{str(path)!r} cannot be read as an image" if "\n" in str(path) else f"{path} cannot be read as an image",
            _say(error, path),
            "Remove the file or replace it",
        ) from error


def _say(error: BaseException, path: Path) -> str:
    """Return the reason why a file cannot be read: what its first bytes show, or the error's own text."""
    if not path.is_file() or not isinstance(error, UnidentifiedImageError):
        return str(error)
    with path.open("rb") as file:
        start = file.read(256).lstrip().lower()
    if not start:
        return "The file is empty"
    known = next((name for mark, name in _OTHER_CONTENT.items() if mark in start), None)
    return f"Its content is {known}" if known else "Its content is no known image format"


def is_grey_file(path: Path) -> bool:
    """Whether the header of an image file says that it is grey; False for a damaged file."""
    try:
        with Image.open(path) as opened:
            return opened.mode in GREY_MODES
    except _DAMAGE:
        return False
