"""Speed of the loader against torchvision's transforms in a DataLoader at 32 px; target >= 5 times.

Also the speed with each augmentation of the papers, as a share of the speed without.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, RandomSampler
from torchvision.transforms import Compose, RandomCrop, RandomHorizontalFlip, ToTensor

from common import in_turn, keep, row, set_up
from germline.data import Augment, Images, Loader, Policy

IMAGES, SIDE, BATCH, CLASSES = 50_000, 32, 128, 10
BATCHES, ROUNDS, BUDGET_S = 64, 40, 80.0  # batches in one timed piece
TARGET = 1 / 5  # share of the wall time
POLICY_BATCHES, POLICY_ROUNDS, POLICY_BUDGET_S = 2, 12, 60.0
POLICIES: dict[str, dict[str, Any]] = {
    "randaugment": {"randaugment": "rand-m9-mstd0.5-inc1"},
    "color_jitter": {"color_jitter": 0.4},
    "erasing": {"erasing": 0.25},
    "randaugment and erasing": {"randaugment": "rand-m9-mstd0.5-inc1", "erasing": 0.25},
}


class InMemory(Dataset[tuple[Any, int]]):
    """Data set like torchvision's CIFAR-10: an array whose rows become PIL images when read."""

    def __init__(self, images: Tensor, labels: Tensor) -> None:
        self._images, self._labels = images.permute(0, 2, 3, 1).contiguous().numpy(), labels.tolist()
        self._transform = Compose([RandomCrop(SIDE, padding=SIDE // 8), RandomHorizontalFlip(), ToTensor()])

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        return self._transform(Image.fromarray(self._images[index])), self._labels[index]


def ours(
    images: Tensor, labels: Tensor, batches: int = BATCHES, policy: Policy | None = None, repeats: int = 1
) -> Callable[[], None]:
    """Return a function that loads the next batches with our loader."""
    held = Images(images, labels, tuple(str(index) for index in range(CLASSES)))
    loader, done = Loader(held, BATCH, seed=0, augment=Augment(("shift", "mirror"), policy), repeats=repeats), 0

    def run() -> None:
        nonlocal done
        for step in range(done, done + batches):
            loader.batch(step)
        done += batches

    return run


def peer(data: InMemory, workers: int) -> Callable[[], None]:
    """Return a function that loads as many shuffled batches with a DataLoader; its workers persist."""
    sampler = RandomSampler(data, num_samples=BATCHES * BATCH)
    loader = DataLoader(data, BATCH, sampler=sampler, num_workers=workers, persistent_workers=workers > 0)

    def run() -> None:
        for _ in loader:
            pass

    return run


def rate(seconds: Sequence[float], batches: int = BATCHES) -> int:
    """Return images per second."""
    return round(batches * BATCH / statistics.median(seconds))


def measure_policies(images: Tensor, labels: Tensor) -> dict[str, dict[str, float]]:
    """Measure images per second with each augmentation, and the share of the speed without."""
    grey = (0.5,) * 3
    sides = {name: Policy(SIDE, grey, grey, **settings) for name, settings in POLICIES.items()}
    runs = {name: ours(images, labels, POLICY_BATCHES, policy) for name, policy in sides.items()}
    runs |= {"none": ours(images, labels, POLICY_BATCHES), "repeats": ours(images, labels, POLICY_BATCHES, repeats=3)}
    seconds = in_turn(runs, POLICY_ROUNDS, budget_s=POLICY_BUDGET_S)
    rates = {name: rate(taken, POLICY_BATCHES) for name, taken in seconds.items()}
    return {
        name: {"images_per_second": value, "share_of_none": round(value / rates["none"], 4)}
        for name, value in rates.items()
    }


def main() -> None:
    """Compare our loader with the better of no workers and two."""
    set_up(__doc__)
    torch.manual_seed(0)
    images = torch.randint(0, 256, (IMAGES, 3, SIDE, SIDE), dtype=torch.uint8)
    labels = torch.randint(CLASSES, (IMAGES,))
    data = InMemory(images, labels)
    sides = {"ours": ours(images, labels), "0 workers": peer(data, 0), "2 workers": peer(data, 2)}
    seconds = in_turn(sides, ROUNDS, budget_s=BUDGET_S)
    best = min(("0 workers", "2 workers"), key=lambda name: statistics.median(seconds[name]))
    entry = row(f"{BATCHES} batches of {BATCH}, torchvision {best}", seconds["ours"], seconds[best], TARGET)
    rates = {name: rate(taken) for name, taken in seconds.items()}
    print("images/s:", ", ".join(f"{name} {value:,}" for name, value in rates.items()))
    times = {"times": 1 / entry["ratio"], "low": 1 / entry["high"], "high": 1 / entry["low"]}
    print(f"ours is {times['times']:.2f} [{times['low']:.2f}, {times['high']:.2f}] times as fast, target 5")
    policies = measure_policies(images, labels)
    for name, found in policies.items():
        print(f"{name}: {found['images_per_second']:,} images/s, {found['share_of_none']:.1%} of none")
    keep("loader", [entry], images_per_second=rates, times_as_fast=times, augmentation=policies)


if __name__ == "__main__":
    main()
