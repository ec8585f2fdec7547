"""HTML page of a report: sections in one file that loads nothing else."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass

from germline.reporting.inline_svg import FigureNames, inline_figure
from germline.reporting.page_script import SCRIPT
from germline.reporting.style import STYLE
from germline.reporting.summary import Summary, render_summary

Rows = list[list[str]]

# A browser refuses every request of a page with this policy.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"
LONG = 20  # characters of a cell that may break into lines
NUMBER = re.compile(r"[-+<]? ?[0-9]")


@dataclass(frozen=True)
class Section:
    """Part of a report.

    Attributes:
        heading: Title of the section.
        note: How to read the body.
        body: A table (its first row is the header), or a figure as SVG text.
    """

    heading: str
    note: str
    body: Rows | str


def render_page(
    title: str,
    sections: Sequence[Section],
    facts: Sequence[str],
    warnings: Sequence[tuple[str, str]] = (),
    summary: Summary | None = None,
) -> str:
    """Return a report as HTML.

    Args:
        title: Title of the page.
        sections: Sections in the order in which they are shown.
        facts: Lines that say how to repeat the work.
        warnings: Warnings shown above all sections: a class of the style sheet, and a text.
        summary: Summary shown below the warnings.
    """
    title = html.escape(title)
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8>"
        "<meta name=viewport content='width=device-width, initial-scale=1'>"
        f'<meta http-equiv=Content-Security-Policy content="{POLICY}">'
        f"<title>{title}</title><style>{STYLE}</style><main><h1>{title}</h1>"
    ]
    parts += [f"<p class={kind}>{html.escape(text)}</p>" for kind, text in warnings]
    parts += [render_summary(summary)] if summary is not None else []
    names = FigureNames()
    for section in sections:
        parts.append(f"<h2>{html.escape(section.heading)}</h2><p class=note>{html.escape(section.note)}</p>")
        parts.append(_render_body(section, names))
    if facts:
        lines = "".join(f"<li>{html.escape(fact)}</li>" for fact in facts)
        parts.append(f"<h2>How to repeat it</h2><ul class=note>{lines}</ul>")
    return "\n".join([*parts, f"</main><script>{SCRIPT}</script>"])


def _render_body(section: Section, names: FigureNames) -> str:
    """Return a table or a figure in a box that scrolls on narrow screens."""
    label = html.escape(section.heading)
    if isinstance(section.body, str):
        figure = inline_figure(section.body, section.heading, names)
        return f'<div class="scroll figure" tabindex=0 role=group aria-label="Figure: {label}">{figure}</div>'
    return f'<div class=scroll tabindex=0 role=group aria-label="Table: {label}">{render_table(section.body)}</div>'


def render_table(rows: Rows) -> str:
    """Return a table as HTML; columns of numbers are aligned to the right, all others to the left."""
    is_number = [all(not row[at] or NUMBER.match(row[at]) for row in rows[1:]) for at in range(len(rows[0]))]

    def render_row(cells: list[str], tag: str) -> str:
        start = f"{tag} scope=col" if tag == "th" else tag
        texts = []
        for number, cell in zip(is_number, cells, strict=True):
            kind = "" if number else " class='text long'" if len(cell) > LONG else " class=text"
            texts.append(f"<{start}{kind}>{html.escape(cell)}</{tag}>")
        return "".join(texts)

    body = "".join(f"<tr>{render_row(row, 'td')}</tr>" for row in rows[1:])
    return f"<table><thead><tr>{render_row(rows[0], 'th')}</tr></thead><tbody>{body}</tbody></table>"


def markdown_table(rows: Rows) -> str:
    """Return a table as lines of Markdown; a bar in a cell would end it."""
    head, *body = [[cell.replace("|", r"\|") for cell in row] for row in rows]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in body)])


def text_table(rows: Rows) -> str:
    """Return a table as aligned plain text."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )
