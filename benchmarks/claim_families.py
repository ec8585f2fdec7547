"""Simulate families of claims whose arms are all equal, and count how often Holm's method calls any different.

Thousands of families are judged at once, by arrays. The p-values equal those of the code that judges reports:
`calibration.py` compares some of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

from germline.reporting.statistics import LEVEL

Array = NDArray[np.float64]
CHUNK = 20_000  # families that are in memory together


@dataclass(frozen=True)
class Family:
    """Family of claims: each report compares one subject with every control.

    Attributes:
        name: Name of the family in the results.
        reports: Number of reports or conditions.
        controls: Number of controls per report.
        shared: Correlation of one arm's noise between reports. It is high where reports read the same runs again.
    """

    name: str
    reports: int
    controls: int
    shared: float = 0.0

    @property
    def claims(self) -> int:
        """Number of claims."""
        return self.reports * self.controls

    def draw(self, count: int, seeds: int, spread: float, generator: np.random.Generator) -> Array:
        """Draw noise [count, reports, 1 + controls, seeds]; the subject is the first arm."""
        arms = self.controls + 1
        own = generator.normal(0, spread, (count, self.reports, arms, seeds))
        if not self.shared:
            return own
        common = generator.normal(0, spread, (count, 1, arms, seeds))
        return np.sqrt(1 - self.shared) * own + np.sqrt(self.shared) * common


def compute_p_values(noise: Array) -> Array:
    """Return the p-values [count, claims] of the paired t tests of the first arm against all others.

    Args:
        noise: Accuracies [count, reports, arms, seeds].
    """
    differences = noise[:, :, :1] - noise[:, :, 1:]
    seeds = differences.shape[-1]
    error = differences.std(axis=-1, ddof=1) / np.sqrt(seeds)
    p = 2 * student.sf(np.abs(differences.mean(axis=-1)) / error, seeds - 1)
    return np.asarray(p, dtype=np.float64).reshape(len(noise), -1)


def adjust_by_holm(p_values: Array) -> Array:
    """Adjust p-values [count, claims] by Holm's method, each row as one family."""
    claims = p_values.shape[1]
    order = np.argsort(p_values, axis=1, kind="stable")
    stepped = np.take_along_axis(p_values, order, axis=1) * (claims - np.arange(claims))
    highest = np.minimum(np.maximum.accumulate(stepped, axis=1), 1.0)
    adjusted = np.empty_like(p_values)
    np.put_along_axis(adjusted, order, highest, axis=1)
    return adjusted


def simulate_family(
    family: Family, seeds: int, count: int, spread: float, generator: np.random.Generator
) -> dict[str, Any]:
    """Return how often equal arms are called different: per question, per claim, and per claim without correction.

    Args:
        family: Reports and controls of the question.
        seeds: Number of seeds per report.
        count: Number of simulated questions.
        spread: Standard deviation of each arm's noise.
        generator: Random generator of the noise.
    """
    questions = claims = uncorrected = 0
    for start in range(0, count, CHUNK):
        p_values = compute_p_values(family.draw(min(CHUNK, count - start), seeds, spread, generator))
        is_different = adjust_by_holm(p_values) < 1 - LEVEL
        questions += int(is_different.any(axis=1).sum())
        claims += int(is_different.sum())
        uncorrected += int((p_values < 1 - LEVEL).sum())
    return {
        "family": family.name,
        "seeds": seeds,
        "claims": family.claims,
        "shared": family.shared,
        "different": questions / count,
        "claims_different": claims / (count * family.claims),
        "claims_different_uncorrected": uncorrected / (count * family.claims),
    }
