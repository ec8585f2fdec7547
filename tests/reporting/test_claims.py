"""Claims against hand calculations: verdicts, detectable differences, Holm, calibration."""

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from germline.reporting.claims import Claim, count_verdicts, judge
from germline.reporting.statistics import smallest_difference


def judge_one(*differences, unit="points"):
    (found,) = judge([Claim("a is above b", "depth=2", differences, unit)])
    return found


def test_claim_holds():
    # mean 0.2, standard deviation 0.01: t = 0.2 / (0.01 / sqrt(3)) = 34.64, 2 degrees
    found = judge_one(0.19, 0.20, 0.21)
    assert found.p == pytest.approx(float(2 * stats.t.sf(20 * math.sqrt(3), 2)))
    assert found.verdict == "holds"
    assert found.row() == ["a is above b", "depth=2", "+20.0 ± 2.5 points", "< 0.001", "holds", ""]


def test_the_reverse_holds():
    found = judge_one(-0.19, -0.20, -0.21)
    assert found.verdict == "the reverse holds"
    assert found.row()[2] == "-20.0 ± 2.5 points"


def test_no_difference_gives_the_detectable_difference():
    # power 0.8 of the paired t test at n = 3 needs 3.26 standard deviations of the differences: 0.1 gives 0.326
    found = judge_one(0.0, 0.1, 0.2)
    assert found.p == pytest.approx(stats.ttest_1samp([0.0, 0.1, 0.2], 0).pvalue)
    assert found.verdict == "no difference shown"
    assert found.row()[3:] == ["0.225", "no difference shown", "32.6 points"]


@pytest.mark.parametrize(
    ("p", "chance"), [(0.0494, "0.049"), (0.0499, "< 0.050"), (0.0501, "0.050"), (0.0004, "< 0.001")]
)
def test_a_p_value_below_the_level_never_reads_as_the_level(p, chance):
    row = replace(judge_one(0.1, 0.2, 0.3), p=p).row()
    assert row[3:5] == [chance, "holds" if p < 0.05 else "no difference shown"]


def test_the_detectable_difference_accounts_for_the_open_claims_of_the_family():
    # one of three claims holds, so the two others must each be below 5 % / 2
    held, first, second = judge(
        [Claim("a", "", values) for values in [(0.19, 0.20, 0.21), (0.0, 0.1, 0.2), (0.0, 0.1, 0.3)]]
    )
    assert (held.verdict, held.detectable) == ("holds", "")
    assert (first.open_claims, second.open_claims) == (2, 2)
    assert first.detectable == f"{100 * smallest_difference([0.0, 0.1, 0.2], 2):.1f} points" == "46.2 points"
    # claims that were said beforehand and are unknown yet stay open
    assert judge([first.claim], count=24)[0].open_claims == 24


@pytest.mark.parametrize("count", [2, 8, 24])
def test_a_difference_as_large_as_the_limit_of_the_open_claims_is_shown(count):
    # the limit of the mean at which the verdict changes, by Holm: 5 % over the open claims
    limit = float(stats.t.ppf(1 - 0.025 / count, 4)) * 0.01 / math.sqrt(5)
    spread = np.array([-1, -0.5, 0, 0.5, 1]) / np.std([-1, -0.5, 0, 0.5, 1], ddof=1) * 0.01
    above, below = (
        judge([Claim("a", "", tuple(spread + factor * limit))], count=count)[0] for factor in (1.001, 0.999)
    )
    assert (above.verdict, below.verdict) == ("holds", "no difference shown")
    assert float(below.detectable.split()[0]) > 100 * limit


def test_equal_values_show_no_difference():
    assert judge_one(0.0, 0.0, 0.0).p == 1
    assert judge_one(0.0, 0.0).row()[4:] == ["no difference shown", "0.0 points"]


def test_equal_differences_need_six_seeds():
    # five seeds of one sign have the p-value 2 to the power of -4
    few = judge_one(*5 * [1.5], unit="doublings")
    assert few.row()[2:] == ["+1.5 ± 0.0 doublings", "0.062", "too few seeds to tell", ""]
    assert judge_one(*5 * [-1.5]).verdict == "too few seeds to tell"
    assert judge_one(*6 * [1.5]).verdict == "holds"
    assert judge_one(*6 * [-1.5]).verdict == "the reverse holds"


def test_one_seed_shows_nothing():
    found = judge_one(0.4)
    assert found.verdict == "one seed shows nothing"
    assert found.row()[2:] == ["+40.0 points", "", "one seed shows nothing", ""]


def test_doublings_are_not_scaled():
    assert judge_one(1.0, 2.0, 3.0, unit="doublings").row()[2] == "+2.0 ± 2.5 doublings"
    assert judge_one(1.0, 2.0, 3.0, unit="doublings").detectable == "3.3 doublings"


def test_verdicts_are_counted():
    sets = ((0.19, 0.20, 0.21), (-0.19, -0.20, -0.21), (0.20, 0.21, 0.20), (0.1,))
    assert count_verdicts(judge([Claim("a", "", values) for values in sets])) == (
        "2 of 4 claims: holds; 1 of 4 claims: the reverse holds; 1 of 4 claims: one seed shows nothing."
    )
    others = [Claim("b", "", values, is_stated=False) for values in sets[:2]]
    assert count_verdicts(judge([Claim("a", "", sets[0]), *others])) == (
        "1 of 1 claims: holds. 2 other differences were not claimed beforehand."
    )
    assert count_verdicts(judge(others[:1])) == "No claims. 1 other difference was not claimed beforehand."


def test_a_difference_that_was_not_claimed_has_no_verdict_and_no_detectable_difference():
    judged = judge([Claim("a", "", (0.0, 0.1, 0.3), is_stated=False)])[0]
    assert judged.row()[3:] == ["", "not claimed beforehand", ""]


def test_holm_corrects_over_all_claims_of_a_report():
    # unadjusted: p = 0.0742, 0.0198, 0.0099; times 1, 2 and 3 by rank, never below the one before
    sets = [(0.1, 0.2, 0.3), (0.2, 0.25, 0.3), (0.31, 0.4, 0.43)]
    unadjusted = [float(stats.ttest_1samp(values, 0).pvalue) for values in sets]
    order = sorted(unadjusted)
    expected = {order[0]: 3 * order[0], order[1]: max(3 * order[0], 2 * order[1])}
    expected[order[2]] = max(expected[order[1]], order[2])
    found = judge([Claim(str(index), "here", values) for index, values in enumerate(sets)])
    assert [judged.p for judged in found] == pytest.approx([expected[p] for p in unadjusted])
    # unadjusted, all but the first are below 5 %; adjusted, none is
    assert [p < 0.05 for p in unadjusted] == [False, True, True]
    assert [judged.verdict == "holds" for judged in found] == [judged.p < 0.05 for judged in found]


def test_one_seed_is_not_corrected_and_claims_without_seeds_are_omitted():
    claims = [Claim("a", "", (0.1,)), Claim("b", "", ()), Claim("c", "", (0.1, 0.2, 0.4))]
    found = judge(claims)
    assert [judged.claim.text for judged in found] == ["a", "c"]
    assert found[1].p == pytest.approx(stats.ttest_1samp([0.1, 0.2, 0.4], 0).pvalue)
    assert judge([]) == []


@pytest.mark.parametrize("seeds", [3, 5, 10])
def test_equal_arms_are_rarely_called_different(seeds):
    draw = np.random.default_rng(seeds)
    count = 0
    for _ in range(400):
        ours, theirs = draw.normal(0.6, 0.02, (2, seeds))
        count += judge([Claim("a", "", tuple(ours - theirs))])[0].p < 0.05
    # 5 % of 400 are 20; 3 standard deviations are 13
    assert 7 <= count <= 33


def test_a_difference_of_three_deviations_is_found():
    draw = np.random.default_rng(0)
    found = [judge([Claim("a", "", tuple(draw.normal(0.06, 0.02, 5)))])[0].verdict == "holds" for _ in range(400)]
    assert sum(found) >= 0.9 * 400
