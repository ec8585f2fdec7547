"""Layers of an ancestor, their scores, and the rules that select which ones are inherited."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from germline.data import AnyImages, iterate_batches
from germline.methods.auto.meta_network import AncestorFeatures
from germline.training import FitResult

LayerUnit = Literal["blocks", "stages", "pairs"]
SelectionRule = Literal["top", "threshold", "contiguous"]
MAX_IMAGES = 2000
DIGITS = 5  # of a saved score
_BATCH = 100


class Layer(NamedTuple):
    """Blocks that are selected together.

    Attributes:
        blocks: Indices of the blocks.
        tap: Index of the block whose output represents the layer.
    """

    blocks: tuple[int, ...]
    tap: int


def split_layers(stages: Sequence[int], taps: LayerUnit) -> tuple[Layer, ...]:
    """Split the blocks of a network into layers.

    Args:
        stages: Number of blocks of each stage.
        taps: `blocks`: each block is a layer. `stages`: each stage is one, represented by its last block. `pairs`: two
            blocks are one, represented by the first, as published for ViTs.
    """
    count = sum(stages)
    if taps == "blocks":
        return tuple(Layer((at,), at) for at in range(count))
    if taps == "stages":
        ends = pairwise(accumulate((0, *stages)))
        return tuple(Layer(tuple(range(first, end)), end - 1) for first, end in ends)
    return tuple(Layer(tuple(range(at, min(at + 2, count))), at) for at in range(0, count, 2))


@dataclass(frozen=True)
class LayerScores:
    """Scores of layers: how much the pseudo descendant uses each one.

    Attributes:
        matrix: Score of each layer (row) against each reference (column).
        against: Names of the references.
        history: (steps done, matrix) over a training; empty without one.
        results: Results of the trainings that produced the scores.
        metrics: Measured values by name.
    """

    matrix: list[list[float]]
    against: tuple[str, ...]
    history: list[tuple[int, list[list[float]]]] = field(default_factory=list)
    results: list[FitResult] = field(default_factory=list)
    metrics: dict[str, float] = field(default_factory=dict)

    @property
    def by_layer(self) -> list[float]:
        """One score per layer, with sum 1: the largest of its row; equal scores if all are 0."""
        largest = [max(row) for row in self.matrix]
        total = sum(largest)
        return [score / total if total else 1 / len(largest) for score in largest]

    def record(self) -> dict[str, Any]:
        """Return the part that a gene stores."""
        return {
            "against": list(self.against),
            "matrix": _round_scores(self.matrix),
            "history": [{"step": step, "matrix": _round_scores(matrix)} for step, matrix in self.history],
        }


def _round_scores(matrix: list[list[float]]) -> list[list[float]]:
    return [[round(value, DIGITS) for value in row] for row in matrix]


def choose_layers(scores: Sequence[float], rule: SelectionRule, keep: int) -> tuple[int, ...]:
    """Return the layers that a rule selects, in order; among equal scores the earlier layer.

    Args:
        scores: Score of each layer.
        rule: `top`: the `keep` highest. `threshold`: all at or above the mean. `contiguous`: the `keep` neighbours with
            the highest sum.
        keep: Number of layers; `threshold` ignores it.
    """
    count = len(scores)
    if rule == "threshold":
        mean = sum(scores) / count
        # Rounding can make equal scores differ from their mean in the last bits.
        return tuple(at for at, score in enumerate(scores) if score >= mean - 1e-12)
    if rule == "contiguous":
        starts = range(count - keep + 1)
        first = max(starts, key=lambda start: (sum(scores[start : start + keep]), -start))
        return tuple(range(first, first + keep))
    return tuple(sorted(sorted(range(count), key=lambda at: (-scores[at], at))[:keep]))


def draw_layers(count: int, rule: SelectionRule, keep: int, generator: torch.Generator) -> tuple[int, ...]:
    """Draw a selection that the rule could make, each with the same probability."""
    if rule == "contiguous":
        first = int(torch.randint(count - keep + 1, (1,), generator=generator))
        return tuple(range(first, first + keep))
    return choose_layers(torch.rand(count, generator=generator).tolist(), rule, keep)


def compute_cka(features: Tensor, others: Tensor) -> float:
    """Compute the linear centred kernel alignment of two feature sets.

    Args:
        features: Features [N, C] of N images.
        others: Features [N, K] of the same images.

    Returns:
        The alignment, in [0, 1].

    Source: Kornblith et al., "Similarity of Neural Network Representations Revisited", ICML 2019, eq. for linear CKA.
    """
    first, second = (one.double() - one.double().mean(dim=0) for one in (features, others))
    norms = (first.T @ first).norm() * (second.T @ second).norm()
    return float((first.T @ second).square().sum() / norms) if norms > 0 else 0.0


@torch.no_grad()
def score_label_similarity(ancestor: AncestorFeatures, images: AnyImages) -> LayerScores:
    """Score each layer by the alignment of its pooled maps with the labels, without training.

    Args:
        ancestor: Features of the ancestor.
        images: Images with labels; at most 2,000 evenly spaced ones are used.
    """
    sample = images.subset(torch.arange(0, len(images), -(-len(images) // MAX_IMAGES)))
    device = next(ancestor.network.model.parameters()).device
    ancestor.network.model.eval()
    pooled = torch.cat(
        [ancestor.extract(batch.pixels, []).pooled for batch in iterate_batches(sample, _BATCH, device)]
    ).cpu()
    assert sample.labels is not None  # noqa: S101 - the caller passes images with labels
    labels = one_hot(sample.labels, len(sample.classes))
    return LayerScores(
        [[compute_cka(one, labels)] for one in torch.split(pooled, list(ancestor.side.widths), dim=1)], ("labels",)
    )
