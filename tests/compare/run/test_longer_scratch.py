"""Longer training of scratch: doublings until a plateau, and the budget of a family."""

import pytest

from germline.compare.cost.cost import spec_flops
from germline.compare.run import longer_scratch, runner
from germline.compare.run.longer_scratch import compute_family_budgets, list_family_cells, plan_doublings
from helpers.comparison import comparison, results

SMALL, LARGE = ("depth=1", 3), ("depth=2", 3)


@pytest.fixture
def store(recipe_file, tmp_path):
    return lambda *changes: comparison(recipe_file, tmp_path / "out", *changes)._artifact_store({})


def plan_all_runs(store, monkeypatch, known, failed=()):
    """Plan all runs for given accuracies of scratch by size and steps; nothing is trained."""

    def give_known_cell(_, cell):
        accuracy = known[cell.size][cell.steps or 5] + (0.1 if cell.seed else -0.1)
        return {"curve": [{"step": 0, "accuracy": 0.0}, {"step": cell.steps or 5, "accuracy": accuracy}]}

    monkeypatch.setattr(longer_scratch, "run_cell", give_known_cell)
    runs, failures = [], {}
    while found := plan_doublings(store, runs, failures):
        runs += found
        failures |= {c.name: "why" for run in found for c in run.cells if (c.size, c.steps) in failed}
    return [(run.size, run.multiple, run.cells[0].steps) for run in runs]


@pytest.mark.parametrize(
    ("accuracies", "multiples"),
    [
        # The gains are 0.2 and 0.05. The second is below the tolerance.
        ({5: 0.3, 10: 0.5, 20: 0.55, 40: 0.9}, [2, 4]),
        ({5: 0.3, 10: 0.3, 20: 0.9}, [2]),
        ({5: 0.5, 10: 0.3, 20: 0.9}, [2]),
        # Accuracy keeps rising, so the largest multiple stops it.
        ({5: 0.1, 10: 0.2, 20: 0.3, 40: 0.4}, [2, 4, 8]),
    ],
)
def test_doublings_continue_while_accuracy_rises(store, monkeypatch, accuracies, multiples):
    found = plan_all_runs(
        store("scratch_until_plateau={tolerance: 0.0625, most: 8}"), monkeypatch, {"depth=1": accuracies}
    )
    assert found == [("depth=1", multiple, 5 * multiple) for multiple in multiples]


def test_gain_equal_to_tolerance_stops(store, monkeypatch):
    accuracies = {"depth=1": {5: 0.25, 10: 0.5, 20: 0.75}}
    assert [
        m
        for _, m, _ in plan_all_runs(store("scratch_until_plateau={tolerance: 0.25, most: 8}"), monkeypatch, accuracies)
    ] == [2]


@pytest.mark.parametrize(("most", "multiples"), [(2, [2]), (3, [2]), (4, [2, 4]), (7, [2, 4])])
def test_largest_multiple_is_never_exceeded(store, monkeypatch, most, multiples):
    accuracies = {"depth=1": {5 * 2**n: 0.1 * n for n in range(6)}}
    found = plan_all_runs(store(f"scratch_until_plateau={{tolerance: 0, most: {most}}}"), monkeypatch, accuracies)
    assert [multiple for _, multiple, _ in found] == multiples


def test_conditions_are_doubled_independently(store, monkeypatch):
    accuracies = {"depth=1": {5: 0.1, 10: 0.1}, "depth=2": {5: 0.1, 10: 0.2, 20: 0.2}}
    found = plan_all_runs(store("scratch_until_plateau={}", "sizes=[depth=1, depth=2]"), monkeypatch, accuracies)
    assert found == [("depth=1", 2, 10), ("depth=2", 2, 10), ("depth=2", 4, 20)]


def test_failed_run_is_the_last(store, monkeypatch):
    accuracies = {"depth=1": {5 * 2**n: 0.1 * n for n in range(6)}}
    found = plan_all_runs(store("scratch_until_plateau={most: 16}"), monkeypatch, accuracies, failed={("depth=1", 20)})
    assert [multiple for _, multiple, _ in found] == [2, 4]


def test_no_runs_without_plateau_key(store, monkeypatch):
    assert plan_all_runs(store(), monkeypatch, {}) == []


def test_scratch_runs_are_stored(recipe_file, tmp_path):
    comparison(recipe_file, tmp_path / "out", "scratch_until_plateau={tolerance: 0.99, most: 4}", "seeds=[0]").run()
    found = results(tmp_path / "out")
    assert [(one["multiple"], one["steps"]) for one in found["levels"]] == [(2, 10)]
    (longer,) = [cell for cell in found["cells"] if cell["asked"]["steps"]]
    assert (longer["asked"]["arm"], longer["steps"], longer["samples"]) == ("scratch", 10, 160)
    assert longer["curve"][-1]["accuracy"] == found["levels"][0]["val"]


FAMILY = "family={counts: [1, 5], size: depth=1, images_per_class: 3}"


def test_family_steps_match_hand_calculation(store):
    # Gene: 3 steps of 16 images in a network of six blocks, forward and backward, with the ancestor as teacher.
    # Ancestor: 3 steps of 16 images in the same. Scratch: 5 steps of 16 images in a network of one block.
    found = store(FAMILY)
    six, one = (spec_flops(found.descendant_spec(size)) for size in ("", "depth=1"))
    ancestor, gene, step = 3 * 16 * 3 * six, 3 * 16 * (3 * six + six), 16 * 3 * one
    expected = [
        {
            "count": count,
            "with_ancestor": with_ancestor,
            "steps": 5 + round((gene + with_ancestor * ancestor) / count / step),
        }
        for count in (1, 5)
        for with_ancestor in (True, False)
    ]
    assert compute_family_budgets(found) == expected
    # Scratch has one block of six, so the gene alone costs far more than 3 * 4 / 3 of its steps.
    assert expected[0]["steps"] > expected[1]["steps"] > expected[3]["steps"] > 5


def test_teacher_of_descendants_adds_to_budget(store):
    arms = "arms={pupil: {method: distil}, scratch: {method: scratch}}"
    found = store(FAMILY, arms)
    six, one = (spec_flops(found.descendant_spec(size)) for size in ("", "depth=1"))
    # The gene is the ancestor itself, which is also the teacher of the descendant for 5 steps.
    expected = 5 + round(5 * six / (3 * one))
    assert [b["steps"] for b in compute_family_budgets(found) if not b["with_ancestor"]] == [expected, expected]


def test_trained_ancestor_costs_nothing(store):
    found = compute_family_budgets(
        store(FAMILY, "ancestor.path=packaged", "ancestor.data=glyphs/base", "data=glyphs/novel")
    )
    assert [one["steps"] for one in found[::2]] == [one["steps"] for one in found[1::2]]


def test_a_gene_that_costs_nothing_leaves_scratch_no_steps(store):
    """Its descendants are used as grown, so scratch of equal cost has no step, and no cell that must fail."""
    arms = "arms={even: {method: layers, train: {steps: 0}}, scratch: {method: scratch}}"
    found = store("protocol=paths", "sizes=[depth=1, depth=2]", arms, FAMILY.replace("[1, 5]", "[1]"))
    with_ancestor, without = (budget["steps"] for budget in compute_family_budgets(found))
    assert (with_ancestor > 0, without) == (True, 0)
    assert {cell.steps for cell in list_family_cells(found)} == {with_ancestor}


def test_every_budget_has_one_cell_per_seed(store):
    cells = list_family_cells(store(FAMILY))
    steps = {budget["steps"] for budget in compute_family_budgets(store(FAMILY))}
    assert {cell.steps for cell in cells} == steps
    assert len(cells) == 2 * len(steps)
    assert list_family_cells(store()) == []


def test_a_run_has_these_stages(recipe_file, tmp_path, monkeypatch):
    stages = []

    def record_stage(self, name, tasks, store):
        if tasks:
            stages.append((name, len(tasks)))

    monkeypatch.setattr(runner.Comparison, "_run_stage", record_stage)
    monkeypatch.setattr(runner.Comparison, "_write_results", lambda *given: None)
    comparison(recipe_file, tmp_path / "out", FAMILY, "protocol=sizes", "sizes=[depth=1, depth=2]").run()
    budgets = len(
        {b["steps"] for b in compute_family_budgets(comparison(recipe_file, tmp_path, FAMILY)._artifact_store({}))}
    )
    assert stages == [("ancestors", 2), ("genes", 2), ("cells", 8), ("cells of equal total", 2 * budgets)]
