"""Which layers of an ancestor are worth inheriting: what a layer is, how alike it is, and the rule that chooses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from germline.data import AnyImages, in_order
from germline.methods.auto.meta_network import Elder
from germline.training import FitResult

Taps = Literal["blocks", "stages", "pairs"]
Rule = Literal["top", "threshold", "contiguous"]
MOST_IMAGES = 2000
DIGITS = 5  # of a kept score
_BATCH = 100


class Layer(NamedTuple):
    """What is chosen or left as a whole.

    Attributes:
        blocks: Indices of its blocks.
        tap: Index of the block whose output stands for it.
    """

    blocks: tuple[int, ...]
    tap: int


def layers_of(stages: Sequence[int], taps: Taps) -> tuple[Layer, ...]:
    """The layers of a network.

    Args:
        stages: Blocks of each stage.
        taps: Every block is a layer; or every `stages` is one, tapped at its end; or two blocks at a time, `pairs`,
            tapped before the second, as published for ViTs.
    """
    count = sum(stages)
    if taps == "blocks":
        return tuple(Layer((at,), at) for at in range(count))
    if taps == "stages":
        ends = pairwise(accumulate((0, *stages)))
        return tuple(Layer(tuple(range(first, end)), end - 1) for first, end in ends)
    return tuple(Layer(tuple(range(at, min(at + 2, count))), at) for at in range(0, count, 2))


@dataclass(frozen=True)
class Scores:
    """How much each layer is leaned on.

    Attributes:
        matrix: By layer, then by what it was held against.
        against: Names of what layers were held against.
        history: (steps done, matrix) over a training; empty without one.
        results: Of trainings that were made for this.
        metrics: What was measured on the way, by name.
    """

    matrix: list[list[float]]
    against: tuple[str, ...]
    history: list[tuple[int, list[list[float]]]] = field(default_factory=list)
    results: list[FitResult] = field(default_factory=list)
    metrics: dict[str, float] = field(default_factory=dict)

    @property
    def by_layer(self) -> list[float]:
        """One number a layer, adding up to 1: the largest of its row; equal ones where all are 0."""
        largest = [max(row) for row in self.matrix]
        whole = sum(largest)
        return [one / whole if whole else 1 / len(largest) for one in largest]

    def record(self) -> dict[str, Any]:
        """What is kept of them in a gene."""
        return {
            "against": list(self.against),
            "matrix": _rounded(self.matrix),
            "history": [{"step": step, "matrix": _rounded(matrix)} for step, matrix in self.history],
        }


def _rounded(matrix: list[list[float]]) -> list[list[float]]:
    return [[round(value, DIGITS) for value in row] for row in matrix]


def choose_layers(scores: Sequence[float], rule: Rule, keep: int) -> tuple[int, ...]:
    """The layers that a rule chooses, in their order; of equal ones the earlier.

    Args:
        scores: One a layer.
        rule: The `keep` highest (`top`); all at or above the mean (`threshold`); or as many neighbours, whose sum is
            the highest (`contiguous`).
        keep: How many; not looked at by `threshold`.
    """
    count = len(scores)
    if rule == "threshold":
        mean = sum(scores) / count
        # Equal scores differ from their mean in the last bits.
        return tuple(at for at, score in enumerate(scores) if score >= mean - 1e-12)
    if rule == "contiguous":
        starts = range(count - keep + 1)
        first = max(starts, key=lambda start: (sum(scores[start : start + keep]), -start))
        return tuple(range(first, first + keep))
    return tuple(sorted(sorted(range(count), key=lambda at: (-scores[at], at))[:keep]))


def random_layers(count: int, rule: Rule, keep: int, generator: torch.Generator) -> tuple[int, ...]:
    """What a rule might have chosen of so many layers, every choice as likely as any other."""
    if rule == "contiguous":
        first = int(torch.randint(count - keep + 1, (1,), generator=generator))
        return tuple(range(first, first + keep))
    return choose_layers(torch.rand(count, generator=generator).tolist(), rule, keep)


def cka(features: Tensor, others: Tensor) -> float:
    """Linear centred kernel alignment of features [N, C] with others [N, K] of the same pictures, in [0, 1].

    Source: Kornblith et al., "Similarity of Neural Network Representations Revisited", ICML 2019, eq. for linear CKA.
    """
    ours, theirs = (one.double() - one.double().mean(dim=0) for one in (features, others))
    norms = (ours.T @ ours).norm() * (theirs.T @ theirs).norm()
    return float((ours.T @ theirs).square().sum() / norms) if norms > 0 else 0.0


@torch.no_grad()
def label_similarity(elder: Elder, images: AnyImages) -> Scores:
    """The alignment of each tap's pooled maps with the labels, without any training.

    Args:
        elder: The ancestor.
        images: With labels; at most 2,000 of them are looked at, evenly spaced.
    """
    few = images.subset(torch.arange(0, len(images), -(-len(images) // MOST_IMAGES)))
    device = next(elder.network.model.parameters()).device
    elder.network.model.eval()
    pooled = torch.cat([elder.look(batch.pixels, []).pooled for batch in in_order(few, _BATCH, device)]).cpu()
    assert few.labels is not None  # noqa: S101 - the caller has seen to that
    wanted = one_hot(few.labels, len(few.classes))
    return Scores([[cka(one, wanted)] for one in torch.split(pooled, list(elder.side.widths), dim=1)], ("labels",))
