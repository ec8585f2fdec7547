"""One training case on a device: images, networks, and the sides that are timed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from germline.architectures import Preprocess
from germline.data import Images
from germline.network import Network
from germline.registry import architecture_of, model_spec
from germline.training import CrossEntropy, Distillation, Run, TrainSettings
from germline.training.objectives import Objective
from gpu.plain import LR, SKIPPED, PlainBatches, PlainLoop, TimmLoop
from gpu.record import SEED, Moment, Recorder, read_clock

CLASSES, AUGMENTATION = 100, ("shift", "mirror")
PRECISIONS = {"bf16-mixed": True, "32-true": False}  # and whether it is bfloat16; 32-true has TF32 on every side
OVERHEAD_TARGET = 1.03


@dataclass(frozen=True)
class Case:
    """Model, image side, batch size and steps of a measurement."""

    model: str
    side: int
    batch: int
    steps: int

    def name(self, precision: str) -> str:
        return f"{self.model}, {self.side} px, batch {self.batch}, {precision}"


LARGE = Case("vit_small16", 224, 128, 20)
CASES = (LARGE, Case("vgg11", 32, 128, 40), Case("vit_small4", 32, 128, 40), Case("vit_nano", 32, 128, 40))
SMALL = (Case("vit_nano", 32, 128, 60), Case("vgg11_x025", 32, 128, 60))
DRY = (Case("vit_pico", 32, 8, 2), Case("vgg11_x025", 32, 8, 2))


class Watch(Objective):
    """Objective that reads the clock ahead of the first timed step and of the last step.

    Set-up and end of a training are thus left out, as in a training of many steps.
    """

    device = "cpu"
    last = 0
    start = end = Moment(0.0, 0.0)

    def before_step(self, seed: int, name: str, step: int) -> None:
        if step == SKIPPED:
            self.start = read_clock(self.device)
        if step == self.last:
            self.end = read_clock(self.device)
        super().before_step(seed, name, step)


class WatchedCrossEntropy(Watch, CrossEntropy):
    """Cross entropy with a clock."""


class WatchedDistillation(Watch, Distillation):
    """Distillation with a clock."""


class Bench:
    """Images, statistics and models of one case on the device."""

    def __init__(self, case: Case, precision: str, device: str) -> None:
        torch.manual_seed(SEED)
        self.case, self.precision, self.device, self.is_bf16 = case, precision, device, PRECISIONS[precision]
        count = max(2 * case.batch, 512 if case.side > 64 else 4096)
        pixels = torch.randint(256, (count, 3, case.side, case.side), dtype=torch.uint8)
        labels = torch.randint(CLASSES, (count,))
        self.names = tuple(str(label) for label in range(CLASSES))
        self.preprocess = Preprocess.from_images(pixels[:64])
        self.images = Images(pixels.to(device), labels.to(device), self.names)
        self.spec = model_spec(case.model, image_size=case.side, channels=3, classes=CLASSES)
        # On CUDA this lets float32 of the whole process use TF32, so of all sides.
        self.run = Run(seed=SEED, device=device, precision=precision, tf32=True, quiet=True)

    @property
    def statistics(self) -> tuple[Tensor, Tensor]:
        """Mean and deviation, one per channel."""
        return torch.tensor(self.preprocess.mean), torch.tensor(self.preprocess.std)

    def network(self, model: torch.nn.Module | None = None) -> Network:
        """Return a network with fresh weights, or one around a model."""
        model = model if model is not None else architecture_of(self.spec).build(self.spec)
        return Network(model, self.preprocess, self.names, spec=self.spec)

    def ours(
        self, network: Network, objective: Watch, calls: list[float] | None = None, timed_steps: int = 0
    ) -> Callable[[], float]:
        """Return a side that calls `Run.fit`.

        Args:
            network: Network to train.
            objective: Loss with a clock.
            calls: List that gets the seconds of set-up and end per call.
            timed_steps: Number of timed steps; 0 takes that of the case.
        """
        timed_steps = timed_steps or self.case.steps
        steps = SKIPPED + timed_steps + 1
        settings = TrainSettings(steps=steps, batch_size=self.case.batch, lr=LR, warmup=0.0, checkpoint_every=10**6)
        objective.device, objective.last = self.device, steps - 1

        def measure() -> float:
            start = read_clock(self.device)
            self.run.fit("piece", network, objective, self.images, settings, augmentation=AUGMENTATION)
            whole, timed = start.until(read_clock(self.device)), objective.start.until(objective.end)
            if calls is not None:
                calls.append(whole - timed * steps / timed_steps)
            return timed

        return measure

    def plain(self, *, channels_last: bool = False, next_batch: Any = None, teacher: Any = None) -> PlainLoop:
        """Return the hand-written loop on the same images."""
        labels = self.images.labels
        assert labels is not None
        batches = next_batch or PlainBatches(self.images.images, labels, self.case.batch).next
        return PlainLoop(
            architecture_of(self.spec).build(self.spec),
            self.statistics,
            batches,
            device=self.device,
            bf16=self.is_bf16,
            channels_last=channels_last,
            teacher=teacher,
        )

    def timm(self) -> TimmLoop:
        """Return the loop with timm's step on the first images."""
        labels, batch = self.images.labels, self.case.batch
        assert labels is not None
        model = architecture_of(self.spec).build(self.spec)
        return TimmLoop(model, self.statistics, self.images.images[:batch], labels[:batch], bf16=self.is_bf16)


def rounds(recorder: Recorder) -> int:
    """Return the largest number of rounds."""
    return 2 if recorder.is_dry else 30
