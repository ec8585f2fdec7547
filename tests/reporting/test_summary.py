"""Summary at the top of a report: verdicts grouped by hand, and numbers equal to those of stored results."""

import re
from collections import Counter
from pathlib import Path

import pytest

from germline.compare.analysis.questions import judge_claims
from germline.compare.analysis.results import ComparisonResults
from germline.compare.report.summary import summarize_results
from germline.reporting.claims import Ceiling, Claim, judge
from germline.reporting.summary import (
    describe_ceilings,
    list_names,
    list_verdicts,
    render_summary,
    summary_lines,
)
from helpers.comparison import BY_HAND

RESULTS = Path(__file__).resolve().parents[2] / "benchmarks" / "results"
ROOM, NO_ROOM = Ceiling((0.2, 0.2, 0.2), 0.08), Ceiling((0.03, 0.03, 0.03), 0.08)
NOTHING = (-0.1, 0.0, 0.1)


def claim(differences, ceiling=None, against="scratch", **more):
    return Claim(f"gene ends above {against}", "depth=2", differences, ceiling=ceiling, against=against, **more)


def test_each_verdict_has_one_line():
    claims = [
        claim((0.29, 0.30, 0.31)),
        claim((0.19, 0.20, 0.21), ROOM),
        claim((-0.19, -0.20, -0.21), ROOM, "layers"),
        claim(NOTHING, ROOM),
        claim((-0.2, 0.0, 0.2), NO_ROOM),
        claim((-0.3, 0.0, 0.3)),
        claim((0.5, 0.5, 0.51), is_stated=False),
    ]
    lines = list_verdicts(judge(claims), "gene")
    assert [(line.name, line.count, line.total) for line in lines] == [
        ("Holds", 2, 6),
        ("Reversed", 1, 6),
        ("No difference", 1, 6),
        ("No room to tell", 1, 6),
        ("Ceiling unknown", 1, 6),
    ]
    assert lines[0].meaning == "gene is better"
    assert lines[0].details == ("against scratch: +20.0 to +30.0 points (2 claims)",)
    assert lines[1].details == ("against layers: -20.0 points",)
    assert describe_ceilings(judge(claims)).startswith("Ceiling: known for 4 of 6 claims, +3.0 to +20.0 points.")


def test_one_seed_has_a_line_and_no_claim_has_none():
    assert [line.name for line in list_verdicts(judge([claim((0.4,))]), "gene")] == ["One seed"]
    assert list_verdicts([], "gene") == ()


def test_names_are_joined_in_a_sentence():
    assert list_names([]) == "nothing"
    assert list_names(["a"]) == "a"
    assert list_names(["a", "b", "c"]) == "a, b and c"
    assert list_names(list("abcde"), most=3) == "a, b, c and 2 more"


@pytest.mark.parametrize("name", ["tleg-same-labels", "openworld-cifar-fs", "gtl-resnet12"])
def test_summary_counts_and_differences_equal_those_of_the_result(name):
    results = ComparisonResults.load(RESULTS / f"{name}.json")
    judgements = [one for one in judge_claims(results) if one.claim.is_stated]
    summary = summarize_results(results)
    assert sum(line.count for line in summary.verdicts) == len(judgements)
    counts = Counter(
        "Ceiling unknown" if one.verdict == "no difference shown" and one.claim.ceiling is None else one.verdict
        for one in judgements
    )
    names = {"Holds": "holds", "Reversed": "the reverse holds", "No difference": "no difference shown"}
    names |= {"No room to tell": "no room to tell", "Too few seeds": "too few seeds to tell"}
    assert {names.get(line.name, line.name): line.count for line in summary.verdicts} == counts
    # Every difference is one of the claims' means.
    shown = {f"{one.claim.scale * one.difference.mean:+.1f}" for one in judgements}
    for line in summary.verdicts:
        assert set(re.findall(r"[-+][0-9.]+", re.sub(r"[a-z]+[-a-z0-9]*", "", " ".join(line.details)))) <= shown
    assert f"{len(results.recipe['seeds'])} seeds" in summary.certainty[0]


@pytest.mark.parametrize("protocol", list(BY_HAND))
def test_every_protocol_has_a_summary(protocol):
    results = ComparisonResults(BY_HAND[protocol]())
    summary = summarize_results(results)
    assert "gene is compared with scratch" in summary.asked
    assert summary.verdicts
    assert "Not measured: data other than digits" in summary.certainty[-1]
    page, text = render_summary(summary), "\n".join(summary_lines(summary))
    for line in summary.verdicts:
        assert f"{line.name}, {line.count} of {line.total}:" in page
        assert all(detail in page and detail in text for detail in line.details)


def test_a_report_without_any_cell_has_a_summary():
    results = ComparisonResults({**BY_HAND["samples"](), "cells": [], "failed": {"all": "no room"}})
    summary = summarize_results(results)
    assert summary.verdicts == ()
    assert "1 part that failed" in summary.certainty[-1]
    assert "No claim could be judged" in render_summary(summary)
