"""The tables of an evolution: who descends from whom, who wins, what it is worth; plain numbers, no tensors.

Source: Genetic Transfer Learning, arXiv 2401.08139; what its abstract leaves open is taken from the same group's public
code for reinforcement learning (arXiv 2306.10225): normalised scores, tournaments of three, decay, credit, pool.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Literal

import torch

CreditRule = Literal["tree", "grl"]


@dataclass(frozen=True)
class GeneNode:
    """One gene of the tree.

    Attributes:
        id: Its number; fathers have lower ones.
        father: Whose circuit and weights it began with; None in the first generation.
        generation: Counted from 0.
        similarity: Of its circuit with its father's, in [0, 1].
        task: Index of the task that its network lived on.
        critic_task: Index of the held-out task on which its fitness was taken; its own task for the fitness of a life.
        fitness: Accuracy as a share of 1.
        score: What a win with it was worth.
        won: Whether it won its tournament.
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


def normalise_fitness(fitness: Sequence[float], tasks: Sequence[int]) -> list[float]:
    """Scores that compare over tasks of unequal difficulty: s_i = r_i / max(r_j of the same task) x mean(r).

    The size of a gene, which the source divides by, is the same for all here and left out. Where a task's best is 0 its
    members score 0.
    """
    best: dict[int, float] = {}
    for value, task in zip(fitness, tasks, strict=True):
        best[task] = max(best.get(task, 0.0), value)
    mean = sum(fitness) / len(fitness)
    return [value / best[task] * mean if best[task] > 0 else 0.0 for value, task in zip(fitness, tasks, strict=True)]


def draw_tournaments(members: int, size: int, generator: torch.Generator) -> list[list[int]]:
    """A random partition of the members into groups of `size`; the last one may be smaller."""
    order = torch.randperm(members, generator=generator).tolist()
    return [order[first : first + size] for first in range(0, members, size)]


def draw_by_roulette(scores: Mapping[int, float], generator: torch.Generator) -> int:
    """One of the ids, with a chance in proportion to its score; all alike where no score is above 0."""
    ids = sorted(scores)
    weights = torch.tensor([max(scores[id_], 0.0) for id_ in ids], dtype=torch.float64)
    if not float(weights.sum()) > 0:
        weights = torch.ones(len(ids), dtype=torch.float64)
    return ids[int(torch.multinomial(weights, 1, generator=generator))]


def share_credit(
    winner: GeneNode, genes: Mapping[int, GeneNode], *, share: float, depth: int, rule: CreditRule = "tree"
) -> dict[int, float]:
    """What a winner's score adds to the scores of its forefathers.

    The m-th forefather gets share^m x the product of the similarities of the m steps of descent x the winner's score.
    The rule `grl` is the public code's, to the letter: exponents 1, 2, 4, 8, ..., and in place of the product the
    similarity of the step before, none for the father.

    Args:
        winner: Whose score is passed on.
        genes: All genes, by id.
        share: In (0, 1); the source has 1/e.
        depth: Forefathers that are reached at most.
        rule: Which of the two.
    """
    found: dict[int, float] = {}
    child, product, last = winner, 1.0, 1.0
    for step in count(1):
        if child.father is None or step > depth:
            return found
        product *= child.similarity
        worth = share**step * product if rule == "tree" else share ** (2 ** (step - 1)) * last
        found[child.father] = worth * winner.score
        last, child = child.similarity, genes[child.father]
    raise AssertionError  # the loop has no end of its own


def merge_pool(
    pool: Sequence[int], newcomers: Sequence[int], scores: Mapping[int, float], *, capacity: int, replaced: float
) -> list[int]:
    """The pool after a generation, best first.

    Free places go to the best newcomers. Then the lowest residents compete with the newcomers that are left for their
    own places, a share `replaced` of the capacity; the best resident is never among them.
    """

    def best(ids: Sequence[int]) -> list[int]:
        return sorted(ids, key=lambda id_: (-scores[id_], id_))

    waiting, residents = best(newcomers), best(pool)
    free = capacity - len(residents)
    settled, waiting = waiting[:free], waiting[free:]
    at_stake = min(max(1, math.floor(replaced * capacity)), max(0, len(residents) - 1))
    safe, risked = residents[: len(residents) - at_stake], residents[len(residents) - at_stake :]
    return best([*safe, *settled, *best([*risked, *waiting])[:at_stake]])
