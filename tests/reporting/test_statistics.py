"""Intervals, p-values and corrections against hand calculations and scipy."""

import math

import numpy as np
import pytest
from scipy import stats

from germline.reporting.statistics import estimate, holm, p_value, sign_p_value, smallest_difference


def test_interval_of_three_values_matches_hand_calculation():
    # mean 0.2, standard deviation 0.1, t(0.975, 2 degrees) = 4.302653: half = 4.302653 * 0.1 / sqrt(3)
    found = estimate([0.1, 0.2, 0.3])
    assert found.mean == pytest.approx(0.2)
    assert found.half == pytest.approx(0.2484138, rel=1e-6)
    assert (found.low, found.high) == pytest.approx((-0.0484138, 0.4484138), rel=1e-5)


def test_paired_interval_equals_that_of_scipy():
    ours, theirs = [0.61, 0.64, 0.60, 0.66, 0.59], [0.55, 0.60, 0.58, 0.57, 0.56]
    found = estimate([a - b for a, b in zip(ours, theirs, strict=True)])
    low, high = stats.ttest_rel(ours, theirs).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((low, high), rel=1e-9)


def test_one_value_has_no_interval():
    found = estimate([0.5])
    assert (found.mean, found.half, found.count) == (0.5, math.inf, 1)
    assert found.text() == "50.0"


def test_equal_values_have_an_interval_of_zero():
    assert estimate([0.25, 0.25]).half == 0


def test_no_values_are_refused():
    with pytest.raises(ValueError, match="at least one"):
        estimate([])


def test_text_is_in_percent_or_points():
    assert estimate([0.1, 0.2, 0.3]).text() == "20.0 ± 24.8"
    assert estimate([0.1, 0.2, 0.3]).text(sign=True) == "+20.0 ± 24.8"
    assert estimate([-0.1]).text(sign=True) == "-10.0"


def test_p_value_equals_that_of_scipy():
    ours, theirs = [0.61, 0.64, 0.60, 0.66, 0.59], [0.55, 0.60, 0.58, 0.57, 0.56]
    found = p_value([a - b for a, b in zip(ours, theirs, strict=True)])
    assert found == pytest.approx(stats.ttest_rel(ours, theirs).pvalue, rel=1e-9)


def test_p_value_of_equal_differences_is_that_of_the_sign_test():
    assert p_value([0.0, 0.0, 0.0]) == 1
    assert p_value([0.3 - 0.1, 0.4 - 0.2, 0.7 - 0.5]) == 0.25
    assert p_value(5 * [1.58]) == p_value(5 * [-1.58]) == 0.0625
    assert p_value(6 * [1.58]) == 0.03125
    assert p_value([0.2]) == 1


@pytest.mark.parametrize(
    ("differences", "expected"),
    [
        ((0.1, 0.2, 0.3), 0.25),
        ((-0.1, -0.1, -0.1, -0.1, -0.1), 0.0625),
        ((0.5,) * 6, 0.03125),
        # three of four on one side: 2 * (4 + 1) / 16
        ((0.1, 0.2, 0.3, -0.1), 0.625),
        ((0.1, -0.1), 1.0),
        ((0.0, 0.0), 1.0),
        ((0.0, 0.1, 0.1, 0.1), 0.25),
    ],
)
def test_sign_test_matches_hand_calculation(differences, expected):
    assert sign_p_value(differences) == pytest.approx(expected)


def test_holm_matches_hand_calculation():
    # 4 claims: 0.01 x 4, 0.02 x 3, then 0.03 x 2 and 0.04 x 1, never below the one before
    assert holm([0.03, 0.01, 0.04, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.5, 0.9]) == pytest.approx([1.0, 1.0])
    assert holm([]) == []


@pytest.mark.parametrize("claims", [1, 24])
@pytest.mark.parametrize("count", [3, 5, 10])
def test_smallest_difference_is_detected_in_80_percent_of_draws(count, claims):
    draws = np.random.default_rng(0).standard_normal((20_000, count))
    unit = np.linspace(-1, 1, count)
    unit = unit / unit.std(ddof=1)  # a spread of exactly 1
    shift = smallest_difference(list(unit), claims)
    shown = stats.ttest_1samp(draws + shift, 0, axis=1).pvalue < 0.05 / claims
    assert shown.mean() == pytest.approx(0.8, abs=0.01)


def test_the_smallest_difference_of_one_seed_is_unknown():
    assert math.isinf(smallest_difference([0.3]))
