"""What selection had to work with: differences between genes, their measurement, and their inheritance.

Plain numbers, no tensors. Source of the regression on a parent and of the selection differential: Falconer and Mackay,
"Introduction to Quantitative Genetics". Source of the intraclass correlation ICC(3, 1): Shrout and Fleiss, 1979.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, TypeVar

from germline.methods.gtl.selection import GeneNode

ItemT = TypeVar("ItemT")
# Sums of squares below this share of the values' own size are rounding errors of equal values.
ROUNDING = 1e-12


@dataclass(frozen=True)
class MarkVariances:
    """Mean squares of marks that the same critics gave to several genes, effects of critics taken out.

    Attributes:
        genes: Mean square between genes.
        error: Mean square of the residuals, in which a critic ranks genes otherwise than the others.
        critics: Number of marks of a gene.
    """

    genes: float
    error: float
    critics: int

    @property
    def repeatability(self) -> float | None:
        """Intraclass correlation of single marks, ICC(3, 1); None if all marks of a critic are equal."""
        total = self.genes + (self.critics - 1) * self.error
        return (self.genes - self.error) / total if total > 0 else None

    @property
    def reliability(self) -> float | None:
        """Share of the variance of mean marks that is between genes, ICC(3, k); None without variance."""
        return 1 - self.error / self.genes if self.genes > 0 else None

    @property
    def noise(self) -> float:
        """Standard error of a gene's mean mark."""
        return math.sqrt(self.error / self.critics)


@dataclass(frozen=True)
class Regression:
    """Regression of children on their fathers, both as deviations from the mean of their own generation.

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
    genes: Sequence[GeneNode], final: int, tasks: int, life_images: int, samples: int, *, shares_critics: bool = True
) -> dict[str, float | int | None]:
    """Measure what selection had to work with. A value that the genes do not allow to compute is None.

    Args:
        genes: All genes of an evolution, by rising id.
        final: Number of the saved gene.
        tasks: Number of critic tasks of each gene.
        life_images: Images that a network sees in its life.
        samples: Images of the whole evolution.
        shares_critics: Whether a generation shares its critics; otherwise each tournament has its own.
    """
    groups = group_by(genes, lambda gene: (gene.generation, gene.tournament))
    generations = group_by(genes, _generation_of)
    cohorts = [[gene.marks for gene in cohort] for cohort in (generations if shares_critics else groups).values()]
    over_all = pool_marks(cohorts)
    over_tasks = pool_marks([average_seeds(marks, tasks) for marks in cohort] for cohort in cohorts)
    over_seeds = pool_marks(
        [marks_of_task(marks, tasks, task) for marks in cohort] for cohort in cohorts for task in range(tasks)
    )
    spread, deviation = spread_within(groups.values()), spread_within(generations.values())
    regression, differential = regress_on_fathers(genes), selection_differential(genes)
    return {
        "spread": spread,
        "noise": over_all.noise if over_all else None,
        "reliability": over_all.reliability if over_all else None,
        "repeatability_tasks": over_tasks.repeatability if over_tasks else None,
        "repeatability_seeds": over_seeds.repeatability if over_seeds else None,
        "heritability": regression.slope if regression else None,
        "heritability_error": regression.slope_error if regression else None,
        "correlation": regression.correlation if regression else None,
        "correlation_error": regression.correlation_error if regression else None,
        "pairs": regression.pairs if regression else 0,
        "differential": differential,
        "intensity": differential / deviation if differential is not None and deviation else None,
        "line_lives": count_line_lives(genes, final),
        "line_images": count_line_lives(genes, final) * life_images,
        "images": samples,
    }


def group_by(items: Iterable[ItemT], key: Any) -> dict[Hashable, list[ItemT]]:
    """Group items by a key, in the order of their first item."""
    groups: dict[Hashable, list[ItemT]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return groups


def _generation_of(gene: GeneNode) -> int:
    return gene.generation


def spread_within(groups: Iterable[Sequence[GeneNode]]) -> float | None:
    """Return the standard deviation of fitness within groups, pooled; None if each group has one gene."""
    squares, freedom = 0.0, 0
    for group in groups:
        values = [gene.fitness for gene in group]
        squares += _sum_of_squares(values)
        freedom += len(values) - 1
    return math.sqrt(squares / freedom) if freedom else None


def pool_marks(tables: Iterable[Sequence[Sequence[float]]]) -> MarkVariances | None:
    """Analyse the variance of marks: genes by critics, without repeats, pooled over tables with the same critics.

    Args:
        tables: Marks [genes, critics] of genes that met the same critics.

    Returns:
        Mean squares; None if no table has two genes and two critics.
    """
    between = residual = 0.0
    between_freedom = residual_freedom = critics = 0
    for table in tables:
        count, width = len(table), len(table[0]) if table else 0
        if count < 2 or width < 2:
            continue
        means = [fmean(row) for row in table]
        columns = [fmean(column) for column in zip(*table, strict=True)]
        whole = fmean(means)
        between += width * _sum_of_squares(means)
        rows = zip(table, means, strict=True)
        cells = [mark - mean - column + whole for row, mean in rows for mark, column in zip(row, columns, strict=True)]
        size = max(abs(mark) for row in table for mark in row)
        squares = sum(cell**2 for cell in cells)
        residual += squares if squares > ROUNDING * size**2 * len(cells) else 0.0
        between_freedom += count - 1
        residual_freedom += (count - 1) * (width - 1)
        critics = width
    if not residual_freedom:
        return None
    return MarkVariances(between / between_freedom, residual / residual_freedom, critics)


def average_seeds(marks: Sequence[float], tasks: int) -> list[float]:
    """Return a gene's mean mark on each task."""
    return [fmean(marks_of_task(marks, tasks, task)) for task in range(tasks)] if marks else []


def marks_of_task(marks: Sequence[float], tasks: int, task: int) -> Sequence[float]:
    """Return a gene's marks on one task."""
    seeds = len(marks) // tasks
    return marks[task * seeds : (task + 1) * seeds]


def regress_on_fathers(genes: Sequence[GeneNode]) -> Regression | None:
    """Regress children's fitness on their fathers'; None with fewer than three pairs or equal fathers."""
    deviations = _deviations(genes)
    pairs = [(gene.father, deviations[gene.father], deviations[gene.id]) for gene in genes if gene.father is not None]
    if len(pairs) < 3:
        return None
    mean_x, mean_y = fmean(x for _, x, _ in pairs), fmean(y for _, _, y in pairs)
    centred = [(father, x - mean_x, y - mean_y) for father, x, y in pairs]
    size = max(abs(gene.fitness) for gene in genes)
    squares_x, squares_y = sum(x * x for _, x, _ in centred), sum(y * y for _, _, y in centred)
    limit = ROUNDING * len(pairs) * size**2
    if squares_x <= limit:
        return None
    slope = sum(x * y for _, x, y in centred) / squares_x
    error = _clustered_error(centred, slope, squares_x)
    # In units of standard deviations the slope is the correlation.
    ratio = math.sqrt(squares_x / squares_y) if squares_y > limit else None
    return Regression(
        slope=slope,
        slope_error=error,
        correlation=None if ratio is None else slope * ratio,
        correlation_error=None if ratio is None or error is None else error * ratio,
        pairs=len(pairs),
    )


def _clustered_error(pairs: Sequence[tuple[int, float, float]], slope: float, squares_x: float) -> float | None:
    """Return the standard error of a slope from residuals summed by father, corrected for few fathers."""
    clusters = group_by(pairs, lambda pair: pair[0])
    count, fathers = len(pairs), len(clusters)
    if fathers < 3:
        return None
    meat = sum(sum(x * (y - slope * x) for _, x, y in cluster) ** 2 for cluster in clusters.values())
    correction = fathers / (fathers - 1) * (count - 1) / (count - 2)
    return math.sqrt(correction * meat) / squares_x


def selection_differential(genes: Sequence[GeneNode]) -> float | None:
    """Return how far fathers are above the mean of their generation, over all children; None without children."""
    deviations = _deviations(genes)
    fathers = [deviations[gene.father] for gene in genes if gene.father is not None]
    return fmean(fathers) if fathers else None


def count_line_lives(genes: Sequence[GeneNode], last: int) -> int:
    """Count the lives through which a gene's weights have passed, its own included."""
    by_id, lives = {gene.id: gene for gene in genes}, 0
    father: int | None = last
    while father is not None:
        lives, father = lives + by_id[father].lives, by_id[father].father
    return lives


def _deviations(genes: Sequence[GeneNode]) -> Mapping[int, float]:
    """Return each gene's fitness above the mean of its generation."""
    groups = group_by(genes, _generation_of)
    means = {generation: fmean(gene.fitness for gene in group) for generation, group in groups.items()}
    return {gene.id: gene.fitness - means[gene.generation] for gene in genes}


def _sum_of_squares(values: Sequence[float]) -> float:
    """Return the sum of squared deviations from the mean; rounding errors of equal values give 0."""
    mean, size = fmean(values), max(map(abs, values))
    squares = sum((value - mean) ** 2 for value in values)
    return squares if squares > ROUNDING * size**2 * len(values) else 0.0
