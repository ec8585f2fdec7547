"""Style and rendering shared by all figures."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from germline.reporting.hover import draw_hover_points

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


# Okabe and Ito's colours, which colour-blind readers can distinguish. Grey replaces their yellow, which is lost on
# white. The order is that of the recipe's arms.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8A8A8A")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
DASHES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 1)), "-")
PAGE_WIDTH = 11.0  # inches
COLOUR_STEPS = 24  # with more, matplotlib embeds the colour bar as a bitmap


def arm_style(index: int) -> dict[str, Any]:
    """Return colour, line and marker of the arm with this index in the recipe; colours repeat with other markers."""
    turn, at = divmod(index, len(COLOURS))
    others = (at + turn) % len(COLOURS)
    return {"color": COLOURS[at], "linestyle": DASHES[others], "marker": MARKERS[others]}


def add_legend(figure: Figure, columns: int) -> None:
    """Add one legend above all panels: up to four entries wide for each of the `columns` of panels, if they fit."""
    entries: dict[str, Any] = {}
    for panel in figure.axes:
        for handle, label in zip(*panel.get_legend_handles_labels(), strict=True):
            entries.setdefault(label, handle)
    if entries:
        # Points of a line sample with its margins, and of a character at this size.
        entry_width = 45 + 4.6 * max(map(len, entries))
        fitting = max(1, int(72 * figure.get_figwidth() / entry_width))
        columns = min(len(entries), 4 * columns, fitting)
        figure.legend(list(entries.values()), list(entries), loc="outside upper center", ncols=columns, fontsize=8)


def clip_to_percent(panel: Axes) -> None:
    """Clip the vertical axis to 0 to 100 %, which an interval may exceed."""
    low, high = panel.get_ylim()
    panel.set_ylim(max(0, low), min(100, high))


def use_whole_numbers(panel: Axes) -> None:
    """Label the horizontal axis with whole numbers only."""
    from matplotlib.ticker import MaxNLocator

    panel.xaxis.set_major_locator(MaxNLocator(integer=True))


def render_svg(draw: Callable[[Figure], None], width: float, height: float, *, is_light: bool = False) -> str:
    """Draw a figure and return the text of an SVG element, with values of its points.

    Args:
        draw: Function that draws on the empty figure.
        width: Width in inches.
        height: Height in inches.
        is_light: Whether the figure stays on white on dark pages, because its colours are lost on black.
    """
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    # Without salt and date the same results give the same file.
    with mpl.rc_context({"svg.hashsalt": "germline", "svg.fonttype": "none", "font.family": "sans-serif"}):
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasSVG(figure)
        draw(figure)
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None})
        points = draw_hover_points(figure, 72 * height)
    figure_text = text.getvalue().split("?>", 1)[1].split(">", 1)[1]
    start, end, rest = figure_text.rpartition("</svg>")
    start = start.replace("<svg ", '<svg class="light" ', 1) if is_light else start
    return f"{start}{points}{end}{rest}"
