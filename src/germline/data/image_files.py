"""Pictures of more than 64 pixels: decoded and augmented by timm's transforms in worker processes."""

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
Key = tuple[int, int]  # position of a picture, and the seed of its augmentation


def open_image(path: Path, check: Callable[[Path, tuple[int, int]], None] | None = None) -> Image.Image:
    """Open one picture, turned as its camera says.

    Args:
        path: The file.
        check: Called with its size before it is decoded.

    Raises:
        DataError: It cannot be read.
    """
    try:
        with Image.open(path) as opened:
            if check is not None:
                check(path, opened.size)
            opened.load()
            return ImageOps.exif_transpose(opened)
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        raise DataError(f"{path} cannot be read as a picture", str(error), "mend it or take it away") from error


class _Decoded(Dataset[Tensor]):
    """Pixels [3, side, side] in [0, 1] by key; the transform draws from generators that the key seeds."""

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
    # The mean and deviation are the network's own business: pixels stay in [0, 1].
    neutral = {"mean": (0.0,) * 3, "std": (1.0,) * 3, "interpolation": "bicubic"}
    if not training:
        return create_transform(side, is_training=False, crop_pct=0.875, **neutral)
    return create_transform(side, is_training=True, hflip=0.5 if mirror else 0.0, color_jitter=None, **neutral)


class FileStream:
    """Batches of decoded pictures by step, the following ones made ahead.

    Args:
        paths: One image file each.
        side: Height and width of the decoded images in pixels.
        plan: For a step, the positions of its pictures and the seed of each one's augmentation.
        training: Random crops, and mirrors where allowed; else the middle of the picture.
        mirror: Whether pictures may be mirrored.
    """

    def __init__(
        self, paths: Sequence[Path], side: int, plan: Callable[[int], list[Key]], *, training: bool, mirror: bool
    ) -> None:
        self._data = _Decoded(paths, _transform(side, training=training, mirror=mirror))
        self._plan, self._next, self._batches = plan, -1, iter(())

    def pixels(self, step: int) -> Tensor:
        """float32 [B, 3, side, side] in [0, 1] of a step; in order is quick, a jump starts anew."""
        if step != self._next:
            steps = (self._plan(number) for number in count(step))
            self._batches = iter(_loader(self._data, steps))
        self._next = step + 1
        pixels: Tensor = next(self._batches)
        return pixels


def decode_images(paths: Sequence[Path], side: int, batch_size: int) -> Iterator[Tensor]:
    """All pictures once, in their order, the middle of each: float32 [B, 3, side, side] in [0, 1]."""
    data = _Decoded(paths, _transform(side, training=False))
    keys = [(index, 0) for index in range(len(paths))]
    batches = (keys[start : start + batch_size] for start in range(0, len(keys), batch_size))
    yield from _loader(data, batches)


def _loader(data: _Decoded, batches: Iterator[list[Key]]) -> DataLoader[Tensor]:
    # Threads of torch's own in every worker would only get in each other's way.
    return DataLoader(data, batch_sampler=batches, num_workers=WORKERS, worker_init_fn=_one_thread)


def _one_thread(_: int) -> None:
    torch.set_num_threads(1)
