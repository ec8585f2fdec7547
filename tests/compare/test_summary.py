"""The questions asked of kept results, answered by hand."""

import json

import pytest

from germline.compare.summary import Summary
from germline.errors import ArtefactError

HERE = ("gene", "depth=2", 10)


@pytest.fixture
def summary(results):
    return Summary(results)


def test_gain_is_paired_by_seed(summary):
    gain = summary.gain(*HERE)
    assert (gain.mean, gain.count) == (pytest.approx(0.2), 3)
    assert gain.half == pytest.approx(0.2484138, rel=1e-6)


def test_gain_counts_only_seeds_that_both_have(results):
    results["cells"] = [cell for cell in results["cells"] if (cell["arm"], cell["seed"]) != ("scratch", 2)]
    gain = Summary(results).gain(*HERE)
    assert (gain.mean, gain.count) == (pytest.approx(0.15), 2)


def test_gain_at_a_step_is_read_from_the_curves(summary):
    assert summary.gain_at(0, *HERE).mean == pytest.approx((0.2 + 0.2 + 0.0) / 3)
    assert summary.gain_at(50, *HERE).mean == pytest.approx((0.2 + 0.1 + 0.0) / 3)


def test_share_of_steps_to_scratchs_last_accuracy(summary):
    # scratch ends at 0.40 after 100 steps: seed 0 holds it at 50, seed 1 at 100, seed 2 never
    assert summary.share_of_steps(*HERE) == [0.5, 1.0, None]


def test_the_control_reaches_itself_at_its_last_step(summary):
    assert summary.share_of_steps("scratch", "depth=2", 10) == [1.0, 1.0, 1.0]


def test_accuracy_is_that_of_the_test_pictures(summary):
    assert summary.accuracy(*HERE).mean == pytest.approx(0.6)
    assert summary.accuracy("scratch", "depth=2", 10).half == pytest.approx(0, abs=1e-12)


def test_curve_has_a_point_a_step(summary):
    assert [(step, round(point.mean, 4)) for step, point in summary.curve(*HERE)] == [
        (0, 0.2333),
        (50, 0.3),
        (100, 0.4167),
    ]


def test_shares_by_origin_and_parameters(summary):
    assert summary.origins("gene", "depth=2") == {"expanded": 0.75, "fresh": 0.25}
    assert summary.parameters("gene", "depth=2") == 1000
    assert summary.conditions == [("depth=2", 10)]


@pytest.mark.parametrize("content", ["[]", "{}", '{"cells": []}', "{", None])
def test_what_holds_no_results_is_refused(tmp_path, content):
    if content is not None:
        (tmp_path / "results.json").write_text(content)
    with pytest.raises(ArtefactError, match="result"):
        Summary.read(tmp_path)


def test_kept_results_are_read(tmp_path, results):
    (tmp_path / "results.json").write_text(json.dumps(results))
    assert Summary.read(tmp_path).arms == ["gene", "scratch"]
