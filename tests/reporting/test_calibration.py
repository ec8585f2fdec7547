"""Short runs of the calibration benchmark: families of claims, with room and without room."""

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from germline.reporting.statistics import holm

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def calibration():
    before = list(sys.path)
    sys.path.insert(0, str(BENCHMARKS))
    try:
        spec = importlib.util.spec_from_file_location("calibration", BENCHMARKS / "calibration.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    finally:
        sys.path[:] = before
    return module


@pytest.mark.parametrize("seeds", [3, 5, 10])
def test_questions_of_equal_arms_are_rarely_called_different(calibration, seeds):
    draw = np.random.default_rng(seeds)
    found = calibration.simulate_family(calibration.SMALL, seeds, 10_000, 0.02, draw)
    assert found["claims"] == 4
    # 5 % of 10,000 are 500; 3 standard deviations are 65.
    assert 0.0435 <= found["different"] <= 0.0565
    assert calibration.count_disagreements(20, seeds, 0.02, draw) == 0


def test_claims_with_shared_noise_are_called_different_less_often(calibration):
    draw = np.random.default_rng(0)
    shares = [
        calibration.simulate_family(calibration.Family("", 4, 2, shared), 10, 20_000, 0.02, draw)
        for shared in (0.0, 0.95)
    ]
    assert shares[1]["different"] < shares[0]["different"] - 0.005
    assert all(row["claims_different_uncorrected"] == pytest.approx(0.05, abs=0.004) for row in shares)


def test_equal_arms_have_room(calibration):
    found = calibration.simulate_questions(3, 50, 0.02, np.random.default_rng(3))
    assert (found["claims"], found["without_room"]) == (4, 0)


def test_an_effect_is_found_where_there_is_room(calibration):
    found = calibration.simulate_questions(5, 100, 0.02, np.random.default_rng(0), 0.085)
    assert found["above"] >= 0.9
    found = calibration.simulate_questions(5, 50, 0.02, np.random.default_rng(0), 0.085, 0.01)
    assert found["above"] <= 0.1
    assert found["without_room"] >= 0.95


def test_single_claims_equal_the_stored_result(calibration):
    """The benchmark draws the random numbers of this result first, so that it can be reproduced."""
    stored = json.loads((BENCHMARKS / "results" / "calibration.json").read_text(encoding="utf-8"))
    generator = np.random.default_rng(stored["seed"])
    spread = stored["noise"]["standard_deviation"]
    assert calibration.measure_noise() == pytest.approx(spread)
    found = calibration.simulate_verdicts(3, stored["comparisons"], spread, 0.0, generator)
    assert found == stored["equal"][0]


def test_benchmark_runs_with_few_comparisons(calibration, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["calibration.py", "--comparisons", "40", "--out", str(tmp_path / "found.json")])
    assert calibration.main() in (0, 1)
    found = json.loads((tmp_path / "found.json").read_text(encoding="utf-8"))
    assert [row["seeds"] for row in found["families"]] == [3, 5, 10] * 3
    assert found["claims_judged_otherwise"] == 0
    assert capsys.readouterr().out.count("of questions differ") == 9


def test_adjustment_of_arrays_equals_that_of_reports(calibration):
    p_values = np.random.default_rng(0).uniform(0, 0.3, (20, 7))
    adjusted = calibration.adjust_by_holm(p_values)
    for row, values in zip(adjusted, p_values, strict=True):
        assert list(row) == pytest.approx(holm(list(values)))


def test_saved_families_are_calibrated(calibration):
    """A family of equal arms is called different in about 5 % of the cases, and so is a single claim."""
    stored = json.loads((BENCHMARKS / "results" / "calibration.json").read_text(encoding="utf-8"))
    assert stored["good"]
    assert {row["family"] for row in stored["families"]} == {family.name for family in calibration.FAMILIES}
    for row in stored["families"]:
        assert 0.035 <= row["different"] <= 0.065
        assert row["claims_different_uncorrected"] == pytest.approx(0.05, abs=0.003)
