"""Training a pool: one path a step, or a few."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Tensor

from germline.data import Batch
from germline.methods.pool.paths import Path
from germline.methods.pool.supernet import PoolNetwork
from germline.randomness import generator
from germline.training import Distillation, Objective
from germline.training.objectives import Forward, label_loss


class OnePath(Objective):
    """The loss of paths that are drawn anew for every step, the same on every process.

    One path is drawn, all alike. With the sandwich rule the paths of `always` are taken too, and the loss is the mean
    over all that are taken; so is the rate that goes with it. Parameters that lie on none of them get no gradient, and
    so stay as they are.

    Source: one random configuration a step as in SN-Net, arXiv 2302.06586; the sandwich rule is Yu and Huang's,
    arXiv 1903.05134.
    """

    def __init__(
        self, pool: PoolNetwork, loss: Distillation | None, label_smoothing: float, always: Sequence[Path] = ()
    ) -> None:
        """Set up.

        Args:
            pool: What is trained.
            loss: Of one path's logits; None for cross entropy with the labels.
            label_smoothing: Of that cross entropy.
            always: Paths of every step.
        """
        super().__init__()
        # In tuples, so that neither pool nor teacher is a part of this module.
        self._pool, self._loss = (pool,), (loss,)
        self._always, self.label_smoothing = tuple(always), label_smoothing
        self._drawn = tuple(path for path in pool.layout.paths if path not in self._always)

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """Move the teacher along."""
        if self._loss[0] is not None:
            self._loss[0].to(*args, **kwargs)
        return super().to(*args, **kwargs)

    def begin(self, seed: int, name: str, step: int) -> None:
        """Draw the step's path."""
        drawn = []
        if self._drawn:
            index = int(torch.randint(len(self._drawn), (), generator=generator(seed, name, "path", step)))
            drawn.append(self._drawn[index])
        self._pool[0].choose(*self._always, *drawn)

    def forward(self, network: Forward, batch: Batch) -> Tensor:
        """The mean loss of the paths of this step, in nats."""
        word = None if self._loss[0] is None else self._loss[0].word(batch)
        found = network(batch.pixels)
        each = [found] if isinstance(found, Tensor) else found
        return torch.stack([self._of(logits, word, batch) for logits in each]).mean()

    def _of(self, logits: Tensor, word: Tensor | None, batch: Batch) -> Tensor:
        if self._loss[0] is None or word is None:
            return label_loss(logits, batch, self.label_smoothing)
        return self._loss[0].loss(logits, word, batch)
