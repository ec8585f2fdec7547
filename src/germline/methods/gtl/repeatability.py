"""Repeatability of marks that several critics give to the same genes.

Source of the intraclass correlation ICC(3, 1): Shrout and Fleiss, 1979.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean

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
        between += width * sum_of_squares(means)
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


def binomial_noise(accuracies: Sequence[float], images: int) -> float:
    """Return the standard error of an accuracy on so many images, as if each were right or wrong by chance."""
    return math.sqrt(fmean(accuracy * (1 - accuracy) for accuracy in accuracies) / images)


def average_seeds(marks: Sequence[float], tasks: int) -> list[float]:
    """Return a gene's mean mark on each task."""
    return [fmean(marks_of_task(marks, tasks, task)) for task in range(tasks)] if marks else []


def marks_of_task(marks: Sequence[float], tasks: int, task: int) -> Sequence[float]:
    """Return a gene's marks on one task."""
    seeds = len(marks) // tasks
    return marks[task * seeds : (task + 1) * seeds]


def sum_of_squares(values: Sequence[float]) -> float:
    """Return the sum of squared deviations from the mean; rounding errors of equal values give 0."""
    mean, size = fmean(values), max(map(abs, values))
    squares = sum((value - mean) ** 2 for value in values)
    return squares if squares > ROUNDING * size**2 * len(values) else 0.0
