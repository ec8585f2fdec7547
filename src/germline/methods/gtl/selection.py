"""Descent, winners and scores of an evolution; plain numbers, no tensors.

Source: Genetic Transfer Learning, arXiv 2401.08139. Its abstract leaves some points open. For these we follow the same
group's public code for reinforcement learning (arXiv 2306.10225): normalised scores, tournaments of three, decay,
credit, pool.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import count
from typing import Any, Literal

import torch

CreditRule = Literal["tree", "grl"]
ScoreRule = Literal["raw", "global", "per-task"]
LATER_FIELDS = ("tournament", "lives", "accuracy", "marks")  # genes of the first release do not have them


@dataclass(frozen=True)
class GeneNode:
    """One gene of the gene tree.

    Attributes:
        id: Number of the gene; a father has a lower number than its children.
        father: Gene from whose circuit and weights this one started; None in the first generation.
        generation: Number of the generation, from 0.
        similarity: Similarity of its circuit with its father's, in [0, 1].
        task: Index of the task on which its network was trained.
        critic_task: Index of the first held-out task that gave its fitness; its own task for the fitness of a life.
        fitness: Accuracy as a share of 1, or minus a loss in nats.
        score: Score of a win.
        won: Whether it won its tournament.
        tournament: Number of its tournament within the generation; None where that is not recorded.
        lives: Lives of its network's weights since the father: more than one only in a line.
        accuracy: Mean accuracy of its critics as a share of 1; None where that is not recorded.
        marks: Fitness by each of its critics: all critics of the first task, then those of the second, ....
    """

    id: int
    father: int | None
    generation: int
    similarity: float
    task: int
    critic_task: int
    fitness: float
    score: float
    won: bool
    tournament: int | None = None
    lives: int = 1
    accuracy: float | None = None
    marks: tuple[float, ...] = ()

    def to_row(self) -> dict[str, Any]:
        """Return the gene as it is saved; fields that are not recorded are left out."""
        row = asdict(self)
        if self.tournament is None:
            for key in LATER_FIELDS:
                del row[key]
        return row

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> GeneNode:
        """Rebuild a gene from the values of `to_row`."""
        return cls(**{**row, "marks": tuple(row.get("marks", ()))})


def score_wins(
    fitness: Sequence[float], tasks: Sequence[int], rule: ScoreRule, *, is_loss: bool = False
) -> list[float]:
    """Compute the scores that genes have if they win. They are not negative, and rise with fitness.

    Minus a loss is raised to a power of e first, which gives the geometric mean of the labels' probabilities.

    Args:
        fitness: Fitness of all genes of a generation.
        tasks: Index of the critic task of each gene.
        rule: `raw` takes that value itself. `global` takes it as a share of the generation's best, times the mean.
            `per-task` takes it as a share of the best on the same task, times the mean.
        is_loss: Whether fitness is minus a loss.
    """
    worth = [math.exp(value) for value in fitness] if is_loss else list(fitness)
    if rule == "raw":
        return worth
    return normalise_fitness(worth, tasks if rule == "per-task" else [0] * len(worth))


def normalise_fitness(fitness: Sequence[float], tasks: Sequence[int]) -> list[float]:
    """Normalise fitness over tasks of different difficulty.

    s_i = r_i / max(r_j of the same task) x mean(r). The source also divides by the size of a gene. Here all genes have
    the same size, so that is left out. If a task's best is 0, its members score 0.
    """
    best: dict[int, float] = {}
    for value, task in zip(fitness, tasks, strict=True):
        best[task] = max(best.get(task, 0.0), value)
    mean = sum(fitness) / len(fitness)
    return [value / best[task] * mean if best[task] > 0 else 0.0 for value, task in zip(fitness, tasks, strict=True)]


def draw_tournaments(members: int, size: int, generator: torch.Generator) -> list[list[int]]:
    """Draw a partition of the members into groups of `size`; the last group may be smaller."""
    order = torch.randperm(members, generator=generator).tolist()
    return [order[first : first + size] for first in range(0, members, size)]


def draw_by_roulette(scores: Mapping[int, float], generator: torch.Generator) -> int:
    """Draw an id with a chance in proportion to its score; uniformly if no score is above 0."""
    ids = sorted(scores)
    weights = torch.tensor([max(scores[id_], 0.0) for id_ in ids], dtype=torch.float64)
    if not float(weights.sum()) > 0:
        weights = torch.ones(len(ids), dtype=torch.float64)
    return ids[int(torch.multinomial(weights, 1, generator=generator))]


def share_credit(
    winner: GeneNode, genes: Mapping[int, GeneNode], *, share: float, depth: int, rule: CreditRule = "tree"
) -> dict[int, float]:
    """Compute what a winner adds to the scores of the genes that it descends from.

    With the rule `tree` the m-th forefather gets share^m x product x the winner's score. The product is that of the
    similarities of the m steps of descent. The rule `grl` follows the public code exactly. Its exponents are
    1, 2, 4, 8, .... In place of the product it has the similarity of the step before, and none for the father.

    Args:
        winner: Gene whose score is shared.
        genes: All genes, by id.
        share: Share of the score, in (0, 1); the source uses 1/e.
        depth: Largest number of forefathers that get credit.
        rule: Rule of sharing.
    """
    credit: dict[int, float] = {}
    child, product, last = winner, 1.0, 1.0
    for step in count(1):
        if child.father is None or step > depth:
            return credit
        product *= child.similarity
        worth = share**step * product if rule == "tree" else share ** (2 ** (step - 1)) * last
        credit[child.father] = worth * winner.score
        last, child = child.similarity, genes[child.father]
    raise AssertionError  # the loop above always returns


def admit_all(
    pool: Sequence[int], newcomers: Sequence[int], scores: Mapping[int, float], *, capacity: int
) -> list[int]:
    """Make a pool of all winners of a generation, then of the best residents in the places left, best first.

    The pool is larger than its capacity if there are more winners.
    """
    residents = _sort_by_score(pool, scores)[: max(0, capacity - len(newcomers))]
    return _sort_by_score([*newcomers, *residents], scores)


def merge_pool(
    pool: Sequence[int], newcomers: Sequence[int], scores: Mapping[int, float], *, capacity: int, replaced: float
) -> list[int]:
    """Merge the winners of a generation into the pool, best first.

    Free places go to the best newcomers. Then the lowest residents compete for their places with the other newcomers.
    At most a share `replaced` of the capacity changes. The best resident always stays.
    """
    waiting, residents = _sort_by_score(newcomers, scores), _sort_by_score(pool, scores)
    free = capacity - len(residents)
    settled, waiting = waiting[:free], waiting[free:]
    at_stake = min(max(1, math.floor(replaced * capacity)), max(0, len(residents) - 1))
    safe, risked = residents[: len(residents) - at_stake], residents[len(residents) - at_stake :]
    entering = _sort_by_score([*risked, *waiting], scores)[:at_stake]
    return _sort_by_score([*safe, *settled, *entering], scores)


def _sort_by_score(ids: Sequence[int], scores: Mapping[int, float]) -> list[int]:
    return sorted(ids, key=lambda id_: (-scores[id_], id_))
