"""`germline report` and `germline inspect` of genes with records, and of results files."""

import json
import re
from dataclasses import replace

import pytest

from germline.learngene import Learngene
from helpers.comparison import by_hand, three_seeds

TREE = [
    {"id": at, "father": father, "generation": at, "fitness": 0.5, "score": 0.5, "won": True, "pool": False}
    for at, father in enumerate((None, 0))
]
RECORD = {
    "gene_tree": [{**gene, "final": gene["id"] == 1} for gene in TREE],
    "generations": [{"generation": at, "fitness": 0.5, "best": 0.6, "winners": 0.55, "spread": 0.1} for at in (0, 1)],
}


@pytest.fixture
def recorded(workdir):
    """Working folder with a gene that has a record, in the folder `recorded`."""
    gene = Learngene.load("gene")
    origin = gene.provenance.model_copy(update={"record": RECORD})
    replace(gene, provenance=origin).save(workdir / "recorded")
    return workdir


def test_page_of_a_gene_has_its_records(recorded, run):
    done = run("report", "recorded")
    assert (done.code, done.out, done.err) == (0, "report: recorded.html\n", "")
    page = (recorded / "recorded.html").read_text()
    assert re.findall("<h2>(.*?)</h2>", page) == [
        "The gene",
        "Fitness over generations",
        "Gene tree",
        "How to repeat it",
    ]
    assert re.findall(r'id="(?:gene|descent)-\d+"', page) == ['id="descent-1"', 'id="gene-0"', 'id="gene-1"']
    # the page has the facts that inspect prints
    shown = run("inspect", "recorded", "--size", "depth=1").out
    rows = dict(re.findall("<td class=text>(.*?)</td><td class=(?:text|'text long')>(.*?)</td>", page))
    assert rows["method"] == "tleg"
    assert rows["holds"].split(",")[0] in shown
    assert rows.keys() >= {"method", "architecture", "ancestor", "condensed on", "grows", "head", "images", "holds"}
    assert run("report", "recorded").code == 0


def test_out_option_names_the_file(recorded, run):
    assert run("report", "recorded", "--out", "new/page.html").code == 0
    first = (recorded / "new/page.html").read_text()
    assert not (recorded / "recorded.html").exists()
    (recorded / "new/page.html").write_text("old")
    assert run("report", "recorded", "--out", "new/page.html", "--overwrite").code == 0
    assert (recorded / "new/page.html").read_text() == first


def test_current_folder_can_be_reported(recorded, run, monkeypatch):
    monkeypatch.chdir(recorded / "recorded")
    assert run("report", ".").code == 0
    assert "<title>The gene recorded</title>" in (recorded / "recorded.html").read_text()


PATHS = {
    "data": "digits",
    "split": "val",
    "paths": [
        {"size": "depth=3", "parameters": 9000, "headless_parameters": 8000, "flops": 3 * 10**6, "accuracy": 0.75},
        {"size": "depth=1", "parameters": 4000, "headless_parameters": 3000, "flops": 10**6, "accuracy": 0.5},
        {"size": "depth=2", "parameters": 6000, "headless_parameters": 5000, "flops": 2 * 10**6, "accuracy": 0.25},
    ],
}


@pytest.fixture
def measured(workdir):
    """Working folder with a gene that records its paths, in the folder `measured`."""
    gene = Learngene.load("gene")
    origin = gene.provenance.model_copy(update={"record": {"paths": PATHS}})
    replace(gene, provenance=origin).save(workdir / "measured")
    return workdir


def rows(text):
    """Return the last table of inspect as words."""
    lines = text.splitlines()
    return [line.split() for line in lines[next(at for at, line in enumerate(lines) if line.startswith("size")) :]]


def test_inspect_lists_the_recorded_paths(measured, run, monkeypatch):
    monkeypatch.setattr(Learngene, "inherit", None)  # no network is grown
    done = run("inspect", "measured")
    assert (done.code, done.err) == (0, "")
    assert [row for row in rows(done.out) if row and row[0].startswith("depth")] == [
        ["depth=1", "4,000", "3,000", "1.0", "50.0", "both"],
        ["depth=2", "6,000", "5,000", "2.0", "25.0"],
        ["depth=3", "9,000", "8,000", "3.0", "75.0", "both"],
    ]
    assert max(map(len, done.out.splitlines())) <= 80


def test_inspect_grows_requested_sizes(measured, run):
    one = run("inspect", "measured", "--size", "depth=4").out
    assert "depth=4" in one
    assert "depth=3" not in one
    # paths with another head were not measured, so each is grown
    other = run("inspect", "measured", "--classes", "3").out
    assert [size for size in ("depth=1", "depth=2", "depth=3", "depth=4") if size in other] == [
        "depth=1",
        "depth=2",
        "depth=3",
    ]
    assert "share by origin" in other
    assert "50.0" not in other


def test_page_of_a_gene_shows_its_paths(measured, run):
    assert run("report", "measured").code == 0
    page = (measured / "measured.html").read_text()
    assert re.findall("<h2>(.*?)</h2>", page)[1:3] == ["The paths of the gene", "Path by path"]
    assert 'id="front-gene-parameters"' in page
    assert 'id="front-gene-flops"' in page
    assert (
        "<td class=text>depth=2</td><td>6,000</td><td>5,000</td><td>2.0</td><td>25.0</td><td class=text></td>" in page
    )


def test_results_file_can_be_reported(workdir, run):
    results = workdir / "by-hand.json"
    results.write_text(json.dumps(by_hand(three_seeds())))
    done = run("report", "by-hand.json")
    assert (done.code, done.out, done.err) == (0, "report: by-hand.html\n", "")
    page = (workdir / "by-hand.html").read_text()
    assert "<h2>Accuracy</h2>" in page
    assert run("report", "by-hand.json").code == 2
    assert run("report", "by-hand.json", "--out", "other.html").code == 0
    assert (workdir / "other.html").read_text() == page
    assert run("report", "by-hand.json", "--overwrite").code == 0
