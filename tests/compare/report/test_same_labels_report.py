"""Report of `same-labels`: tables against hand calculations, and a short run."""

import pytest

from germline.compare import write_report
from germline.compare.analysis.results import ComparisonResults
from germline.compare.report.same_labels import (
    NEVER,
    describe_reading,
    family_savings_table,
    reach_table,
    same_labels_costs,
    step_table,
)
from helpers.comparison import RECIPE, comparison, results, same_labels

AT = "depth=2, 10 images per class"


def make_results(keep=lambda _: True, **changes):
    stored = same_labels(**changes)
    return ComparisonResults({**stored, "cells": [c for c in stored["cells"] if keep(c["asked"])]})


def test_step_table_matches_hand_calculation():
    table = step_table(make_results())
    assert table[0][2:] == ["after 0 steps, %", "after 50 steps, %", "after 100 steps, %", "test at the end, %"]
    # the shuffled gene after 50 steps: 10, 11 and 12 %, half of the interval is 4.303 / sqrt(3)
    assert ["depth=2, 10 images per class", "shuffled", "5.0 ± 0.0", "11.0 ± 2.5", "20.0 ± 0.0", "30.0 ± 0.0"] in table
    assert len(table) == 1 + 6


def test_a_failed_arm_is_named():
    table = step_table(make_results(lambda request: request["arm"] != "shuffled"))
    assert [AT, "shuffled", "", "", "", "failed"] in table


def test_steps_to_the_accuracy_of_scratch_match_hand_calculation():
    rows = {(row[0], row[1]): row[2:] for row in reach_table(make_results())[1:]}
    # 50 and 100 of 100 steps of 1e7: the third seed never reaches it
    assert rows[AT, "gene"][:3] == ["75 ± 318", "100% of scratch's, 1 of 3 seeds never", "0.00075"]
    assert rows[AT, "shuffled"] == ["never reached", "", "", ""]
    assert rows["depth=3, 10 images per class", "gene"][:2] == ["0 ± 0", "0% of scratch's"]


def test_family_savings_match_hand_calculation():
    rows = family_savings_table(make_results())[1:]
    assert [row[1] for row in rows] == [
        "1: depth=2 (1 of 3 seeds never reach it)",
        "2: depth=2, depth=3 (1 of 3 seeds never reach it)",
    ]
    # TFLOPs of ancestor, gene, descendants, their total, and scratch
    assert rows[1][2:7] == ["0.006", "0.004", "0.00075", "0.01075", "0.002"]
    # (10.5 and 11) / 2, (4.5 and 5) / 2, and (0.5 and 1) / 2; 16 sizes break even
    assert [cell.split(" ±")[0] for cell in rows[1][7:]] == ["5.38", "2.38", "0.38", "16.0"]


def test_family_table_says_that_scratch_is_never_reached():
    rows = family_savings_table(make_results(lambda request: request["seed"] == 2 or request["size"] == "depth=3"))[1:]
    assert [row[4] for row in rows] == [NEVER, NEVER]
    assert family_savings_table(make_results(lambda request: request["arm"] != "gene"))[1][4] == "failed"


def test_genes_of_single_sizes_are_not_compared_with_fewer_sizes_of_scratch():
    """Their cost is known for all sizes together, and scratch's would be that of some."""
    found = make_results()
    found.stored["costs"]["families"]["gene"]["shared"] = False
    assert [row[1][:2] for row in family_savings_table(found)[1:]] == ["2:"]
    found.stored["recipe"]["arms"]["scratch"]["sizes"] = ["depth=2"]
    assert len(family_savings_table(found)) == 1


def test_notes_say_what_is_shared_and_what_was_given():
    shared = "before training is one measurement"
    assert shared in describe_reading(make_results(one_gene=True))
    assert shared not in describe_reading(make_results())
    given = make_results(ancestor={"data": "digits", "path": "somewhere"})
    assert "was given" in same_labels_costs(given)[0].note
    assert "was given" not in same_labels_costs(make_results())[0].note


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Output folder of a short comparison with every part of the protocol."""
    place = tmp_path_factory.mktemp("same-labels")
    (place / "micro.yaml").write_text(RECIPE)
    shuffled = "arms.shuffled={method: random-gene, settings: {method: tleg, settings: {steps: 3, batch_size: 16}}}"
    changes = ["protocol=same-labels", "read_steps=[0, 2, 5]", "one_gene=true", shuffled]
    comparison(place / "micro.yaml", place / "out", *changes, "seeds=[0]").run()
    return place / "out"


def test_a_run_inherits_the_head_and_needs_no_probe(finished):
    found = results(finished)
    cells = {cell["asked"]["arm"]: cell for cell in found["cells"]}
    assert found["failed"] == {}
    assert {cell["probe_accuracy"] for cell in cells.values()} == {None}
    assert set(cells["gene"]["origins"]) == {"copied", "expanded"}
    assert [point["step"] for point in cells["gene"]["curve"]] == [0, 2, 5]


def test_a_run_has_a_report(finished):
    assert "one seed shows nothing" in write_report(finished)
    page = (finished / "report.md").read_text()
    assert "| depth=1, 3 images per class | shuffled |" in page
    assert "## What the whole family costs" in page
