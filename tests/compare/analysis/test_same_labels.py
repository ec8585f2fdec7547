"""Protocol `same-labels`: claims, steps and family costs of planted results, and the recipes it refuses."""

import pytest

from germline.compare.analysis.family_savings import (
    FamilySaving,
    compute_savings,
    count_sizes_to_break_even,
    mean_saving,
)
from germline.compare.analysis.protocols import PROTOCOLS
from germline.compare.analysis.questions import count_planned_claims
from germline.compare.analysis.results import ComparisonResults, Condition
from germline.compare.recipe.loader import load_recipe
from germline.compare.recipe.schema import Recipe
from germline.errors import SettingError
from helpers.comparison import SAME_LABELS, cell, same_labels

SIZES = ["depth=2", "depth=3"]
FIRST, SECOND = (f"{size}, 10 images per class" for size in SIZES)
SHUFFLED_NETWORK = {"method": "random-gene", "settings": {"method": "finetune"}}


def compute_claims(**changes):
    found = PROTOCOLS["same-labels"].claims(ComparisonResults(same_labels(**changes)))
    return {(claim.text, claim.where): claim.differences for claim in found}


def test_claims_match_hand_calculation():
    found = compute_claims()
    expected = {
        ("gene before training is above shuffled", FIRST): (0.25, 0.25, 0.05),
        ("gene before training is above shuffled", SECOND): (0.45, 0.45, 0.45),
        ("gene after 50 steps is above scratch", FIRST): (0.2, 0.1, 0.0),
        ("gene after 50 steps is above shuffled", FIRST): (0.3, 0.19, 0.08),
        ("gene after 50 steps is above scratch", SECOND): (0.4, 0.4, 0.4),
        ("gene after 50 steps is above shuffled", SECOND): (0.5, 0.49, 0.48),
        # after the last step on test images
        ("gene ends above scratch", FIRST): (0.1, 0.2, 0.3),
        ("gene ends above shuffled", FIRST): (0.2, 0.3, 0.4),
        ("gene ends above scratch", SECOND): (0.3, 0.31, 0.32),
        ("gene ends above shuffled", SECOND): (0.4, 0.41, 0.42),
        # 50 of 100 steps are one doubling, 100 none; the last seed never reaches scratch
        ("gene reaches the final accuracy of scratch in less than half the steps", FIRST): (0, -1, -1),
        # reached before training: it counts as the first evaluation after that
        ("gene reaches the final accuracy of scratch in less than half the steps", SECOND): (0, 0, 0),
    }
    assert list(found) == list(expected)
    for key, differences in expected.items():
        assert found[key] == pytest.approx(differences, abs=1e-9), key


def test_fewer_read_steps_make_fewer_claims():
    found = {text for text, _ in compute_claims(read_steps=[50])}
    assert not any("before training" in text for text in found)
    assert any("after 50 steps" in text for text in found)


def test_seeds_that_share_a_gene_claim_nothing_before_training():
    # without training they repeat one evaluation
    before, after = compute_claims(), compute_claims(one_gene=True)
    assert {text for text, _ in before} - {text for text, _ in after} == {"gene before training is above shuffled"}


def test_a_shuffle_of_another_method_is_no_control_before_training():
    arms = {**SAME_LABELS, "shuffled": SHUFFLED_NETWORK}
    assert not any("before training" in text for text, _ in compute_claims(arms=arms))


def test_ceiling_depends_on_the_step():
    results = same_labels(arms={**SAME_LABELS, "whole": {"method": "finetune"}, "shaken": SHUFFLED_NETWORK})
    for seed in range(3):
        results["cells"] += [
            cell("whole", seed, (0.7, 0.8, 0.9), 0.9),
            cell("shaken", seed, (0.0, 0.5, 0.85), 0.85),
        ]
    found = PROTOCOLS["same-labels"].claims(ComparisonResults(results))
    ceilings = {claim.text: claim.ceiling for claim in found if claim.where == FIRST}
    means = {
        "gene before training is above shuffled": 0.7,
        "gene after 50 steps is above scratch": 0.3,
        "gene ends above scratch": 0.05,
    }
    for text, mean in means.items():
        assert ceilings[text].estimate.mean == pytest.approx(mean)
    # no such arms at the other size
    assert not any(claim.ceiling for claim in found if claim.where == SECOND)


def test_steps_to_scratch_match_hand_calculation():
    results = ComparisonResults(same_labels())
    assert results.steps_to_control("gene", Condition("depth=2", 10)) == {0: 50, 1: 100, 2: None}
    assert results.steps_to_control("gene", Condition("depth=3", 10)) == {0: 0, 1: 0, 2: 0}
    assert results.share_of_steps("gene", Condition("depth=2", 10)) == [0.5, 1.0, None]


def test_family_costs_match_hand_calculation():
    # a step costs 1e7, scratch 1e9 at each size; ancestor 6e9 and gene 4e9 are paid once
    results = ComparisonResults(same_labels())
    one = compute_savings(results, "gene", SIZES[:1], 10)
    assert one == {0: FamilySaving(6e9, 4e9, 5e8, 1e9), 1: FamilySaving(6e9, 4e9, 1e9, 1e9), 2: None}
    both = compute_savings(results, "gene", SIZES, 10)
    assert both == {0: FamilySaving(6e9, 4e9, 5e8, 2e9), 1: FamilySaving(6e9, 4e9, 1e9, 2e9), 2: None}
    assert (both[0].total, both[0].ratio, both[0].ratio_without_ancestor) == (10.5e9, 5.25, 2.25)
    mean = mean_saving([both[0], both[1]])
    # (2e9 - 0.75e9) / 2 saved per size pays for 1e10 after 16 sizes
    assert (mean.descendants, count_sizes_to_break_even(mean, 2)) == (7.5e8, 16.0)


def test_a_family_that_saves_nothing_never_breaks_even():
    assert count_sizes_to_break_even(FamilySaving(6e9, 4e9, 1e9, 1e9), 1) is None
    assert count_sizes_to_break_even(FamilySaving(0, 0, 5e8, 1e9), 1) == 0


def test_a_failed_cell_leaves_its_seed_out():
    results = same_labels()
    results["cells"] = [c for c in results["cells"] if list(c["asked"].values())[:4] != ["scratch", "depth=3", 10, 0]]
    assert compute_savings(ComparisonResults(results), "gene", SIZES, 10).keys() == {1, 2}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["data=glyphs/novel"], "has data=glyphs/novel and ancestor.data=digits. .* Set data=digits"),
        (["read_steps=[0, 2, 4]"], r"reads the accuracy after 0, 2, 4 steps. Set train.steps=4 or more"),
        (["read_steps=[0, 2, 9]"], "Set train.steps=9 or more"),
        (["read_steps=[0, 5]"], "no step in the first half of 5 steps"),
        (["arms.scratch.train={steps: 1}"], "Arm 'scratch' has steps=1"),
        (["train.steps=null", "train.epochs=2"], "Arm 'gene' has steps=None"),
        (["tasks={ways: 5, count: 2}"], "given with tasks. It has other classes than the ancestor. Remove tasks"),
        (["read_steps=[2, 2]"], "read_steps"),
        (["read_steps=[]"], "read_steps"),
        (["read_steps=[-1, 2]"], "read_steps"),
    ],
)
def test_recipe_that_cannot_answer_is_refused(recipe_file, changes, message):
    def check():
        recipe = load_recipe(str(recipe_file), ["protocol=same-labels", "read_steps=[0, 2]", *changes])
        PROTOCOLS["same-labels"].check(recipe)

    with pytest.raises(SettingError, match=message):
        check()


def test_a_saved_recipe_leaves_the_steps_out_at_their_default(recipe_file):
    assert "read_steps" not in load_recipe(str(recipe_file)).model_dump(mode="json")
    saved = load_recipe(str(recipe_file), ["read_steps=[0, 2]"]).model_dump(mode="json")
    assert Recipe.model_validate(saved).read_steps == (0, 2)


def test_packaged_recipe_states_all_its_claims():
    recipe = load_recipe("lab/tleg-same-labels")
    # 100 steps and the end: three sizes with two pairs each, and two more at depth=3 and depth=6; one speed per size
    assert count_planned_claims(recipe) == recipe.question.claims == 2 * (3 + 4 + 2 + 2) + 4
    assert set(recipe.read_steps) <= {*recipe.train.eval_at, recipe.train.steps}
