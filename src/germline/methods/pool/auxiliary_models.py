"""Auxiliary models: students in one module, distilled together with one forward pass of the ancestor per image."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from germline.architectures import VIT, VitSpec, extract_features
from germline.data import Batch
from germline.network import Network
from germline.training import Distillation, FeatureDistillation, Objective
from germline.training.feature_distillation import read_features
from germline.training.objectives import Forward, TeacherObjective, compute_label_loss

Positions = Literal["end", "mid,end", "front,mid,end"]
Losses = Literal["logits", "logits+rep", "all"]
LAST_TOKENS = "norm"  # module of a student whose output is its last tokens
_THIRDS = {"front": 1, "mid": 2, "end": 3}


class StudentOutputs(NamedTuple):
    """Outputs of one student.

    Attributes:
        logits: Logits [B, classes].
        features: Tokens [B, tokens, width] by the name of the module that gives them.
    """

    logits: Tensor
    features: dict[str, Tensor]


class AuxiliaryModels(nn.Module):
    """Several students that see the same images and share no parameters.

    Attributes:
        students: Students by their width.
    """

    def __init__(self, models: Mapping[int, nn.Module], taps: Mapping[int, tuple[str, ...]] | None = None) -> None:
        """Collect the students.

        Args:
            models: Students by their width.
            taps: Modules of each student whose features are returned; None for logits only.
        """
        super().__init__()
        self.students = nn.ModuleDict({str(width): model for width, model in models.items()})
        self._taps = {str(width): taps[width] if taps else () for width in models}

    def forward(self, images: Tensor) -> list[StudentOutputs]:
        """Return the outputs of each student, in order, for normalised images [B, C, H, W]."""
        return [
            StudentOutputs(*extract_features(model, self._taps[width], images))
            for width, model in self.students.items()
        ]

    def no_weight_decay(self) -> set[str]:
        """Return the names of the parameters that the students exclude from weight decay."""
        return {
            f"students.{width}.{name}" for width, model in self.students.items() for name in _names_without_decay(model)
        }


def _names_without_decay(model: Any) -> set[str]:
    names: set[str] = model.no_weight_decay()
    return names


def pair_positions(which: Positions, student: int, ancestor: int) -> tuple[tuple[int, int], ...]:
    """Return pairs of blocks (the student's, the ancestor's) that are matched, counted from 0.

    `front`, `mid` and `end` are the last blocks of each third, rounded up. Of six blocks these are 1, 3 and 5, and of
    twelve 3, 7 and 11, as published. In a student of fewer than three blocks, two names can mean the same block. It
    then follows the later.

    Args:
        which: Names of the positions.
        student: Number of blocks of the student.
        ancestor: Number of blocks of the ancestor.
    """
    pairs = {}
    for name in which.split(","):
        student_block, ancestor_block = (-(-_THIRDS[name] * blocks // 3) - 1 for blocks in (student, ancestor))
        pairs[student_block] = ancestor_block
    return tuple(pairs.items())


class MatchedFeatures(NamedTuple):
    """Pairs of modules (the student's, the ancestor's) whose outputs are matched in addition to the logits.

    Attributes:
        hidden: Blocks, whose outputs are the hidden maps.
        attention: Self-attentions, after the projection and before the residual addition.
    """

    hidden: tuple[tuple[str, str], ...]
    attention: tuple[tuple[str, str], ...]

    @classmethod
    def at(cls, which: Positions, losses: Losses, student: VitSpec, ancestor: VitSpec) -> MatchedFeatures:
        """Return the pairs for given positions and losses."""
        pairs = pair_positions(which, student.depth, ancestor.depth)
        hidden, attention = (
            tuple((names(student)[first], names(ancestor)[second]) for first, second in pairs)
            for names in (VIT.feature_names, VIT.attention_names)
        )
        return cls(hidden if losses != "logits" else (), attention if losses == "all" else ())

    @property
    def taps(self) -> tuple[str, ...]:
        """Names of the student's modules."""
        return tuple(own for own, _ in (*self.hidden, *self.attention))

    def matrices(self, student: int, ancestor: int) -> nn.ModuleDict:
        """Create linear maps with bias from the ancestor's width to the student's, one for each pair."""
        return nn.ModuleDict(
            {
                kind: nn.ModuleList(nn.Linear(ancestor, student) for _ in pairs)
                for kind, pairs in (("hidden", self.hidden), ("attention", self.attention))
            }
        )


class AuxiliaryDistillation(Distillation):
    """Distillation of several students from one teacher.

    The loss of a student is alpha x labels + (1 - alpha) x (logits + hidden maps + attention outputs). The total is the
    sum over students. The teacher computes its outputs once. Trained matrices map its hidden maps and attention outputs
    to the student's width. Each pair adds the mean squared difference over all elements. A loss of features or tokens
    can replace those of labels and logits.

    Source: Learngene Pool, arXiv 2312.05743. Departures: the optimiser trains the matrices, which the public PyTorch
    code omits. The loss of logits is the Kullback-Leibler divergence, which has the gradient of the public cross
    entropy. Its sum is divided by the batch size unless `reduction` differs.

    Attributes:
        matrices: Linear maps by student and kind (`hidden`, `attention`), one per position.
        last: Loss of the students' features or last tokens; None for logits.
    """

    def __init__(
        self,
        teacher: Network,
        follows: Mapping[int, MatchedFeatures],
        matrices: Mapping[int, nn.ModuleDict],
        *,
        alpha: float,
        temperature: float,
        reduction: Literal["batchmean", "legacy_numel"],
        label_smoothing: float,
        last: FeatureDistillation | None = None,
    ) -> None:
        """Create the loss.

        Args:
            teacher: The ancestor.
            follows: Matched modules by the student's width, in the order of the students.
            matrices: Linear maps to train, by the student's width.
            alpha: Weight of the labels.
            temperature: Divisor of both logits; their loss is multiplied by its square.
            reduction: Reduction of the loss of logits.
            label_smoothing: Label smoothing of the loss of labels.
            last: Loss of features or last tokens, in place of those of labels and logits.
        """
        super().__init__(
            teacher,
            alpha=1 - alpha,
            temperature=temperature,
            reduction=reduction,
            label_smoothing=label_smoothing,
        )
        self._follows = dict(follows)
        self.matrices = nn.ModuleDict({str(width): matrices[width] for width in follows})
        teacher_taps = (tap for one in follows.values() for _, tap in (*one.hidden, *one.attention))
        self._taps = tuple(dict.fromkeys(teacher_taps))
        self.last = last

    def forward(self, network: Forward, batch: Batch) -> Tensor:
        """Compute the loss of all students: cross entropy in nats plus mean squared differences."""
        teacher_outputs, targets = self._recall(batch)
        outputs: Any = network(batch.pixels)
        total = torch.zeros((), device=teacher_outputs.device)
        for width, student in zip(self._follows, outputs, strict=True):
            matching = self.alpha * self._matching_loss(width, student.features, targets)
            total = total + self._output_loss(student, teacher_outputs, batch) + matching
        return total

    def _output_loss(self, student: StudentOutputs, teacher_outputs: Tensor, batch: Batch) -> Tensor:
        if self.last is None:
            return self.loss(student.logits, teacher_outputs, batch)
        outputs = student.features[LAST_TOKENS] if self.last.kind == "tokens" else student.logits
        return self.last.loss(outputs, teacher_outputs, batch)

    def find_cacheable(self) -> TeacherObjective | None:
        """Return this loss, unless it reads the teacher's hidden maps, which would take too much space."""
        return None if self._taps else self

    def describe_outputs(self) -> str:
        """Name the outputs: logits, or the features that are learnt."""
        return "logits" if self.last is None else self.last.kind

    def teacher_outputs(self, batch: Batch) -> Tensor:
        """Compute the teacher's logits or features."""
        return self._look_at_teacher(batch)[0]

    def _recall(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        return self._look_at_teacher(batch) if self._taps else (self.recall_teacher(batch), {})

    @torch.no_grad()
    def _look_at_teacher(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        teacher, last = self.teacher, self.last

        def read(pixels: Tensor) -> Tensor:
            return teacher.logits(pixels) if last is None else read_features(teacher, pixels, last.kind)

        outputs, targets = extract_features(teacher.model, self._taps, batch.pixels, run=read)
        # Outputs of modules inside a teacher of lower precision do not have the matrices' type.
        return outputs, {tap: target.float() for tap, target in targets.items()}

    def _matching_loss(
        self, width: int, features: Mapping[str, Tensor], targets: Mapping[str, Tensor]
    ) -> Tensor | float:
        matrices: Any = self.matrices[str(width)]
        follows = self._follows[width]
        return sum(
            mse_loss(features[own], matrix(targets[tap]))
            for pairs, kind in ((follows.hidden, "hidden"), (follows.attention, "attention"))
            for (own, tap), matrix in zip(pairs, matrices[kind], strict=True)
        )


class LabelLoss(Objective):
    """Cross entropy with the labels, summed over students: the control of distillation."""

    def __init__(self, label_smoothing: float = 0.0) -> None:
        super().__init__()
        self.label_smoothing = label_smoothing

    def forward(self, network: Forward, batch: Batch) -> Tensor:
        """Compute the loss of all students, in nats."""
        outputs: Any = network(batch.pixels)
        return torch.stack([compute_label_loss(one.logits, batch, self.label_smoothing) for one in outputs]).sum()
