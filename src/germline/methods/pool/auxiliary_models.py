"""Auxiliary models: several students in one module, distilled from one ancestor that looks at each picture once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from germline.architectures import VIT, VitSpec, extract_features
from germline.data import Batch
from germline.network import Network
from germline.training import Distillation, Objective
from germline.training.objectives import Forward, label_loss

Positions = Literal["end", "mid,end", "front,mid,end"]
Losses = Literal["logits", "logits+rep", "all"]
_THIRDS = {"front": 1, "mid": 2, "end": 3}


class Look(NamedTuple):
    """What one student makes of pictures.

    Attributes:
        logits: [B, classes].
        features: By the name of a tapped module: tokens [B, tokens, width].
    """

    logits: Tensor
    features: dict[str, Tensor]


class Auxiliaries(nn.Module):
    """Several students that see the same pictures; they share nothing.

    Attributes:
        students: By their width.
    """

    def __init__(self, models: Mapping[int, nn.Module], taps: Mapping[int, tuple[str, ...]] | None = None) -> None:
        """Set up.

        Args:
            models: The students.
            taps: For each the modules whose features it gives besides its logits; None for none at all.
        """
        super().__init__()
        self.students = nn.ModuleDict({str(width): model for width, model in models.items()})
        self._taps = {str(width): taps[width] if taps else () for width in models}

    def forward(self, images: Tensor) -> list[Look]:
        """One look a student, in their order, at normalised pictures [B, C, H, W]."""
        return [Look(*extract_features(model, self._taps[width], images)) for width, model in self.students.items()]

    def no_weight_decay(self) -> set[str]:
        """What the students spare, under our names."""
        return {f"students.{width}.{name}" for width, model in self.students.items() for name in _spared(model)}


def _spared(model: Any) -> set[str]:
    spared: set[str] = model.no_weight_decay()
    return spared


def positions(which: Positions, student: int, ancestor: int) -> tuple[tuple[int, int], ...]:
    """Blocks (the student's, the ancestor's) that are held against each other, counted from 0.

    `front`, `mid` and `end` are the last blocks of the first, second and third third, thirds rounded up: 1, 3, 5 of
    six, 3, 7, 11 of twelve, as published. Where a student has fewer than three blocks, two names may come to the same
    one; it then follows the later.

    Args:
        which: Names.
        student: Blocks of the student.
        ancestor: Blocks of the ancestor.
    """
    found = {}
    for name in which.split(","):
        own, theirs = (-(-_THIRDS[name] * blocks // 3) - 1 for blocks in (student, ancestor))
        found[own] = theirs
    return tuple(found.items())


class Follows(NamedTuple):
    """In what a student follows the ancestor besides its logits: names of tapped modules, (its own, the ancestor's).

    Attributes:
        hidden: Blocks, whose outputs are the hidden maps.
        attention: Self-attentions after the projection and before they are added.
    """

    hidden: tuple[tuple[str, str], ...]
    attention: tuple[tuple[str, str], ...]

    @classmethod
    def at(cls, which: Positions, losses: Losses, student: VitSpec, ancestor: VitSpec) -> Follows:
        """What these positions and losses ask for."""
        pairs = positions(which, student.depth, ancestor.depth)
        hidden, attention = (
            tuple((names(student)[own], names(ancestor)[theirs]) for own, theirs in pairs)
            for names in (VIT.feature_names, VIT.attention_names)
        )
        return cls(hidden if losses != "logits" else (), attention if losses == "all" else ())

    @property
    def taps(self) -> tuple[str, ...]:
        """The student's own modules."""
        return tuple(own for own, _ in (*self.hidden, *self.attention))

    def matrices(self, student: int, ancestor: int) -> nn.ModuleDict:
        """Fresh transformation matrices, which lead from the ancestor's width down to the student's, with bias."""
        return nn.ModuleDict(
            {
                kind: nn.ModuleList(nn.Linear(ancestor, student) for _ in pairs)
                for kind, pairs in (("hidden", self.hidden), ("attention", self.attention))
            }
        )


class AuxiliaryDistillation(Distillation):
    """Of each student alpha x labels + (1 - alpha) x (logits + hidden maps + attention outputs); summed over students.

    The ancestor looks once. Its hidden maps and attention outputs are led down to the student's width by matrices that
    are trained along; each pair adds the mean squared difference over all elements.

    Source: Learngene Pool, arXiv 2312.05743. Departures: the matrices are in the optimiser, which the public PyTorch
    code forgets; the logits' part is Kullback-Leibler, which differs from the public cross entropy by what no student
    can change; its sum is divided by the batch unless `reduction` says otherwise.

    Attributes:
        matrices: By student and kind, `hidden` and `attention`, one a position.
    """

    def __init__(
        self,
        teacher: Network,
        follows: Mapping[int, Follows],
        matrices: Mapping[int, nn.ModuleDict],
        *,
        alpha: float,
        temperature: float,
        reduction: Literal["batchmean", "legacy_numel"],
        label_smoothing: float,
    ) -> None:
        """Set up.

        Args:
            teacher: The ancestor.
            follows: By the student's width, in the order of the students.
            matrices: For each the matrices to train.
            alpha: Weight of the labels.
            temperature: Divides both logits; their loss is multiplied by its square.
            reduction: Of the logits' part.
            label_smoothing: Of the labels' part.
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
        theirs = (tap for one in follows.values() for _, tap in (*one.hidden, *one.attention))
        self._taps = tuple(dict.fromkeys(theirs))

    def forward(self, network: Forward, batch: Batch) -> Tensor:
        """The loss of all students, in nats plus mean squares."""
        word, theirs = self._look(batch)
        looks: Any = network(batch.pixels)
        total = torch.zeros((), device=word.device)
        for width, look in zip(self._follows, looks, strict=True):
            rest = self.alpha * self._features(width, look.features, theirs)
            total = total + self.loss(look.logits, word, batch) + rest
        return total

    @torch.no_grad()
    def _look(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        teacher = self._teacher[0]
        return extract_features(teacher.model, self._taps, teacher.preprocess(batch.pixels))

    def _features(self, width: int, ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> Tensor | float:
        matrices: Any = self.matrices[str(width)]
        follows = self._follows[width]
        return sum(
            mse_loss(ours[own], matrix(theirs[tap]))
            for pairs, kind in ((follows.hidden, "hidden"), (follows.attention, "attention"))
            for (own, tap), matrix in zip(pairs, matrices[kind], strict=True)
        )


class LabelsAlone(Objective):
    """Cross entropy with the labels, summed over students: what distillation is held against."""

    def __init__(self, label_smoothing: float = 0.0) -> None:
        super().__init__()
        self.label_smoothing = label_smoothing

    def forward(self, network: Forward, batch: Batch) -> Tensor:
        """The loss of all students, in nats."""
        looks: Any = network(batch.pixels)
        return torch.stack([label_loss(look.logits, batch, self.label_smoothing) for look in looks]).sum()
