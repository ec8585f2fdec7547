"""Objectives: the losses that the training loop minimises."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Literal, Protocol, Self

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, kl_div, log_softmax

from germline.arguments import check_type
from germline.data import Batch
from germline.errors import DataError, SettingError, UnknownNameError
from germline.network import Network
from germline.training.protection import Protection

_KINDS, _REDUCTIONS = ("soft", "hard"), ("batchmean", "legacy_numel")  # of distillation
Forward = Callable[[Tensor], Tensor]


class SavedOutputs(Protocol):
    """Outputs of a teacher that are read instead of computed."""

    def read(self, batch: Batch) -> Tensor:
        """Return the outputs of a batch's images, on the device."""


class Objective(nn.Module):
    """Base class for the loss of a step; its parameters are trained and saved with the network's.

    Attributes:
        optimizer: A second optimiser for parameters of the objective, or None. These parameters have `requires_grad`
            off, so the first optimiser leaves them alone. The second one steps after each step of the first, with the
            gradients that `after_step` sets. Checkpoints save its state.
        protection: Elements of the network that change less in a training with this loss; None for no such elements.
        may_skip_parameters: Whether a step can leave out parameters of the network, such as those of other paths. Then
            several processes search for them at every step, which takes time.
        calls_with_other_weights: Whether the network is also called with tensors in place of its parameters. Then
            activations cannot be computed again.
        described: Names of the attributes that set the loss. A resumed training needs the same values.
    """

    described: ClassVar[tuple[str, ...]] = ()
    optimizer: torch.optim.Optimizer | None = None
    protection: Protection | None = None
    may_skip_parameters: ClassVar[bool] = False
    calls_with_other_weights: ClassVar[bool] = False

    def teachers(self) -> tuple[Network, ...]:
        """Return the networks that the loss asks without training them; by default those of losses within it.

        The training loop runs them in its own precision.
        """
        within = (child for child in self.children() if isinstance(child, Objective))
        return tuple(teacher for child in within for teacher in child.teachers())

    def describe(self) -> str:
        """Name the loss with its settings."""
        return f"{type(self).__name__}({', '.join(f'{name}={getattr(self, name)}' for name in self.described)})"

    def find_cacheable(self) -> TeacherObjective | None:
        """Return the loss whose teacher's outputs can be saved by image; None if there is none."""
        return None

    def before_step(self, seed: int, name: str, step: int) -> None:
        """Prepare a step; random draws that all processes share are made here.

        Args:
            seed: Random seed of the run.
            name: Name of the phase.
            step: Number of the coming step, from 0.
        """

    def after_step(self, model: nn.Module, first: torch.optim.Optimizer) -> None:
        """Finish a step while its gradients still exist; new gradients are not recorded.

        An objective with a second optimiser sets the gradients of its parameters here.

        Args:
            model: Trained model. It may be changed in place, in the same way on all processes.
            first: The loop's optimiser, which has just stepped. Its groups hold the learning rate; do not change it.
        """

    def forward(self, network: Forward, batch: Batch) -> Tensor:
        """Compute the scalar loss.

        Args:
            network: Function from pixels [B, C, H, W] in [0, 1] to logits [B, classes].
            batch: Images and labels of one step.
        """
        raise NotImplementedError


class CrossEntropy(Objective):
    """Mean cross entropy with the labels; mixed labels count by their share."""

    described = ("label_smoothing",)

    def __init__(self, label_smoothing: float | None = 0.0) -> None:
        """Create the loss.

        Args:
            label_smoothing: Probability spread over all classes; None takes that of the training settings.

        Raises:
            SettingError: label_smoothing is out of range.
        """
        super().__init__()
        if label_smoothing is not None:
            _check_label_smoothing(label_smoothing)
        self.label_smoothing = label_smoothing

    def forward(self, network: Forward, batch: Batch) -> Tensor:
        """Compute the mean cross entropy in nats."""
        return compute_label_loss(network(batch.pixels), batch, self.label_smoothing or 0.0)


class TeacherObjective(Objective):
    """Base class of losses with a teacher.

    The teacher gets the same augmented images through its own `Preprocess`. It is in eval mode and is not trained.

    Attributes:
        cache: Saved outputs of the teacher; None computes them at every step.
    """

    cache: SavedOutputs | None = None

    def __init__(self, teacher: Network) -> None:
        super().__init__()
        fix = "Use gl.Network(...), or gl.load_network(...)"
        check_type("teacher", teacher, Network, "It is a network with its preprocessing", fix)
        # The tuple keeps the teacher out of this module's state, so it is neither trained nor saved.
        self._teacher = (teacher,)
        teacher.model.eval()

    @property
    def teacher(self) -> Network:
        """The teacher."""
        return self._teacher[0]

    def teachers(self) -> tuple[Network, ...]:
        """Return the teacher, and those of losses within this one."""
        return (*self._teacher, *super().teachers())

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """Move the objective and its teacher."""
        self._teacher[0].model.to(*args, **kwargs)
        return super().to(*args, **kwargs)

    def find_cacheable(self) -> TeacherObjective | None:
        """Return this loss."""
        return self

    def describe_outputs(self) -> str:
        """Name what `teacher_outputs` computes, besides the teacher."""
        return "logits"

    def recall_teacher(self, batch: Batch) -> Tensor:
        """Return the teacher's outputs for a batch of training images: saved ones, or computed."""
        return self.teacher_outputs(batch) if self.cache is None else self.cache.read(batch)

    def teacher_outputs(self, batch: Batch) -> Tensor:
        """Compute what the teacher says of a batch, without gradients."""
        raise NotImplementedError

    def loss(self, outputs: Tensor, teacher_outputs: Tensor, batch: Batch) -> Tensor:
        """Compute the loss of a student's outputs, given the teacher's."""
        raise NotImplementedError


class Distillation(TeacherObjective):
    """Distillation from a teacher mixed with the labels: alpha x teacher + (1 - alpha) x labels."""

    described = ("kind", "alpha", "temperature", "reduction", "label_smoothing")

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
        """Create a distillation loss.

        Args:
            teacher: Network that gives the targets.
            kind: Target: the teacher's distribution (soft) or its largest logit (hard).
            alpha: Weight of the teacher; with 1 no labels are needed.
            temperature: Divisor of both logits if soft; the loss is multiplied by its square.
            reduction: Divisor of the summed divergence: the batch, or batch x classes as in TLEG's public code.
            label_smoothing: Label smoothing of the cross entropy with the labels.

        Raises:
            SettingError: alpha, temperature or label_smoothing is out of range.
            UnknownNameError: There is no such kind or reduction.
        """
        super().__init__(teacher)
        for name, value, known in (("kind", kind, _KINDS), ("reduction", reduction, _REDUCTIONS)):
            if value not in known:
                raise UnknownNameError.with_nearest(name, str(value), known)
        for name, number in (("alpha", alpha), ("temperature", temperature)):
            check_type(name, number, (int, float), "It is a number", f"Use for example {name}=1.0")
        _check_label_smoothing(label_smoothing)
        if not 0 <= alpha <= 1 or temperature <= 0:
            raise SettingError(
                f"alpha={alpha}, temperature={temperature}",
                "alpha is in [0, 1], temperature is above 0",
                "Use values in these ranges",
            )
        self.kind, self.alpha, self.temperature = kind, alpha, temperature
        self.reduction, self.label_smoothing = reduction, label_smoothing

    def forward(self, network: Forward, batch: Batch) -> Tensor:
        """Compute the weighted loss in nats."""
        teacher_logits = self.recall_teacher(batch)
        return self.loss(network(batch.pixels), teacher_logits, batch)

    @torch.no_grad()
    def teacher_outputs(self, batch: Batch) -> Tensor:
        """Compute the teacher's logits [B, classes]."""
        return self._teacher[0].logits(batch.pixels)

    def loss(self, outputs: Tensor, teacher_outputs: Tensor, batch: Batch) -> Tensor:
        """Compute the weighted loss of a student's logits [B, classes] in nats.

        Raises:
            DataError: The teacher has no head or another number of outputs, or needed labels are missing.
        """
        logits, teacher_logits = outputs, teacher_outputs
        if not self.teacher.has_head:
            raise DataError(
                "The teacher has no head, so its outputs are features",
                "Distillation takes a softmax of logits",
                "Use FeatureDistillation",
            )
        if teacher_logits.shape != logits.shape:
            raise DataError(
                f"The teacher has {teacher_logits.shape[1]} outputs, the student {logits.shape[1]}",
                "Distillation compares them one by one",
                "Use a teacher for the same classes",
            )
        loss = self.alpha * self._teacher_loss(logits, teacher_logits)
        if self.alpha < 1:
            loss = loss + (1 - self.alpha) * compute_label_loss(logits, batch, self.label_smoothing)
        return loss

    def _teacher_loss(self, logits: Tensor, teacher_logits: Tensor) -> Tensor:
        if self.kind == "hard":
            return cross_entropy(logits, teacher_logits.argmax(dim=1))
        temperature = self.temperature
        student, teacher = log_softmax(logits / temperature, dim=1), log_softmax(teacher_logits / temperature, dim=1)
        total = kl_div(student, teacher, reduction="sum", log_target=True) * temperature**2
        return total / (logits.numel() if self.reduction == "legacy_numel" else len(logits))


def _check_label_smoothing(value: float) -> None:
    if not isinstance(value, (int, float)) or not 0 <= value < 1:
        raise SettingError(
            f"label_smoothing={value!r}", "It is a number of at least 0 and below 1", "Use label_smoothing=0.1"
        )


def compute_label_loss(logits: Tensor, batch: Batch, label_smoothing: float = 0.0) -> Tensor:
    """Compute the cross entropy of logits [B, classes] with the labels; mixed ones count by their share.

    Raises:
        DataError: The batch has no labels.
    """
    if batch.labels is None:
        raise DataError(
            "The images have no labels", "This objective needs them", "Use distillation with alpha=1 instead"
        )
    loss = cross_entropy(logits, batch.labels, label_smoothing=label_smoothing)
    if batch.partner_labels is None:
        return loss
    other = cross_entropy(logits, batch.partner_labels, label_smoothing=label_smoothing)
    return batch.share * loss + (1 - batch.share) * other
