"""Training loops without germline: one by hand in PyTorch, one with the step of timm's train script."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from timm.optim import create_optimizer_v2
from timm.scheduler import create_scheduler_v2
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, kl_div, log_softmax, pad
from torch.utils.data import DataLoader, Dataset, RandomSampler

from gpu.record import read_clock

LR, WEIGHT_DECAY, LOG_EVERY, TIMM_LOG_EVERY = 1e-4, 0.05, 10, 50
SKIPPED = 3  # steps ahead of the timed ones


class PlainBatches:
    """Shuffled batches of images on the device, cropped from a padded image and mirrored there."""

    def __init__(self, images: Tensor, labels: Tensor, batch: int) -> None:
        self.images, self.labels, self.batch = images, labels, batch
        self._order, self._at = torch.empty(0), len(images)
        self._rows = torch.arange(batch, device=images.device)

    def next(self) -> tuple[Tensor, Tensor]:
        """Return float pixels [B, C, H, W] in [0, 1], and labels."""
        if self._at + self.batch > len(self.images):
            self._order, self._at = torch.randperm(len(self.images), device=self.images.device), 0
        chosen = self._order[self._at : self._at + self.batch]
        self._at += self.batch
        return self.augment(self.images[chosen]), self.labels[chosen]

    def augment(self, images: Tensor) -> Tensor:
        """Crop by whole pixels and mirror half of the images."""
        side, margin = images.shape[-1], images.shape[-1] // 8
        places = torch.randint(2 * margin + 1, (2, len(images)), device=images.device)
        windows = pad(images, (margin,) * 4).unfold(2, side, 1).unfold(3, side, 1)
        pixels = windows[self._rows[: len(images)], :, places[0], places[1]].float().div_(255)
        mirrored = torch.rand(len(images), 1, 1, 1, device=images.device) < 0.5
        return torch.where(mirrored, pixels.flip(-1), pixels)


class PlainLoop:
    """Loop as one writes it by hand: cosine of the learning rate, fused AdamW, a loss read every ten steps."""

    def __init__(
        self,
        model: nn.Module,
        statistics: tuple[Tensor, Tensor],
        next_batch: Callable[[], tuple[Tensor, Tensor]],
        *,
        device: str,
        bf16: bool = False,
        channels_last: bool = False,
        teacher: nn.Module | None = None,
    ) -> None:
        self.model = model.to(device).train()
        if channels_last:
            self.model.to(memory_format=torch.channels_last)
        self._mean, self._std = (numbers.to(device).view(1, -1, 1, 1) for numbers in statistics)
        self._next, self._device, self._bf16, self._channels_last = next_batch, device, bf16, channels_last
        self._teacher = teacher.to(device).eval() if teacher is not None else None
        decayed = [parameter for parameter in model.parameters() if parameter.ndim > 1]
        others = [parameter for parameter in model.parameters() if parameter.ndim <= 1]
        groups = [{"params": decayed, "weight_decay": WEIGHT_DECAY}, {"params": others, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(groups, lr=LR, fused=True)
        self.losses: list[float] = []

    def run(self, steps: int) -> None:
        """Make steps."""
        for step in range(steps):
            rate = LR * 0.5 * (1 + math.cos(math.pi * step / steps))
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            pixels, labels = self._next()
            loss = self.loss(pixels, labels)
            loss.backward()
            self.optimizer.step()
            self.optimizer.zero_grad()
            if (step + 1) % LOG_EVERY == 0:
                self.losses.append(loss.item())

    def loss(self, pixels: Tensor, labels: Tensor) -> Tensor:
        """Compute cross entropy with the labels, or the divergence from the teacher."""
        inputs = (pixels - self._mean) / self._std
        if self._channels_last:
            inputs = inputs.contiguous(memory_format=torch.channels_last)
        with autocast(self._device, bf16=self._bf16):
            if self._teacher is None:
                return cross_entropy(self.model(inputs).float(), labels)
            with torch.no_grad():
                target = self._teacher(inputs)
            logits = self.model(inputs)
        target, student = log_softmax(target.float(), dim=1), log_softmax(logits.float(), dim=1)
        return kl_div(student, target, reduction="batchmean", log_target=True)

    def seconds(self, steps: int) -> float:
        """Return the seconds of so many steps, after a few others."""
        self.run(SKIPPED)
        start = read_clock(self._device)
        self.run(steps)
        return start.until(read_clock(self._device))


class TimmLoop:
    """The step of timm's train script on one prefetched batch: its optimiser, autocast, and scheduler."""

    def __init__(
        self, model: nn.Module, statistics: tuple[Tensor, Tensor], images: Tensor, labels: Tensor, *, bf16: bool
    ) -> None:
        self._model, self._images, self._labels, self._bf16 = model.to(images.device).train(), images, labels, bf16
        # The prefetcher of timm normalises pixels in [0, 255].
        self._mean, self._std = (255 * numbers.to(images.device).view(1, -1, 1, 1) for numbers in statistics)
        self._optimizer = create_optimizer_v2(self._model, opt="adamw", lr=LR, weight_decay=WEIGHT_DECAY)
        self._scheduler, _ = create_scheduler_v2(self._optimizer, sched="cosine", num_epochs=100, warmup_epochs=0)
        self._updates, self._loss = 0, nn.CrossEntropyLoss()

    def run(self, steps: int) -> None:
        """Make steps."""
        device = self._images.device.type
        for step in range(steps):
            inputs = self._images.float().sub_(self._mean).div_(self._std)
            with autocast(device, bf16=self._bf16):
                loss = self._loss(self._model(inputs), self._labels)
            loss.backward()
            self._optimizer.step()
            self._optimizer.zero_grad()
            self._updates += 1
            self._scheduler.step_update(num_updates=self._updates, metric=None)
            if (step + 1) % TIMM_LOG_EVERY == 0:
                loss.item()

    def seconds(self, steps: int) -> float:
        """Return the seconds of so many steps, after a few others."""
        self.run(SKIPPED)
        start = read_clock(self._images.device)
        self.run(steps)
        return start.until(read_clock(self._images.device))


class PilImages(Dataset[tuple[Tensor, int]]):
    """Images that become PIL images when read, and are cropped and mirrored one by one."""

    def __init__(self, images: Tensor, labels: Tensor) -> None:
        self._images, self._labels = images.permute(0, 2, 3, 1).contiguous().numpy(), labels.tolist()

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        array = self._images[index]
        image = Image.fromarray(array.squeeze(-1) if array.shape[-1] == 1 else array)
        margin, side = image.width // 8, image.width
        left, top = torch.randint(2 * margin + 1, (2,)).tolist()
        image = ImageOps.expand(image, margin).crop((left, top, left + side, top + side))
        image = ImageOps.mirror(image) if torch.rand(()) < 0.5 else image
        pixels = torch.from_numpy(np.array(image)).view(side, side, -1).permute(2, 0, 1)
        return pixels.float().div_(255), self._labels[index]


class PilBatches:
    """Batches of a DataLoader over PIL images, on the device; each timed piece starts its workers again.

    Workers that lived on would prepare batches while another side is timed.
    """

    def __init__(self, data: Dataset[Any], batch: int, workers: int, device: str) -> None:
        self._data, self._batch, self._device, self.workers = data, batch, device, workers
        self._batches: Iterator[Any] = iter(())

    def next(self) -> tuple[Tensor, Tensor]:
        """Return float pixels [B, C, H, W] in [0, 1], and labels."""
        pixels, labels = next(self._batches)
        return pixels.to(self._device, non_blocking=True), labels.to(self._device, non_blocking=True)

    def start(self) -> None:
        """Start the workers."""
        sampler = RandomSampler(self._data, replacement=True, num_samples=10**7)  # type: ignore[arg-type]
        is_cuda = self._device == "cuda"
        loader = DataLoader(
            self._data, self._batch, sampler=sampler, num_workers=self.workers, pin_memory=is_cuda, drop_last=True
        )
        self._batches = iter(loader)

    def stop(self) -> None:
        """Stop the workers."""
        self._batches = iter(())

    def seconds(self, loop: PlainLoop, steps: int) -> float:
        """Return the seconds of steps with these batches, after those that workers prepare ahead."""
        self.start()
        loop.run(SKIPPED + 2 * self.workers)
        start = read_clock(self._device)
        loop.run(steps)
        taken = start.until(read_clock(self._device))
        self.stop()
        return taken


def autocast(device: str, *, bf16: bool) -> AbstractContextManager[Any]:
    """Return bfloat16 autocast, or a context without effect."""
    return torch.autocast(device, torch.bfloat16) if bf16 else nullcontext()
