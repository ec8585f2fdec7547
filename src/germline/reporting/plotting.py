"""Plot styles that all figures share."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


# Okabe and Ito's colours, which the colour-blind tell apart, with grey for their yellow, which is lost on white; the
# order is that of the recipe's arms.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8A8A8A")


MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")


DASHES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 1)), "-")


def style(index: int) -> dict[str, Any]:
    """How the arm at that place in the recipe is drawn: colour, line and marker."""
    at = index % len(COLOURS)
    return {"color": COLOURS[at], "linestyle": DASHES[at], "marker": MARKERS[at]}


def legend(figure: Figure, columns: int) -> None:
    """What the lines are, above all panels; `columns` of these stand side by side."""
    found: dict[str, Any] = {}
    for panel in figure.axes:
        for handle, label in zip(*panel.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    if found:
        columns = min(len(found), 4 * columns)
        figure.legend(list(found.values()), list(found), loc="outside upper center", ncols=columns, fontsize=8)


def within_shares(panel: Axes) -> None:
    """An interval may leave what a share can be; the picture does not."""
    low, high = panel.get_ylim()
    panel.set_ylim(max(0, low), min(100, high))


def svg(draw: Callable[[Figure], None], width: float, height: float) -> str:
    """What `draw` puts on a figure of that many inches, as the text of an SVG element."""
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
    return text.getvalue().split("?>", 1)[1].split(">", 1)[1]
