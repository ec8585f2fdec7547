"""Paths of a family: Pareto fronts by hand, the record of a gene, and the report of the protocol."""

import json
import re

import pytest

from germline.compare import write_report
from germline.compare.analysis.results import ComparisonResults
from germline.compare.report import gene_records as records
from germline.compare.report import paths_protocol as by_path
from germline.errors import ArtefactError
from germline.methods.pool import report as paths
from germline.reporting.pareto import NetworkPoint, draw_pareto_fronts, pareto_front
from germline.reporting.statistics import estimate
from helpers.comparison import BY_HAND, by_hand, cell

RECORD = {
    "data": "digits",
    "split": "val",
    "paths": [
        {"size": "width=8", "parameters": 100, "headless_parameters": 90, "flops": 5 * 10**6, "accuracy": 0.5},
        {"size": "width=16", "parameters": 300, "headless_parameters": 280, "flops": 9 * 10**6, "accuracy": 0.7},
        {
            "size": "front=8,end=16,j=1,k=2",
            "parameters": 200,
            "headless_parameters": 180,
            "flops": 10**7,
            "accuracy": 0.7,
        },
        {
            "size": "front=8,end=16,j=2,k=2",
            "parameters": 150,
            "headless_parameters": 130,
            "flops": 10**6,
            "accuracy": 0.4,
        },
    ],
}


def make_point(size, parameters, flops, accuracy):
    return NetworkPoint(size, parameters, flops, estimate([accuracy]))


def change_record(**changes):
    return {**RECORD, **changes}


# Pareto fronts


def test_pareto_front_matches_hand_calculation():
    family = [
        make_point("a", 10, 5, 0.50),
        make_point("b", 20, 4, 0.50),  # as accurate as a, but c is more accurate at the same cost
        make_point("c", 20, 3, 0.60),  # more accurate than b at the same cost
        make_point("d", 30, 2, 0.55),
        make_point("e", 40, 9, 0.60),  # as accurate as c at a higher cost: no other is more accurate
        make_point("f", 40, 1, 0.40),
    ]
    assert [one.size for one in pareto_front(family, "parameters")] == ["a", "c", "e"]
    assert [one.size for one in pareto_front(family, "flops")] == ["f", "d", "c", "e"]
    assert [one.size for one in pareto_front(family[::-1], "flops")] == ["f", "d", "c", "e"]
    assert pareto_front([], "flops") == []


def test_equal_points_are_both_on_the_front():
    twins = [make_point("a", 10, 1, 0.5), make_point("b", 10, 1, 0.5), make_point("c", 10, 1, 0.4)]
    assert {one.size for one in pareto_front(twins, "parameters")} == {"a", "b"}


def count_marks(svg, gid):
    """Return the number of marks in an element."""
    return svg.split(f'id="{gid}"')[1].split("</g>\n")[0].count("<use ") if f'id="{gid}"' in svg else None


def test_figure_marks_the_front_of_each_arm_on_both_axes():
    first = [make_point("a", 1, 4, 0.5), make_point("b", 2, 3, 0.6), make_point("c", 3, 2, 0.4)]
    found = draw_pareto_fronts(["none", "one", "two"], {"one": first, "two": first[:1]}, "test accuracy")
    assert [count_marks(found, f"front-one-{axis}") for axis in ("parameters", "flops")] == [2, 2]
    assert [count_marks(found, f"others-one-{axis}") for axis in ("parameters", "flops")] == [1, 1]
    assert [count_marks(found, f"front-two-{axis}") for axis in ("parameters", "flops")] == [1, 1]
    assert "front-none" not in found
    assert all(text in found for text in ("parameters, millions", "FLOPs, millions", "test accuracy, %"))


# The record of a gene


def test_parse_returns_the_record():
    found = paths.parse(json.loads(json.dumps(RECORD)))
    assert (found.data, found.split, len(found.paths)) == ("digits", "val", 4)
    assert found.paths[3].flops == 10**6
    assert paths.parse({**RECORD, "more": 1}) == found


@pytest.mark.parametrize(
    "value",
    [
        [],
        {},
        change_record(paths=[]),
        change_record(paths=[RECORD["paths"][0]] * 2),
        change_record(paths=[{**RECORD["paths"][0], "accuracy": 1.01}]),
        change_record(paths=[{**RECORD["paths"][0], "accuracy": float("nan")}]),
        change_record(paths=[{**RECORD["paths"][0], "parameters": 0}]),
        change_record(paths=[{"size": "width=8"}]),
    ],
)
def test_parse_refuses_a_damaged_record(value):
    with pytest.raises(ValueError):  # noqa: PT011 - the interface; the message is pydantic's
        paths.parse(value)


def test_size_table_matches_hand_calculation():
    assert paths.size_table(paths.parse(RECORD)) == [
        ["size", "parameters", "without head", "MFLOPs per image", "accuracy, %", "Pareto front"],
        ["width=8", "100", "90", "5.0", "50.0", "both"],
        ["front=8,end=16,j=2,k=2", "150", "130", "1.0", "40.0", "FLOPs"],
        ["front=8,end=16,j=1,k=2", "200", "180", "10.0", "70.0", "both"],
        ["width=16", "300", "280", "9.0", "70.0", "both"],
    ]
    worse = change_record(paths=[*RECORD["paths"][:3], {**RECORD["paths"][3], "flops": 6 * 10**6}])
    assert [row[5] for row in paths.size_table(paths.parse(worse))[1:]] == ["both", "", "both", "both"]
    cheap = change_record(paths=[*RECORD["paths"][:1], {**RECORD["paths"][1], "parameters": 90, "accuracy": 0.6}])
    assert [row[5] for row in paths.size_table(paths.parse(cheap))[1:]] == ["both", "FLOPs"]


def test_gene_sections_draw_and_list_the_paths():
    figure, table = paths.gene_sections(paths.parse(RECORD))
    assert figure.heading == "The paths of the gene"
    assert "4 networks that the gene grows, measured on val of digits" in figure.note
    assert count_marks(figure.body, "front-gene-parameters") == 3
    assert count_marks(figure.body, "others-gene-parameters") == 1
    assert table.body == paths.size_table(paths.parse(RECORD))


ARMS = {"gene": {"method": "tleg"}, "drawn": {"method": "layers"}, "scratch": {"method": "scratch"}}


def test_comparison_sections_show_means_over_seeds():
    better = change_record(paths=[{**path, "accuracy": path["accuracy"] + 0.2} for path in RECORD["paths"][:3]])
    facts = {"bytes": 8, "elements": 2, "headless_elements": 2}
    records_by_gene = [("gene", 0, RECORD), ("gene", 1, better), ("drawn", 0, change_record(data="glyphs/base"))]
    genes = [{"arm": arm, "seed": seed, **facts, "record": {"paths": record}} for arm, seed, record in records_by_gene]
    (section,) = records.record_sections(ComparisonResults({**by_hand([], arms=ARMS), "genes": genes}))
    assert section.heading == "The paths of the genes"
    assert "val of digits or val of glyphs/base" in section.note
    # the path without a second seed is omitted; the three others are on the front
    assert count_marks(section.body, "front-gene-parameters") == 3
    assert count_marks(section.body, "others-gene-parameters") is None
    assert count_marks(section.body, "front-drawn-parameters") == 3
    found = {one.size: one.accuracy for one in paths._mean_points([paths.parse(RECORD), paths.parse(better)])}
    assert list(found) == ["width=8", "width=16", "front=8,end=16,j=1,k=2"]
    assert found["width=8"].mean == pytest.approx(0.6)
    genes[0]["record"]["paths"] = {"paths": 3}
    with pytest.raises(ArtefactError, match="'paths' of the gene of gene, seed 0"):
        records.record_sections(ComparisonResults({**by_hand([], arms=ARMS), "genes": genes}))


# The report of the protocol


@pytest.fixture
def summary():
    return ComparisonResults(BY_HAND["paths"]())


def test_path_table_matches_hand_calculation(summary):
    head, *rows = by_path.path_table(summary)
    assert head == [
        "size",
        "parameters",
        "MFLOPs per image",
        "gene, %",
        "rival, %",
        "scratch, %",
        "gene - rival, points",
    ]
    # means 62, 70 and 69 against 55 1/3, 65 and 65; half an interval is 4.303 * 0.02 / sqrt(3) = 0.0497
    assert [[row[at] for at in (0, 1, 2)] for row in rows] == [
        ["depth=1", "1,000", "1.0"],
        ["depth=2", "2,000", "2.0"],
        ["depth=3", "3,000", "3.0"],
    ]
    assert [row[3] for row in rows] == ["62.0 ± 5.0 *", "70.0 ± 0.0 *", "69.0 ± 9.9"]
    assert [row[4] for row in rows] == ["55.3 ± 15.2 *", "65.0 ± 21.5 *", "65.0 ± 21.5 *"]
    assert [row[5] for row in rows] == ["", "", "81.0 ± 2.5 *"]
    assert [row[6].split(" ")[0] for row in rows] == ["+6.7", "+5.0", "+4.0"]


def test_means_over_sizes_match_hand_calculation(summary):
    head, *rows = by_path.over_sizes_table(summary)
    assert head[2:] == ["shared sizes", "mean difference, points", "share of sizes above it, %"]
    assert rows == [
        ["10 images per class", "scratch", "1", "-12.0 ± 7.5", "0.0 ± 0.0"],
        ["10 images per class", "rival", "3", "+5.2 ± 4.1", "66.7 ± 0.0"],
    ]


def test_failed_cells_are_shown(summary):
    cells = [c for c in summary.stored["cells"] if (c["asked"]["arm"], c["asked"]["size"]) != ("rival", "depth=2")]
    found = ComparisonResults({**summary.stored, "cells": cells})
    row = by_path.path_table(found, 10)[2]
    assert (row[4], row[6]) == ("failed", "")
    assert by_path.over_sizes_table(found)[2] == ["10 images per class", "rival", "3", "failed", ""]
    assert [one.size for one in by_path.family_points(found, "rival", 10)] == ["depth=1", "depth=3"]


def test_differences_are_to_the_first_control_with_all_sizes():
    results = BY_HAND["paths"]()
    assert by_path.difference_control(ComparisonResults(results)) == "rival"
    results["recipe"]["arms"]["rival"]["sizes"] = ["depth=1", "depth=2"]
    assert by_path.difference_control(ComparisonResults(results)) == "scratch"
    results["recipe"]["arms"] = {"gene": results["recipe"]["arms"]["gene"]}
    found = ComparisonResults(results)
    assert by_path.difference_control(found) is None
    assert by_path.path_table(found, 10)[0] == ["size", "parameters", "MFLOPs per image", "gene, %"]


def test_cost_and_storage_of_families_match_hand_calculation():
    results = BY_HAND["paths"]()
    for c in results["cells"]:
        c["flops"] = 10**12 * (c["asked"]["arm"] == "scratch")
    results["costs"]["families"]["rival"]["shared"] = False
    found = ComparisonResults(results)
    assert by_path.paths_family_table(found)[1:] == [
        ["gene", "3", "800", "400", "0", "0.01", "0.004"],
        ["rival", "3", "800", "400", "0", "0.01", "0.004"],
        ["scratch", "1", "0", "0", "6,400", "1", "1"],
    ]
    # the gene's 600 elements; a network of each size: 900, 1,800 and 2,700
    assert by_path.paths_stored_table(found)[1:] == [
        ["gene", "one gene", "600", "650", "1.00"],
        ["rival", "3 networks", "5,400", "6,000", "9.00"],
        ["scratch", "1 network", "2,700", "3,000", "4.50"],
    ]


def make_many_paths():
    """Results of 71 paths of two families, with scratch at two of them."""
    sizes = [f"depth={nth}" for nth in range(1, 72)]
    arms = {
        "gene": {"method": "tleg", "train": {"steps": 0}},
        "rival": {"method": "layers", "train": {"steps": 0}},
        "scratch": {"method": "scratch", "sizes": sizes[:2]},
    }
    cells = [
        cell(arm, seed, (0.5,), 0.5 + 0.001 * nth + 0.01 * seed * (arm == "gene"), at=(0,), size=size)
        for arm, how in arms.items()
        for seed in range(3)
        for nth, size in enumerate(how.get("sizes", sizes))
    ]
    return by_hand(cells, protocol="paths", sizes=sizes, arms=arms)


def test_report_of_71_paths_stays_readable(tmp_path):
    (tmp_path / "results.json").write_text(json.dumps(make_many_paths()))
    write_report(tmp_path)
    page, text = ((tmp_path / f"report.{kind}").read_text() for kind in ("html", "md"))
    listed = text.split("## Path by path")[1].split("\n## ")[0]
    assert listed.count("| depth=") == 71
    assert page.count("<svg") == 2
    heights = [float(height) for height in re.findall(r'<svg [^>]*height="([\d.]+)pt"', page)]
    assert max(heights) < 500
    # with so many descendants, origins are means over an arm's sizes
    assert all(f"{arm}, mean of {count} sizes" in page for arm, count in (("gene", 71), ("scratch", 2)))
    # claims over all sizes come before those of each size
    parts = [text.split(f"## {heading}")[1].split("\n## ")[0].split("\n") for heading in ("Is every", "Claims size")]
    overall, by_size = ([line for line in part if line.startswith("| gene ")] for part in parts)
    assert (len(overall), len(by_size)) == (2 * 2, 71 + 2)
    assert all("sizes, 10 images per class" in line for line in overall)
    assert "claims: " in parts[0][2]
    assert count_marks(page, "front-gene-parameters") == 71
