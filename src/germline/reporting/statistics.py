"""Means, intervals and tests; the unit is the seed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from scipy.optimize import brentq
from scipy.stats import nct as shifted_student
from scipy.stats import t as student

LEVEL = 0.95
POWER = 0.8


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


def p_value(differences: Sequence[float]) -> float:
    """Two-sided p of the paired t test that the mean of one difference a seed is 0; 1 for a single seed.

    Differences without any spread are either none at all (1) or as sure as can be (0).
    """
    if len(differences) < 2:
        return 1.0
    mean, error = fmean(differences), stdev(differences) / math.sqrt(len(differences))
    # Equal differences differ in their last bits once they have been subtracted.
    if error <= 1e-12 * max(1.0, abs(mean)):
        return 1.0 if abs(mean) <= 1e-12 else 0.0
    return float(2 * student.sf(abs(mean) / error, len(differences) - 1))


def sign_p_value(differences: Sequence[float]) -> float:
    """Two-sided p of the sign test that differences above 0 are as likely as those below; differences of 0 are no word.

    Exact, whatever the differences are spread like; of n differences on one side it is 2 to the power of 1 - n.
    """
    above, below = sum(one > 0 for one in differences), sum(one < 0 for one in differences)
    count = above + below
    tail = sum(math.comb(count, more) for more in range(max(above, below), count + 1))
    return float(min(1.0, 2 * tail / 2**count))


def holm(values: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment of p values over the claims of one report, in their order.

    Source: S. Holm, "A simple sequentially rejective multiple test procedure", 1979.
    """
    adjusted, highest = [1.0] * len(values), 0.0
    for rank, index in enumerate(sorted(range(len(values)), key=lambda index: values[index])):
        highest = max(highest, min(1.0, values[index] * (len(values) - rank)))
        adjusted[index] = highest
    return adjusted


def smallest_difference(differences: Sequence[float]) -> float:
    """The true difference that so many seeds with such a spread would have shown four times out of five.

    From the power of the two-sided paired t test at 5 %, unadjusted; infinite for a single seed.
    """
    count = len(differences)
    if count < 2:
        return math.inf
    quantile = float(student.ppf((1 + LEVEL) / 2, count - 1))

    def missing(shift: float) -> float:
        return float(shifted_student.sf(quantile, count - 1, shift)) - POWER

    return float(brentq(missing, 0, 100)) * stdev(differences) / math.sqrt(count)
