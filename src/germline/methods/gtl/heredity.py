"""What selection had to work with: differences between genes, their measurement, and their inheritance.

Plain numbers, no tensors. Source of the regression on a parent and of the selection differential: Falconer and Mackay,
"Introduction to Quantitative Genetics".
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TypeVar

from germline.methods.gtl.repeatability import (
    ROUNDING,
    average_seeds,
    binomial_noise,
    marks_of_task,
    pool_marks,
    sum_of_squares,
)
from germline.methods.gtl.selection import GeneNode

ItemT = TypeVar("ItemT")


@dataclass(frozen=True)
class Regression:
    """Regression of children on their fathers, both as deviations from those that met the same critics.

    A gene has one parent and is inherited whole, so the slope is the heritability of fitness. Brothers share what the
    father's measured fitness does not tell. The standard error therefore clusters pairs by father.

    Attributes:
        slope: Slope of the regression.
        slope_error: Standard error of the slope; None with fewer than three fathers.
        correlation: Correlation; None if children do not differ.
        correlation_error: Standard error of the correlation, in proportion to that of the slope.
        pairs: Number of pairs.
    """

    slope: float
    slope_error: float | None
    correlation: float | None
    correlation_error: float | None
    pairs: int


def measure_heredity(
    genes: Sequence[GeneNode],
    final: int,
    tasks: int,
    life_images: int,
    samples: int,
    *,
    shares_critics: bool = True,
    val_images: int | None = None,
) -> dict[str, float | int | None]:
    """Measure what selection had to work with. A value that the genes do not allow to compute is None.

    Args:
        genes: All genes of an evolution, by rising id.
        final: Number of the saved gene.
        tasks: Number of critic tasks of each gene.
        life_images: Images that a network sees in its life.
        samples: Images of the whole evolution.
        shares_critics: Whether a generation shares its critics; otherwise each tournament has its own.
        val_images: Validation images of one critic whose accuracy is the fitness; None for other fitness. They give
            the noise of single marks, which no other marks repeat.
    """
    tournaments = group_by(genes, _tournament_of).values()
    met = group_by(genes, _cohort_key(shares_critics=shares_critics)).values()
    cohorts = [[gene.marks for gene in cohort] for cohort in met]
    over_all = pool_marks(cohorts)
    over_tasks = pool_marks([average_seeds(marks, tasks) for marks in cohort] for cohort in cohorts)
    over_seeds = pool_marks(
        [marks_of_task(marks, tasks, task) for marks in cohort] for cohort in cohorts for task in range(tasks)
    )
    regression = regress_on_fathers(genes, shares_critics=shares_critics)
    differential = selection_differential(genes, shares_critics=shares_critics)
    spread, deviation = spread_within(tournaments), spread_within(met)
    noise, reliability = (over_all.noise, over_all.reliability) if over_all else (None, None)
    if over_all is None and val_images:
        noise, reliability = _estimate_noise(genes, spread, val_images)
    line_lives = count_line_lives(genes, final)
    return {
        "spread": spread,
        "noise": noise,
        "reliability": reliability,
        "repeatability_tasks": over_tasks.repeatability if over_tasks else None,
        "repeatability_seeds": over_seeds.repeatability if over_seeds else None,
        **_describe_regression(regression),
        "differential": differential,
        "intensity": differential / deviation if differential is not None and deviation else None,
        "line_lives": line_lives,
        "line_images": line_lives * life_images,
        "images": samples,
    }


def _estimate_noise(
    genes: Sequence[GeneNode], spread: float | None, val_images: int
) -> tuple[float | None, float | None]:
    """Estimate noise and reliability of single marks from the number of images of each; None if marks are missing."""
    if not all(gene.marks for gene in genes):
        return None, None
    noise = binomial_noise([mark for gene in genes for mark in gene.marks], val_images)
    return noise, 1 - (noise / spread) ** 2 if spread else None


def _describe_regression(regression: Regression | None) -> dict[str, float | int | None]:
    """Return the numbers of a regression by name; None for all but the number of pairs if there is none."""
    return {
        "heritability": regression.slope if regression else None,
        "heritability_error": regression.slope_error if regression else None,
        "correlation": regression.correlation if regression else None,
        "correlation_error": regression.correlation_error if regression else None,
        "pairs": regression.pairs if regression else 0,
    }


def group_by(items: Iterable[ItemT], key: Callable[[ItemT], Hashable]) -> dict[Hashable, list[ItemT]]:
    """Group items by a key, in the order of their first item."""
    groups: dict[Hashable, list[ItemT]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return groups


def spread_within(groups: Iterable[Sequence[GeneNode]]) -> float | None:
    """Return the standard deviation of fitness within groups, pooled; None if each group has one gene."""
    squares, freedom = 0.0, 0
    for group in groups:
        values = [gene.fitness for gene in group]
        squares += sum_of_squares(values)
        freedom += len(values) - 1
    return math.sqrt(squares / freedom) if freedom else None


def regress_on_fathers(genes: Sequence[GeneNode], *, shares_critics: bool = True) -> Regression | None:
    """Regress children's fitness on their fathers', within each group of children that met the same critics.

    Fathers count by their deviation from those that met their own critics. Means of the groups of children are taken
    out of both, so that neither better generations nor harder tasks look like heritability.

    Args:
        genes: Genes with their fathers.
        shares_critics: Whether a generation shares its critics; otherwise each tournament has its own.

    Returns:
        The regression; None with too few pairs, or if fathers do not differ within groups.
    """
    key = _cohort_key(shares_critics=shares_critics)
    deviations = _deviations(genes, key)
    children = group_by((gene for gene in genes if gene.father is not None), key)
    pairs: list[tuple[int, float, float]] = []
    for group in children.values():
        known = [(gene.father, deviations[gene.father], gene.fitness) for gene in group if gene.father is not None]
        mean_x, mean_y = fmean(x for _, x, _ in known), fmean(y for _, _, y in known)
        pairs += [(father, x - mean_x, y - mean_y) for father, x, y in known]
    freedom = len(pairs) - len(children) - 1
    if freedom < 1:
        return None
    limit = ROUNDING * len(pairs) * max(abs(gene.fitness) for gene in genes) ** 2
    squares_x, squares_y = sum(x * x for _, x, _ in pairs), sum(y * y for _, _, y in pairs)
    if squares_x <= limit:
        return None
    slope = sum(x * y for _, x, y in pairs) / squares_x
    error = _clustered_error(pairs, slope, squares_x, freedom)
    # In units of standard deviations the slope is the correlation.
    ratio = math.sqrt(squares_x / squares_y) if squares_y > limit else None
    return Regression(
        slope=slope,
        slope_error=error,
        correlation=None if ratio is None else slope * ratio,
        correlation_error=None if ratio is None or error is None else error * ratio,
        pairs=len(pairs),
    )


def _clustered_error(
    pairs: Sequence[tuple[int, float, float]], slope: float, squares_x: float, freedom: int
) -> float | None:
    """Return the standard error of a slope from residuals summed by father, corrected for few fathers."""
    clusters = group_by(pairs, lambda pair: pair[0])
    fathers = len(clusters)
    if fathers < 3:
        return None
    meat = sum(sum(x * (y - slope * x) for _, x, y in cluster) ** 2 for cluster in clusters.values())
    correction = fathers / (fathers - 1) * (len(pairs) - 1) / freedom
    return math.sqrt(correction * meat) / squares_x


def selection_differential(genes: Sequence[GeneNode], *, shares_critics: bool = True) -> float | None:
    """Return how far fathers are above those that met the same critics, over all children; None without children."""
    deviations = _deviations(genes, _cohort_key(shares_critics=shares_critics))
    fathers = [deviations[gene.father] for gene in genes if gene.father is not None]
    return fmean(fathers) if fathers else None


def count_line_lives(genes: Sequence[GeneNode], last: int) -> int:
    """Count the lives through which a gene's weights have passed, its own included."""
    by_id, lives = {gene.id: gene for gene in genes}, 0
    father: int | None = last
    while father is not None:
        lives, father = lives + by_id[father].lives, by_id[father].father
    return lives


def _cohort_key(*, shares_critics: bool) -> Callable[[GeneNode], Hashable]:
    """Return the key of genes that met the same critics."""
    return _generation_of if shares_critics else _tournament_of


def _generation_of(gene: GeneNode) -> int:
    return gene.generation


def _tournament_of(gene: GeneNode) -> tuple[int, int]:
    # Genes of the first release do not record their tournament, but each tournament had a task of its own.
    return gene.generation, gene.critic_task if gene.tournament is None else gene.tournament


def _deviations(genes: Sequence[GeneNode], key: Callable[[GeneNode], Hashable]) -> Mapping[int, float]:
    """Return each gene's fitness above the mean of those with the same key."""
    means = {name: fmean(gene.fitness for gene in group) for name, group in group_by(genes, key).items()}
    return {gene.id: gene.fitness - means[key(gene)] for gene in genes}
