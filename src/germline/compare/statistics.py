"""Means and intervals; the unit is the seed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from scipy.stats import t as student

LEVEL = 0.95


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds with its t interval.

    Attributes:
        mean: Over the seeds.
        half: Half the width of the 95 % interval; infinite for a single seed.
        count: Seeds.
    """

    mean: float
    half: float
    count: int

    @property
    def low(self) -> float:
        """Lower end of the interval."""
        return self.mean - self.half

    @property
    def high(self) -> float:
        """Upper end of the interval."""
        return self.mean + self.half

    def text(self, scale: float = 100, digits: int = 1, sign: bool = False) -> str:
        """`62.3 ± 1.4`, in percent or points by default."""
        mean = f"{self.mean * scale:{'+' if sign else ''}.{digits}f}"
        return mean if math.isinf(self.half) else f"{mean} ± {self.half * scale:.{digits}f}"


def estimate(values: Sequence[float]) -> Estimate:
    """The mean of one value a seed, with Student's t interval at 95 %.

    Of paired differences this is the paired t interval.

    Raises:
        ValueError: There are no values.
    """
    if not values:
        raise ValueError("an estimate needs at least one value")
    count = len(values)
    if count == 1:
        return Estimate(values[0], math.inf, 1)
    quantile = float(student.ppf((1 + LEVEL) / 2, count - 1))
    return Estimate(fmean(values), quantile * stdev(values) / math.sqrt(count), count)
