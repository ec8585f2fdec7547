"""The ceiling of a comparison: against hand calculations, per condition, and which arms it needs."""

import json

import pytest

from germline.compare.analysis.headroom import UNKNOWN, describe_ceiling_arms, find_ceiling, find_ceiling_over_sizes
from germline.compare.analysis.protocols import PROTOCOLS
from germline.compare.analysis.results import ComparisonResults, Condition, accuracy_at
from germline.compare.cost.estimate import estimate_cost
from germline.compare.recipe.loader import load_recipe
from germline.compare.recipe.schema import Recipe
from germline.compare.report.tables import claims_table, describe_ceiling, judge_claims
from germline.errors import SettingError
from helpers.comparison import BY_HAND, by_hand, cell, three_seeds

HERE = Condition("depth=2", 10)
SHUFFLED = {"method": "random-gene", "settings": {"method": "finetune"}}
ARMS = {
    "gene": {"method": "tleg"},
    "scratch": {"method": "scratch"},
    "whole": {"method": "finetune"},
    "shaken": SHUFFLED,
}


def with_ceiling(points, *, images=10, size="depth=2", seeds=range(3)):
    """Cells of fine-tuning and the shuffled network that differ by `points`, and by one point more per seed."""
    ends = [(seed, 0.4 + points / 100 + 0.01 * seed) for seed in seeds]
    place = {"images": images, "size": size}
    return [
        one
        for seed, end in ends
        for one in (
            cell("whole", seed, (0.1, 0.2, end - 0.1), end, **place),
            cell("shaken", seed, (0.1, 0.1, 0.3), 0.4, **place),
        )
    ]


def make_results(points, **changes):
    return by_hand([*three_seeds(), *with_ceiling(points)], **{"arms": ARMS, **changes})


def list_verdicts(results):
    return {judged.claim.text: judged.verdict for judged in judge_claims(ComparisonResults(results))}


def test_the_ceiling_is_fine_tuning_minus_the_shuffled_network():
    results = ComparisonResults(make_results(20))
    found = find_ceiling(results, HERE)
    assert found.differences == pytest.approx([0.20, 0.21, 0.22])
    assert found.least == 0.08
    # validation accuracy after 50 steps: 0.2 against 0.1
    assert find_ceiling(results, HERE, accuracy_at(50)).differences == pytest.approx([0.1, 0.1, 0.1])


@pytest.mark.parametrize(
    ("points", "least", "verdict"),
    [
        (20, 8, "holds"),
        # the mean over seeds is one point more than that of the first seed
        (7, 8, "holds"),
        (6.9, 8, "no room to tell"),
        (6.9, 7.5, "holds"),
        (6.9, 0, "holds"),
        (20, 25, "no room to tell"),
        (-5, 8, "no room to tell"),
    ],
)
def test_no_verdict_without_room(points, least, verdict):
    cells = [c for c in three_seeds() if c["asked"]["arm"] == "scratch"]
    # the gene is above scratch by 0.20, 0.21 and 0.22
    cells += [cell("gene", seed, (0.1, 0.2, 0.4), 0.60 + 0.01 * seed) for seed in range(3)]
    found = list_verdicts(by_hand([*cells, *with_ceiling(points)], arms=ARMS, min_headroom=least))
    assert found["gene ends above scratch"] == verdict


def test_no_room_replaces_no_difference_but_not_the_reverse():
    equal = [cell("gene", seed, (0.1, 0.2, 0.4), 0.40 + 0.01 * (seed - 1)) for seed in range(3)]
    lower = [cell("gene", seed, (0.1, 0.2, 0.4), 0.10 + 0.01 * seed) for seed in range(3)]
    others = [c for c in three_seeds() if c["asked"]["arm"] == "scratch"]
    for cells, points, verdict in (
        (equal, 20, "no difference shown"),
        (equal, 2, "no room to tell"),
        (lower, 2, "the reverse holds"),
    ):
        found = list_verdicts(by_hand([*cells, *others, *with_ceiling(points)], arms=ARMS))
        assert found["gene ends above scratch"] == verdict


def test_the_table_prints_the_ceiling_beside_each_claim():
    table = claims_table(ComparisonResults(make_results(20)))
    assert table[0][-1] == "ceiling"
    # 20, 21 and 22 points: half of the interval is 4.303 * 1 / sqrt(3)
    assert [row[-1] for row in table[1:]] == ["+21.0 ± 2.5 points"] * 3


@pytest.mark.parametrize("protocol", list(BY_HAND))
def test_ceiling_is_unknown_without_its_arms(protocol):
    results = ComparisonResults(BY_HAND[protocol]())
    # as in results that are older than this setting
    assert "min_headroom" not in results.recipe
    table = claims_table(results)
    assert table[0][-1] == "detectable difference"
    assert describe_ceiling(results).startswith("Ceiling unknown for every claim")
    assert not any(row[4] == "no room to tell" for row in table)


def test_each_condition_has_its_own_ceiling():
    more = [cell(c["asked"]["arm"], c["asked"]["seed"], (0.1, 0.2, 0.5), 0.6, images=20) for c in three_seeds()]
    cells = [*three_seeds(), *more, *with_ceiling(30), *with_ceiling(2, images=20)]
    found = PROTOCOLS["samples"].claims(ComparisonResults(by_hand(cells, arms=ARMS, images_per_class=[10, 20])))
    rooms = {claim.where: claim.ceiling.has_room for claim in found if claim.text == "gene ends above scratch"}
    assert rooms == {"depth=2, 10 images per class": True, "depth=2, 20 images per class": False}


def test_ceiling_without_training_is_scratch_minus_the_shuffled_gene():
    raw, arms = (
        BY_HAND["paths"](),
        {"gene": {"method": "tleg", "train": {"steps": 0}}, "scratch": {"method": "scratch"}},
    )
    arms["scratch"]["sizes"] = sizes = ["depth=3"]
    arms["shaken"] = {"method": "random-gene", "settings": {"method": "tleg"}, "train": {"steps": 0}, "sizes": sizes}
    guesses = [cell("shaken", seed, (0.05,), 0.05, at=(0,), size="depth=3") for seed in range(3)]
    remaining = [one for one in raw["cells"] if one["asked"]["arm"] != "rival"]
    changed = by_hand([*remaining, *guesses], protocol="paths", sizes=["depth=1", "depth=2", "depth=3"], arms=arms)
    results = ComparisonResults(changed)
    # scratch of depth 3 ends at 0.80, 0.81 and 0.82
    for size in ("depth=3", "depth=1"):
        assert find_ceiling(results, Condition(size, 10)).differences == pytest.approx([0.75, 0.76, 0.77])
    assert find_ceiling_over_sizes(results, ["depth=1", "depth=3"], 10).differences == pytest.approx([0.75, 0.76, 0.77])
    assert describe_ceiling(results).startswith("The ceiling is scratch trained by itself minus the shuffled gene")
    recipe = Recipe.model_validate(changed["recipe"])
    assert describe_ceiling_arms(recipe).startswith("ceiling: known at depth=3; all others have that of depth=3; ")
    del arms["shaken"]
    lacking = by_hand(remaining, protocol="paths", sizes=["depth=1", "depth=2", "depth=3"], arms=arms)
    assert find_ceiling(ComparisonResults(lacking), Condition("depth=1", 10)) is None
    assert "settings: {method: tleg}, train: {steps: 0}}" in describe_ceiling_arms(
        Recipe.model_validate(lacking["recipe"])
    )


def test_ceiling_is_unknown_at_conditions_without_both_arms():
    cells = [cell("gene", seed, (0.1, 0.2, 0.3), 0.5, size="depth=3") for seed in range(3)]
    cells += [cell("scratch", seed, (0.1, 0.2, 0.3), 0.4 + 0.01 * seed, size="depth=3") for seed in range(3)]
    fewer = {**ARMS, "shaken": {**SHUFFLED, "sizes": ["depth=2"]}}
    results = ComparisonResults(
        by_hand([*three_seeds(), *with_ceiling(20), *cells], arms=fewer, sizes=["depth=2", "depth=3"])
    )
    table = claims_table(results)
    found = {row[1]: row[-1] for row in table[1:] if row[0] == "gene ends above scratch"}
    assert found == {
        "depth=2, 10 images per class": "+21.0 ± 2.5 points",
        "depth=3, 10 images per class": UNKNOWN,
    }
    assert "network at the condition (whole minus shaken). If its mean is under 8 points" in describe_ceiling(results)


def test_ceiling_over_sizes_is_the_mean():
    cells = [*with_ceiling(10), *with_ceiling(30, size="depth=3", seeds=(0, 2))]
    results = ComparisonResults(by_hand(cells, arms=ARMS, sizes=["depth=2", "depth=3"]))
    found = find_ceiling_over_sizes(results, ["depth=2", "depth=3"], 10)
    # seed 1 lacks one size
    assert found.differences == pytest.approx([0.20, 0.22])
    fewer = {**ARMS, "shaken": {**SHUFFLED, "sizes": ["depth=2"]}}
    results = ComparisonResults(by_hand(cells, arms=fewer, sizes=["depth=2", "depth=3"]))
    assert find_ceiling_over_sizes(results, ["depth=2", "depth=3"], 10) is None


def test_ceiling_over_a_grid_is_the_mean():
    results = BY_HAND["sensitivity"]()
    results["recipe"]["arms"] |= {"whole": {"method": "finetune"}, "shaken": SHUFFLED}
    points = ({"lr": 1e-3, "weight_decay": 0.05}, {"lr": 1e-2, "weight_decay": 0.05})
    ends = {"whole": (0.9, 0.7), "shaken": (0.4, 0.6)}
    results["cells"] += [
        cell(arm, seed, (0.1, 0.2, 0.3), ends[arm][nth], asked=asked)
        for arm in ends
        for seed in range(3)
        for nth, asked in enumerate(points)
    ]
    found = PROTOCOLS["sensitivity"].claims(ComparisonResults(results))
    assert found[0].ceiling.differences == pytest.approx([0.3, 0.3, 0.3])


def test_a_failed_arm_makes_the_ceiling_unknown():
    cells = [c for c in with_ceiling(20) if c["asked"]["arm"] != "shaken"]
    assert find_ceiling(ComparisonResults(by_hand([*three_seeds(), *cells], arms=ARMS)), HERE) is None


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, set()),
        ({"whole": None}, {"finetune"}),
        ({"shaken": None}, {"finetune-shuffled"}),
        ({"whole": None, "shaken": None}, {"finetune", "finetune-shuffled"}),
        # a shuffled gene is no shuffled network
        ({"shaken": {"method": "random-gene"}}, {"finetune-shuffled"}),
        # other steps are another condition
        ({"shaken": {**SHUFFLED, "train": {"steps": 50}}}, {"finetune-shuffled"}),
        ({"shaken": {**SHUFFLED, "train": {"lr": 0.5}}}, set()),
        ({"whole": {"method": "finetune", "sizes": ["depth=3"]}}, {"finetune"}),
        ({"gene": {"method": "tleg", "train": {"steps": 50}}}, {"finetune", "finetune-shuffled"}),
    ],
)
def test_missing_arms_of_the_ceiling_are_named(changes, expected):
    arms = {name: arm for name, arm in {**ARMS, **changes}.items() if arm is not None}
    recipe = by_hand([], arms=arms, sizes=["depth=2", "depth=3"])["recipe"]
    lines = describe_ceiling_arms(Recipe.model_validate(recipe)).splitlines()
    missing = {line.partition("the arm ")[2].partition(":")[0] for line in lines if line.startswith(UNKNOWN)}
    assert missing == expected
    assert expected or lines == ["ceiling: known at every size; a claim needs 8 points of it"]
    if "sizes" in (changes.get("whole") or {}):
        assert "at depth=2: " in lines[0]


def test_check_prints_the_missing_arm(recipe_file):
    assert "ceiling unknown at depth=1: the arm finetune:" in estimate_cost(load_recipe(str(recipe_file))).text()
    added = ["arms.whole={method: finetune}", "arms.shaken={method: random-gene, settings: {method: finetune}}"]
    text = estimate_cost(load_recipe(str(recipe_file), [*added, "min_headroom=5"])).text()
    assert "ceiling: known at every size; a claim needs 5 points of it" in text


def test_a_saved_recipe_leaves_the_setting_out_at_its_default(recipe_file):
    assert "min_headroom" not in load_recipe(str(recipe_file)).model_dump(mode="json")
    changed = load_recipe(str(recipe_file), ["min_headroom=12"]).model_dump(mode="json")
    assert changed["min_headroom"] == 12
    assert Recipe.model_validate(json.loads(json.dumps(changed))).min_headroom == 12


@pytest.mark.parametrize("value", ["-1", "101", "eight", "nan"])
def test_a_headroom_that_is_no_share_is_refused(recipe_file, value):
    with pytest.raises(SettingError, match="min_headroom"):
        load_recipe(str(recipe_file), [f"min_headroom={value}"])
