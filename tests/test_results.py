"""What docs and README quote is what the kept results say."""

import importlib.util
import json
from pathlib import Path

import pytest

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
    assert quoting.quoted(page) == page


@pytest.mark.parametrize("name", ["README.md", "docs/tleg.md", "docs/gtl.md"])
def test_the_pages_with_figures_ask_for_them(name):
    page = (ROOT / name).read_text(encoding="utf-8")
    assert all(found[5].count("\n") > 2 for found in quoting.ASKED.finditer(page))
    assert len(quoting.ASKED.findall(page)) >= 1


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


def test_every_kept_result_says_how_it_was_made():
    for path in RESULTS.glob("*.json"):
        found = json.loads(path.read_text(encoding="utf-8"))
        assert found["command"].startswith(("germline ", "python benchmarks/")), path.name
        assert {"germline", "torch", "timm"} <= found["versions"].keys(), path.name
