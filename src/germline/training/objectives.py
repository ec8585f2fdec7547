"""Objectives: what a step of the one loop makes small."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, Self

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, kl_div, log_softmax

from germline.data import Batch
from germline.errors import DataError, SettingError
from germline.network import Network

Forward = Callable[[Tensor], Tensor]


class Objective(nn.Module):
    """The loss of a step. Its parameters, if it has any, are trained and kept with the network's.

    Attributes:
        optimizer: A second optimiser, of parameters of the objective that the first leaves alone since they have
            `requires_grad` off; None for none. It is stepped after each step of the first, with the gradients that
            `after` leaves, and its state is kept in checkpoints.
    """

    optimizer: torch.optim.Optimizer | None = None

    def before_step(self, seed: int, name: str, step: int) -> None:
        """Called before each step; what has to be drawn alike on all processes is drawn here.

        Args:
            seed: Of the run.
            name: Of the phase.
            step: About to be made, counted from 0.
        """

    def after_step(self, model: nn.Module, first: torch.optim.Optimizer) -> None:
        """Called after each step, while its gradients are still there, without recording new ones.

        Where there is a second optimiser, it puts gradients on its parameters.

        Args:
            model: What is trained; may be changed in place, alike on all processes.
            first: The loop's own optimiser, which has just stepped, with the step's rate in its groups; not to be
                changed.
        """

    def forward(self, network: Forward, batch: Batch) -> Tensor:
        """The scalar loss.

        Args:
            network: Maps pixels [B, C, H, W] in [0, 1] to logits [B, classes].
            batch: Pictures and labels of one step.
        """
        raise NotImplementedError


class CrossEntropy(Objective):
    """Cross entropy with the labels, mean over the batch; mixed labels count by their share."""

    def __init__(self, label_smoothing: float = 0.0) -> None:
        super().__init__()
        self.label_smoothing = label_smoothing

    def forward(self, network: Forward, batch: Batch) -> Tensor:
        """The mean cross entropy, in nats."""
        return label_loss(network(batch.pixels), batch, self.label_smoothing)


class Distillation(Objective):
    """A mixture of a teacher's word and the labels: alpha x teacher + (1 - alpha) x labels.

    The teacher sees the same augmented pictures through its own `Preprocess`, in eval mode, and is not trained.
    """

    def __init__(
        self,
        teacher: Network,
        *,
        kind: Literal["soft", "hard"] = "soft",
        alpha: float = 1.0,
        temperature: float = 1.0,
        reduction: Literal["batchmean", "legacy_numel"] = "batchmean",
        label_smoothing: float = 0.0,
    ) -> None:
        """Set up.

        Args:
            teacher: Whom to follow.
            kind: Follow the teacher's distribution (soft) or its first choice (hard).
            alpha: Weight of the teacher; 1 leaves the labels out, so they are not needed.
            temperature: Divides both logits in the soft form; the loss is multiplied by its square.
            reduction: Divide the summed divergence by the batch, or by batch x classes as TLEG's public code does.
            label_smoothing: Of the labels' part.
        """
        super().__init__()
        if not 0 <= alpha <= 1 or temperature <= 0:
            raise SettingError(f"alpha={alpha}, temperature={temperature}", "alpha is in [0, 1], temperature above 0")
        # In a tuple, so that the teacher is no part of this module: not trained, not saved.
        self._teacher = (teacher,)
        teacher.model.eval()
        self.kind, self.alpha, self.temperature = kind, alpha, temperature
        self.reduction, self.label_smoothing = reduction, label_smoothing

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """Move the teacher along."""
        self._teacher[0].model.to(*args, **kwargs)
        return super().to(*args, **kwargs)

    def forward(self, network: Forward, batch: Batch) -> Tensor:
        """The weighted loss, in nats."""
        teacher_logits = self.teacher_logits(batch)
        return self.loss(network(batch.pixels), teacher_logits, batch)

    @torch.no_grad()
    def teacher_logits(self, batch: Batch) -> Tensor:
        """The teacher's logits [B, classes]."""
        return self._teacher[0].logits(batch.pixels)

    def loss(self, logits: Tensor, teacher_logits: Tensor, batch: Batch) -> Tensor:
        """The weighted loss of a student's logits [B, classes], in nats.

        Raises:
            DataError: The teacher has another number of outputs, or labels are needed and missing.
        """
        if teacher_logits.shape != logits.shape:
            raise DataError(f"the teacher has {teacher_logits.shape[1]} outputs, the student {logits.shape[1]}")
        loss = self.alpha * self._teacher_loss(logits, teacher_logits)
        if self.alpha < 1:
            loss = loss + (1 - self.alpha) * label_loss(logits, batch, self.label_smoothing)
        return loss

    def _teacher_loss(self, logits: Tensor, teacher_logits: Tensor) -> Tensor:
        if self.kind == "hard":
            return cross_entropy(logits, teacher_logits.argmax(dim=1))
        heat = self.temperature
        student, teacher = log_softmax(logits / heat, dim=1), log_softmax(teacher_logits / heat, dim=1)
        total = kl_div(student, teacher, reduction="sum", log_target=True) * heat**2
        return total / (logits.numel() if self.reduction == "legacy_numel" else len(logits))


def label_loss(logits: Tensor, batch: Batch, label_smoothing: float = 0.0) -> Tensor:
    """Cross entropy of logits [B, classes] with a batch's labels, mixed ones by their share.

    Raises:
        DataError: The batch has no labels.
    """
    if batch.labels is None:
        raise DataError("pictures without labels", "this objective needs them", "distil with alpha=1 instead")
    loss = cross_entropy(logits, batch.labels, label_smoothing=label_smoothing)
    if batch.partner_labels is None:
        return loss
    other = cross_entropy(logits, batch.partner_labels, label_smoothing=label_smoothing)
    return batch.share * loss + (1 - batch.share) * other
