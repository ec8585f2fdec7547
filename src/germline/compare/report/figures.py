"""Pictures of a comparison, as SVG text; told apart by line and marker as well as by colour."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import fmean
from typing import TYPE_CHECKING

from germline.architectures import Size
from germline.compare.analysis.protocols import grid_means
from germline.compare.analysis.results import Condition, Summary
from germline.compare.run.cells import images_text
from germline.reporting.plotting import COLOURS, legend, style, svg
from germline.reporting.statistics import Estimate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

HATCHES = ("", "///", "...", "xxx", "\\\\\\", "++", "oo", "--", "**", "||")
COLUMNS = 4
BARS = 40  # descendants whose origins are drawn one by one
# Where a condition stands on the axis, and what is written beside its point.
Place = Callable[[Condition], tuple[float | str, str]]


def curves(summary: Summary) -> str:
    """Accuracy on validation over steps, one panel a condition, bands are 95 % intervals over seeds.

    Steps are drawn to a scale that is even at first and logarithmic from ten steps on.
    """
    conditions = summary.conditions
    rows, columns = -(-len(conditions) // COLUMNS), min(COLUMNS, len(conditions))

    def draw(figure: Figure) -> None:
        axes = figure.subplots(rows, columns, squeeze=False, sharey=True)
        for panel, at in zip(axes.flat, conditions, strict=False):
            for index, arm in enumerate(summary.arms):
                _curve(panel, arm, summary.curve(arm, at), index)
            panel.set_title(f"{_spoken(at.size)}, {images_text(at.images)}", fontsize=9)
            panel.set_xlabel("steps")
            panel.set_xscale("symlog", linthresh=10)
            panel.set_xlim(left=0)
            panel.set_ylim(0, 100)
            panel.grid(alpha=0.3)
        for panel in axes.flat[len(conditions) :]:
            panel.set_axis_off()
        for row in axes:
            row[0].set_ylabel("validation accuracy, %")
        legend(figure, columns)

    return svg(draw, width=max(5.5, 2.9 * columns + 0.4), height=2.6 * rows + 0.5)


def _curve(panel: Axes, arm: str, points: Sequence[tuple[int, Estimate]], index: int) -> None:
    if not points:
        return
    steps = [step for step, _ in points]
    panel.plot(steps, [100 * point.mean for _, point in points], label=arm, ms=3, **style(index))
    if points[0][1].count > 1:
        low, high = ([100 * getattr(point, end) for _, point in points] for end in ("low", "high"))
        panel.fill_between(steps, low, high, color=style(index)["color"], alpha=0.15, linewidth=0)


def sizes(summary: Summary) -> str:
    """Last accuracy on test over parameters, one panel a number of images; bars are 95 % intervals over seeds."""
    recipe = summary.recipe
    counts = summary.results["costs"]["parameters"]
    panels = {
        f"{images} images a class": [Condition(s, images) for s in recipe["sizes"]] for images in _images(summary)
    }

    def place(at: Condition) -> tuple[float | str, str]:
        return counts[at.size]["full"] / 1e3, _spoken(at.size)

    return _accuracies(summary, panels, place, "parameters, thousands")


def samples(summary: Summary) -> str:
    """Last accuracy on test over pictures a class, one panel a size; bars are 95 % intervals over seeds."""
    panels = {_spoken(size): [Condition(size, i) for i in _images(summary)] for size in summary.recipe["sizes"]}
    return _accuracies(summary, panels, lambda at: (str(at.images), ""), "images a class")


def arms(summary: Summary) -> str:
    """Last accuracy on test, a line an arm and one panel a condition; bars are 95 % intervals over seeds."""
    conditions, names = summary.conditions, summary.arms

    def draw(figure: Figure) -> None:
        axes = figure.subplots(1, len(conditions), squeeze=False, sharey=True)[0]
        for panel, at in zip(axes, conditions, strict=True):
            for index, arm in enumerate(names):
                if (point := summary.accuracy(arm, at)) is not None:
                    half = 100 * point.half if point.count > 1 else 0
                    panel.errorbar(100 * point.mean, -index, xerr=half, ms=5, capsize=3, **style(index))
            panel.set_title(f"{_spoken(at.size)}, {images_text(at.images)}", fontsize=9)
            panel.set_xlabel("test accuracy, %")
            panel.grid(alpha=0.3, axis="x")
        axes[0].set_yticks([-index for index in range(len(names))], names, fontsize=8)

    return svg(draw, width=max(5.5, 3.2 * len(conditions) + 1), height=1.1 + 0.27 * len(names))


def _images(summary: Summary) -> list[int | str]:
    return sorted(summary.recipe["images_per_class"], key=lambda images: (isinstance(images, str), images))


def _accuracies(
    summary: Summary,
    panels: dict[str, list[Condition]],
    place: Place,
    axis: str,
) -> str:
    def draw(figure: Figure) -> None:
        axes = figure.subplots(1, len(panels), squeeze=False, sharey=True)[0]
        for panel, (title, conditions) in zip(axes, panels.items(), strict=True):
            for index, arm in enumerate(summary.arms):
                _points(panel, summary, arm, conditions, place, index)
            panel.set_title(title, fontsize=9)
            panel.set_xlabel(axis)
            panel.margins(x=0.15)
            panel.grid(alpha=0.3)
        axes[0].set_ylabel("test accuracy, %")
        legend(figure, len(panels))

    return svg(draw, width=max(5.5, 3.2 * len(panels)), height=3.6)


def _points(
    panel: Axes,
    summary: Summary,
    arm: str,
    conditions: Sequence[Condition],
    place: Place,
    index: int,
) -> None:
    found = [(place(at), point) for at in conditions if (point := summary.accuracy(arm, at)) is not None]
    if not found:
        return
    where, heights = [at for (at, _), _ in found], [100 * point.mean for _, point in found]
    halves = [100 * point.half if point.count > 1 else 0 for _, point in found]
    panel.errorbar(where, heights, halves, label=arm, ms=4, capsize=3, **style(index))
    if index == 0:
        for ((at, name), _), height in zip(found, heights, strict=True):
            panel.annotate(name, (at, height), (5, 4), textcoords="offset points", fontsize=7)


def sensitivity(summary: Summary) -> str:
    """Mean last accuracy on test over the rate, a panel a decay and condition."""
    grid = summary.recipe["grid"]
    panels = [(at, decay) for at in summary.conditions for decay in grid["weight_decay"]]

    def draw(figure: Figure) -> None:
        axes = figure.subplots(1, len(panels), squeeze=False, sharey=True)[0]
        for panel, (at, decay) in zip(axes, panels, strict=True):
            for index, arm in enumerate(summary.arms):
                line = [(lr, value) for (lr, own), value in grid_means(summary, arm, at).items() if own == decay]
                rates, values = [lr for lr, _ in line], [100 * value for _, value in line]
                panel.plot(rates, values, label=arm, ms=4, **style(index))
            panel.set_xscale("log")
            panel.set_title(f"{at}, decay {decay:g}", fontsize=9)
            panel.set_xlabel("learning rate")
            panel.grid(alpha=0.3)
        axes[0].set_ylabel("test accuracy, %")
        legend(figure, len(panels))

    return svg(draw, width=max(5.5, 3.2 * len(panels)), height=3.4)


def origins(summary: Summary) -> str:
    """Where the elements of each arm's descendants came from, as shares; of many sizes their mean."""
    bars = _bars(summary)
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
        legend(figure, 2)

    return svg(draw, width=7, height=1.2 + 0.28 * len(bars))


def _bars(summary: Summary) -> list[tuple[str, dict[str, float]]]:
    """Names of descendants, each with its elements' shares by origin."""
    found = {
        arm: {size: shares for size in summary.sizes_of(arm) if (shares := summary.origins(arm, size))}
        for arm in summary.arms
    }
    if sum(map(len, found.values())) <= BARS:
        return [(f"{arm}, {_spoken(size)}", shares) for arm, own in found.items() for size, shares in own.items()]
    means = []
    for arm, own in found.items():
        kinds = dict.fromkeys(kind for shares in own.values() for kind in shares)
        mean = {kind: fmean(shares.get(kind, 0) for shares in own.values()) for kind in kinds}
        means += [(f"{arm}, mean of {len(own)} sizes", mean)] if own else []
    return means


def _spoken(size: str) -> str:
    return ", ".join(f"{key} {value}" for key, value in Size.parse(size).items()) or "the gene's own size"
