"""Values of a figure's points, which a page shows under the pointer or on focus.

They are circles without ink. A circle's title is its value, so a browser without scripts shows it too.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.container import ErrorbarContainer
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

RADIUS = 5.0  # points
_PLACES: WeakKeyDictionary[Any, list[Place]] = WeakKeyDictionary()


@dataclass(frozen=True)
class Place:
    """Point of a panel with its value in words.

    Attributes:
        x: Horizontal position, in data coordinates.
        y: Vertical position, in data coordinates.
        text: Value in words.
    """

    x: Any
    y: Any
    text: str


def describe_points(panel: Axes, xs: Sequence[Any], ys: Sequence[Any], texts: Sequence[str]) -> None:
    """Give points of a panel their values in words. Its labelled lines then get no words by themselves."""
    places = [Place(x, y, text) for x, y, text in zip(xs, ys, texts, strict=True)]
    _PLACES.setdefault(panel, []).extend(places)


def draw_hover_points(figure: Figure, height: float) -> str:
    """Return the circles of a drawn figure as SVG.

    Args:
        figure: The figure, after it was drawn.
        height: Height of the figure in points.
    """
    circles = []
    panel: Any
    for panel in figure.axes:
        places = _PLACES.get(panel) or _read_lines(figure, panel)
        for place in places:
            across, up = panel.transData.transform((panel.convert_xunits(place.x), panel.convert_yunits(place.y))) * (
                72 / figure.dpi
            )
            circles.append(
                f'<circle cx="{across:.1f}" cy="{height - up:.1f}" r="{RADIUS:g}"><title>{html.escape(place.text)}'
                "</title></circle>"
            )
    return f'<g class="points" fill="none" pointer-events="all">{"".join(circles)}</g>' if circles else ""


def _read_lines(figure: Figure, panel: Axes) -> list[Place]:
    """Describe the points of labelled lines and error bars by the labels of the axes."""
    from matplotlib.container import ErrorbarContainer

    places = []
    across = panel.get_xlabel() or _first_label([other.get_xlabel() for other in figure.axes])
    up = panel.get_ylabel() or _first_label([other.get_ylabel() for other in figure.axes])
    bars = [one for one in panel.containers if isinstance(one, ErrorbarContainer) and one.lines[0] is not None]
    lines = [(one.lines[0], str(one.get_label()), _read_halves(one)) for one in bars]
    lines += [(line, str(line.get_label()), []) for line in panel.lines if not str(line.get_label()).startswith("_")]
    low, high = panel.get_ylim()
    digits = 1 if abs(high - low) >= 5 else 3
    for line, label, halves in lines:
        for at, (x, y) in enumerate(_read_data(line)):
            half = f" ± {halves[at]:.{digits}f}" if at < len(halves) and halves[at] > 0 else ""
            shown = x if isinstance(x, str) else f"{x:,g}"
            places.append(Place(x, y, f"{label}: {y:,.{digits}f}{half} ({up}), {across} {shown}"))
    return places


def _first_label(labels: Sequence[str]) -> str:
    return next(filter(None, labels), "")


def _read_data(line: Line2D) -> list[tuple[Any, float]]:
    xs, ys = line.get_xdata(orig=True), line.get_ydata(orig=True)
    return [(x, float(y)) for x, y in zip(list(xs), list(ys), strict=True)]  # type: ignore[arg-type]


def _read_halves(bars: ErrorbarContainer) -> list[float]:
    """Return half the height of each bar."""
    if not bars.has_yerr:
        return []
    segments = bars.lines[2][-1].get_segments()
    return [abs(float(segment[1][1] - segment[0][1])) / 2 for segment in segments]
