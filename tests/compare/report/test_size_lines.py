"""Arms over sizes: tables against hand calculations, and the marks of the figure."""

import re

import pytest

from germline.compare.analysis.results import ComparisonResults
from germline.compare.analysis.size_lines import find_crossovers, group_sizes, list_readings
from germline.compare.report.size_lines import (
    best_arm_table,
    crossover_table,
    draw_size_lines,
    size_sections,
    untrained_sections,
)
from helpers.comparison import by_hand, cell

SIZES = ["depth=1", "depth=4", "depth=16", "width=8"]
# Test accuracy by arm and size; scratch overtakes the gene between depth=4 and depth=16, and at width=8.
TESTS = {"gene": (0.5, 0.6, 0.6, 0.2), "scratch": (0.3, 0.5, 0.7, 0.4), "layers": (0.6,)}


def make_results(*, own=2000, protocol="same-labels", **changes):
    cells = [
        cell(arm, seed, (0.1 * value, 0.5 * value, value), value + 0.01 * seed, size=size)
        for arm, values in TESTS.items()
        for size, value in zip(SIZES, values, strict=False)
        for seed in range(3)
    ]
    arms = {"gene": {"method": "tleg"}, "scratch": {"method": "scratch"}}
    arms["layers"] = {"method": "layers", "sizes": SIZES[:1]}
    found = by_hand(cells, arms=arms, sizes=SIZES, protocol=protocol, **changes)
    if protocol == "same-labels":
        found["recipe"]["read_steps"] = [0, 50, 100]
    counts = dict(zip(SIZES, (1000, 4000, 16000, 500), strict=True))
    found["costs"]["parameters"] = {size: {"full": count, "headless": 1, "flops": 1} for size, count in counts.items()}
    if own:
        found["own_size"] = {"full": own, "headless": 1, "flops": 1}
    return ComparisonResults(found)


def test_sizes_are_grouped_by_what_they_change():
    assert group_sizes(SIZES) == {"depth": SIZES[:3], "width": SIZES[3:]}
    assert group_sizes(["", "depth=3", "width=8,heads=2"]) == {
        "depth": ["", "depth=3"],
        "width": ["", "width=8,heads=2"],
    }
    assert group_sizes(["depth=3,width=8", "depth2=3"]) == {
        "depth and width": ["depth=3,width=8"],
        "depth": ["depth2=3"],
    }


def test_crossovers_are_interpolated_on_a_logarithmic_scale():
    results = make_results()
    end = list_readings(results)[-1]
    assert [reading.name for reading in list_readings(results)] == [
        "after 0 steps",
        "after 50 steps",
        "test at the end",
    ]
    # The gap is +0.1 at 2 times the ancestor and -0.1 at 8 times: it is 0 halfway, at 4 times.
    (larger,) = find_crossovers(results, SIZES[:3], end, "larger")
    assert (larger.control, larger.ratio, larger.is_first) == ("scratch", pytest.approx(4), False)
    # The arm layers is above the gene at the only smaller size.
    (smaller,) = find_crossovers(results, SIZES[:3], end, "smaller")
    assert (smaller.control, smaller.ratio, smaller.is_first) == ("layers", 0.5, True)
    assert find_crossovers(make_results(own=None), SIZES, end, "larger") == []


def test_tables_name_the_best_arm_and_the_arm_that_overtakes():
    table = best_arm_table(make_results())
    assert [row[:3] for row in table[1:]] == [
        ["depth=1", "1,000", "0.50"],
        ["depth=4", "4,000", "2.00"],
        ["depth=16", "16,000", "8.00"],
        ["width=8", "500", "0.25"],
    ]
    assert [row[-1].split(" ±")[0] for row in table[1:]] == [
        "layers, 61.0",
        "gene, 61.0",
        "scratch, 71.0",
        "scratch, 41.0",
    ]
    rows = [row for row in crossover_table(make_results()) if row[0] == "test at the end"]
    assert [row[1:] for row in rows] == [
        ["depth", "smaller", "layers at x 0.50 and smaller"],
        ["depth", "larger", "scratch from about x 4.00 and larger"],
        ["width", "smaller", "scratch at x 0.25 and smaller"],
    ]


def test_the_figure_marks_the_own_size_and_the_crossing():
    figure = draw_size_lines(make_results())
    marks = sorted(re.findall(r'id="((?:own|crossing)-[^"]*)"', figure))
    assert marks == [
        *(f"crossing-{row}-0-larger" for row in range(3)),
        *(f"own-{row}-{column}" for row in range(3) for column in range(2)),
    ]
    assert "x 4.00" in figure


def test_enough_sizes_of_a_fitting_protocol_have_sections(monkeypatch):
    monkeypatch.setattr("germline.compare.report.size_lines.draw_size_lines", lambda _: "")
    headings = ["Accuracy over parameters", "The best arm at each size", "Where gene is overtaken"]
    assert [section.heading for section in size_sections(make_results(own=None))] == headings
    assert crossover_table(make_results(own=None))[1:] == []
    assert size_sections(ComparisonResults(by_hand([]))) == []


def test_accuracy_before_training_is_shown_where_a_head_is_inherited():
    (section,) = untrained_sections(make_results(protocol="samples"))
    assert section.body[1] == ["depth=1, 10 images per class", "gene", "5.0 ± 0.0"]
    assert {row[1] for row in section.body[1:]} == {"gene", "layers"}
    assert untrained_sections(make_results(protocol="samples", ancestor={"data": "glyphs/base"})) == []
    assert untrained_sections(make_results()) == []
