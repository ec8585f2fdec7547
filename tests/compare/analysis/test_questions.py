"""Questions: one family of claims over several reports, and one verdict for one difference."""

import json

import pytest
from scipy import stats

from germline.compare import write_report
from germline.compare.analysis.questions import (
    count_planned_claims,
    describe_family,
    describe_planned_claims,
    judge_claims,
    list_claims,
)
from germline.compare.analysis.results import ComparisonResults
from germline.compare.cost.estimate import estimate_cost
from germline.compare.recipe.loader import load_recipe
from germline.compare.recipe.schema import Recipe
from germline.compare.report.tables import claims_table
from germline.errors import ArtefactError, GermlineError, SettingError
from germline.seals import hash_json
from helpers.comparison import BY_HAND, by_hand, cell, comparison, results

# A gene's ends minus those of scratch, by seed; the second is only below 5 % without correction.
SURE, WEAK = (0.30, 0.31, 0.32), (0.10, 0.12, 0.17)


def make_results(ends, name="one", **changes):
    """Results in which the gene ends above scratch by these differences."""
    cells = [
        one
        for seed, difference in enumerate(ends)
        for one in (
            cell("scratch", seed, (0.1, 0.2, 0.3), 0.4),
            cell("gene", seed, (0.1, 0.2, 0.3), 0.4 + difference),
        )
    ]
    return {**by_hand(cells, **{"question": "q", **changes}), "name": name}


def write(place, name, stored):
    (place / name).mkdir(parents=True)
    (place / name / "results.json").write_text(json.dumps(stored))
    return place / name


def judge_folder(folder):
    (found,) = judge_claims(ComparisonResults.load(folder))
    return found


def unadjusted(ends):
    return float(stats.ttest_1samp(ends, 0).pvalue)


def test_claims_of_all_reports_with_a_question_are_one_family(tmp_path):
    sure, weak = write(tmp_path, "sure", make_results(SURE)), write(tmp_path, "weak", make_results(WEAK, "two"))
    assert judge_folder(sure).p == pytest.approx(2 * unadjusted(SURE))
    # step down: the larger p-value is not multiplied
    assert judge_folder(weak).p == pytest.approx(max(unadjusted(WEAK), 2 * unadjusted(SURE)))
    assert "2 claims of the question 'q', with the results of one, two" in describe_family(ComparisonResults.load(sure))


@pytest.mark.parametrize(
    "other",
    [
        {"question": "another"},
        {"question": None},
        # a quick run is no evidence
        {"kind": "quick"},
        # a reading of final data repeats the claims
        {"final": True, "final_data": "cifar-fs/open"},
    ],
)
def test_other_reports_are_not_in_the_family(tmp_path, other):
    sure = write(tmp_path, "sure", make_results(SURE))
    write(tmp_path, "weak", make_results(WEAK, **other))
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "results.json").write_text("{")
    assert judge_folder(sure).p == pytest.approx(unadjusted(SURE))
    assert ComparisonResults.load(sure).siblings == ()


def test_one_difference_has_one_verdict_in_both_reports(tmp_path):
    """Two reports share cells, and one report has more claims. Without a question they disagree."""
    more = [cell(f"other{n}", seed, (0.1, 0.2, 0.3), 0.5 + 0.01 * seed) for n in range(6) for seed in range(3)]
    arms = {"gene": {"method": "tleg"}, "scratch": {"method": "scratch"}}
    many = {**arms, **{f"other{n}": {"method": "tleg", "draw": n + 1} for n in range(6)}}
    for question, agree in ((None, False), ("q", True)):
        few, large = make_results(WEAK, question=question), make_results(WEAK, question=question, arms=many)
        large["cells"] = [*large["cells"], *more]
        place = tmp_path / str(question)
        folders = write(place, "few", few), write(place, "large", large)
        found = [
            next(one for one in judge_claims(ComparisonResults.load(folder)) if one.claim.text.endswith("scratch"))
            for folder in folders
        ]
        assert (found[0].p == found[1].p) == agree
        assert (found[0].verdict == found[1].verdict) == agree


def test_one_difference_in_two_reports_is_one_claim(tmp_path):
    first = write(tmp_path, "first", make_results(SURE))
    write(tmp_path, "again", make_results(SURE, "two"))
    assert judge_folder(first).p == pytest.approx(unadjusted(SURE))


def test_ceiling_of_another_report_is_used(tmp_path):
    arms = {
        "gene": {"method": "tleg"},
        "scratch": {"method": "scratch"},
        "whole": {"method": "finetune"},
        "shaken": {"method": "random-gene", "settings": {"method": "finetune"}},
    }
    plain, full = make_results(SURE), make_results(SURE, "two", arms=arms)
    for seed in range(3):
        full["cells"] += [cell("whole", seed, (0.1, 0.2, 0.3), 0.42), cell("shaken", seed, (0.1, 0.2, 0.3), 0.40)]
    for name, stored in (("plain", plain), ("full", full)):
        write(tmp_path, name, stored)
    rows = [claims_table(ComparisonResults.load(tmp_path / name))[1] for name in ("plain", "full")]
    assert rows[0][2:] == rows[1][2:]
    assert (rows[0][4], rows[0][6]) == ("no room to tell", "+2.0 ± 0.0 points")


@pytest.mark.parametrize(("stated", "factor"), [(None, 1), (1, 1), (5, 5), (1000, 1000)])
def test_claims_that_did_not_run_count_if_they_were_stated(tmp_path, stated, factor):
    folder = write(tmp_path, "sure", make_results(SURE, question={"name": "q", "claims": stated}))
    assert judge_folder(folder).p == pytest.approx(min(1.0, factor * unadjusted(SURE)))
    text = describe_family(ComparisonResults.load(folder))
    assert text.startswith(f"the {factor} claims")
    assert ("no number was said" in text) == (stated is None)


def test_claims_above_the_stated_number_are_named(tmp_path):
    first = write(tmp_path, "sure", make_results(SURE, question={"name": "q", "claims": 1}))
    write(tmp_path, "weak", make_results(WEAK, question={"name": "q", "claims": 1}))
    assert judge_folder(first).p == pytest.approx(2 * unadjusted(SURE))
    assert "1 more than were said beforehand" in describe_family(ComparisonResults.load(first))


def test_family_includes_failed_claims(tmp_path):
    arms = {"gene": {"method": "tleg"}, "scratch": {"method": "scratch"}, "failed": {"method": "layers"}}
    folder = write(tmp_path, "sure", make_results(SURE, arms=arms))
    assert judge_folder(folder).p == pytest.approx(2 * unadjusted(SURE))


def test_differences_that_were_not_claimed_have_no_verdict(tmp_path):
    arms = {"gene": {"method": "tleg"}, "scratch": {"method": "scratch"}, "rival": {"method": "layers"}}
    stored = make_results(SURE, arms=arms, question={"name": "q", "against": ["scratch"]})
    stored["cells"] += [cell("rival", seed, (0.1, 0.2, 0.3), 0.2) for seed in range(3)]
    rows = claims_table(ComparisonResults.load(write(tmp_path, "sure", stored)))[1:]
    assert [(row[0], row[3] == "", row[4]) for row in rows] == [
        ("gene ends above scratch", False, "holds"),
        ("gene ends above rival", True, "not claimed beforehand"),
    ]
    stored["recipe"]["question"]["against"] = ["rival"]
    assert [row[0] for row in claims_table(ComparisonResults(stored))[1:]] == [row[0] for row in reversed(rows)]
    assert judge_claims(ComparisonResults.load(tmp_path / "sure"))[0].p == pytest.approx(unadjusted(SURE))


def make_shares(against, data, **accuracies):
    """Results in which the gene is above each control at all sizes, so that all shares of sizes are equal."""
    sizes, arms = ("depth=2", "depth=3"), {"gene": "tleg", "scratch": "scratch", "rival": "layers"}
    cells = [
        cell(arm, seed, (0.1, 0.2, 0.3), ends + 0.01 * seed * (arm == "gene"), size=size)
        for arm, ends in accuracies.items()
        for seed in range(3)
        for size in sizes
    ]
    changes = {"protocol": "paths", "sizes": list(sizes), "data": data, "question": {"name": "q", "against": against}}
    return by_hand(cells, arms={arm: {"method": method} for arm, method in arms.items()}, **changes)


def test_equal_shares_of_other_methods_or_data_are_other_claims(tmp_path):
    one = write(tmp_path, "one", make_shares(["scratch"], "digits", gene=0.6, scratch=0.4, rival=0.5))
    write(tmp_path, "two", make_shares(["scratch", "rival"], "glyphs/novel", gene=0.7, scratch=0.3, rival=0.6))
    found = ComparisonResults.load(one)
    shares = [one for one in judge_claims(found) if one.claim.unit == "% of sizes"]
    assert [(one.claim.against, one.verdict) for one in shares] == [
        ("scratch", "too few seeds to tell"),
        ("rival", "not claimed beforehand"),
    ]
    # The mean over sizes, the share of sizes and two sizes, against one control here and against two in the other.
    assert describe_family(found).startswith("the 12 claims")


def test_damaged_results_of_the_question_are_named(tmp_path):
    """Without them, or with a changed difference in them, p-values of the family would be wrong."""
    sure, weak = (write(tmp_path, name, make_results(ends, name)) for name, ends in (("sure", SURE), ("weak", WEAK)))
    for change in ({"arms": {}}, {"title": "Another"}):
        stored = json.loads((sure / "results.json").read_text()) | {"name": "weak"}
        stored |= {"sha256": hash_json(stored)}
        stored["recipe"] |= change
        (weak / "results.json").write_text(json.dumps(stored))
        with pytest.raises(ArtefactError, match=r"weak/results.json' is damaged or was changed.*question 'q' needs"):
            ComparisonResults.load(sure)


def test_results_files_find_others_in_their_folder(tmp_path):
    for name, ends in (("a", SURE), ("b", WEAK)):
        (tmp_path / f"{name}.json").write_text(json.dumps(make_results(ends, name)))
    (tmp_path / "other.json").write_text('{"not": "a comparison"}')
    assert len(ComparisonResults.load(tmp_path / "a.json").siblings) == 1
    assert judge_folder(tmp_path / "a.json").p == pytest.approx(2 * unadjusted(SURE))


def test_the_report_names_the_family(tmp_path):
    folder = write(tmp_path, "sure", make_results(SURE, question={"name": "q", "claims": 7}))
    write_report(folder)
    assert "correction over the 7 claims of the question 'q', with the results of one." in (
        folder / "report.md"
    ).read_text(encoding="utf-8")


@pytest.mark.parametrize("protocol", list(BY_HAND))
def test_claims_are_counted_before_anything_runs(protocol):
    stored = BY_HAND[protocol]()
    recipe = Recipe.model_validate(stored["recipe"])
    found = list_claims(ComparisonResults(stored))
    if protocol == "sizes":  # this budget is made by hand; a gene with an ancestor has two budgets per count
        assert len(found) == 4
    assert count_planned_claims(recipe) == len(found)


def test_check_counts_the_claims(recipe_file):
    def text(*changes):
        return estimate_cost(load_recipe(str(recipe_file), changes)).text()

    assert "claims: 1\n" in text()
    assert "claims: 2, judged together as one family\n" in text("images_per_class=[3, 4]")
    alone = text("arms={gene: {method: layers}}")
    assert "claims: none, since no arm is compared with another\n" in alone
    assert "ceiling" not in alone
    assert "claims: 1 of the question 'q' (as many as its recipes make)" in text("question=q")
    assert "claims: 2 of the question 'q' (9 said beforehand)" in text(
        "question={name: q, claims: 9}", "images_per_class=[3, 4]"
    )
    two = load_recipe(str(recipe_file), ["arms.like={method: layers}", "question={name: q, against: [scratch]}"])
    assert describe_planned_claims(two).startswith("claims: 1 ")


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ("question={claims: 3}", "name"),
        ("question=''", "question"),
        ("question={name: q, claims: 0}", "claims"),
        ("question={name: q, claims: many}", "claims"),
        ("question={name: q, against: []}", "against"),
        ("question={name: q, against: [scrach]}", "scratch"),
        ("question={name: q, about: x}", "about"),
        ("question=[a, b]", "question"),
        ("question=3", "question"),
    ],
)
def test_a_wrong_question_is_refused(recipe_file, change, match):
    with pytest.raises(GermlineError, match=match):
        load_recipe(str(recipe_file), [change])


def test_fewer_claims_than_the_recipe_makes_are_refused(recipe_file, tmp_path):
    changes = ("question={name: q, claims: 1}", "images_per_class=[3, 4]")
    with pytest.raises(SettingError, match=r"claims=1. This recipe alone makes 2 claims. Set claims to the sum"):
        comparison(recipe_file, tmp_path / "out", *changes).run()
    assert not (tmp_path / "out").exists()


def test_a_saved_recipe_leaves_the_question_out_without_one(recipe_file):
    assert "question" not in load_recipe(str(recipe_file)).model_dump(mode="json")
    saved = load_recipe(str(recipe_file), ["question=q"]).model_dump(mode="json")
    assert saved["question"] == {"name": "q", "claims": None, "against": None}
    assert Recipe.model_validate(saved).question.name == "q"


def test_all_images_need_no_number(recipe_file, tmp_path):
    work = comparison(
        recipe_file, tmp_path / "out", "images_per_class=all", "seeds=[0]", "train.steps=3", "train.eval_at=[]"
    )
    work.run()
    found = results(tmp_path / "out")
    assert found["recipe"]["images_per_class"] == ["all"]
    assert [c["asked"]["images"] for c in found["cells"]] == ["all", "all"]
    assert work.failed == {}
    write_report(tmp_path / "out")
    assert "depth=1, all images" in (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
