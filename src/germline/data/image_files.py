"""Images above 64 pixels, decoded and augmented by timm's transforms in worker processes."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from timm.data import create_transform
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from germline.errors import DataError

WORKERS = min(8, os.cpu_count() or 1)
Key = tuple[int, int]  # position of an image, and the seed of its augmentation


def open_image(path: Path, check: Callable[[Path, tuple[int, int]], None] | None = None) -> Image.Image:
    """Open one image and rotate it according to its EXIF data.

    Args:
        path: Path of the image file.
        check: Function called with path and size before decoding.

    Raises:
        DataError: The file cannot be read.
    """
    try:
        with Image.open(path) as opened:
            if check is not None:
                check(path, opened.size)
            opened.load()
            return ImageOps.exif_transpose(opened)
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        raise DataError(f"{path} cannot be read as an image", str(error), "Remove the file or replace it") from error


class _Decoded(Dataset[Tensor]):
    """Decoded pixels [3, side, side] in [0, 1] by key; the key seeds the random transforms."""

    def __init__(self, paths: Sequence[Path], transform: Callable[[Image.Image], Any]) -> None:
        self._paths, self._transform = paths, transform

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, key: Key) -> Tensor:
        index, seed = key
        random.seed(seed)
        np.random.seed(seed % 2**32)
        torch.manual_seed(seed)
        pixels: Tensor = self._transform(open_image(self._paths[index]).convert("RGB"))
        return pixels


def _transform(side: int, *, training: bool, mirror: bool = False) -> Any:
    # The network normalises its own input, so pixels stay in [0, 1].
    neutral = {"mean": (0.0,) * 3, "std": (1.0,) * 3, "interpolation": "bicubic"}
    if not training:
        return create_transform(side, is_training=False, crop_pct=0.875, **neutral)
    return create_transform(side, is_training=True, hflip=0.5 if mirror else 0.0, color_jitter=None, **neutral)


class FileStream:
    """Batches of decoded images by step; the next ones are prepared ahead.

    Args:
        paths: Paths of the image files.
        side: Height and width of the decoded images in pixels.
        plan: Function from a step to the positions of its images and the seeds of their augmentation.
        training: Whether crops are random; otherwise the centre of the image is used.
        mirror: Whether images may be mirrored in training.
    """

    def __init__(
        self, paths: Sequence[Path], side: int, plan: Callable[[int], list[Key]], *, training: bool, mirror: bool
    ) -> None:
        self._data = _Decoded(paths, _transform(side, training=training, mirror=mirror))
        self._plan, self._next, self._batches = plan, -1, iter(())

    def pixels(self, step: int) -> Tensor:
        """Return float32 pixels [B, 3, side, side] in [0, 1] of a step.

        Steps in order are fast; another step restarts the workers.
        """
        if step != self._next:
            steps = (self._plan(number) for number in count(step))
            self._batches = iter(_loader(self._data, steps))
        self._next = step + 1
        pixels: Tensor = next(self._batches)
        return pixels


def decode_images(paths: Sequence[Path], side: int, batch_size: int) -> Iterator[Tensor]:
    """Yield all images once, in order, centre-cropped: float32 [B, 3, side, side] in [0, 1]."""
    data = _Decoded(paths, _transform(side, training=False))
    keys = [(index, 0) for index in range(len(paths))]
    batches = (keys[start : start + batch_size] for start in range(0, len(keys), batch_size))
    yield from _loader(data, batches)


def decode_image(path: Path, side: int) -> Tensor:
    """Decode one image, centre-cropped as in an evaluation: float32 [3, side, side] in [0, 1]."""
    return _Decoded([path], _transform(side, training=False))[0, 0]


def _loader(data: _Decoded, batches: Iterator[list[Key]]) -> DataLoader[Tensor]:
    # With several torch threads per worker, the workers would compete for the cores.
    return DataLoader(data, batch_sampler=batches, num_workers=WORKERS, worker_init_fn=_one_thread)


def _one_thread(_: int) -> None:
    torch.set_num_threads(1)
