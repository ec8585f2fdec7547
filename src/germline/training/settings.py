"""Settings of a training run, shared by all methods that train."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import ConfigDict, Field, field_validator, model_validator

from germline.arguments import check_type
from germline.errors import SettingError
from germline.training.stable_dump import StableDump

# Magnitude, operations per image, probability, deviation and limit of the magnitude, direction, set of operations.
_RANDAUGMENT = re.compile(
    r"rand(-(m\d{1,2}|n[1-9]|p[01](\.\d+)?|mstd\d+(\.\d+)?|mmax[1-9]\d?|inc[01]|t(weights|3a|3aw)))*"
)


class TrainSettings(StableDump):
    """Settings of one training run. The learning rate is not scaled with the batch size.

    Attributes:
        epochs: Passes over the training images; may be a fraction. Ignored if `steps` is given.
        steps: Number of optimiser steps.
        batch_size: Images per step, over all processes and accumulated parts.
        optimizer: AdamW, or SGD with Nesterov momentum.
        lr: Highest learning rate.
        weight_decay: Weight decay, decoupled for AdamW; tensors of one dimension and position tables have none.
        momentum: Momentum of SGD.
        warmup: Share of the steps during which the learning rate rises from 0.
        schedule: Learning rate after the warm-up: cosine to `min_lr`, or constant.
        min_lr: Last learning rate of the cosine, as a share of `lr`.
        label_smoothing: Probability taken from the label and spread over all classes.
        mixup: Alpha of mixup's Beta distribution; 0 is off.
        cutmix: Alpha of cutmix's Beta distribution; 0 is off.
        augment: Whether the augmentation that the data set allows is used.
        randaugment: RandAugment in timm's notation, such as rand-m9-mstd0.5-inc1; None is off.
        color_jitter: Strength of random brightness, contrast and saturation; 0 is off. Unused with `randaugment`, as in
            timm.
        erasing: Probability that a rectangle of an image is replaced by noise; 0 is off.
        repeats: Number of times that an image occurs in a row, with an augmentation of its own each time.
        clip: Largest gradient norm; None is off.
        accumulate: Number of parts of a batch, computed one after the other to save memory.
        ema: Decay of an average of the weights, which becomes the result; None is off.
        drop_path: Highest rate of dropped residual paths.
        checkpoint_every: Number of steps between checkpoints.
        keep_checkpoints: Number of checkpoints on disk.
        eval_every: Number of steps between evaluations on the validation images; None evaluates only at the end.
        eval_at: Further steps at which to evaluate.
        log_every: Number of steps between logged losses.
        compile: Whether torch.compile is used. Networks of equal shape are compiled once per process.
        fused: Whether optimisers take a step in one kernel: AdamW everywhere, SGD on CUDA.
        channels_last: Whether CNNs have their channels last in memory on CUDA.
        grad_checkpointing: Whether activations inside blocks are computed again in the backward pass, to save memory.
        cache_teacher: Whether a teacher's outputs are computed once per image and saved in the run's folder. It needs
            augment=false, without mixup and cutmix. It has no effect without a teacher.
    """

    # Of the settings that came later. Stores are keyed by dumps.
    omitted: ClassVar[Mapping[str, Any]] = {
        "randaugment": None,
        "color_jitter": 0.0,
        "erasing": 0.0,
        "repeats": 1,
        "fused": True,
        "channels_last": True,
        "grad_checkpointing": False,
        "cache_teacher": False,
    }

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    epochs: float = Field(default=20.0, gt=0)
    steps: int | None = Field(default=None, ge=0)
    batch_size: int = Field(default=128, ge=1)
    optimizer: Literal["adamw", "sgd"] = "adamw"
    lr: float = Field(default=1e-3, gt=0)
    weight_decay: float = Field(default=0.05, ge=0)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    warmup: float = Field(default=0.05, ge=0, le=1)
    schedule: Literal["cosine", "constant"] = "cosine"
    min_lr: float = Field(default=0.01, ge=0, le=1)
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    mixup: float = Field(default=0.0, ge=0)
    cutmix: float = Field(default=0.0, ge=0)
    augment: bool = True
    randaugment: str | None = None
    color_jitter: float = Field(default=0.0, ge=0, le=1)
    erasing: float = Field(default=0.0, ge=0, le=1)
    repeats: int = Field(default=1, ge=1)
    clip: float | None = Field(default=None, gt=0)
    accumulate: int = Field(default=1, ge=1)
    ema: float | None = Field(default=None, gt=0, lt=1)
    drop_path: float = Field(default=0.0, ge=0, lt=1)
    checkpoint_every: int = Field(default=500, ge=1)
    keep_checkpoints: int = Field(default=2, ge=1)
    eval_every: int | None = Field(default=None, ge=1)
    eval_at: tuple[Annotated[int, Field(ge=0)], ...] = ()
    log_every: int = Field(default=10, ge=1)
    compile: bool = False
    fused: bool = True
    channels_last: bool = True
    grad_checkpointing: bool = False
    cache_teacher: bool = False

    @field_validator("randaugment")
    @classmethod
    def _check_randaugment(cls, value: str | None) -> str | None:
        if value is not None and not _RANDAUGMENT.fullmatch(value):
            raise SettingError(
                f"randaugment='{value}'",
                "It is not RandAugment in timm's notation, with magnitudes below 100 and up to 9 operations",
                "Use for example rand-m9-mstd0.5-inc1",
            )
        return value

    @model_validator(mode="after")
    def _check_augmentation(self) -> Self:
        if not self.augment and (names := self.random_changes()):
            raise SettingError(
                f"{names[0]} is set with augment=false",
                "Images are not changed at random then",
                f"Remove {names[0]}, or set augment=true",
            )
        changes = {"mixup": self.mixup, "cutmix": self.cutmix, "augment": self.augment}
        if self.cache_teacher and (names := [name for name, value in changes.items() if value]):
            raise SettingError(
                f"{names[0]}={str(changes[names[0]]).lower()} with cache_teacher",
                "Images differ at every step then, so outputs of the teacher would not repeat",
                "Set augment=false, mixup=0 and cutmix=0, or remove cache_teacher",
            )
        if self.repeats > self.batch_size:
            raise SettingError(
                f"repeats={self.repeats} with batch_size={self.batch_size}",
                "Some batches would have copies of one image alone",
                f"Use repeats={self.batch_size} or fewer",
            )
        return self

    def random_changes(self) -> list[str]:
        """List the settings that change images beyond the data set's own augmentation."""
        values = {"randaugment": self.randaugment, "color_jitter": self.color_jitter, "erasing": self.erasing}
        return [name for name, value in values.items() if value] + ["repeats"] * (self.repeats > 1)

    def total_steps(self, images: int) -> int:
        """Return the number of optimiser steps for a training set of so many images."""
        if self.steps is not None:
            return self.steps
        return max(1, math.ceil(self.epochs * images / self.batch_size))

    def total_samples(self, images: int) -> int:
        """Return the number of images seen in all steps, with repeats."""
        return self.total_steps(images) * self.batch_size

    def learning_rate(self, step: int, total: int) -> float:
        """Return the learning rate of a step, from 0; it depends only on the step, so it needs no checkpoint."""
        rising = round(self.warmup * total)
        if step < rising:
            return self.lr * (step + 1) / rising
        if self.schedule == "constant":
            return self.lr
        progress = (step - rising) / max(1, total - rising)
        return self.lr * (self.min_lr + (1 - self.min_lr) * 0.5 * (1 + math.cos(math.pi * progress)))

    def has_evaluation(self, step: int, total: int) -> bool:
        """Return whether the network is evaluated after so many steps."""
        regular = self.eval_every is not None and step % self.eval_every == 0
        return step == total or step in self.eval_at or (regular and step > 0)


def check_settings_type(settings: object) -> None:
    """Refuse settings that are not `TrainSettings`, such as a dict.

    Raises:
        SettingError: They are something else.
    """
    fix = "Use for example gl.TrainSettings(steps=1000)"
    check_type("settings", settings, TrainSettings, "The settings of a training are an object", fix)
