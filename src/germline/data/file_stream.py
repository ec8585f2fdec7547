"""Images above 64 pixels, decoded and augmented by timm's transforms in worker processes."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count, islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from timm.data import create_transform
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from germline.data.image_files import open_image
from germline.data.policy import Patch, Policy, protect_random_state, seed_random_state
from germline.errors import DataError

CHUNK_IMAGES = 16  # images in a chunk; more where an image occurs more often, or other processes have the partners
AHEAD = 2  # batches that are decoded ahead
Key = tuple[int, int]  # position of an image, and the seed of its augmentation
Copies = tuple[int, list[tuple[int, int]]]  # position of an image; place in the batch and seed of each copy


def count_workers() -> int:
    """Count the processes that decode: one per core of this process, shared with the training processes beside it."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


WORKERS = count_workers()


@dataclass(frozen=True)
class DecodedChunk:
    """Some images of a batch, as a worker process sends them.

    Attributes:
        total: Number of images in the whole batch.
        places: Places of the images in the batch, int64 [M].
        pixels: Pixels of the images, uint8 [M, 3, side, side].
        patches: Erased rectangles by place in the batch.
    """

    total: int
    places: Tensor
    pixels: Tensor
    patches: list[tuple[int, Patch]] = field(default_factory=list)


@dataclass(frozen=True)
class _Task:
    """Images that one worker decodes: a part of a batch of `total` images."""

    total: int
    images: list[Copies]


class ImageTransform:
    """Crops, colours and erasing of one image, with draws from the global generators.

    Args:
        side: Height and width of the result in pixels.
        training: Whether crops are random; otherwise the centre of the image is used.
        mirror: Whether images may be mirrored in training.
        policy: Further random changes in training; None for none.
    """

    def __init__(self, side: int, *, training: bool, mirror: bool = False, policy: Policy | None = None) -> None:
        # The network normalises its own input, so pixels are not normalised here.
        neutral: dict[str, Any] = {"mean": (0.0,) * 3, "std": (1.0,) * 3, "interpolation": "bicubic"}
        if training:
            augmented = {**neutral, "hflip": 0.5 if mirror else 0.0, "color_jitter": None}
            self._crop = create_transform(side, is_training=True, separate=True, **augmented)[0]
        else:
            self._crop = create_transform(side, is_training=False, crop_pct=0.875, **neutral)
            self._crop.transforms = self._crop.transforms[:2]  # without the conversion to floats
        self._policy = policy

    def __call__(self, image: Image.Image, pixels: Tensor) -> Patch | None:
        """Write a changed RGB image to uint8 pixels [3, side, side]; return the erased rectangle, if there is one."""
        changed: Image.Image = self._crop(image)
        if self._policy is not None:
            changed = self._policy.change_colours(changed)
        pixels.numpy()[...] = np.asarray(changed).transpose(2, 0, 1)
        return None if self._policy is None else self._policy.draw_patch(pixels.shape)


class _Decoder(Dataset[DecodedChunk | DataError]):
    """Decoded chunks by task; the seed of a copy seeds its random transforms.

    The error of a damaged file is an item too: torch would wrap it in the traceback of a worker process.
    """

    def __init__(self, paths: Sequence[Path], side: int, transform: ImageTransform) -> None:
        self._paths, self._side, self._transform = paths, side, transform

    def __getitem__(self, task: _Task) -> DecodedChunk | DataError:
        with protect_random_state():
            return self._decode(task)

    def _decode(self, task: _Task) -> DecodedChunk | DataError:
        places = [place for _, copies in task.images for place, _ in copies]
        pixels = torch.empty(len(places), 3, self._side, self._side, dtype=torch.uint8)
        chunk, done = DecodedChunk(task.total, torch.tensor(places, dtype=torch.int64), pixels), 0
        for index, copies in task.images:
            try:
                image = open_image(self._paths[index])
            except DataError as error:
                return error
            image = image if image.mode == "RGB" else image.convert("RGB")
            for place, seed in copies:
                seed_random_state(seed)
                patch = self._transform(image, pixels[done])
                if patch is not None:
                    chunk.patches.append((place, patch))
                done += 1
        return chunk


def cut_batch(keys: Sequence[Key], parts: int) -> list[list[Copies]]:
    """Cut a batch into `parts` lists of images, of about the same number of copies; each image is in one list."""
    copies: dict[int, list[tuple[int, int]]] = {}
    for place, (index, seed) in enumerate(keys):
        copies.setdefault(index, []).append((place, seed))
    chunks: list[list[Copies]] = [[] for _ in range(parts)]
    done = 0
    for item in copies.items():
        chunks[done * parts // len(keys)].append(item)
        done += len(item[1])
    return chunks


class FileStream:
    """Batches of decoded images by step; worker processes prepare the next ones.

    Each image of a batch is decoded once, and workers share the images of a batch in chunks. The bound on memory in
    flight is `AHEAD` + 2 batches. Chunks of `AHEAD` + 1 batches at most are decoded or wait, and one batch is put
    together. A batch takes 3 x side x side bytes per image, and 4 bytes per element of the erased rectangles. Each
    worker also holds the image that it decodes, in its own size.

    Args:
        paths: Paths of the image files.
        side: Height and width of the decoded images in pixels.
        plan: Function from a step to the positions of its images and the seeds of their augmentation.
        size: Usual number of images of a step, which sets the number of chunks.
        training: Whether crops are random; otherwise the centre of the image is used.
        mirror: Whether images may be mirrored in training.
        policy: Further random changes in training; None for none.
        device: Device of the batches.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        side: int,
        plan: Callable[[int], list[Key]],
        size: int,
        *,
        training: bool,
        mirror: bool,
        policy: Policy | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        self._decoder = _Decoder(paths, side, ImageTransform(side, training=training, mirror=mirror, policy=policy))
        self._plan, self._size, self._device = plan, size, torch.device(device)
        self._next, self._batches = -1, _no_batches()

    def pixels(self, step: int) -> Tensor:
        """Return float32 pixels [B, 3, side, side] of a step, in [0, 1] but for erased rectangles.

        Steps in order are fast; another step restarts the workers.
        """
        if step != self._next:
            self._batches = _decode_batches(self._decoder, map(self._plan, count(step)), self._size, self._device)
        self._next = step + 1
        batch = next(self._batches)
        if isinstance(batch, DataError):
            self._next, self._batches = -1, _no_batches()  # stops the workers before the error is shown
        return _check(batch)


def decode_images(
    paths: Sequence[Path], side: int, batch_size: int, device: torch.device | str = "cpu"
) -> Iterator[Tensor]:
    """Yield all images once, in order, centre-cropped: float32 [B, 3, side, side] in [0, 1] on the device."""
    decoder = _Decoder(paths, side, ImageTransform(side, training=False))
    keys = [(index, 0) for index in range(len(paths))]
    batches = (keys[start : start + batch_size] for start in range(0, len(keys), batch_size))
    decoded = _decode_batches(decoder, batches, min(batch_size, len(keys)), torch.device(device))
    try:
        for batch in decoded:
            yield _check(batch)
    finally:
        del decoded  # stops the workers, also where an error keeps this frame alive


def decode_image(path: Path, side: int) -> Tensor:
    """Decode one image, centre-cropped as in an evaluation: float32 [3, side, side] in [0, 1]."""
    decoder = _Decoder([path], side, ImageTransform(side, training=False))
    chunk = decoder[_Task(1, [(0, [(0, 0)])])]
    if isinstance(chunk, DataError):
        raise chunk
    return chunk.pixels[0].float().div_(255)


def _no_batches() -> Iterator[Tensor | DataError]:
    return iter(())


def _check(batch: Tensor | DataError) -> Tensor:
    if isinstance(batch, DataError):
        raise batch
    return batch


def _decode_batches(
    decoder: _Decoder, batches: Iterator[list[Key]], size: int, device: torch.device
) -> Iterator[Tensor | DataError]:
    """Yield the batches on the device; the error of a damaged file is the last item."""
    workers = min(WORKERS, size)
    parts = max(1, workers) * math.ceil(size / (max(1, workers) * CHUNK_IMAGES))
    chunks = iter(_load_chunks(decoder, _list_tasks(batches, parts), workers, AHEAD * parts))
    while (batch := _assemble(chunks, parts, device)) is not None:
        yield batch
        del batch  # else the batch would stay in memory while the next one is put together


def _list_tasks(batches: Iterator[list[Key]], parts: int) -> Iterator[_Task]:
    return (_Task(len(keys), images) for keys in batches for images in cut_batch(keys, parts))


def _load_chunks(
    decoder: _Decoder, tasks: Iterator[_Task], workers: int, ahead: int
) -> DataLoader[DecodedChunk | DataError]:
    """Decode tasks in worker processes, in order; `ahead` of them at most are drawn before their turn."""
    # With several torch threads per worker, the workers would compete for the cores.
    return DataLoader(
        decoder,
        batch_size=None,
        sampler=tasks,
        num_workers=workers,
        prefetch_factor=ahead // workers if workers else None,
        worker_init_fn=_use_one_thread,
        collate_fn=_keep,
    )


def _keep(chunk: Any) -> Any:
    return chunk


def _use_one_thread(_: int) -> None:
    torch.set_num_threads(1)


def _assemble(
    chunks: Iterator[DecodedChunk | DataError], parts: int, device: torch.device
) -> Tensor | DataError | None:
    """Put the next batch together and convert it to floats on the device; None after the last batch."""
    is_pinned, patches = device.type == "cuda", []
    batch = torch.empty(0, dtype=torch.uint8)
    for part, chunk in enumerate(islice(chunks, parts)):
        if isinstance(chunk, DataError):
            return chunk
        if not part:
            batch = torch.empty(chunk.total, *chunk.pixels.shape[1:], dtype=torch.uint8, pin_memory=is_pinned)
        batch.index_copy_(0, chunk.places, chunk.pixels)
        patches += chunk.patches
    if not len(batch):
        return None
    # torch reuses pinned memory only after the copies from it.
    pixels = batch.to(device, non_blocking=is_pinned).float().div_(255)
    if patches:
        noise = torch.empty(sum(patch.noise.numel() for _, patch in patches), pin_memory=is_pinned)
        torch.cat([patch.noise.flatten() for _, patch in patches], out=noise)
        sizes = [patch.noise.numel() for _, patch in patches]
        pieces = torch.split(noise.to(device, non_blocking=is_pinned), sizes)
        for (place, patch), values in zip(patches, pieces, strict=True):
            patch.write(pixels[place], values)
    return pixels
