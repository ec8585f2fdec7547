"""The report of heredity: a table of quantities, and columns for arms."""

import pytest

from germline.methods.gtl import report_heredity as report
from germline.methods.gtl.heredity import measure_heredity
from helpers.planted_fitness import plant

EMPTY = {
    **dict.fromkeys(("spread", "noise", "reliability", "repeatability_tasks", "repeatability_seeds")),
    **dict.fromkeys(("heritability", "heritability_error", "correlation", "correlation_error", "intensity")),
    "pairs": 0,
    "differential": 0.0,
    "line_lives": 36,
    "line_images": 34560,
    "images": 40000,
}


def test_one_gene_has_one_row_per_quantity():
    (section,) = report.gene_sections(report.parse({**EMPTY, "heritability": 0.25, "heritability_error": 0.1234}))
    table = dict(section.body[1:])
    assert section.body[0] == ["quantity", "value"]
    assert table["heritability"] == "0.25 ± 0.12"
    assert table["noise of a gene's fitness"] == "not measured"
    assert table["images of that line"] == "34,560"
    assert table["selection differential"] == "0.0000"


def test_arms_are_columns_and_values_are_means_over_seeds():
    seeds = {
        seed: report.parse({**EMPTY, "spread": spread, "line_lives": 30 + seed})
        for seed, spread in enumerate((0.02, 0.04, 0.06))
    }
    (section,) = report.comparison_sections(["gene", "scratch", "line"], {"gene": seeds, "line": {0: seeds[0]}})
    head, *rows = section.body
    table = {row[0]: row[1:] for row in rows}
    assert head == ["quantity", "gene", "line"]
    # A t interval of three seeds: 4.303 times 0.02 over the root of 3.
    assert table["spread within tournaments"] == ["0.0400 ± 0.0497", "0.0200"]
    assert table["images of that line"] == ["34,560", "34,560"]
    assert table["heritability"] == ["not measured", "not measured"]


def test_record_of_an_evolution_is_parsed():
    record = report.parse(measure_heredity(plant(0.5, fathers=9, children=9, seed=0), 0, 1, 10, 100))
    assert record.pairs == 9
    assert record.noise is None
    assert len(report.gene_sections(record)[0].body) == 14


@pytest.mark.parametrize("value", [None, {}, [], {**EMPTY, "spread": "wide"}, {**EMPTY, "spread": float("nan")}])
def test_parse_refuses_a_damaged_record(value):
    with pytest.raises(ValueError, match=r"spread|Heredity"):
        report.parse(value)
