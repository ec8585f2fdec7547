"""The report needs nothing but itself, and says what the results say."""

import json
import re
from html.parser import HTMLParser

import pytest

from germline.compare import write_report
from germline.errors import ArtefactError

NUMBERS = ("60.0 ± 24.8", "40.0 ± 0.0", "+20.0 ± 24.8 (no difference shown)", "100% of them, not by 1 of 3 seeds")
COSTS = ("423,720", "76,800", "6,400", "61.0 *", "43.0")


@pytest.fixture
def written(tmp_path, results):
    def write(**recipe):
        results["recipe"].update(recipe)
        (tmp_path / "results.json").write_text(json.dumps(results))
        text = write_report(tmp_path)
        return text, (tmp_path / "report.html").read_text(), (tmp_path / "report.md").read_text()

    return write


class Page(HTMLParser):
    """What a page asks for from elsewhere, and the text of its cells."""

    def __init__(self, page):
        super().__init__()
        self.fetched, self.cells, self.open = [], [], False
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.open = tag in ("td", "th")
        self.cells += [""] if self.open else []
        for key, value in attributes:
            if tag in ("script", "link", "img", "iframe", "object") or key in ("src", "href", "xlink:href"):
                self.fetched += [value] if value and not value.startswith("#") else []

    def handle_endtag(self, tag):
        self.open = False

    def handle_data(self, text):
        if self.open:
            self.cells[-1] += text


def test_the_page_fetches_nothing(written):
    _, page, _ = written()
    assert Page(page).fetched == []
    assert "<script" not in page
    assert "@import" not in page
    assert all(place.startswith("#") for place in re.findall(r"url\(([^)]*)\)", page))
    # What is left of addresses are names of XML vocabularies, which nobody fetches.
    assert not re.findall(r"https?://(?!www\.w3\.org/|purl\.org/|creativecommons\.org/|matplotlib\.org/)", page)


def test_the_page_holds_the_tables_numbers(written):
    _, page, _ = written()
    cells = Page(page).cells
    assert all(number in cells for number in (*NUMBERS, *COSTS))


def test_the_text_holds_them_too(written):
    table, _, text = written()
    assert all(f"| {number} |" in text for number in (*NUMBERS, *COSTS))
    assert all(number in table for number in NUMBERS)
    assert "report.html" in table


def test_three_pictures_are_drawn(written):
    _, page, _ = written()
    assert page.count("<svg") == 3
    assert page.count("</svg>") == 3


def test_a_title_is_text_and_no_markup(written):
    _, page, _ = written()
    assert "<b>" not in page
    assert "&lt;b&gt;&amp; kept" in page


def test_a_quick_run_says_that_it_is_no_evidence(written):
    _, page, text = written(kind="quick")
    assert "no evidence" in page
    assert "no evidence" in text
    _, page, text = written(kind="full")
    assert "no evidence" not in page
    assert "no evidence" not in text


def test_how_to_repeat_it_is_told(written):
    _, page, text = written()
    for fact in ("germline compare by-hand.yaml", "0123456789ab", "seeds 0, 1, 2", "12 s"):
        assert fact in page
        assert fact in text


def test_the_same_results_give_the_same_page(written):
    assert written()[1] == written()[1]


def test_verdicts(written, results):
    for cell in results["cells"]:
        if cell["arm"] == "gene":
            cell["test_accuracy"] = 0.6 + cell["seed"] / 100
    assert "+21.0 ± 2.5 (better)" in written()[0]
    for cell in results["cells"]:
        if cell["arm"] == "gene":
            cell["test_accuracy"] -= 0.4
    assert "-19.0 ± 2.5 (worse)" in written()[0]


def test_one_seed_is_called_so(written, results):
    results["cells"] = results["cells"][:2]
    assert "(one seed)" in written(seeds=[0])[0]


def test_without_scratch_there_is_no_gain(written, results):
    results["cells"] = [cell for cell in results["cells"] if cell["arm"] == "gene"]
    table, _, _ = written(arms={"gene": {}})
    assert "60.0 ± 24.8" in table
    assert "+" not in table


def test_an_unfinished_comparison_has_no_report(tmp_path):
    with pytest.raises(ArtefactError, match="no results"):
        write_report(tmp_path)


def test_the_ancestor_is_in_the_bill(written):
    _, page, _ = written()
    assert "<td>800</td>" in page
