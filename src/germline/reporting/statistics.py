"""Means, intervals and tests over seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from scipy.optimize import brentq
from scipy.stats import nct as noncentral_student
from scipy.stats import t as student

LEVEL = 0.95
POWER = 0.8
LEAST_DIFFERENCE = 1e-12  # smaller ones are rounding errors of a subtraction


@dataclass(frozen=True)
class Estimate:
    """Mean over seeds with its t interval.

    Attributes:
        mean: Mean over the seeds.
        half: Half the width of the 95 % interval; infinite for a single seed.
        count: Number of seeds.
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
        """Return text such as `62.3 ± 1.4`, in percent or points by default."""
        mean = f"{self.mean * scale:{'+' if sign else ''}.{digits}f}"
        return mean if math.isinf(self.half) else f"{mean} ± {self.half * scale:.{digits}f}"


def estimate(values: Sequence[float]) -> Estimate:
    """Estimate the mean of one value per seed, with Student's t interval at 95 %.

    For paired differences this is the paired t interval.

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
    """Return the two-sided p-value of the paired t test of a zero mean; 1 for a single seed.

    Equal differences give the p-value of the sign test. Seeds can agree by chance where few values are possible, and a
    t test would then be sure of any difference.
    """
    if len(differences) < 2:
        return 1.0
    if have_no_spread(differences):
        return sign_p_value([value if abs(value) > LEAST_DIFFERENCE else 0 for value in differences])
    mean, error = fmean(differences), stdev(differences) / math.sqrt(len(differences))
    return float(2 * student.sf(abs(mean) / error, len(differences) - 1))


def have_no_spread(differences: Sequence[float]) -> bool:
    """Whether all differences are equal, up to the rounding errors that subtraction leaves in their last bits."""
    return max(differences) - min(differences) <= LEAST_DIFFERENCE * max(1.0, abs(differences[0]))


def sign_p_value(differences: Sequence[float]) -> float:
    """Return the two-sided p-value of the sign test; zero differences are ignored.

    The test is exact for any distribution. With all n differences on one side, p is 2 to the power of 1 - n.
    """
    above, below = sum(value > 0 for value in differences), sum(value < 0 for value in differences)
    count = above + below
    tail = sum(math.comb(count, more) for more in range(max(above, below), count + 1))
    return float(min(1.0, 2 * tail / 2**count))


def holm(values: Sequence[float], count: int | None = None) -> list[float]:
    """Adjust the p-values of one family of claims by Holm's step-down method, in their order.

    Args:
        values: The p-values that are known.
        count: Number of claims of the family; None: the number of values. Unknown p-values are taken to be larger than
            all others, which can only raise the adjusted ones.

    Source: S. Holm, "A simple sequentially rejective multiple test procedure", 1979.
    """
    adjusted, highest, count = [1.0] * len(values), 0.0, max(len(values), count or 0)
    for rank, index in enumerate(sorted(range(len(values)), key=lambda index: values[index])):
        highest = max(highest, min(1.0, values[index] * (count - rank)))
        adjusted[index] = highest
    return adjusted


def smallest_difference(differences: Sequence[float], claims: int = 1) -> float:
    """Return the true difference that this many seeds with this spread show with 80 % power.

    Computed from the power of the two-sided paired t test; infinite for a single seed.

    Args:
        differences: One paired difference per seed.
        claims: Number of claims over which Holm's correction spreads the error of 5 %.
    """
    count = len(differences)
    if count < 2:
        return math.inf
    quantile = float(student.ppf(1 - (1 - LEVEL) / (2 * claims), count - 1))

    def missing_power(shift: float) -> float:
        return float(noncentral_student.sf(quantile, count - 1, shift)) - POWER

    return float(brentq(missing_power, 0, 10 * quantile)) * stdev(differences) / math.sqrt(count)
