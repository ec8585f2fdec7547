"""What docs and README quote is what the kept results say."""

import json
from pathlib import Path

from germline.compare.report import main_table
from germline.compare.statistics import estimate
from germline.compare.summary import Summary

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"


def rows(name):
    summary = Summary(json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8")))
    return ["| " + " | ".join(row) + " |" for row in main_table(summary)]


def test_the_method_page_quotes_the_kept_results():
    page = (ROOT / "docs" / "tleg.md").read_text(encoding="utf-8")
    missing = [row for row in rows("tleg-samples") if row not in page]
    assert not missing


def test_the_method_page_quotes_scratch_with_more_steps():
    page = (ROOT / "docs" / "tleg.md").read_text(encoding="utf-8")
    short, long = (
        Summary(json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8")))
        for name in ("tleg-samples", "tleg-scratch-long")
    )
    for size, images in short.conditions:
        ours, theirs = short.cells("gene", size, images), long.cells("scratch", size, images)
        gap = estimate([ours[seed]["test_accuracy"] - theirs[seed]["test_accuracy"] for seed in sorted(ours)])
        arms = [short.accuracy(arm, size, images).text() for arm in ("scratch", "scratch-twice")]
        last = long.accuracy("scratch", size, images).text()
        assert f"| {images} | {arms[0]} | {arms[1]} | {last} | {gap.text(sign=True)} |" in page


def test_the_readme_quotes_the_kept_results():
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    quoted = [line for line in page.splitlines() if line.startswith("| depth=")]
    assert quoted
    assert set(quoted) <= set(rows("tleg-samples"))


def test_every_kept_result_says_how_it_was_made():
    for path in RESULTS.glob("*.json"):
        kept = json.loads(path.read_text(encoding="utf-8"))
        assert kept["command"].startswith(("germline ", "python benchmarks/")), path.name
        assert {"germline", "torch", "timm"} <= kept["versions"].keys(), path.name
