"""Part on loading: batches at 32 pixels on the device, and files at 224 pixels against bare decoding."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from timm.data import create_loader
from torch import Tensor
from torch.utils.data import Dataset

from germline.data import Augment, ImageFiles, Images, Loader
from gpu.bench import rounds
from gpu.plain import PilBatches, PilImages, PlainBatches
from gpu.record import SEED, Recorder, make_row, measure_in_turn, read_clock

AUGMENT = Augment(("shift", "mirror"))
CLASSES = 10


def measure_loaders(recorder: Recorder) -> None:
    """Measure images per second of the loader in memory, then from JPEG and PNG files."""
    _measure_memory(recorder)
    kinds = ("jpg",) if recorder.is_dry else ("jpg", "png")
    for index, kind in enumerate(kinds):
        _measure_files(recorder, kind, recorder.share(len(kinds) - index))


def _measure_memory(recorder: Recorder) -> None:
    count, batch, steps = (256, 32, 4) if recorder.is_dry else (50_000, 128, 400)
    name = f"in memory, 32 px, batch {batch}"
    with recorder.case(name):
        torch.manual_seed(SEED)
        pixels = torch.randint(256, (count, 3, 32, 32), dtype=torch.uint8)
        labels, names = torch.randint(CLASSES, (count,)), tuple(str(index) for index in range(CLASSES))
        images = Images(pixels.to(recorder.device), labels.to(recorder.device), names)
        loader = Loader(images, batch, SEED, augment=AUGMENT, device=recorder.device)
        plain = PlainBatches(images.images, labels.to(recorder.device), batch)
        workers = min(8, os.cpu_count() or 1)
        slow = PilBatches(PilImages(pixels, labels), batch, workers, recorder.device)
        done = 0

        def ours(steps: int) -> None:
            nonlocal done
            for step in range(done, done + steps):
                loader.batch(step)
            done += steps

        def by_hand(steps: int) -> None:
            for _ in range(steps):
                plain.next()

        def with_workers(steps: int) -> float:
            slow.start()
            for _ in range(2 * workers):
                slow.next()
            taken = _time(recorder.device, lambda: [slow.next() for _ in range(steps)])
            slow.stop()
            return taken

        few = max(1, steps // 10)  # a DataLoader is much slower
        sides = {
            "ours": lambda: _time(recorder.device, lambda: ours(steps)),
            "plain": lambda: _time(recorder.device, lambda: by_hand(steps)),
            f"DataLoader, {workers} workers": lambda: with_workers(few) * steps / few,
        }
        seconds = measure_in_turn(sides, rounds=rounds(recorder), budget_s=recorder.share(4), least=2)
        recorder.add(make_row(name, seconds, steps * batch, "images/s", [side for side in sides if side != "ours"]))


def _measure_files(recorder: Recorder, kind: str, budget_s: float) -> None:
    count, batch, steps, side = (16, 4, 3, 48) if recorder.is_dry else (64, 32, 24, 224)
    workers = _count_workers()
    name = f"{kind} files, {side} px, batch {batch}, {workers} workers"
    with recorder.case(name):
        paths = write_files(recorder.scratch, kind, count, (3 * side // 2, 9 * side // 4))
        labels, names = torch.arange(count) % CLASSES, tuple(str(index) for index in range(CLASSES))
        files = ImageFiles(labels, names, paths, side=side)
        ahead = 2 * workers  # what workers have prepared when the clock starts is not counted

        def ours() -> float:
            loader = Loader(files, batch, SEED, augment=Augment(("mirror",)), device=recorder.device)
            for step in range(ahead):
                loader.batch(step)
            return _time(recorder.device, lambda: [loader.batch(step) for step in range(ahead, ahead + steps)])

        def timm() -> float:
            batches = iter(_timm_loader(paths, batch, side, workers, batch * (ahead + steps)))
            for _ in range(ahead):
                next(batches)
            return _time(recorder.device, lambda: [_move(next(batches)[0], recorder.device) for _ in range(steps)])

        def decoding() -> float:
            # Each process decodes a share of as many files.
            wanted = [str(paths[index % count]) for index in range(batch * steps)]
            with ProcessPoolExecutor(workers, get_context("fork"), torch.set_num_threads, (1,)) as pool:
                list(pool.map(decode_bare, wanted[: 2 * workers]))
                return _time("cpu", lambda: list(pool.map(decode_bare, wanted, chunksize=batch // 4)))

        sides: dict[str, Callable[[], float]] = {"ours": ours, "timm": timm, "bare decoding": decoding}
        seconds = measure_in_turn(sides, rounds=4, budget_s=budget_s, warmup=0, least=2)
        peers = ["timm", "bare decoding"]
        facts = {"bytes_per_file": sum(path.stat().st_size for path in paths) // count}
        recorder.add(make_row(name, seconds, steps * batch, "images/s", peers, **facts))


class _Files(Dataset[tuple[Any, int]]):
    """Files as timm's loader reads them: it sets `transform`."""

    def __init__(self, paths: tuple[Path, ...], length: int) -> None:
        self._paths, self._length = paths, length
        self.transform: Callable[[Image.Image], Any] = lambda image: image

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> tuple[Any, int]:
        image = Image.open(self._paths[index % len(self._paths)]).convert("RGB")
        return self.transform(image), index % CLASSES


def _timm_loader(paths: tuple[Path, ...], batch: int, side: int, workers: int, length: int) -> Iterator[Any]:
    """Return timm's loader with random crops and mirrored images, without its prefetcher."""
    loader: Iterator[Any] = create_loader(
        _Files(paths, length),
        (3, side, side),
        batch,
        is_training=True,
        use_prefetcher=False,
        color_jitter=None,
        interpolation="bicubic",
        num_workers=workers,
        pin_memory=torch.cuda.is_available(),
        persistent_workers=False,
    )
    return loader


def _move(pixels: Tensor, device: str) -> Tensor:
    return pixels.to(device, non_blocking=True)


def _count_workers() -> int:
    places = (sys.modules.get(f"germline.data.{name}") for name in ("file_stream", "image_files"))
    return next((int(place.WORKERS) for place in places if hasattr(place, "WORKERS")), min(8, os.cpu_count() or 1))


def _time(device: str, work: Callable[[], object]) -> float:
    start = read_clock(device)
    work()
    return start.until(read_clock(device))


def write_files(folder: Path, kind: str, count: int, size: tuple[int, int]) -> tuple[Path, ...]:
    """Write smooth random images of a height and a width, at JPEG's quality of 90; return their paths."""
    draw, paths = np.random.default_rng(SEED), []
    fine = draw.integers(-8, 9, (*size, 3), dtype=np.int16)
    options = {"quality": 90} if kind == "jpg" else {"compress_level": 1}
    for index in range(count):
        # Coarse noise, enlarged, with a little fine noise: photographs compress about as well.
        coarse = Image.fromarray(draw.integers(0, 256, (12, 16, 3), dtype=np.uint8)).resize(size[::-1], Image.BICUBIC)
        pixels = np.clip(np.asarray(coarse, dtype=np.int16) + fine, 0, 255).astype(np.uint8)
        path = folder / f"{index}.{kind}"
        Image.fromarray(pixels).save(path, **options)
        paths.append(path)
    return tuple(paths)


def decode_bare(path: str) -> int:
    """Decode a file into RGB and do nothing with it; return its number of pixels."""
    with Image.open(path) as image:
        return int(np.prod(image.convert("RGB").size))
