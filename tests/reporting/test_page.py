"""A report's page: ids, header scopes, one script, nothing that a browser requests, values of figures."""

import re
from collections import Counter
from html.parser import HTMLParser

import pytest

from germline.compare import write_report
from germline.files import write_json
from germline.reporting.hover import describe_points
from germline.reporting.html import Section, render_page, render_table
from germline.reporting.plotting import add_legend, render_svg
from helpers.comparison import BY_HAND


class Elements(HTMLParser):
    """All elements of a page with their attributes."""

    def __init__(self, page):
        super().__init__()
        self.found = []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))

    def named(self, tag):
        return [attributes for name, attributes in self.found if name == tag]


def draw_line(panel_size=(3, 2), gid="ours", **more):
    def draw(figure):
        panel = figure.subplots()
        panel.errorbar([1, 2], [10.0, 30.0], [1.0, 0.0], label="gene", color="black", gid=gid)
        panel.plot([1, 2], [5.0, 6.0], label="scratch")
        panel.plot([1, 2], [7.0, 8.0])
        panel.set_xlabel("steps")
        panel.set_ylabel("accuracy, %")

    return render_svg(draw, *panel_size, **more)


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """Page of a report of handmade results."""
    folder = tmp_path_factory.mktemp("report")
    write_json(folder / "results.json", BY_HAND["samples"]())
    write_report(folder)
    return (folder / "report.html").read_text(encoding="utf-8")


def test_ids_are_unique_and_references_lead_to_them(page):
    ids = [attributes["id"] for _, attributes in Elements(page).found if "id" in attributes]
    assert [name for name, count in Counter(ids).items() if count > 1] == []
    referenced = set(re.findall(r'(?:url\(|href=")#([^")]*)', page))
    assert referenced
    assert referenced <= set(ids)


def test_ids_of_equal_figures_differ():
    sections = [Section("a", "", draw_line()), Section("b", "", draw_line())]
    ids = re.findall(r' id="([^"]*)"', render_page("two", sections, []))
    assert len(ids) == len(set(ids))
    # The first figure keeps its id.
    assert "ours" in ids


def test_headers_have_a_scope(page):
    heads = Elements(page).named("th")
    assert heads
    assert all(head["scope"] == "col" for head in heads)


def test_page_has_one_script_and_requests_nothing(page):
    elements = Elements(page)
    assert elements.named("script") == [{}]
    assert not {"link", "img", "iframe", "object", "embed"} & {tag for tag, _ in elements.found}
    for _, attributes in elements.found:
        loaded = [attributes.get(key) for key in ("src", "href", "xlink:href", "srcset", "data", "poster")]
        assert all(value.startswith("#") for value in loaded if value)
    assert "@import" not in page
    assert all(place.startswith("#") for place in re.findall(r"url\(([^)]*)\)", page))
    # The remaining addresses are names of XML vocabularies, which no browser requests.
    assert set(re.findall(r"https?://[^\"' <]*", page)) <= {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1999/xlink",
    }
    policy = next(one["content"] for one in elements.named("meta") if "http-equiv" in one)
    assert policy.startswith("default-src 'none'")


def test_summary_is_before_the_first_table(page):
    assert page.index("What was asked") < page.index("What came out") < page.index("How sure") < page.index("<table")


def test_lines_and_error_bars_have_values():
    titles = re.findall(r"<circle [^>]*><title>(.*?)</title></circle>", draw_line())
    assert titles == [
        "gene: 10.0 ± 1.0 (accuracy, %), steps 1",
        "gene: 30.0 (accuracy, %), steps 2",
        "scratch: 5.0 (accuracy, %), steps 1",
        "scratch: 6.0 (accuracy, %), steps 2",
    ]


def test_hover_text_is_at_its_point():
    def draw(figure):
        panel = figure.subplots()
        panel.set_position((0, 0, 1, 1))
        panel.set_xlim(0, 10)
        panel.set_ylim(0, 10)
        describe_points(panel, [2.5], [7.5], ["a < b"])

    # A figure of 4 x 2 inches has 288 x 144 points; down is positive.
    circle = '<circle cx="72.0" cy="36.0" r="5"><title>a &lt; b</title></circle>'
    assert circle in render_svg(draw, 4, 2)


def test_colours_depend_on_the_page():
    page = render_page("dark", [Section("a", "", draw_line()), Section("b", "", draw_line(is_light=True))], [])
    figures = re.findall(r"<svg .*?</svg>", page, re.DOTALL)
    assert "currentColor" in figures[0]
    assert "#000000" not in figures[0]
    assert "var(--paper,#ffffff)" in figures[0]
    assert ['class="light"' in figure.partition(">")[0] for figure in figures] == [False, True]
    assert all(f'aria-label="{name}"' in figure for name, figure in zip("ab", figures, strict=True))


def test_long_texts_wrap_and_numbers_do_not():
    table = render_table([["claim", "points"], ["a" * 21, "+1.0"], ["short", "-2.0"]])
    assert "<td class='text long'>" in table
    assert "<td class=text>short</td><td>-2.0</td>" in table


def test_a_legend_of_many_arms_is_not_wider_than_its_figure():
    def draw(figure):
        panel = figure.subplots()
        for at in range(17):
            panel.plot([0, 1], [at, at], label=f"weight-selection-matched-{at}")
        add_legend(figure, 4)
        figure.canvas.draw()
        box = figure.legends[0].get_window_extent()
        assert box.x0 >= 0
        assert box.x1 <= figure.bbox.x1

    render_svg(draw, 12, 4)
