"""Claims of each protocol, with differences calculated by hand, and the recipes that it refuses."""

import pytest

from germline.compare.analysis.protocols import PROTOCOLS, mean_by_grid_point
from germline.compare.analysis.recipe_checks import instinct_steps
from germline.compare.analysis.results import ComparisonResults, Condition
from germline.compare.recipe.loader import load_recipe
from germline.errors import SettingError
from germline.reporting.claims import judge
from helpers.comparison import BY_HAND, by_hand, cell, three_seeds

HERE = Condition("depth=2", 10)


def compute_claims(results):
    """Return the differences by text and condition of the claims."""
    found = PROTOCOLS[results["recipe"]["protocol"]].claims(ComparisonResults(results))
    return {(claim.text, claim.where): claim.differences for claim in found}


def check_claims(found, expected):
    assert list(found) == list(expected)
    for key, differences in expected.items():
        assert found[key] == pytest.approx(differences), key


def test_every_protocol_has_handmade_results():
    assert BY_HAND.keys() == PROTOCOLS.keys()


def test_convergence_claims_match_hand_calculation():
    at = "depth=2, 10 images per class"
    check_claims(
        compute_claims(BY_HAND["convergence"]()),
        {
            # the gene reaches scratch's final 0.40 after 50 of 100 steps, after 100, and never
            ("gene reaches the final accuracy of scratch faster", at): (1, 0, 0),
            # areas under the curves: 0.4, 0.3375 and 0.2 against 0.225
            ("gene has a higher mean accuracy over the training than scratch", at): (0.175, 0.1125, -0.025),
            ("gene ends above scratch", at): (0.1, 0.2, 0.3),
            ("gene ends above scratch with 200 steps (on a plateau)", at): (0.05, 0.15, 0.25),
        },
    )


def test_speed_is_counted_in_doublings():
    found = next(iter(PROTOCOLS["convergence"].claims(ComparisonResults(BY_HAND["convergence"]()))))
    assert (found.unit, found.scale) == ("doublings", 1)


def test_claim_says_that_scratch_still_improves():
    results = BY_HAND["convergence"]()
    results["recipe"]["levelling"]["tolerance"] = 0.09
    assert "gene ends above scratch with 200 steps (still improving)" in [text for text, _ in compute_claims(results)]


@pytest.mark.parametrize(
    ("at", "gene", "doublings"),
    [
        # at the final accuracy of scratch before the first step: it counts as the first evaluation after that
        ((0, 25, 100), (0.4, 0.4, 0.4), 2),
        ((0, 25, 100), (0.1, 0.4, 0.4), 2),
        ((0, 25, 100), (0.1, 0.1, 0.4), 0),
        ((0, 25, 100), (0.1, 0.1, 0.3), 0),
        # without an evaluation at step 0, the first evaluation is the first after it
        ((25, 50, 100), (0.4, 0.4, 0.4), 2),
        ((25, 50, 100), (0.1, 0.4, 0.4), 1),
    ],
)
def test_speed_matches_hand_calculation(at, gene, doublings):
    cells = [cell("scratch", 0, (0.1, 0.2, 0.4), 0.4, at=at), cell("gene", 0, gene, 0.5, at=at)]
    found = compute_claims(by_hand(cells, protocol="convergence", seeds=[0]))
    assert next(iter(found.values())) == (doublings,)


def test_samples_claims_match_hand_calculation():
    found = compute_claims(BY_HAND["samples"]())
    first, second = (("gene ends above scratch", f"depth=2, {images} images per class") for images in (10, 20))
    check_claims(found, {first: (0.1, 0.2, 0.3), second: (0, 0, 0)})


def test_sensitivity_claims_match_hand_calculation():
    # two points: the spread is their distance divided by the root of 2
    less = (0.20 - 0.04) / 2**0.5
    at = "depth=2, 10 images per class"
    check_claims(
        compute_claims(BY_HAND["sensitivity"]()),
        {
            ("gene spreads less over the grid than scratch", at): (less, less, less),
            ("the lowest accuracy over the grid is higher for gene than for scratch", at): (0.20, 0.21, 0.22),
        },
    )


def test_sensitivity_leaves_out_a_seed_with_a_failed_cell():
    results = BY_HAND["sensitivity"]()
    results["cells"] = [
        c for c in results["cells"] if (c["asked"]["arm"], c["asked"]["seed"], c["lr"]) != ("scratch", 1, 1e-2)
    ]
    assert [len(differences) for differences in compute_claims(results).values()] == [2, 2]


def test_means_are_computed_per_grid_point():
    summary = ComparisonResults(BY_HAND["sensitivity"]())
    assert mean_by_grid_point(summary, "gene", HERE) == pytest.approx({(1e-3, 0.05): 0.51, (1e-2, 0.05): 0.55})


def test_sizes_claims_match_hand_calculation():
    at = "depth=2, 10 images per class"
    check_claims(
        compute_claims(BY_HAND["sizes"]()),
        {
            ("gene ends above scratch", at): (0.1, 0.2, 0.3),
            ("gene ends above scratch", "depth=3, 10 images per class"): (0, 0, 0),
            ("gene ends above scratch at the same total cost, 5 descendants, ancestor and gene included", at): (
                -0.05,
                0.05,
                0.15,
            ),
            ("gene ends above scratch at the same total cost, 5 descendants, gene included", at): (),
        },
    )


def test_paths_claims_match_hand_calculation():
    both, last = "3 sizes, 10 images per class", "depth=3, 10 images per class"
    found = compute_claims(BY_HAND["paths"]())
    above = "gene is above rival"
    check_claims(
        found,
        {
            # differences by size: 0.10, -0.05, 0.05; 0.00, 0.10, 0.09; 0.10, 0.10, -0.02
            (f"{above} in the mean over sizes", both): (0.1 / 3, 0.19 / 3, 0.18 / 3),
            # two of three each time: an equal one is not above
            (f"{above} at more than half of the sizes", both): (1 / 6, 1 / 6, 1 / 6),
            ("gene ends above rival", "depth=1, 10 images per class"): (0.10, 0.00, 0.10),
            ("gene ends above rival", "depth=2, 10 images per class"): (-0.05, 0.10, 0.10),
            # scratch has only the last size, so it has no claim over sizes
            ("gene ends above scratch", last): (-0.15, -0.12, -0.09),
            ("gene ends above rival", last): (0.05, 0.09, -0.02),
        },
    )


def test_shares_of_sizes_are_shown_in_percent():
    share = PROTOCOLS["paths"].claims(ComparisonResults(BY_HAND["paths"]()))[1]
    assert (share.unit, share.scale) == ("% of sizes", 100)
    (judged,) = judge([share])
    # three seeds agree to the last digit: 2 to the power of -2, and no detectable difference is given
    assert judged.row()[2:] == ["+16.7 ± 0.0 % of sizes", "0.250", "too few seeds to tell", ""]


def test_means_over_sizes_leave_out_a_seed_with_a_failed_size():
    results = BY_HAND["paths"]()
    results["cells"] = [c for c in results["cells"] if list(c["asked"].values())[:4] != ["rival", "depth=2", 10, 1]]
    found = compute_claims(results)
    mean = found["gene is above rival in the mean over sizes", "3 sizes, 10 images per class"]
    assert mean == pytest.approx((0.1 / 3, 0.06))
    assert found["gene ends above rival", "depth=1, 10 images per class"] == pytest.approx((0.10, 0.00, 0.10))


@pytest.mark.parametrize("protocol", ["convergence", "samples", "sensitivity", "sizes", "instincts"])
def test_sizes_that_an_arm_lacks_have_no_claim(protocol):
    results = BY_HAND[protocol]()
    results["recipe"]["sizes"] = [*results["recipe"]["sizes"], "depth=9"]
    everywhere = compute_claims(results)
    results["recipe"]["arms"]["scratch"]["sizes"] = results["recipe"]["sizes"][:-1]
    here = compute_claims(results)
    assert {where for _, where in everywhere} - {where for _, where in here} >= {"depth=9, 10 images per class"}
    assert everywhere | here == everywhere
    results["recipe"]["arms"]["gene"]["sizes"] = ["depth=9"]
    # the remaining claims are about scratch
    assert all("same total cost" in text for text, _ in compute_claims(results))


def test_instincts_claims_match_hand_calculation():
    at = "depth=2, 10 images per class"
    rises = {1: 0.0, 5: 0.1, 10: 0.2, 50: 0.2, 100: 0.0}
    expected = {
        (f"gene after {step} step{'s' if step > 1 else ''} is above scratch", at): (gain, gain + 0.01, gain + 0.02)
        for step, gain in rises.items()
    }
    probe = ("gene has better features at step 0 (linear probe) than scratch", at)
    check_claims(compute_claims(BY_HAND["instincts"]()), {**expected, probe: (0.20, 0.21, 0.22)})


def test_frozen_claims_match_hand_calculation():
    text = "gene with a frozen body ends above scratch"
    gains = {"5 images per class": (0.10, 0.11, 0.12), "all images": (0.20, 0.21, 0.22)}
    check_claims(
        compute_claims(BY_HAND["frozen"]()), {(text, f"depth=2, {images}"): gain for images, gain in gains.items()}
    )


def test_scratch_is_the_first_control():
    arms = {name: {"method": method} for name, method in (("gene", "tleg"), ("even", "layers"), ("scratch", "scratch"))}
    found = compute_claims(by_hand([*three_seeds(), cell("even", 1, (0.1, 0.2, 0.4), 0.55)], arms=arms))
    at = "depth=2, 10 images per class"
    check_claims(found, {("gene ends above scratch", at): (0.1, 0.2, 0.3), ("gene ends above even", at): (0.05,)})


@pytest.mark.parametrize("protocol", list(BY_HAND))
def test_holm_counts_all_claims_of_the_report(protocol):
    found = PROTOCOLS[protocol].claims(ComparisonResults(BY_HAND[protocol]()))
    judged = judge(found)
    assert len(judged) == len([claim for claim in found if claim.differences])
    least = min(judged, key=lambda one: one.p)
    alone = judge([least.claim])[0].p
    assert least.p == pytest.approx(min(1, alone * len(judged)))


@pytest.mark.parametrize("protocol", list(BY_HAND))
def test_claims_have_no_differences_if_everything_failed(protocol):
    results = {**BY_HAND[protocol](), "cells": [], "levels": []}
    assert set(compute_claims(results).values()) == {()}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["protocol=convergence", "train.eval_at=[0]"], "too few points"),
        (["protocol=convergence", "train.eval_at=[10, 20]"], "too few points"),
        (["protocol=convergence", "train.eval_at=[]", "train.eval_every=100"], "too few points"),
        (["protocol=convergence", "arms.gene.train.eval_at=[]"], "too few points"),
        (["protocol=sizes"], "at least two sizes"),
        (["protocol=instincts"], r"after 0, 1, 5, 10, 50, 100 steps"),
        (["protocol=instincts", "train.steps=100", "train.eval_at=[0, 1, 5, 10]"], "train.eval_at"),
        (["protocol=instincts", "train.steps=99", "train.eval_at=[0, 1, 5, 10, 50]"], "train.steps=100"),
    ],
)
def test_recipe_that_cannot_answer_is_refused(recipe_file, changes, message):
    recipe = load_recipe(str(recipe_file), changes)
    with pytest.raises(SettingError, match=message):
        PROTOCOLS[recipe.protocol].check(recipe)


@pytest.mark.parametrize(
    "changes",
    [
        ["protocol=convergence", "train.eval_at=[0, 2]"],
        ["protocol=convergence", "train.eval_at=[]", "train.eval_every=2"],
        ["protocol=convergence", "train.steps=null", "train.eval_at=[]", "train.eval_every=2"],
        ["protocol=sizes", "sizes=[depth=1, depth=2]"],
        ["protocol=instincts", "train.steps=100", "train.eval_at=[0, 1, 5, 10, 50]"],
        ["protocol=instincts", "train.steps=200", "train.eval_at=[0, 1, 5, 10, 50, 100]"],
    ],
)
def test_recipe_that_can_answer_is_accepted(recipe_file, changes):
    recipe = load_recipe(str(recipe_file), changes)
    assert PROTOCOLS[recipe.protocol].check(recipe) is None


def test_instincts_evaluates_after_further_steps_of_a_recipe():
    assert instinct_steps() == (0, 1, 5, 10, 50, 100)
    assert instinct_steps([20, 5]) == (0, 1, 5, 10, 20, 50, 100)
    load_recipe("lab/gtl-instincts")
    with pytest.raises(SettingError, match="evaluates after 0, 1, 5, 10, 30, 50, 100 steps"):
        PROTOCOLS["instincts"].check(load_recipe("lab/gtl-instincts", ["instinct_steps=[30]"]))
