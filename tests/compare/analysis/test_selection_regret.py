"""Regret and rank of a choice of blocks, against hand calculations."""

import pytest

from germline.compare.analysis import selection_regret as regret
from germline.compare.analysis.results import ComparisonResults, Condition

AT = Condition("", 20)
# Test accuracy by arm and seed.
ACCURACIES = {
    "gene": {0: 0.60, 1: 0.50, 2: 0.70},
    "first": {0: 0.50, 1: 0.50, 2: 0.50},
    "middle": {0: 0.60, 1: 0.40, 2: 0.80},
    "last": {0: 0.30, 1: 0.90, 2: 0.70},
    "single": {0: 1.00, 1: 1.00, 2: 1.00},
    "scratch": {0: 1.00, 1: 1.00, 2: 1.00},
}
KEPT = {
    "gene": {0: [1, 2], 1: [0, 1], 2: [4, 5]},
    "first": [0, 1],
    "middle": [1, 2],
    "last": [2, 3],
    "single": [0],
}

# The other fields of a record.
LAYERS = {"stages": [6], "layers": [], "scores": [], "against": [], "matrix": [], "history": []}


def make_results(leave=()):
    genes = []
    for arm, kept in KEPT.items():
        for seed in range(3):
            blocks = kept[seed] if isinstance(kept, dict) else kept
            record = {"layers": {**LAYERS, "select": "meta" if arm == "gene" else "given", "kept": blocks}}
            genes.append({"arm": arm, "seed": seed, "record": record})
    genes.append({"arm": "other", "seed": 0})
    cells = [
        {"asked": {"arm": arm, "size": "", "images": 20, "seed": seed, "steps": None}, "test_accuracy": accuracy}
        for arm, seeds in ACCURACIES.items()
        for seed, accuracy in seeds.items()
        if (arm, seed) not in leave
    ]
    recipe = {"arms": {arm: {} for arm in ACCURACIES}, "sizes": [""], "images_per_class": [20]}
    return ComparisonResults({"recipe": recipe, "genes": genes, "cells": cells})


def test_regret_and_rank_match_hand_calculation():
    (score,) = regret.score_selections(make_results(), AT).values()
    # The best other arm is found on the other seeds.
    # Seed 0: gene is `middle`. `last` (0.9, 0.7) beats `first` (0.5, 0.5), so the regret is 0.3 - 0.6.
    # Seed 1: gene is `first`. `middle` (0.6, 0.8) beats `last` (0.3, 0.7), so the regret is 0.4 - 0.5.
    # Seed 2: gene is none of them. `last` (0.3, 0.9) beats the others, so the regret is 0.7 - 0.7.
    assert score.regrets == pytest.approx([-0.3, -0.1, 0.0])
    # Seed 0 is above both. Seed 1 is between `last` and `middle`. Seed 2 is below `middle` and equal to `last`.
    assert score.ranks == [1, 2, 2.5]
    assert score.competitors == 4


def test_other_numbers_of_blocks_do_not_compete():
    assert regret.score_selections(make_results(), AT).keys() == {"gene"}
    (row,) = regret.regret_table(make_results())[1:]
    assert row[:3] == ["own size, 20 images per class", "gene", "0+1 in 1, 1+2 in 1, 4+5 in 1"]
    assert row[3].startswith("-13.3 ±")
    assert row[4].startswith("1.8 ±")
    assert [section.heading for section in regret.regret_sections(make_results())] == ["Was the choice of blocks good?"]


def test_a_failed_cell_of_another_arm_is_left_out():
    (score,) = regret.score_selections(make_results(leave=[("last", 0)]), AT).values()
    assert score.regrets[0] == pytest.approx(-0.1)  # only `first` remains
    assert score.ranks[0] == 1


def test_single_seed_has_no_regret():
    alone = [(arm, seed) for arm in ACCURACIES for seed in (1, 2)]
    (score,) = regret.score_selections(make_results(leave=alone), AT).values()
    assert (score.regrets, score.ranks) == ([], [1])
    assert regret.regret_table(make_results(leave=alone))[1][3] == ""


def test_one_gene_is_one_choice_for_all_seeds():
    every = make_results()
    stored = {**every.stored, "genes": [gene for gene in every.stored["genes"] if gene["seed"] == 0]}
    stored["recipe"] = {**stored["recipe"], "one_gene": True}
    (score,) = regret.score_selections(ComparisonResults(stored), AT).values()
    # The gene is `middle` in every seed, so `first` and `last` compete.
    # Seed 0: `last` (0.9, 0.7) beats `first`: 0.3 - 0.6. Seed 1: they are equal, so the first counts: 0.5 - 0.5.
    # Seed 2: `last` (0.3, 0.9) beats `first`: 0.7 - 0.7.
    assert score.regrets == pytest.approx([-0.3, 0.0, 0.0])
    assert score.chosen == {0: (1, 2)}
    assert score.competitors == 3


WINDOWS = {"gene": {}, "window-1": {"window": 1}, "window-2": {"window": 2}, "window-3": {"window": 3}}


COLLECTIVE = {
    "heat": [[[0.5] * 4]],
    "scores": [0.5] * 4,
    "dead": [],
    "accuracies": [[0.5]],
    "parameters": [1],
    "grown": [0],
    "detection": None,
}


def make_openworld_results(arms):
    """Return results of arms of openworld; the first chose windows of two units from unit 1, 3 and 2."""
    accuracies = {
        "gene": (0.5, 0.6, 0.7),
        "window-1": (0.5, 0.8, 0.7),
        "window-2": (0.4, 0.6, 0.7),
        "window-3": (0.3, 0.6, 0.9),
        "joint": (1.0, 1.0, 1.0),
    }
    # Every arm has the collective of the first arm. The record has the window that the first arm chose.
    genes = [
        {"arm": arm, "seed": seed, "record": {"collective": {**COLLECTIVE, "window": [start, 2]}}}
        for arm in arms
        for seed, start in enumerate((0, 2, 1))
    ]
    cells = [
        {"asked": {"arm": arm, "size": "", "images": 20, "seed": seed, "steps": None}, "test_accuracy": accuracy}
        for arm in arms
        for seed, accuracy in enumerate(accuracies[arm])
    ]
    settings = {arm: {"method": "openworld", "settings": own} for arm, own in arms.items()}
    recipe = {"arms": settings, "sizes": [""], "images_per_class": [20]}
    return ComparisonResults({"recipe": recipe, "genes": genes, "cells": cells})


def test_window_is_ranked_among_windows_of_the_same_collectives():
    # Another stream makes another collective, whose window does not compete.
    found = make_openworld_results({**WINDOWS, "joint": {"window": 1, "stream": "joint"}})
    ((arm, score),) = regret.score_selections(found, AT).items()
    assert arm == "gene"
    assert score.chosen == {0: (1, 2), 1: (3, 4), 2: (2, 3)}
    # Seed 0 is `window-1`. `window-3` (0.6, 0.9) beats `window-2` (0.6, 0.7), so the regret is 0.3 - 0.5.
    # Seed 1 is `window-3`. `window-1` (0.5, 0.7) beats `window-2` (0.4, 0.7), so the regret is 0.8 - 0.6.
    # Seed 2 is `window-2`. `window-1` (0.5, 0.8) beats `window-3` (0.3, 0.6), so the regret is 0.7 - 0.7.
    assert score.regrets == pytest.approx([-0.2, 0.2, 0.0])
    assert score.ranks == [1, 2.5, 2.5]
    assert score.competitors == 3


def test_one_given_window_is_not_enough_to_rank():
    assert (
        regret.score_selections(make_openworld_results({arm: WINDOWS[arm] for arm in ("gene", "window-1")}), AT) == {}
    )


def test_no_section_without_choices():
    bare = ComparisonResults({**make_results().stored, "genes": []})
    assert regret.regret_sections(bare) == []
