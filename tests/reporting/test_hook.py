"""Report modules of methods, also those of other packages, are found by the kinds of their records."""

import json
import sys

import pytest

from germline.compare import write_gene_report, write_report
from germline.errors import ArtefactError, SettingError
from germline.registry import METHODS
from germline.reporting.hook import find_size_table, load_report_module, parse_record, report_modules, report_places
from germline.training import Run
from helpers.comparison import by_hand, three_seeds
from helpers.toy_method import RECORD, Toy, register_methods

GERMLINE_PLACES = {
    "layers": "germline.methods.auto.report",
    "paths": "germline.methods.pool.report",
    "generations": "germline.methods.gtl.report_fitness",
    "gene_tree": "germline.methods.gtl.report_gene_tree",
    "heredity": "germline.methods.gtl.report_heredity",
    "collective": "germline.methods.openworld.report",
}


@pytest.fixture
def toy(monkeypatch):
    """The toy method, as if another package registered it."""
    register_methods(monkeypatch, toy="Toy")


def test_every_kind_of_germline_has_a_report_module():
    assert list(report_places().items()) == list(GERMLINE_PLACES.items())
    assert list(report_modules(GERMLINE_PLACES.keys())) == list(GERMLINE_PLACES)


def test_kinds_without_a_module_are_skipped():
    assert report_modules(["paths", "of another version"]).keys() == {"paths"}


def test_without_records_no_method_is_imported(monkeypatch):
    monkeypatch.setattr("germline.reporting.hook.METHODS", {"gone": None})
    assert report_modules([]) == {}
    assert find_size_table({}, "this gene") is None


def test_only_modules_of_kinds_that_occur_are_imported(toy, monkeypatch):
    monkeypatch.delitem(sys.modules, "helpers.toy_report", raising=False)
    report_modules(["paths"])
    assert "helpers.toy_report" not in sys.modules
    assert list(report_modules(["tally", "paths"])) == ["paths", "tally"]
    assert "helpers.toy_report" in sys.modules


def test_a_comparison_shows_the_record_of_another_packages_method(toy, tmp_path):
    facts = {"bytes": 8, "elements": 2, "headless_elements": 2}
    genes = [{"arm": "gene", "seed": seed, **facts, "record": {"tally": [seed, 4]}} for seed in (0, 1)]
    results = {**by_hand(three_seeds()), "genes": genes}
    results["recipe"]["arms"]["gene"]["method"] = "toy"
    _write(tmp_path, results)
    text = (tmp_path / "report.md").read_text()
    assert "## Tallies\n\nTotals over seeds.\n\n| arm | total |\n|---|---|\n| gene | 9 |" in text
    assert "<h2>Tallies</h2>" in (tmp_path / "report.html").read_text()
    genes[0]["record"] = {"tally": 3}
    with pytest.raises(ArtefactError, match=r"of the gene of gene, seed 0 cannot be read\. A tally is a"):
        _write(tmp_path, results)


def _write(place, results):
    (place / "results.json").write_text(json.dumps(results))
    write_report(place)


def test_a_gene_shows_the_record_of_another_packages_method(toy, pico, ancestor, tmp_path):
    gene = METHODS["toy"]().condense(ancestor, pico, Run(device="cpu", quiet=True))
    write_gene_report(gene, {"method": gene.method}, "mine", tmp_path / "mine.html")
    text = (tmp_path / "mine.html").read_text()
    assert "<h2>Tally</h2><p class=note>Each number.</p>" in text
    assert "<td>3</td>" in text
    assert find_size_table(gene.provenance.record, "this gene")[1] == ["depth=1", "3"]
    assert gene.provenance.record == RECORD
    assert Toy.reports == {"tally": "helpers.toy_report"}


def test_two_modules_for_one_kind_are_refused(monkeypatch):
    register_methods(monkeypatch, toy="Toy", rival="Rival")
    with pytest.raises(SettingError, match="'tally' has two report modules") as caught:
        report_places()
    assert "Method 'rival' names helpers.other_report, and method 'toy' names helpers.toy_report" in str(caught.value)


def test_one_module_may_serve_two_methods(monkeypatch):
    register_methods(monkeypatch, toy="Toy", also="Toy")
    assert report_places()["tally"] == "helpers.toy_report"


@pytest.mark.parametrize(
    ("place", "says"),
    [
        ("helpers.no_such_report", "'helpers.no_such_report' cannot be imported"),
        ("germline.reporting.html", "'germline.reporting.html' has no function 'parse'"),
    ],
)
def test_a_module_without_the_interface_is_named(place, says):
    with pytest.raises(SettingError, match=says):
        load_report_module(place)


def test_a_damaged_record_is_named_with_its_reason(toy):
    module = report_modules(["tally"])["tally"]
    assert parse_record(module, "tally", [1], "gene 'x'") == (1,)
    with pytest.raises(ArtefactError, match=r"'tally' of gene 'x' cannot be read. A tally is a list."):
        parse_record(module, "tally", {}, "gene 'x'")
