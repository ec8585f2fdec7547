"""Values read from stored results, against hand calculations."""

import json

import pytest

from germline.compare.analysis.results import ComparisonResults, Condition, accuracy_at, mean_accuracy
from germline.compare.analysis.results import final_accuracy as last
from germline.errors import ArtefactError
from helpers.comparison import BY_HAND, by_hand, cell, three_seeds

HERE = Condition("depth=2", 10)


@pytest.fixture
def summary():
    return ComparisonResults(by_hand(three_seeds()))


def test_differences_are_paired_by_seed(summary):
    assert summary.differences("gene", "scratch", HERE, last) == pytest.approx([0.1, 0.2, 0.3])


def test_only_shared_seeds_are_compared():
    cells = [c for c in three_seeds() if (c["asked"]["arm"], c["asked"]["seed"]) != ("scratch", 2)]
    assert ComparisonResults(by_hand(cells)).differences("gene", "scratch", HERE, last) == pytest.approx([0.1, 0.2])


def test_the_order_of_the_cells_does_not_matter(summary):
    reordered = ComparisonResults(by_hand(three_seeds()[::-1]))
    assert reordered.differences("gene", "scratch", HERE, last) == summary.differences("gene", "scratch", HERE, last)


def test_differences_at_a_step_are_read_from_the_curves(summary):
    assert summary.differences("gene", "scratch", HERE, accuracy_at(0)) == pytest.approx([0.2, 0.2, 0.0])
    assert summary.differences("gene", "scratch", HERE, accuracy_at(50)) == pytest.approx([0.2, 0.1, 0.0])


@pytest.mark.parametrize(
    ("at", "accuracies", "mean"),
    [
        ((0, 50, 100), (0.1, 0.2, 0.4), 0.225),
        # (10 * 0.3 + 90 * 0.5) / 100
        ((0, 10, 100), (0.2, 0.4, 0.6), 0.48),
        # over the steps that were evaluated
        ((50, 100), (0.2, 0.4), 0.3),
        ((100,), (0.4,), 0.4),
    ],
)
def test_mean_accuracy_uses_the_trapezoidal_rule(at, accuracies, mean):
    assert mean_accuracy(cell("gene", 0, accuracies, 0.5, at=at)) == pytest.approx(mean)


def test_share_of_steps_to_the_accuracy_of_scratch_matches_hand_calculation(summary):
    # scratch ends at 0.40 after 100 steps: seed 0 reaches it at 50, seed 1 at 100, seed 2 never
    assert summary.share_of_steps("gene", HERE) == [0.5, 1.0, None]
    assert summary.share_of_steps("scratch", HERE) == [1.0, 1.0, 1.0]


def test_accuracy_is_that_of_the_test_images(summary):
    assert summary.accuracy("gene", HERE).mean == pytest.approx(0.6)
    assert summary.accuracy("scratch", HERE).half == pytest.approx(0, abs=1e-12)
    assert summary.accuracy("gene", Condition("depth=9", 10)) is None


def test_curve_has_one_point_per_step(summary):
    found = [(step, round(point.mean, 4)) for step, point in summary.curve("gene", HERE)]
    assert found == [(0, 0.2333), (50, 0.3), (100, 0.4167)]
    assert summary.curve("gene", Condition("depth=9", 10)) == []


def test_recipe_gives_subject_controls_and_conditions():
    arms = {name: {"method": name} for name in ("finetune", "tleg", "scratch")}
    found = ComparisonResults(by_hand([], arms=arms, sizes=["depth=2", ""], images_per_class=[10, 20]))
    assert (found.subject, found.controls) == ("finetune", ["scratch", "tleg"])
    assert [str(at) for at in found.conditions] == [
        "depth=2, 10 images per class",
        "own size, 10 images per class",
        "depth=2, 20 images per class",
        "own size, 20 images per class",
    ]


def test_longer_scratch_is_separate_from_the_recipes_own():
    found = ComparisonResults(BY_HAND["convergence"]())
    assert found.accuracy("scratch", HERE).mean == pytest.approx(0.40)
    assert found.accuracy("scratch", HERE, 200).mean == pytest.approx(0.45)
    assert found.differences("gene", "scratch", HERE, last, control_steps=200) == pytest.approx([0.05, 0.15, 0.25])


@pytest.mark.parametrize(
    ("values", "tolerance", "expected"),
    [
        # scratch itself ends at 0.40 on validation
        ([0.41], 0.02, (200, True)),
        ([0.43], 0.02, (200, False)),
        ([0.43, 0.44], 0.02, (400, True)),
        ([0.43, 0.47], 0.02, (400, False)),
        ([0.43, None], 0.02, None),
        ([], 0.02, None),
    ],
)
def test_plateau_of_scratch_depends_on_the_tolerance(values, tolerance, expected):
    levels = [
        {"size": "depth=2", "images": 10, "multiple": 2**n, "steps": 100 * 2**n, "val": value}
        for n, value in enumerate(values, start=1)
    ]
    other = {"size": "depth=2", "images": 20, "multiple": 2, "steps": 999, "val": 0.9}
    wanted = {"tolerance": tolerance, "most": 4}
    results = by_hand(three_seeds(), levels=[other, *levels], levelling=wanted, images_per_class=[10, 20])
    assert ComparisonResults(results).longest_scratch(HERE) == expected


def test_origins_are_shares_of_elements(summary):
    assert summary.origins("gene", "depth=2") == {"expanded": 0.75, "fresh": 0.25}
    assert summary.origins("gene", "depth=9") == {}


@pytest.mark.parametrize("content", ["[]", "{}", '{"cells": []}', "{", None])
def test_load_refuses_files_without_results(tmp_path, content):
    if content is not None:
        (tmp_path / "results.json").write_text(content)
    with pytest.raises(ArtefactError, match="result"):
        ComparisonResults.load(tmp_path)


def test_load_reads_a_folder_and_a_file(tmp_path):
    (tmp_path / "results.json").write_text(json.dumps(by_hand(three_seeds())))
    assert ComparisonResults.load(tmp_path).arms == ["gene", "scratch"]
    (tmp_path / "results.json").rename(tmp_path / "other.json")
    assert ComparisonResults.load(tmp_path / "other.json").arms == ["gene", "scratch"]
