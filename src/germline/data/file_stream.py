"""Images above 64 pixels, decoded and augmented by timm's transforms in worker processes."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from timm.data import create_transform
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from germline.data.batch_memory import BatchMemory
from germline.data.image_files import open_image
from germline.data.pixels import warn_once
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
class _Task:
    """Images that one worker decodes: a part of a batch of `total` images, which is written to a slot of the memory."""

    slot: int
    total: int
    images: list[Copies]


@dataclass(frozen=True)
class DecodedChunk:
    """What a worker process says of a part of a batch, whose pixels it has written to shared memory.

    Attributes:
        slot: Index of the batch in the shared memory.
        total: Number of images in the whole batch.
        patches: Erased rectangles by place in the batch.
    """

    slot: int
    total: int
    patches: list[tuple[int, Patch]]


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
    """Decodes the images of a task into memory that processes share; the seed of a copy seeds its random transforms.

    The error of a damaged file is an item too: torch would wrap it in the traceback of a worker process.
    """

    def __init__(self, paths: Sequence[Path], transform: ImageTransform, memory: Tensor) -> None:
        self._paths, self._transform, self._memory = paths, transform, memory

    def __getitem__(self, task: _Task) -> DecodedChunk | DataError:
        with protect_random_state():
            return self._decode(task)

    def _decode(self, task: _Task) -> DecodedChunk | DataError:
        patches = []
        for index, copies in task.images:
            try:
                image = open_image(self._paths[index])
            except DataError as error:
                return error
            image = image if image.mode == "RGB" else image.convert("RGB")
            for place, seed in copies:
                seed_random_state(seed)
                patch = self._transform(image, self._memory[task.slot, place])
                if patch is not None:
                    patches.append((place, patch))
        return DecodedChunk(task.slot, task.total, patches)


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

    Each image of a batch is decoded once, and workers share the images of a batch in chunks. They write to one shared
    memory, which bounds the pixels in flight: it has `AHEAD` + 1 batches of 3 x side x side bytes per image. Erased
    rectangles add 4 bytes per element. Each worker also holds the image that it decodes, in its own size. On CUDA
    the batches on their way to the device take as much again as pinned memory. On the CPU, at most one unused batch of
    floats is held for the next one.

    Args:
        paths: Paths of the image files.
        side: Height and width of the decoded images in pixels.
        plan: Function from a step to the positions of its images and the seeds of their augmentation.
        size: Most images of a step.
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
        self._paths, self._side = paths, side
        self._transform = ImageTransform(side, training=training, mirror=mirror, policy=policy)
        self._plan, self._size, self._device = plan, size, torch.device(device)
        self._next, self._batches = -1, _no_batches()

    def pixels(self, step: int) -> Tensor:
        """Return float32 pixels [B, 3, side, side] of a step, in [0, 1] but for erased rectangles.

        Steps in order are fast; another step restarts the workers.
        """
        if step != self._next:
            self._batches = _no_batches()  # frees memory
            self._batches = _decode_batches(
                self._paths, self._side, self._transform, map(self._plan, count(step)), self._size, self._device
            )
        self._next = step + 1
        batch = next(self._batches)
        if isinstance(batch, DataError):
            self._next, self._batches = -1, _no_batches()  # stops the workers before the error is shown
        return _check(batch)


def decode_images(
    paths: Sequence[Path], side: int, batch_size: int, device: torch.device | str = "cpu"
) -> Iterator[Tensor]:
    """Yield all images once, in order, centre-cropped: float32 [B, 3, side, side] in [0, 1] on the device."""
    transform, size = ImageTransform(side, training=False), min(batch_size, len(paths))
    keys = [(index, 0) for index in range(len(paths))]
    batches = (keys[start : start + batch_size] for start in range(0, len(keys), batch_size))
    decoded = _decode_batches(paths, side, transform, batches, size, torch.device(device))
    try:
        for batch in decoded:
            yield _check(batch)
    finally:
        del decoded  # stops the workers, also where an error keeps this frame alive


def decode_image(path: Path, side: int) -> Tensor:
    """Decode one image, centre-cropped as in an evaluation: float32 [3, side, side] in [0, 1]."""
    memory = torch.empty(1, 1, 3, side, side, dtype=torch.uint8)
    chunk = _Decoder([path], ImageTransform(side, training=False), memory)[_Task(0, 1, [(0, [(0, 0)])])]
    if isinstance(chunk, DataError):
        raise chunk
    return memory[0, 0].float().div_(255)


def _no_batches() -> Iterator[Tensor | DataError]:
    return iter(())


def _check(batch: Tensor | DataError) -> Tensor:
    if isinstance(batch, DataError):
        raise batch
    return batch


def _decode_batches(
    paths: Sequence[Path],
    side: int,
    transform: ImageTransform,
    batches: Iterator[list[Key]],
    size: int,
    device: torch.device,
) -> Iterator[Tensor | DataError]:
    """Yield the batches on the device; the error of a damaged file is the last item."""
    workers = min(WORKERS, size)
    memory: Any = torch.empty(AHEAD + 1, size, 3, side, side, dtype=torch.uint8)
    workers = workers if workers and _share(memory) else 0
    parts = max(1, workers) * math.ceil(size / (max(1, workers) * CHUNK_IMAGES))
    decoder = _Decoder(paths, transform, memory)
    chunks = iter(_load_chunks(decoder, _list_tasks(batches, parts), workers, AHEAD * parts))
    floats = BatchMemory()
    while (batch := _assemble(chunks, parts, memory, floats, device)) is not None:
        yield batch
        del batch  # else the batch would stay in memory while the next one is put together


def _share(memory: Any) -> bool:
    """Move memory to where processes share it; False, with a warning, if the system has too little of that."""
    try:
        memory.share_memory_()
    except RuntimeError as error:
        warn_once(
            f"Images are decoded in one process, which is slow: {memory.nbytes / 1e6:,.0f} MB of shared memory are not "
            f"available ({str(error).splitlines()[0]}). Use a smaller batch_size, or more shared memory, such as "
            "--shm-size=2g of Docker."
        )
        return False
    return True


def _list_tasks(batches: Iterator[list[Key]], parts: int) -> Iterator[_Task]:
    """Cut batches into tasks; a slot is used again after `AHEAD` other batches."""
    return (
        _Task(number % (AHEAD + 1), len(keys), images)
        for number, keys in enumerate(batches)
        for images in cut_batch(keys, parts)
    )


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
        # Without it, the first batch of a process would draw a seed from torch's global generator, which a resumed run
        # would do at another step.
        generator=torch.Generator().manual_seed(0),
    )


def _keep(chunk: Any) -> Any:
    return chunk


def _use_one_thread(_: int) -> None:
    torch.set_num_threads(1)


def _assemble(
    chunks: Iterator[DecodedChunk | DataError], parts: int, memory: Tensor, floats: BatchMemory, device: torch.device
) -> Tensor | DataError | None:
    """Wait for the parts of the next batch, and convert it to floats on the device; None after the last batch."""
    done = list(islice(chunks, parts))
    for chunk in done:
        if isinstance(chunk, DataError):
            return chunk
    finished = [chunk for chunk in done if isinstance(chunk, DecodedChunk)]
    if not finished:
        return None
    # The slot must be read before the next chunk is asked for, since workers may then write to it.
    batch = memory[finished[0].slot, : finished[0].total]
    pixels = floats.convert(batch) if device.type == "cpu" else _send(batch, device).float().div_(255)
    patches = [patch for chunk in finished for patch in chunk.patches]
    if patches:
        sizes = [patch.noise.numel() for _, patch in patches]
        noise = _send(torch.cat([patch.noise.flatten() for _, patch in patches]), device)
        for (place, patch), values in zip(patches, torch.split(noise, sizes), strict=True):
            patch.write(pixels[place], values)
    return pixels


def _send(tensor: Tensor, device: torch.device) -> Tensor:
    """Copy a tensor to the device, through pinned memory to CUDA; torch reuses it only after the copy."""
    if device.type != "cuda":
        return tensor.to(device)
    return torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True).copy_(tensor).to(device, non_blocking=True)
