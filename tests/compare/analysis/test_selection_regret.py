"""Regret and rank of a choice of layers, worked out by hand."""

import pytest

from germline.compare.analysis import selection_regret as choices
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

# What a record holds besides.
LAYERS = {"stages": [6], "layers": [], "scores": [], "against": [], "matrix": [], "history": []}


def summary(leave=()):
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


def test_regret_and_rank_by_hand():
    (standing,) = choices.score_selections(summary(), AT).values()
    # seed 0: gene is `middle`; of `first` (0.5, 0.5 elsewhere) and `last` (0.9, 0.7) `last`: 0.3 against 0.6
    # seed 1: gene is `first`; of `middle` (0.6, 0.8) and `last` (0.3, 0.7) the former: 0.4 against 0.5
    # seed 2: gene is none of them; of 0.5, (0.6 + 0.4) / 2 and (0.3 + 0.9) / 2 `last`: 0.7 against 0.7
    assert standing.regrets == pytest.approx([-0.3, -0.1, 0.0])
    # seed 0 is above both; seed 1 below `last` and above `middle`; seed 2 below `middle`, level with `last`
    assert standing.ranks == [1, 2, 2.5]
    assert standing.competitors == 4


def test_other_numbers_of_layers_and_other_methods_do_not_compete():
    assert choices.score_selections(summary(), AT).keys() == {"gene"}
    (row,) = choices.regret_table(summary())[1:]
    assert row[:3] == ["own size, 20 images per class", "gene", "0+1 in 1, 1+2 in 1, 4+5 in 1"]
    assert row[3].startswith("-13.3 ±")
    assert row[4].startswith("1.8 ±")
    assert [section.heading for section in choices.regret_sections(summary())] == ["Was the choice of blocks good?"]


def test_a_failed_cell_of_another_arm_is_left_out():
    (standing,) = choices.score_selections(summary(leave=[("last", 0)]), AT).values()
    assert standing.regrets[0] == pytest.approx(-0.1)  # `first` alone is left
    assert standing.ranks[0] == 1


def test_a_seed_alone_has_no_regret():
    alone = [(arm, seed) for arm in ACCURACIES for seed in (1, 2)]
    (standing,) = choices.score_selections(summary(leave=alone), AT).values()
    assert (standing.regrets, standing.ranks) == ([], [1])
    assert choices.regret_table(summary(leave=alone))[1][3] == ""


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


def streamed(arms):
    """Arms of openworld; the first chose the windows from unit 1, 3 and 2, of two units."""
    accuracies = {
        "gene": (0.5, 0.6, 0.7),
        "window-1": (0.5, 0.8, 0.7),
        "window-2": (0.4, 0.6, 0.7),
        "window-3": (0.3, 0.6, 0.9),
        "joint": (1.0, 1.0, 1.0),
    }
    # every arm has the collective of the first, whose own window its record holds
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


def test_a_window_is_ranked_among_all_windows_of_the_same_collectives():
    # another stream makes another collective, whose window does not compete
    found = streamed({**WINDOWS, "joint": {"window": 1, "stream": "joint"}})
    ((arm, standing),) = choices.score_selections(found, AT).items()
    assert arm == "gene"
    assert standing.chosen == {0: (1, 2), 1: (3, 4), 2: (2, 3)}
    # seed 0 is `window-1`: of `window-2` (0.6, 0.7) and `window-3` (0.6, 0.9) the latter: 0.3 against 0.5
    # seed 1 is `window-3`: of `window-1` (0.5, 0.7) and `window-2` (0.4, 0.7) the former: 0.8 against 0.6
    # seed 2 is `window-2`: of `window-1` (0.5, 0.8) and `window-3` (0.3, 0.6) the former: 0.7 against 0.7
    assert standing.regrets == pytest.approx([-0.2, 0.2, 0.0])
    assert standing.ranks == [1, 2.5, 2.5]
    assert standing.competitors == 3


def test_one_window_beside_the_chosen_one_is_no_field():
    assert choices.score_selections(streamed({arm: WINDOWS[arm] for arm in ("gene", "window-1")}), AT) == {}


def test_without_choices_there_is_no_section():
    bare = ComparisonResults({**summary().stored, "genes": []})
    assert choices.regret_sections(bare) == []
