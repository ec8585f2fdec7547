"""The loss of a pool: paths that are drawn for each step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from germline.data import Batch
from germline.methods.pool.paths import PoolPath
from germline.methods.pool.supernet import PoolNetwork
from germline.randomness import generator
from germline.training import Objective
from germline.training.objectives import Forward, TeacherObjective, compute_label_loss


class SampledPathLoss(Objective):
    """Mean loss of paths that are drawn for each step, the same on every process.

    One path is drawn uniformly. With the sandwich rule, the paths of `always` are added to every step. Parameters on
    none of the step's paths get no gradient and do not change.

    Source: one random configuration per step as in SN-Net, arXiv 2302.06586; the sandwich rule is Yu and Huang's,
    arXiv 1903.05134.
    """

    may_skip_parameters: ClassVar[bool] = True

    def __init__(
        self, pool: PoolNetwork, loss: TeacherObjective | None, label_smoothing: float, always: Sequence[PoolPath] = ()
    ) -> None:
        """Create the loss.

        Args:
            pool: Network to train.
            loss: Loss of one path's outputs, whose parameters are trained too; None for cross entropy with the labels.
            label_smoothing: Label smoothing of that cross entropy.
            always: Paths of every step.
        """
        super().__init__()
        # The tuple keeps the pool out of this module's parameters.
        self._pool, self.taught = (pool,), loss
        self._always, self.label_smoothing = tuple(always), label_smoothing
        self._drawn = tuple(path for path in pool.layout.paths if path not in self._always)

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """Move the loss and its teacher to a device."""
        if self.taught is not None:
            self.taught.to(*args, **kwargs)
        return super().to(*args, **kwargs)

    def find_cacheable(self) -> TeacherObjective | None:
        """Return the loss of one path's outputs, if it has a teacher."""
        return self.taught

    def before_step(self, seed: int, name: str, step: int) -> None:
        """Draw the path of a step."""
        drawn = []
        if self._drawn:
            index = int(torch.randint(len(self._drawn), (), generator=generator(seed, name, "path", step)))
            drawn.append(self._drawn[index])
        self._pool[0].choose(*self._always, *drawn)

    def forward(self, network: Forward, batch: Batch) -> Tensor:
        """Compute the mean loss of the paths of this step; losses of logits are in nats."""
        teacher_outputs = None if self.taught is None else self.taught.recall_teacher(batch)
        outputs = network(batch.pixels)
        by_path = [outputs] if isinstance(outputs, Tensor) else outputs
        return torch.stack([self._path_loss(one, teacher_outputs, batch) for one in by_path]).mean()

    def _path_loss(self, outputs: Tensor, teacher_outputs: Tensor | None, batch: Batch) -> Tensor:
        if self.taught is None or teacher_outputs is None:
            return compute_label_loss(outputs, batch, self.label_smoothing)
        return self.taught.loss(outputs, teacher_outputs, batch)
