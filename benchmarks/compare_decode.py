"""Speed of images in files at 224 pixels: libraries that decode, and our loader against bare decoding and timm's.

Targets: at least 0.95 of the images per second of decoding and cropping without a loader, and 1.0 of timm's loader with
the same crops. Loaders return batches of floats. Bare decoding is measured without and with that conversion.

Each side runs with a few and with many batches. The difference of both is the time of running processes: starting them
is left out, and reported apart. Images per second are those of cores that are busy all the time: the inverse of the
processor time of all processes. So other work on the machine counts little. The wall time is reported too.
"""

from __future__ import annotations

import gc
import multiprocessing
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from timm.data import create_loader
from torch.nn.functional import interpolate
from torch.utils.data import Dataset
from torchvision.io import ImageReadMode, decode_jpeg, read_file

from common import LEAST_ROUNDS, in_turn, keep, ratio, row, set_up
from germline.data import Augment, ImageFiles, Loader, file_stream
from germline.data.policy import seed_random_state

FILES, WIDTH, HEIGHT, QUALITY, SIDE, BATCH = 96, 500, 375, 90, 224, 128
FEW, MANY, ROUNDS, BUDGET_S = 1, 9, 8, 120.0  # batches of the two runs of a side
BARE_TARGET, TIMM_TARGET = 1 / 0.95, 1.0  # ratios of times


def draw_photo(seed: int) -> Image.Image:
    """Draw an image with structure at all scales and some noise, so that its JPEG is about as large as a photo's."""
    draws = np.random.default_rng(seed)
    pixels = draws.normal(size=(HEIGHT, WIDTH, 3)).astype(np.float32) * 0.11
    for octave in range(1, 9):
        for channel in range(3):
            coarse = Image.fromarray(draws.normal(size=(2**octave, 2**octave)).astype(np.float32))
            pixels[..., channel] += np.asarray(coarse.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)) * 1.6**-octave
    pixels = (pixels - pixels.mean()) / pixels.std()
    return Image.fromarray((pixels * 55 + 120).clip(0, 255).astype(np.uint8))


def load_with_pillow(path: Path) -> Image.Image:
    """Decode with Pillow, as germline does."""
    with Image.open(path) as image:
        image.load()
    return image


def load_draft(path: Path) -> Image.Image:
    """Decode with Pillow at half the size, where that is still as large as the crop."""
    with Image.open(path) as image:
        image.draft("RGB", (SIDE // 2, SIDE // 2))
        image.load()
    return image


def load_with_torchvision(path: Path) -> torch.Tensor:
    """Decode with torchvision to uint8 [3, H, W]."""
    pixels: torch.Tensor = decode_jpeg(read_file(str(path)), mode=ImageReadMode.RGB)
    return pixels


def resize_with_torch(image: Image.Image) -> torch.Tensor:
    """Resize with torch's kernel for bytes, to uint8 [1, 3, SIDE, SIDE]."""
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None]
    return interpolate(pixels, size=(SIDE, SIDE), mode="bicubic", antialias=True)


def resize_with_pillow(image: Image.Image) -> Image.Image:
    """Resize with Pillow, as germline does."""
    return image.resize((SIDE, SIDE), Image.Resampling.BICUBIC)


def compare_libraries(paths: list[Path]) -> dict[str, Any]:
    """Time each library in one process, and count the pixels that differ from Pillow's."""
    sample = paths[:32]
    images = [load_with_pillow(path) for path in sample]
    sides: dict[str, Callable[[], Any]] = {
        name: partial(_repeat, function, sample)
        for name, function in (
            ("pillow", load_with_pillow),
            ("draft", load_draft),
            ("torchvision", load_with_torchvision),
        )
    }
    sides |= {"pillow resize": partial(_repeat, resize_with_pillow, images)}
    sides |= {"torch resize": partial(_repeat, resize_with_torch, images)}
    seconds = in_turn(sides, 12, warmup=1, budget_s=15)
    facts: dict[str, Any] = {
        name: {"ms_per_image": statistics.median(taken) / len(sample) * 1e3} for name, taken in seconds.items()
    }
    decoded = [
        (np.asarray(image), load_with_torchvision(path).permute(1, 2, 0).numpy())
        for image, path in zip(images, sample, strict=True)
    ]
    resized = [
        (np.asarray(resize_with_pillow(image)), resize_with_torch(image)[0].permute(1, 2, 0).numpy())
        for image in images
    ]
    for name, peer, pairs in (("torchvision", "pillow", decoded), ("torch resize", "pillow resize", resized)):
        differences = [np.abs(first.astype(int) - second.astype(int)) for first, second in pairs]
        facts[name]["different_share"] = float(np.mean([(difference > 0).mean() for difference in differences]))
        facts[name]["largest_difference"] = int(max(difference.max() for difference in differences))
        facts[name]["times_as_fast"] = 1 / ratio(seconds[name], seconds[peer])["ratio"]
    facts["draft"]["times_as_fast"] = 1 / ratio(seconds["draft"], seconds["pillow"])["ratio"]
    facts["draft"]["size"] = list(load_draft(sample[0]).size)
    return facts


def _repeat(function: Callable[[Any], Any], items: list[Any]) -> None:
    for item in items:
        function(item)


def decode_files(paths: list[Path], batches: int, *, crop: bool = False, floats: bool = False) -> None:
    """Decode the images of some batches in one process per core, and crop them as the loader does."""
    context, parts = multiprocessing.get_context("fork"), {"crop": crop, "floats": floats}
    ranks = range(file_stream.WORKERS)
    processes = [context.Process(target=decode_share, args=(paths, batches, rank), kwargs=parts) for rank in ranks]
    for process in processes:
        process.start()
    for process in processes:
        process.join()


def decode_share(paths: list[Path], batches: int, rank: int, *, crop: bool, floats: bool) -> None:
    """Decode every image of one process."""
    transform = file_stream.ImageTransform(SIDE, training=True, mirror=True)
    pixels = torch.empty(3, SIDE, SIDE, dtype=torch.uint8)
    batch = torch.empty(BATCH, 3, SIDE, SIDE) if floats else None
    for number in range(rank, batches * BATCH, file_stream.WORKERS):
        image = load_with_pillow(paths[number % len(paths)])
        if crop:
            seed_random_state(number)
            transform(image, pixels)
        if batch is not None:
            batch[number % BATCH].copy_(pixels).div_(255)


def load_ours(images: Any, batches: int) -> None:
    """Load some batches with our loader's processes, which then end."""
    schedule = Loader(images, BATCH, seed=0, augment=Augment(("shift", "mirror")))._schedule
    transform = file_stream.ImageTransform(SIDE, training=True, mirror=True)
    plans = map(schedule.plan, range(batches))
    for _ in file_stream._decode_batches(images.paths, SIDE, transform, plans, BATCH, torch.device("cpu")):
        pass


def load_with_timm(paths: list[Path], batches: int, *, prefetcher: bool) -> None:
    """Load as many images with timm's loader and the same crops; its processes then end."""
    loader = create_loader(
        Photos(paths, batches * BATCH),
        (3, SIDE, SIDE),
        BATCH,
        is_training=True,
        use_prefetcher=prefetcher,
        hflip=0.5,
        color_jitter=None,
        interpolation="bicubic",
        mean=(0.0,) * 3,
        std=(1.0,) * 3,
        num_workers=file_stream.WORKERS,
        device=torch.device("cpu"),
        persistent_workers=False,
    )
    for _ in loader:
        pass


class Photos(Dataset[tuple[Any, int]]):
    """As many images as asked for, opened as timm's `ImageDataset` does."""

    def __init__(self, paths: list[Path], count: int) -> None:
        self._paths, self._count, self.transform = paths, count, None

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> tuple[Any, int]:
        image = Image.open(self._paths[index % len(self._paths)]).convert("RGB")
        return (image if self.transform is None else self.transform(image)), 0


def time_side(side: Callable[[int], None]) -> tuple[float, float, float]:
    """Return the processor time and the wall time of the batches that `MANY` has more than `FEW`, and of the start.

    Returns:
        Processor time of all processes, wall time, and wall time of the start, in seconds.
    """
    (little, short), (much, long) = (time_batches(side, batches) for batches in (FEW, MANY))
    return much - little, long - short, short - (long - short) * FEW / (MANY - FEW)


def time_batches(side: Callable[[int], None], batches: int) -> tuple[float, float]:
    """Return the processor time of all processes, and the wall time, in seconds."""
    before, start = measure_processor(), time.perf_counter()
    side(batches)
    gc.collect()
    return measure_processor() - before, time.perf_counter() - start


def measure_processor() -> float:
    """Return the processor time of this process and of those that have ended, in seconds."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def main() -> None:
    """Draw images, and compare libraries and loaders."""
    set_up(__doc__)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        paths = [Path(name) / f"{number}.jpg" for number in range(FILES)]
        for number, path in enumerate(paths):
            draw_photo(number).save(path, quality=QUALITY)
        labels = torch.zeros(MANY * BATCH, dtype=torch.int64)
        images = ImageFiles(labels, ("photo",), tuple((paths * (len(labels) // FILES + 1))[: len(labels)]), SIDE)
        kilobytes = statistics.mean(path.stat().st_size for path in paths) / 1e3
        libraries = compare_libraries(paths)
        for library, facts in libraries.items():
            print(f"{library}: {facts}", flush=True)
        sides: dict[str, Callable[[int], None]] = {
            "bare decode": partial(decode_files, paths),
            "bare decode and crop": partial(decode_files, paths, crop=True),
            "bare decode and crop to floats": partial(decode_files, paths, crop=True, floats=True),
            "ours": partial(load_ours, images),
            "timm": partial(load_with_timm, paths, prefetcher=False),
            "timm with prefetcher": partial(load_with_timm, paths, prefetcher=True),
        }
        taken: dict[str, list[tuple[float, float, float]]] = {side: [] for side in sides}
        end = time.perf_counter() + BUDGET_S
        for index in range(ROUNDS):
            if index >= LEAST_ROUNDS and time.perf_counter() > end:
                break
            for side in list(sides) if index % 2 else reversed(sides):
                taken[side].append(time_side(sides[side]))
    processor, wall, start = ({side: [row[kind] for row in rows] for side, rows in taken.items()} for kind in range(3))
    cores, count = file_stream.WORKERS, (MANY - FEW) * BATCH
    rates = {side: round(cores * count / statistics.median(seconds)) for side, seconds in processor.items()}
    best = min(("timm", "timm with prefetcher"), key=lambda side: statistics.median(processor[side]))
    case = f"{MANY - FEW} batches of {BATCH}"
    bare = ("bare decode and crop", "bare decode and crop to floats")
    rows = [
        *(row(f"{case}, {side}", processor["ours"], processor[side], BARE_TARGET) for side in bare),
        row(f"{case}, {best}", processor["ours"], processor[best], TIMM_TARGET),
    ]
    print(f"images/s of {cores} busy cores:", ", ".join(f"{side} {value:,}" for side, value in rates.items()))
    keep(
        "decode-cpu",
        rows,
        images={"files": FILES, "width": WIDTH, "height": HEIGHT, "kilobytes": round(kilobytes, 1)},
        cores=cores,
        images_per_second_of_busy_cores=rates,
        share_of_bare_decode_without_crop=ratio(processor["bare decode"], processor["ours"]),
        wall_images_per_second={side: round(count / statistics.median(wall[side])) for side in sides},
        start_seconds={side: round(statistics.median(start[side]), 2) for side in sides},
        wall_time_over_timm=ratio(wall["ours"], wall[best]),
        libraries=libraries,
    )


if __name__ == "__main__":
    main()
