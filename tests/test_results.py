"""What docs and README quote is what the kept results say."""

import importlib.util
import json
from pathlib import Path

import pytest

from germline.compare.analysis.results import ComparisonResults
from germline.compare.report.paths_protocol import paths_claims_table
from germline.reporting.statistics import estimate

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"
SPEC = importlib.util.spec_from_file_location("quote_results", ROOT / "tools" / "quote_results.py")
quoting = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(quoting)


def kept(name):
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", quoting.PAGES, ids=lambda path: path.name)
def test_tables_are_those_of_the_results(path):
    page = path.read_text(encoding="utf-8")
    assert quoting.update_tables(page) == page


@pytest.mark.parametrize("name", ["README.md", "docs/tleg.md", "docs/gtl.md"])
def test_the_pages_with_figures_ask_for_them(name):
    page = (ROOT / name).read_text(encoding="utf-8")
    assert all(found[5].count("\n") > 2 for found in quoting.REQUEST.finditer(page))
    assert len(quoting.REQUEST.findall(page)) >= 1


def accuracies(name, arm, images):
    return {c["seed"]: c["test_accuracy"] for c in kept(name)["cells"] if (c["arm"], c["images"]) == (arm, images)}


@pytest.mark.parametrize("images", [10, 20, 50])
def test_the_method_page_quotes_scratch_with_more_steps(images):
    page = (ROOT / "docs" / "tleg.md").read_text(encoding="utf-8")
    runs = [("tleg-samples-1000-steps", "scratch"), ("tleg-samples-1000-steps", "scratch-twice")]
    runs += [("tleg-scratch-long", "scratch"), ("tleg-scratch-longer", "scratch")]
    found = [accuracies(name, arm, images) for name, arm in runs]
    gene = accuracies("tleg-samples-1000-steps", "gene", images)
    cells = [estimate(list(run.values())).text() for run in found]
    for run in found[2:]:
        cells.append(estimate([gene[seed] - run[seed] for seed in sorted(run)]).text(sign=True))
    assert f"| {images} | " + " | ".join(cells) + " |" in page


def gains(name, control):
    """The gene's test accuracy minus a control's at 50 images per class, by seed in order."""
    found = {}
    for cell in kept(name)["cells"]:
        asked = cell.get("asked", cell)
        if asked["images"] == 50:
            found[asked["arm"], asked["seed"]] = cell["test_accuracy"]
    seeds = sorted(seed for arm, seed in found if arm == "gene")
    return estimate([found["gene", seed] - found[control, seed] for seed in seeds])


def test_the_readme_quotes_fair_gains_before_its_table():
    before = (ROOT / "README.md").read_text(encoding="utf-8").split("<!-- results: tleg-samples main_table")[0]
    quoted = [
        ("tleg-rate", "scratch", "+13.6 ± 4.4"),
        ("tleg-samples-1000-steps", "scratch", "+8.9 ± 2.6"),
        ("tleg-samples", "scratch-xavier", "+7.0 ± 3.7"),
    ]
    for name, control, text in quoted:
        assert gains(name, control).text(sign=True) == text
        assert f"- {text} points" in before
        assert f"benchmarks/results/{name}.json" in before


CLAIMS = [
    ("pool-family-least-squares", "snnet-total", "width=96", "-2.7 ± 0.4 points", "0.049", "the reverse holds"),
    ("pool-family-least-squares", "snnet-same", "front=24,end=96,j=5,k=5", "+13.7 ± 1.7 points", "0.035", "holds"),
    ("pool-family-least-squares", "snnet-same", "front=24,end=96,j=5,k=6", "+10.9 ± 1.5 points", "0.046", "holds"),
    ("pool-family-fashion", "scratch", "width=24", "-9.7 ± 0.5 points", "0.007", "the reverse holds"),
]


@pytest.mark.parametrize("name", ["pool-family", "pool-family-least-squares", "pool-family-fashion"])
def test_the_pools_page_names_the_claims_that_hold(name):
    summary, found = ComparisonResults(kept(name)), []
    for each in (False, True):
        found += [
            tuple(row[:5]) for row in paths_claims_table(summary, per_size=each)[1:] if row[4] != "no difference shown"
        ]
    expected = [claim[1:] for claim in CLAIMS if claim[0] == name]
    assert found == [(f"pool ends above {arm}", f"{size}, all images", *rest) for arm, size, *rest in expected]
    page = " ".join((ROOT / "docs" / "pool.md").read_text(encoding="utf-8").split())
    for _, size, difference, p, _ in expected:
        assert f"`{size}`" in page
        assert f"{difference.lstrip('+-')} (p = {p})" in page


def test_every_kept_result_says_how_it_was_made():
    for path in RESULTS.glob("*.json"):
        found = json.loads(path.read_text(encoding="utf-8"))
        assert found["command"].startswith(("germline ", "python benchmarks/")), path.name
        assert {"germline", "torch", "timm"} <= found["versions"].keys(), path.name
