"""Figures inside a page: ids that are unique there, and colours that follow light and dark."""

from __future__ import annotations

import html
import re

METADATA = re.compile(r"<metadata>.*?</metadata>\s*", re.DOTALL)
DEFINED = re.compile(r' id="([^"]*)"')
REFERENCE = re.compile(r'(url\(#|href="#)([^")]*)')
# Names that matplotlib gives every element by its number; nothing refers to them.
NUMBERED = re.compile(r"(figure|axes|patch|text|line2d|legend|matplotlib\.axis|xtick|ytick|\w*Collection)_\d+")
PAINTED = re.compile(r"<(\w+)[^>]*>")
# Colours that a page replaces by variables of its style sheet.
INK = {"#000000": "currentColor", "#4a4a4a": "currentColor", "#666666": "var(--muted,#666666)"}
BRIGHT = {"#0072b2": "var(--blue,#0072b2)", "#56b4e9": "var(--sky,#56b4e9)"}
PAPER = {"#ffffff": "var(--paper,#ffffff)"}


class FigureNames:
    """Ids that the figures of one page have used."""

    def __init__(self) -> None:
        """Begin a page without figures."""
        self._used: set[str] = set()
        self._count = 0

    def make_unique(self, figure: str) -> str:
        """Return a figure whose ids occur once on the page; numbered ones without a reference are dropped."""
        self._count += 1
        prefix = f"figure-{self._count}-"
        referenced = {name for _, name in REFERENCE.findall(figure)}

        def rename(name: str) -> str:
            return f"{prefix}{name}" if name in referenced or name in self._used else name

        names: set[str] = set()

        def define(match: re.Match[str]) -> str:
            name = match[1]
            if name not in referenced and (NUMBERED.fullmatch(name) or name in names):
                return ""
            names.add(name)
            return f' id="{rename(name)}"'

        figure = DEFINED.sub(define, figure)
        figure = REFERENCE.sub(lambda match: f"{match[1]}{rename(match[2])}", figure)
        self._used |= names
        return figure


def inline_figure(figure: str, label: str, names: FigureNames) -> str:
    """Prepare a figure for a page.

    Args:
        figure: Text of an SVG element.
        label: Name of the figure for screen readers.
        names: Ids used on the page so far.
    """
    figure = names.make_unique(METADATA.sub("", figure))
    figure = PAINTED.sub(_replace_colours, figure)
    return re.sub(r"<svg ", f'<svg role="group" aria-label="{html.escape(label)}" ', figure, count=1)


def _replace_colours(match: re.Match[str]) -> str:
    """Replace colours of one element. White text is on a coloured ground, so it stays white."""
    colours = {**INK, **BRIGHT} if match[1] in ("text", "tspan") else {**INK, **BRIGHT, **PAPER}
    return re.sub(r"(?<=: )#[0-9a-f]{6}", lambda colour: colours.get(colour[0], colour[0]), match[0])
