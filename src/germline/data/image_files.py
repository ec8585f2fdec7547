"""Images above 64 pixels, decoded and augmented by timm's transforms in worker processes."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from timm.data import create_transform
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate

from germline.data.pixels import GREY_MODES, PixelReader
from germline.data.policy import Policy, protect_random_state, seed_random_state
from germline.errors import DataError

WORKERS = min(8, os.cpu_count() or 1)
Key = tuple[int, int]  # position of an image, and the seed of its augmentation


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
        turned = ImageOps.exif_transpose(opened)
        image = reader.read_image(turned, str(path), image_format=opened.format)
        reader.note_frames(getattr(opened, "n_frames", 1))
        return image


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


class _Decoded(Dataset[Tensor | DataError]):
    """Decoded pixels [3, side, side] in [0, 1] by key; the key seeds the random transforms.

    The error of a damaged file is an item too: torch would wrap it in the traceback of a worker process.
    """

    def __init__(self, paths: Sequence[Path], transform: Callable[[Image.Image], Any]) -> None:
        self._paths, self._transform = paths, transform

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, key: Key) -> Tensor | DataError:
        index, seed = key
        try:
            image = open_image(self._paths[index])
        except DataError as error:
            return error
        with protect_random_state():
            seed_random_state(seed)
            pixels: Tensor = self._transform(image.convert("RGB"))
        return pixels


def _transform(side: int, *, training: bool, mirror: bool = False, policy: Policy | None = None) -> Any:
    # The network normalises its own input, so pixels stay in [0, 1].
    neutral = {"mean": (0.0,) * 3, "std": (1.0,) * 3, "interpolation": "bicubic"}
    if not training:
        return create_transform(side, is_training=False, crop_pct=0.875, **neutral)
    augmented = {**neutral, "is_training": True, "hflip": 0.5 if mirror else 0.0, "color_jitter": None}
    if policy is None:
        return create_transform(side, **augmented)
    crop, _, convert = create_transform(side, **augmented, separate=True)
    return _Chain((crop, policy.change_colours, convert, policy.erase))


@dataclass(frozen=True)
class _Chain:
    """Functions that are applied one after the other."""

    parts: tuple[Callable[[Any], Any], ...]

    def __call__(self, value: Any) -> Any:
        for part in self.parts:
            value = part(value)
        return value


class FileStream:
    """Batches of decoded images by step; the next ones are prepared ahead.

    Args:
        paths: Paths of the image files.
        side: Height and width of the decoded images in pixels.
        plan: Function from a step to the positions of its images and the seeds of their augmentation.
        training: Whether crops are random; otherwise the centre of the image is used.
        mirror: Whether images may be mirrored in training.
        policy: Further random changes in training; None for none.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        side: int,
        plan: Callable[[int], list[Key]],
        *,
        training: bool,
        mirror: bool,
        policy: Policy | None = None,
    ) -> None:
        self._data = _Decoded(paths, _transform(side, training=training, mirror=mirror, policy=policy))
        self._plan, self._next, self._batches = plan, -1, iter(())

    def pixels(self, step: int) -> Tensor:
        """Return float32 pixels [B, 3, side, side] in [0, 1] of a step.

        Steps in order are fast; another step restarts the workers.
        """
        if step != self._next:
            self._batches = iter(_loader(self._data, map(self._plan, count(step))))
        self._next = step + 1
        batch: Tensor | DataError = next(self._batches)
        if isinstance(batch, DataError):
            self._next, self._batches = -1, iter(())  # stops the workers before the error is shown
        return _check(batch)


def decode_images(paths: Sequence[Path], side: int, batch_size: int) -> Iterator[Tensor]:
    """Yield all images once, in order, centre-cropped: float32 [B, 3, side, side] in [0, 1]."""
    data = _Decoded(paths, _transform(side, training=False))
    keys = [(index, 0) for index in range(len(paths))]
    batches = (keys[start : start + batch_size] for start in range(0, len(keys), batch_size))
    decoded = iter(_loader(data, batches))
    try:
        for batch in decoded:
            yield _check(batch)
    finally:
        del decoded  # stops the workers, also where an error keeps this frame alive


def decode_image(path: Path, side: int) -> Tensor:
    """Decode one image, centre-cropped as in an evaluation: float32 [3, side, side] in [0, 1]."""
    return _check(_Decoded([path], _transform(side, training=False))[0, 0])


def _collate(items: list[Tensor | DataError]) -> Tensor | DataError:
    damaged = next((item for item in items if isinstance(item, DataError)), None)
    if damaged is not None:
        return damaged
    batch: Tensor = default_collate(items)
    return batch


def _check(batch: Tensor | DataError) -> Tensor:
    if isinstance(batch, DataError):
        raise batch
    return batch


def _loader(data: _Decoded, batches: Iterator[list[Key]]) -> DataLoader[Tensor | DataError]:
    # With several torch threads per worker, the workers would compete for the cores.
    return DataLoader(data, batch_sampler=batches, num_workers=WORKERS, worker_init_fn=_one_thread, collate_fn=_collate)


def _one_thread(_: int) -> None:
    torch.set_num_threads(1)
