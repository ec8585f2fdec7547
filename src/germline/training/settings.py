"""What a training run is told; every method that trains takes these settings."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class TrainSettings(BaseModel):
    """Settings of one training run. Rates are those of the given batch size: nothing is scaled behind one's back.

    Attributes:
        epochs: Passes over the training pictures; may be a fraction. Ignored where `steps` is given.
        steps: Optimiser steps.
        batch_size: Pictures a step, over all processes and accumulated parts.
        optimizer: AdamW, or SGD with Nesterov momentum.
        lr: Highest learning rate.
        weight_decay: Decoupled for AdamW; tensors of one dimension and position tables have none.
        momentum: Of SGD.
        warmup: Share of the steps over which the rate rises from 0.
        schedule: Cosine to `min_lr`, or constant.
        min_lr: Last rate of the cosine, as a share of `lr`.
        label_smoothing: Mass taken from the label and spread over all classes.
        mixup: Alpha of the Beta distribution; 0 is off.
        cutmix: Alpha of the Beta distribution; 0 is off.
        augment: Whether the data set's allowed augmentation is used.
        clip: Largest norm of the gradient; None is off.
        accumulate: Parts in which a batch is computed, to save memory.
        ema: Decay of an average of the weights that becomes the result; None is off.
        drop_path: Highest rate of dropped residual paths.
        checkpoint_every: Steps between checkpoints.
        keep_checkpoints: Checkpoints kept.
        eval_every: Steps between evaluations on the validation pictures; None evaluates at the end alone.
        eval_at: Further steps at which to evaluate.
        log_every: Steps between logged losses.
        compile: Whether torch.compile is used.
    """

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
    clip: float | None = Field(default=None, gt=0)
    accumulate: int = Field(default=1, ge=1)
    ema: float | None = Field(default=None, gt=0, lt=1)
    drop_path: float = Field(default=0.0, ge=0, lt=1)
    checkpoint_every: int = Field(default=500, ge=1)
    keep_checkpoints: int = Field(default=2, ge=1)
    eval_every: int | None = Field(default=None, ge=1)
    eval_at: tuple[int, ...] = ()
    log_every: int = Field(default=10, ge=1)
    compile: bool = False

    def total_steps(self, images: int) -> int:
        """Optimiser steps over a training set of that many pictures."""
        if self.steps is not None:
            return self.steps
        return max(1, math.ceil(self.epochs * images / self.batch_size))

    def total_samples(self, images: int) -> int:
        """Pictures seen in all steps, repeats counted."""
        return self.total_steps(images) * self.batch_size

    def learning_rate(self, step: int, total: int) -> float:
        """Learning rate of a step, counted from 0; a function of the step alone, so nothing has to be resumed."""
        rising = round(self.warmup * total)
        if step < rising:
            return self.lr * (step + 1) / rising
        if self.schedule == "constant":
            return self.lr
        progress = (step - rising) / max(1, total - rising)
        return self.lr * (self.min_lr + (1 - self.min_lr) * 0.5 * (1 + math.cos(math.pi * progress)))

    def has_evaluation(self, step: int, total: int) -> bool:
        """Whether the network is looked at after that many steps."""
        regular = self.eval_every is not None and step % self.eval_every == 0
        return step == total or step in self.eval_at or (regular and step > 0)
