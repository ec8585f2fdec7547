"""Figures of a choice of layers: the chosen blocks, and heat maps of the matching weights."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING

from germline.reporting.hover import describe_points
from germline.reporting.plotting import COLOUR_STEPS, COLOURS, PAGE_WIDTH, render_svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from germline.methods.auto.report_records import LayerChoiceRecord, Matrix, MatrixRecord

MAX_PANELS = 6  # times of the training that are drawn


def draw_chosen_layers(choice: LayerChoiceRecord, prefix: str = "") -> str:
    """Draw ancestor and descendant as SVG.

    Args:
        choice: Record of the choice.
        prefix: Text before the names of the elements (`ancestor-3`, `descendant-3`), for pages with several figures.
    """
    count, gaps = sum(choice.stages), len(choice.stages) - 1
    ends = (0, *accumulate(choice.stages))
    lefts = [at + 0.5 * stage for stage, (first, end) in enumerate(pairwise(ends)) for at in range(first, end)]
    width = count + 0.5 * gaps

    def draw(figure: Figure) -> None:
        panel = figure.subplots()
        for at, left in enumerate(lefts):
            chosen = at in choice.kept
            _draw_block(panel, left, 1.9, str(at), f"{prefix}ancestor-{at}", filled=chosen)
            _draw_block(panel, left, 0.0, str(at) if chosen else "", f"{prefix}descendant-{at}", filled=chosen)
            if chosen:
                panel.annotate("", (left + 0.42, 1.0), (left + 0.42, 1.85), arrowprops={"arrowstyle": "->"})
        for layer, score in enumerate(choice.scores):
            middle = sum(lefts[at] for at in choice.layers[layer]) / len(choice.layers[layer])
            panel.text(middle + 0.42, 2.95, f"{score:.2f}", ha="center", fontsize=8)
        for name, height in (("ancestor", 2.3), ("descendant", 0.4)):
            panel.text(-0.3, height, name, ha="right", va="center", fontsize=9)
        panel.set_xlim(-2.0, max(width, 6))
        panel.set_ylim(-0.1, 3.3)
        panel.set_axis_off()

    return render_svg(draw, width=min(PAGE_WIDTH, 1.6 + 0.7 * max(width, 6)), height=2.0)


def _draw_block(panel: Axes, left: float, low: float, text: str, gid: str, *, filled: bool) -> None:
    from matplotlib.patches import Rectangle

    face, ink = (COLOURS[0], "white") if filled else ("white", "black")
    panel.add_patch(Rectangle((left, low), 0.84, 0.84, facecolor=face, edgecolor="#4a4a4a", gid=gid))
    panel.text(left + 0.42, low + 0.42, text, ha="center", va="center", fontsize=8, color=ink)


def draw_heat_maps(choice: LayerChoiceRecord, prefix: str = "") -> str:
    """Draw the matrix at a few times of the training as SVG, all on one scale.

    Args:
        choice: Record of the choice.
        prefix: Text before the names of the panels (`weights-STEP`).
    """
    panels = _panels(choice)
    most = max(max(map(max, matrix)) for _, matrix in panels) or 1.0
    columns = len(choice.against)

    def draw(figure: Figure) -> None:
        import matplotlib as mpl

        colours = mpl.colormaps["cividis_r"].resampled(COLOUR_STEPS)
        axes = figure.subplots(1, len(panels), squeeze=False, sharey=True)[0]
        for panel, (step, matrix) in zip(axes, panels, strict=True):
            gid = f"{prefix}weights-{step}"
            mesh = panel.pcolormesh(matrix, cmap=colours, vmin=0, vmax=most, edgecolor="white", lw=0.5, gid=gid)
            _describe_weights(panel, matrix, choice)
            panel.set_title(f"step {step:,}" if choice.history else "", fontsize=9)
            panel.set_xticks([at + 0.5 for at in range(columns)], range(columns), fontsize=7)
        axes[0].invert_yaxis()  # the panels share it
        names = [choice.layer_name(layer) for layer in range(len(choice.layers))]
        axes[0].set_yticks([at + 0.5 for at in range(len(names))], names, fontsize=7)
        axes[0].set_ylabel("layers of the ancestor", fontsize=9)
        figure.colorbar(mesh, ax=list(axes), pad=0.01, aspect=25)

    width = 2.0 + min(1.7, 0.5 + 0.22 * columns) * len(panels)
    height = min(5.0, 1.0 + 0.24 * len(choice.layers))
    return render_svg(draw, width=min(PAGE_WIDTH, width), height=height)


def _describe_weights(panel: Axes, matrix: Matrix, choice: LayerChoiceRecord) -> None:
    """Give every cell its value in words."""
    cells = [(row, column) for row in range(len(choice.layers)) for column in range(len(choice.against))]
    texts = [f"{choice.layer_name(row)}, layer {column}: weight {matrix[row][column]:.3g}" for row, column in cells]
    describe_points(panel, [column + 0.5 for _, column in cells], [row + 0.5 for row, _ in cells], texts)


def _panels(choice: LayerChoiceRecord) -> list[tuple[int, Matrix]]:
    """Return step and matrix of each panel: evenly spaced over the history, the last one included."""
    history: Sequence[MatrixRecord] = choice.history
    if not history:
        return [(0, choice.matrix)]
    count = min(MAX_PANELS, len(history))
    times = [history[(at + 1) * len(history) // count - 1] for at in range(count)]
    return [(time.step, time.matrix) for time in times]
