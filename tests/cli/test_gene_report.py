"""`germline report` of a gene that tells how it came to be."""

import re
from dataclasses import replace

import pytest

from germline.learngene import Learngene

TREE = [
    {"id": at, "father": father, "generation": at, "fitness": 0.5, "score": 0.5, "won": True, "pool": False}
    for at, father in enumerate((None, 0))
]
RECORD = {
    "gene_tree": [{**gene, "final": gene["id"] == 1} for gene in TREE],
    "generations": [{"generation": at, "fitness": 0.5, "best": 0.6, "winners": 0.55, "spread": 0.1} for at in (0, 1)],
}


@pytest.fixture
def told(bench):
    """The bench with a gene that has a record, in the folder `told`."""
    gene = Learngene.load("gene")
    origin = gene.provenance.model_copy(update={"record": RECORD})
    replace(gene, provenance=origin).save(bench / "told")
    return bench


def test_the_page_of_a_gene(told, run):
    done = run("report", "told")
    assert (done.code, done.out, done.err) == (0, "report: told.html\n", "")
    page = (told / "told.html").read_text()
    assert re.findall("<h2>(.*?)</h2>", page) == [
        "What it is",
        "Fitness over generations",
        "The gene tree",
        "How to repeat it",
    ]
    assert re.findall(r'id="(?:gene|descent)-\d+"', page) == ['id="descent-1"', 'id="gene-0"', 'id="gene-1"']
    # every line that inspect prints of the gene, numbers of its own included
    shown = run("inspect", "told", "--size", "depth=1").out
    rows = dict(re.findall("<td class=text>(.*?)</td><td class=text>(.*?)</td>", page))
    assert rows["method"] == "tleg"
    assert rows["holds"].split(",")[0] in shown
    assert rows.keys() >= {"method", "anatomy", "ancestor", "condensed on", "grows", "head", "pictures", "holds"}
    assert run("report", "told").code == 0


def test_its_place_can_be_chosen(told, run):
    assert run("report", "told", "--out", "new/page.html").code == 0
    first = (told / "new/page.html").read_text()
    assert not (told / "told.html").exists()
    (told / "new/page.html").write_text("old")
    assert run("report", "told", "--out", "new/page.html", "--overwrite").code == 0
    assert (told / "new/page.html").read_text() == first


def test_of_the_folder_that_one_stands_in(told, run, monkeypatch):
    monkeypatch.chdir(told / "told")
    assert run("report", ".").code == 0
    assert "<title>The gene told</title>" in (told / "told.html").read_text()
