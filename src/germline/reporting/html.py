"""HTML page of a report: sections in one file that loads nothing else."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass

from germline.reporting.summary import Summary, render_summary

Rows = list[list[str]]

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 1180px; margin: 2em auto; padding: 0 1em; color: #1a1a1a }
h1 { font-size: 1.5em; margin-bottom: .2em } h2 { font-size: 1.15em; margin-top: 2em }
table { border-collapse: collapse; margin: 1em 0; font-variant-numeric: tabular-nums }
th, td { font-size: .94em; padding: .2em .7em; border-bottom: 1px solid #ddd; text-align: right }
th { border-bottom: 2px solid #555 }
td.text, th.text { text-align: left } td { white-space: nowrap } td.text { white-space: normal }
svg { max-width: 100%; height: auto }
.note { color: #555; font-size: .9em } code, pre { background: #f4f4f4; padding: .1em .3em; white-space: pre-wrap }
.quick, .demonstration, .failed { background: #fff3cd; padding: .5em 1em; border-left: 4px solid #e0a800 }
.summary { border: 1px solid #ccc; border-radius: 6px; padding: .2em 1.2em; margin: 1em 0 }
.summary h2 { margin: .6em 0 0 } .summary h3 { font-size: 1em; margin: .8em 0 .2em } .summary p { margin: .2em 0 }
.verdicts { list-style: none; padding: 0; margin: .2em 0 }
.verdicts li { border-left: 6px solid #767676; padding: .2em .7em; margin: .3em 0 }
.verdicts .holds { border-color: #009e73 } .verdicts .reversed { border-color: #d55e00 }
.verdicts .level { border-color: #0072b2 } .share { font-weight: 600 }
.details { display: block; font-size: .92em }
@media print { body { margin: 0; font-size: 12px } h2 { break-after: avoid } svg, table { break-inside: avoid } }
"""
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
        f"<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
        f"<title>{title}</title><style>{STYLE}</style><h1>{title}</h1>"
    ]
    parts += [f"<p class={kind}>{html.escape(text)}</p>" for kind, text in warnings]
    parts += [render_summary(summary)] if summary is not None else []
    for section in sections:
        parts.append(f"<h2>{html.escape(section.heading)}</h2><p class=note>{html.escape(section.note)}</p>")
        parts.append(section.body if isinstance(section.body, str) else render_table(section.body))
    if facts:
        lines = "".join(f"<li>{html.escape(fact)}</li>" for fact in facts)
        parts.append(f"<h2>How to repeat it</h2><ul class=note>{lines}</ul>")
    return "\n".join(parts)


def render_table(rows: Rows) -> str:
    """Return a table as HTML; columns of numbers are aligned to the right, all others to the left."""
    is_number = [all(not row[at] or NUMBER.match(row[at]) for row in rows[1:]) for at in range(len(rows[0]))]

    def render_row(cells: list[str], tag: str) -> str:
        tags = (f"<{tag}>" if number else f"<{tag} class=text>" for number in is_number)
        return "".join(f"{opening}{html.escape(cell)}</{tag}>" for opening, cell in zip(tags, cells, strict=True))

    body = "".join(f"<tr>{render_row(row, 'td')}</tr>" for row in rows[1:])
    return f"<table><thead><tr>{render_row(rows[0], 'th')}</tr></thead><tbody>{body}</tbody></table>"


def markdown_table(rows: Rows) -> str:
    """Return a table as lines of Markdown."""
    head, *body = rows
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in body)])


def text_table(rows: Rows) -> str:
    """Return a table as aligned plain text."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )
