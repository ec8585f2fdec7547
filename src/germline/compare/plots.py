"""Pictures of a comparison, as SVG text; told apart by line and marker as well as by colour."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from germline.anatomy import Size
from germline.compare.summary import Summary

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colours, which the colour-blind tell apart; the order is that of the recipe's arms.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
DASHES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 1)), "-")
HATCHES = ("", "///", "...", "xxx", "\\\\\\", "++", "oo", "--", "**", "||")
COLUMNS = 4


def curves(summary: Summary) -> str:
    """Accuracy on validation over steps, one panel a condition, bands are 95 % intervals over seeds."""
    conditions = summary.conditions
    rows, columns = -(-len(conditions) // COLUMNS), min(COLUMNS, len(conditions))

    def draw(figure: Figure) -> None:
        axes = figure.subplots(rows, columns, squeeze=False, sharey=True)
        for panel, (size, images) in zip(axes.flat, conditions, strict=False):
            for index, arm in enumerate(summary.arms):
                _curve(panel, summary, arm, size, images, index)
            panel.set_title(f"{_spoken(size)}, {images} images a class", fontsize=9)
            panel.set_xlabel("steps")
            panel.grid(alpha=0.3)
        for panel in axes.flat[len(conditions) :]:
            panel.set_axis_off()
        for row in axes:
            row[0].set_ylabel("validation accuracy, %")
        axes.flat[0].legend(fontsize=8)

    return _svg(draw, width=2.9 * columns + 0.4, height=2.6 * rows)


def _curve(panel: Axes, summary: Summary, arm: str, size: str, images: int, index: int) -> None:
    points = summary.curve(arm, size, images)
    steps = [step for step, _ in points]
    style: dict[str, Any] = {"color": COLOURS[index % 8], "linestyle": DASHES[index % 8]}
    panel.plot(steps, [100 * point.mean for _, point in points], label=arm, marker=MARKERS[index % 8], ms=3, **style)
    if points[0][1].count > 1:
        low, high = ([100 * getattr(point, end) for _, point in points] for end in ("low", "high"))
        panel.fill_between(steps, low, high, color=style["color"], alpha=0.15, linewidth=0)


def sizes(summary: Summary) -> str:
    """Last accuracy on test over parameters, one panel a number of images; bars are 95 % intervals over seeds."""
    numbers = summary.recipe["images_per_class"]

    def draw(figure: Figure) -> None:
        axes = figure.subplots(1, len(numbers), squeeze=False, sharey=True)[0]
        for panel, images in zip(axes, numbers, strict=True):
            for index, arm in enumerate(summary.arms):
                _sizes_of(panel, summary, arm, images, index)
            panel.set_title(f"{images} images a class", fontsize=9)
            panel.set_xlabel("parameters, thousands")
            panel.grid(alpha=0.3)
        axes[0].set_ylabel("test accuracy, %")
        axes[0].legend(fontsize=8)

    return _svg(draw, width=max(4.5, 3.2 * len(numbers)), height=3.2)


def _sizes_of(panel: Axes, summary: Summary, arm: str, images: int, index: int) -> None:
    names = summary.recipe["sizes"]
    counts = [summary.parameters(arm, size) / 1e3 for size in names]
    points = [summary.accuracy(arm, size, images) for size in names]
    halves = [100 * point.half if point.count > 1 else 0 for point in points]
    panel.errorbar(
        counts,
        [100 * point.mean for point in points],
        halves,
        label=arm,
        color=COLOURS[index % 8],
        linestyle=DASHES[index % 8],
        marker=MARKERS[index % 8],
        ms=4,
        capsize=3,
    )
    if index == 0:
        for count, point, size in zip(counts, points, names, strict=True):
            panel.annotate(_spoken(size), (count, 100 * point.mean), (5, 4), textcoords="offset points", fontsize=7)
        panel.margins(x=0.15)


def origins(summary: Summary) -> str:
    """Where the elements of each arm's descendants came from, as shares."""
    bars = [
        (f"{arm}, {_spoken(size)}", summary.origins(arm, size))
        for arm in summary.arms
        for size in summary.recipe["sizes"]
    ]
    kinds = list(dict.fromkeys(kind for _, shares in bars for kind in shares))

    def draw(figure: Figure) -> None:
        panel = figure.subplots()
        names = [name for name, _ in bars][::-1]
        left = [0.0] * len(bars)
        for index, kind in enumerate(kinds):
            widths = [100 * shares.get(kind, 0) for _, shares in bars][::-1]
            panel.barh(names, widths, left=left, label=kind, color=COLOURS[index % 8], hatch=HATCHES[index], alpha=0.8)
            left = [start + width for start, width in zip(left, widths, strict=True)]
        panel.set_xlim(0, 100)
        panel.set_xlabel("share of the descendant's elements, %")
        panel.legend(loc="upper center", bbox_to_anchor=(0.5, 1.18), ncols=len(kinds), fontsize=8, frameon=False)

    return _svg(draw, width=7, height=1.0 + 0.28 * len(bars))


def _spoken(size: str) -> str:
    return ", ".join(f"{key} {value}" for key, value in Size.parse(size).items()) or "the gene's own size"


def _svg(draw: Callable[[Figure], None], width: float, height: float) -> str:
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
