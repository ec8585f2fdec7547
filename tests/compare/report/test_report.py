"""Reports of comparisons: one page that loads no other file, with tables and figures of the results."""

import csv
import json
import re
from html.parser import HTMLParser

import pytest

from germline.compare import write_report
from germline.compare.analysis.protocols import PROTOCOLS
from germline.compare.analysis.results import ComparisonResults
from germline.compare.report.figures import HATCHES, draw_origins, draw_samples, draw_sizes
from germline.compare.report.tables import describe_steps
from germline.errors import ArtefactError
from germline.ledger import ORIGINS
from germline.reporting.claims import judge
from germline.reporting.plotting import COLOURS
from helpers.comparison import BY_HAND, by_hand, cell, three_seeds

COSTS = {
    "What one descendant costs": ["gene", "6,400", "0.001", "100", "0.001", "0.05"],
    "What is stored": ["gene of gene (all sizes)", "600", "650", "1.00"],
    "How each arm was tuned": ["gene", "0.001", "0.05", "61.0 * lowest rate tried"],
}
TUNED = {
    "gene": {
        "lr": 0.001,
        "weight_decay": 0.05,
        "accuracy": 0.61,
        "grid": [
            {"lr": 0.001, "weight_decay": 0.05, "accuracy": 0.61, "samples": 6400, "flops": 10**12},
            {"lr": 0.01, "weight_decay": 0.05, "accuracy": 0.43, "samples": 6400, "flops": 10**12},
            {"lr": 0.1, "weight_decay": 0.05, "accuracy": None, "samples": 0, "flops": 0},
        ],
    }
}
TUNE = {"lr": [1e-3, 1e-2, 1e-1], "weight_decay": [0.05], "size": "depth=2", "images_per_class": 10}
UNTRAINED = "Accuracy before any training"
HEADINGS = {
    "convergence": ["Accuracy", "Learning curves", UNTRAINED, "Is scratch on a plateau?"],
    "samples": ["Accuracy", "Accuracy over images per class", "Learning curves", UNTRAINED],
    "sensitivity": ["Over the grid", "Accuracy over the learning rate", UNTRAINED],
    "sizes": ["Accuracy", "Accuracy over size", "Learning curves", UNTRAINED],
    "instincts": ["The first steps", "Curves of the first steps"],
    "same-labels": ["Accuracy by step", "Learning curves", "Steps to the accuracy of scratch"],
    "frozen": ["Accuracy with a frozen body", "Accuracy over images per class"],
    "paths": ["Over all sizes", "Accuracy over size and cost", "Path by path", "Claims size by size"],
}
COMMON = ["What one descendant costs", "What the whole family costs", "What is stored", "Where the elements came from"]


def write(place, results):
    (place / "results.json").write_text(json.dumps(results))
    text = write_report(place)
    return text, (place / "report.html").read_text(), (place / "report.md").read_text()


@pytest.fixture
def written(tmp_path):
    """Write the report of three seeds made by hand; return the printed text, the page and the Markdown."""

    def call(cells=None, **changes):
        cells = three_seeds() if cells is None else cells
        return write(tmp_path, by_hand(cells, **{"tuned": TUNED, "tune": TUNE, **changes}))

    return call


def read_tables(text):
    """Return the tables of the Markdown by heading, as rows of cells."""
    found = {}
    for part in text.split("\n## ")[1:]:
        heading, _, body = part.partition("\n")
        rows = [line.strip()[1:-1].split("|") for line in body.splitlines() if line.startswith("| ")]
        found[heading] = [[cell.strip() for cell in row] for row in rows]
    return found


class Page(HTMLParser):
    """Parser of a page: the addresses that it loads, and the text of its cells."""

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


def check_that_nothing_is_fetched(page):
    assert Page(page).fetched == []
    assert page.count("<script") == page.count("<script>") == 1
    assert "@import" not in page
    assert all(place.startswith("#") for place in re.findall(r"url\(([^)]*)\)", page))
    # The remaining addresses are names of XML vocabularies, which are not fetched.
    assert not re.findall(r"https?://(?!www\.w3\.org/|purl\.org/|creativecommons\.org/|matplotlib\.org/)", page)


@pytest.mark.parametrize(
    ("shares", "text"),
    [
        ((0.2, 0.5, 1.0), "50% of scratch's"),
        ((None, 0.2, 0.5), "50% of scratch's, 1 of 3 seeds never"),
        ((0.2, None, None), "2 of 3 seeds never"),
        ((None, None), "never reached"),
    ],
)
def test_a_seed_that_never_reaches_scratch_counts_as_the_slowest(shares, text):
    assert describe_steps(shares) == text


@pytest.mark.parametrize("protocol", list(BY_HAND))
def test_report_of_every_protocol_has_its_sections(tmp_path, protocol):
    results = BY_HAND[protocol]()
    printed, page, text = write(tmp_path, results)
    question = PROTOCOLS[protocol].asks
    expected = [question, *HEADINGS[protocol], *COMMON, "How to repeat it"]
    assert re.findall("<h2>(.*?)</h2>", page) == expected
    figures = page.count("<svg")
    assert figures == page.count("</svg>") == {"samples": 3, "sizes": 3}.get(protocol, 2)
    check_that_nothing_is_fetched(page)
    # the Markdown has the tables of the page, without figures; every cell of its tables is in the page
    found, cells = read_tables(text), Page(page).cells
    assert len(found) == len(expected) - 1 - figures
    assert {cell for rows in found.values() for row in rows for cell in row} <= {*cells, ""}
    claims = judge(PROTOCOLS[protocol].claims(ComparisonResults(results)))
    rows = found[question][1:]
    assert rows + found.get("Claims size by size", [])[1:] == [one.row() for one in claims]
    assert "Ceiling unknown for every claim" in page
    assert all(one.claim.text in printed for one in claims[: len(rows)])
    assert f"report: {tmp_path / 'report.html'}" in printed
    assert tmp_path.joinpath("report.csv").read_text().count("\n") == 1 + len(results["cells"])


def test_with_one_number_of_images_each_arm_has_its_own_line(written):
    _, page, _ = written()
    assert re.findall("<h2>(.*?)</h2>", page)[1:4] == ["Accuracy", "Accuracy by arm", "Learning curves"]
    image = page.partition("Accuracy by arm")[2].partition("</svg>")[0]
    # Two arms, their intervals of the same colour, and the axis in points.
    assert all(COLOURS[index].lower() in image for index in (0, 1))
    assert COLOURS[2].lower() not in image
    assert page.count("<svg") == 3


def test_main_table_matches_hand_calculation(written):
    printed, page, text = written()
    main = read_tables(text)["Accuracy"]
    at = "depth=2, 10 images per class"
    assert main[1] == [at, "gene", "60.0 ± 24.8", "+20.0 ± 24.8", "100% of scratch's, 1 of 3 seeds never"]
    assert main[2][:3] == [at, "scratch", "40.0 ± 0.0"]
    assert "60.0 ± 24.8" in printed
    assert {"60.0 ± 24.8", "+20.0 ± 24.8"} <= set(Page(page).cells)


def test_costs_match_hand_calculation(written):
    found = read_tables(written()[2])
    for heading, row in COSTS.items():
        assert row in found[heading], heading
    assert ["gene", "0.1", "0.05", "failed"] in found["How each arm was tuned"]


def test_family_table_matches_hand_calculation(tmp_path):
    found = read_tables(write(tmp_path, BY_HAND["sizes"]())[2])["What the whole family costs"]
    # FLOPs in units of 1e9: ancestor 6, gene 4, a descendant 1 and scratch 1
    ratios = {(row[0], row[1]): row[3] for row in found[1:]}
    with_ancestor, without_ancestor = "ancestor, gene, descendants", "gene, descendants"
    assert ratios == {
        ("1", with_ancestor): "11.00",
        ("1", without_ancestor): "5.00",
        ("5", with_ancestor): "3.00",
        ("5", without_ancestor): "1.80",
        ("10", with_ancestor): "2.00",
        ("10", without_ancestor): "1.40",
    }
    # 0.50, 0.60 and 0.70 against 0.55 with 500 steps; the budget of 700 steps has no cells
    assert ["5", with_ancestor, "0.015", "3.00", "55.0 ± 0.0 (500 steps)", "+5.0 ± 24.8"] in found
    assert [row[4] for row in found if row[:2] == ["5", without_ancestor]] == ["not run"]


def test_stored_table_matches_hand_calculation(tmp_path):
    found = read_tables(write(tmp_path, BY_HAND["sizes"]())[2])["What is stored"]
    assert found[1:] == [
        ["gene of gene (all sizes)", "600", "650", "1.00"],
        ["one network, depth=2", "900", "1,000", "1.50"],
        ["one network, depth=3", "1,800", "2,000", "3.00"],
        ["all 2 networks", "2,700", "3,000", "4.50"],
    ]


def test_longer_scratch_matches_hand_calculation(tmp_path):
    found = read_tables(write(tmp_path, BY_HAND["convergence"]())[2])
    at = "depth=2, 10 images per class"
    assert found["Is scratch on a plateau?"][1:] == [
        [at, "100", "40.0 ± 0.0", "40.0 ± 0.0"],
        [at, "200", "50.0 ± 0.0", "45.0 ± 0.0"],
    ]
    assert [at, "scratch with 200 steps (on a plateau)", "45.0 ± 0.0", "+5.0 ± 0.0"] in [
        r[:4] for r in found["Accuracy"]
    ]


def test_grid_table_matches_hand_calculation(tmp_path):
    found = read_tables(write(tmp_path, BY_HAND["sensitivity"]())[2])["Over the grid"]
    rows = {row[1]: row[2:] for row in found[1:]}
    # the gene's means are 0.52, 0.53, 0.54; half of their interval is 4.303 * 0.01 / sqrt(3) = 0.0248
    assert rows["gene"] == ["53.0 ± 2.5", "2.8 ± 0.0", "55.0 ± 2.5", "51.0 ± 2.5", "rate 0.01, decay 0.05"]
    assert rows["scratch"] == ["40.0 ± 0.0", "14.1 ± 0.0", "50.0 ± 0.0", "30.0 ± 0.0", "rate 0.01, decay 0.05"]


def test_instincts_table_matches_hand_calculation(tmp_path):
    found = read_tables(write(tmp_path, BY_HAND["instincts"]())[2])["The first steps"]
    rows = {row[1]: row[2:] for row in found[1:]}
    middle = [f"{value}.0 ± 2.5" for value in (71, 11, 11, 21, 31, 41, 41)]
    assert rows["gene"] == middle
    assert rows["scratch"] == [f"{value}.0 ± 0.0" for value in (50, 10, 10, 10, 10, 20, 40)]


def test_csv_has_one_row_per_cell(written, tmp_path):
    written()
    head, *rows = csv.reader((tmp_path / "report.csv").read_text().splitlines())
    found = [dict(zip(head, row, strict=True)) for row in rows]
    assert [(row["arm"], row["seed"], row["test_accuracy"]) for row in found] == [
        (c["asked"]["arm"], str(c["asked"]["seed"]), str(c["test_accuracy"])) for c in three_seeds()
    ]
    wanted = {"size": "depth=2", "images_per_class": "10", "lr": "0.001", "samples": "6400", "probe_accuracy": "0.5"}
    assert wanted.items() <= found[0].items()


def test_title_is_escaped(written):
    _, page, _ = written()
    assert "<b>" not in page
    assert page.count("&lt;b&gt;&amp; kept") == 2


def test_quick_run_warns_that_it_is_no_evidence(written):
    _, page, text = written(kind="quick")
    assert "<p class=quick>A quick run" in page
    assert "no evidence" in text
    _, page, text = written(kind="full")
    assert "no evidence" not in page
    assert "no evidence" not in text


def test_a_demonstration_says_that_its_numbers_are_no_evidence(written):
    _, page, text = written(kind="demonstration")
    warning = "A demonstration: its claims had no room or no known ceiling, so its numbers are no evidence."
    assert f"<p class=demonstration>{warning}" in page
    assert warning in text


def test_failed_parts_are_listed(written):
    cells = [c for c in three_seeds() if (c["asked"]["arm"], c["asked"]["seed"]) != ("gene", 2)]
    reason = "the loss is nan & no number"
    _, page, text = written(cells, failed={"gene depth=2 10 images per class seed=2": reason})
    assert "<p class=failed>1 part failed" in page
    assert "1 part failed" in text
    assert read_tables(text)["What failed"][1:] == [["gene depth=2 10 images per class seed=2", reason]]
    assert "the loss is nan &amp; no number" in page
    assert read_tables(text)["Accuracy"][1][2] == "55.0 ± 63.5"
    assert "What failed" not in written()[1]


@pytest.mark.parametrize("protocol", list(BY_HAND))
def test_report_is_written_if_everything_failed(tmp_path, protocol):
    results = {
        **BY_HAND[protocol](),
        "cells": [],
        "levels": [],
        "genes": [],
        "ancestors": [],
        "failed": {"all": "no room"},
    }
    _, page, text = write(tmp_path, results)
    assert read_tables(text)["What failed"] == [["part", "reason"], ["all", "no room"]]
    assert "no room" in page


def test_note_says_whether_seeds_share_a_gene(written):
    assert "one ancestor and one gene serve all seeds" in written(one_gene=True)[2]
    assert "each seed makes its own gene" in written(one_gene=False)[2]
    # A given network is one ancestor. `front` computes the same gene from it in every seed, and `tleg` another one.
    given = {"path": "ancestors/one", "data": "digits"}
    own = written(ancestor=given)[2]
    assert "one ancestor serves all seeds, and each seed makes its own gene" in own
    assert "all with one ancestor, each with its own gene" in own
    assert "other ancestors" in own
    same = written(ancestor=given, arms={"gene": {"method": "front"}, "scratch": {"method": "scratch"}})[2]
    assert "one ancestor and one gene serve all seeds" in same
    assert "all with one ancestor and one gene" in same


def test_numbers_of_images_are_in_order_where_the_first_arm_lacks_the_fewest():
    cells = [
        cell(arm, seed, (0.1, 0.2, 0.3), 0.5 + 0.01 * seed, images=images)
        for arm, counts in (("gene", (20,)), ("scratch", (5, 20)))
        for images in counts
        for seed in range(3)
    ]
    figure = draw_samples(ComparisonResults(by_hand(cells, images_per_class=[20, 5])))
    places = {text: float(x) for x, text in re.findall(r'x="([\d.]+)"[^>]*>(5|20)<', figure)}
    assert places["5"] < places["20"]


def test_lines_over_parameters_follow_them():
    """A line that follows the recipe's order of sizes would go back and forth."""
    sizes = ["depth=2", "depth=3", "depth=4"]
    cells = [cell("gene", 0, (0.1, 0.2, 0.3), 0.5, size=size) for size in sizes]
    stored = by_hand(cells, sizes=sizes)
    counts = stored["costs"]["parameters"]
    counts["depth=3"], counts["depth=4"] = counts["depth=4"], counts["depth=3"]
    titles = re.findall(r"<title>gene: [^<]*thousands ([\d.]+)</title>", draw_sizes(ComparisonResults(stored)))
    assert titles == ["1", "2", "3"]


def test_note_names_arms_whose_tuning_failed(written):
    said = "All points failed, so the first one is used untuned: gene."
    assert said not in written()[2]
    failed = {"gene": {**TUNED["gene"], "grid": [{**point, "accuracy": None} for point in TUNED["gene"]["grid"]]}}
    assert said in written(tuned=failed)[2]


def test_bars_in_a_reason_do_not_end_a_cell(tmp_path):
    _, _, text = write(tmp_path, by_hand([], failed={"all": "expected int | str"}))
    assert "| all | expected int \\| str |" in text


def test_budget_says_whether_arms_see_as_many_images(tmp_path):
    equal = by_hand([cell("gene", 0, (0.1, 0.2, 0.3), 0.3), cell("scratch", 0, (0.1, 0.2, 0.3), 0.3)])
    assert "Every arm sees the same number of images." in write(tmp_path, equal)[2]
    equal["cells"][1]["samples"] *= 2
    assert "Arms see different numbers of images." in write(tmp_path, equal)[2]


def test_final_data_set_is_named(written):
    assert "trained on glyphs/final, genes" in written(data="glyphs/novel", final=True)[2]
    assert "trained on glyphs/novel, genes" in written(data="glyphs/novel")[2]


def test_report_says_how_to_repeat_it(written):
    _, page, text = written()
    assert "ancestors: 85.0 ± 63.5 % on validation images of digits" in text
    for fact in ("germline compare by-hand.yaml", "0123456789ab", "seeds 0, 1, 2", "12 s"):
        assert fact in page
        assert fact in text


def test_the_same_results_give_the_same_page(written):
    assert written()[1] == written()[1]


def test_one_seed_shows_nothing(written):
    assert "one seed shows nothing" in written(three_seeds()[:2], seeds=[0])[0]


def test_report_without_scratch_shows_no_gain(written):
    cells = [cell for cell in three_seeds() if cell["asked"]["arm"] == "gene"]
    _, _, text = written(cells, arms={"gene": {"method": "tleg"}})
    assert read_tables(text)["Accuracy"][1][:3] == ["depth=2, 10 images per class", "gene", "60.0 ± 24.8"]
    assert "+" not in text


def test_unfinished_comparison_is_refused(tmp_path):
    with pytest.raises(ArtefactError, match="no results"):
        write_report(tmp_path)


def test_report_of_earlier_results_shows_no_local_path(tmp_path):
    found = by_hand(three_seeds(), tuned=TUNED, tune=TUNE)
    found["command"] = "germline compare /home/old/recipe.yaml --out=/home/old/out"
    found["recipe"] |= {"data": "cifar10:/home/old/data"}
    found["failed"] = {"scratch": "cannot read '/home/old/my data/x'"}
    write(tmp_path, found)
    for name in ("report.html", "report.md", "report.csv"):
        assert "/home/old" not in (tmp_path / name).read_text()
    assert "germline compare recipe.yaml --out=out" in (tmp_path / "report.md").read_text()


def test_more_origins_than_hatches_are_drawn():
    counts = dict.fromkeys(ORIGINS, 10)
    results = ComparisonResults(by_hand([cell("gene", 0, (0.1, 0.2, 0.3), 0.3, origins=counts)]))
    assert len(counts) > len(HATCHES)
    assert all(f"gene, depth 2: {origin} " in draw_origins(results) for origin in counts)
