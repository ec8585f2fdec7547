"""A report's page: sections one after the other, in one file that needs nothing else."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass

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
.quick, .failed { background: #fff3cd; padding: .5em 1em; border-left: 4px solid #e0a800 }
@media print { body { margin: 0; font-size: 12px } h2 { break-after: avoid } svg, table { break-inside: avoid } }
"""
NUMBER = re.compile(r"[-+<]? ?[0-9]")


@dataclass(frozen=True)
class Section:
    """A part of a report.

    Attributes:
        heading: Its title.
        note: How to read it.
        body: A table, or a picture as SVG.
    """

    heading: str
    note: str
    body: Rows | str


def page(
    title: str, sections: Sequence[Section], facts: Sequence[str], warnings: Sequence[tuple[str, str]] = ()
) -> str:
    """A report as HTML.

    Args:
        title: Of the page.
        sections: What it says, in its order.
        facts: How to repeat it, line by line.
        warnings: What stands above all else: its kind, which is its class in the style, and its text.
    """
    title = html.escape(title)
    parts = [
        f"<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
        f"<title>{title}</title><style>{STYLE}</style><h1>{title}</h1>"
    ]
    parts += [f"<p class={kind}>{html.escape(text)}</p>" for kind, text in warnings]
    for section in sections:
        parts.append(f"<h2>{html.escape(section.heading)}</h2><p class=note>{html.escape(section.note)}</p>")
        parts.append(section.body if isinstance(section.body, str) else html_table(section.body))
    if facts:
        lines = "".join(f"<li>{html.escape(fact)}</li>" for fact in facts)
        parts.append(f"<h2>How to repeat it</h2><ul class=note>{lines}</ul>")
    return "\n".join(parts)


def html_table(rows: Rows) -> str:
    """A table as HTML; columns of numbers stand to the right, all others to the left."""
    numbers = [all(not row[at] or NUMBER.match(row[at]) for row in rows[1:]) for at in range(len(rows[0]))]

    def line(cells: list[str], tag: str) -> str:
        kinds = (f"<{tag}>" if number else f"<{tag} class=text>" for number in numbers)
        return "".join(f"{kind}{html.escape(cell)}</{tag}>" for kind, cell in zip(kinds, cells, strict=True))

    body = "".join(f"<tr>{line(row, 'td')}</tr>" for row in rows[1:])
    return f"<table><thead><tr>{line(rows[0], 'th')}</tr></thead><tbody>{body}</tbody></table>"
