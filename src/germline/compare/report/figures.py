"""Figures of a comparison as SVG text; arms differ in line and marker as well as in colour."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import fmean
from typing import TYPE_CHECKING

from germline.architectures import Size
from germline.compare.analysis.protocols import mean_by_grid_point
from germline.compare.analysis.results import ComparisonResults, Condition
from germline.compare.run.cells import format_images
from germline.reporting.hover import describe_points
from germline.reporting.plotting import COLOURS, add_legend, arm_style, render_svg
from germline.reporting.statistics import Estimate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

HATCHES = ("", "///", "...", "xxx", "\\\\\\", "++", "oo", "--", "**", "||")
CURVE_COLUMNS = 4
MAX_BARS = 40  # with more descendants, their mean over sizes is drawn
# Position of a condition on the axis, and the text beside its point.
AxisPosition = Callable[[Condition], tuple[float | str, str]]


def draw_curves(results: ComparisonResults, marked_steps: Sequence[int] = ()) -> str:
    """Draw validation accuracy over steps, one panel per condition; bands are 95 % intervals over seeds.

    The scale of steps is linear up to ten steps, and logarithmic above. That of accuracy ends at the next ten above all
    means.

    Args:
        results: Results of the comparison.
        marked_steps: Steps to mark with a dotted line.
    """
    conditions = results.conditions
    points = [point for at in conditions for arm in results.arms for _, point in results.curve(arm, at)]
    # The next ten above all curves, so that low ones differ visibly.
    top = min(100, 10 * (1 + int(10 * max((point.mean for point in points), default=1))))
    rows, columns = -(-len(conditions) // CURVE_COLUMNS), min(CURVE_COLUMNS, len(conditions))

    def draw(figure: Figure) -> None:
        axes = figure.subplots(rows, columns, squeeze=False, sharey=True)
        for panel, at in zip(axes.flat, conditions, strict=False):
            for index, arm in enumerate(results.arms):
                _draw_curve(panel, arm, results.curve(arm, at), index)
            for step in marked_steps:
                panel.axvline(step, color="0.5", linestyle=":", linewidth=0.8, zorder=0)
            panel.set_title(_condition_text(at), fontsize=9)
            panel.set_xlabel("steps")
            panel.set_xscale("symlog", linthresh=10)
            panel.set_xlim(left=0)
            panel.set_ylim(0, top)
            panel.grid(alpha=0.3)
        for panel in axes.flat[len(conditions) :]:
            panel.set_axis_off()
        for row in axes:
            row[0].set_ylabel("validation accuracy, %")
        add_legend(figure, columns)

    return render_svg(draw, width=max(5.5, 2.9 * columns + 0.4), height=2.6 * rows + 0.5)


def _draw_curve(panel: Axes, arm: str, points: Sequence[tuple[int, Estimate]], index: int) -> None:
    if not points:
        return
    steps = [step for step, _ in points]
    panel.plot(steps, [100 * point.mean for _, point in points], label=arm, ms=3, **arm_style(index))
    describe_points(
        panel,
        steps,
        [100 * point.mean for _, point in points],
        [f"{arm}, step {step:,}: {point.text()} %" for step, point in points],
    )
    if points[0][1].count > 1:
        low, high = ([100 * getattr(point, end) for _, point in points] for end in ("low", "high"))
        panel.fill_between(steps, low, high, color=arm_style(index)["color"], alpha=0.15, linewidth=0)


def draw_sizes(results: ComparisonResults) -> str:
    """Draw final test accuracy over parameters, one panel per number of images; bars are 95 % intervals."""
    recipe = results.recipe
    counts = results.stored["costs"]["parameters"]
    panels = {
        format_images(images): [Condition(size, images) for size in recipe["sizes"]]
        for images in _image_counts(results)
    }

    def position(at: Condition) -> tuple[float | str, str]:
        return counts[at.size]["full"] / 1e3, _size_text(at.size)

    return _draw_accuracies(results, panels, position, "parameters, thousands")


def draw_samples(results: ComparisonResults) -> str:
    """Draw final test accuracy over images per class, one panel per size; bars are 95 % intervals."""
    counts = _image_counts(results)
    panels = {_size_text(size): [Condition(size, images) for images in counts] for size in results.recipe["sizes"]}
    return _draw_accuracies(results, panels, lambda at: (str(at.images), ""), "images per class")


def draw_arms(results: ComparisonResults) -> str:
    """Draw final test accuracy, one line per arm and one panel per condition; bars are 95 % intervals."""
    conditions, names = results.conditions, results.arms

    def draw(figure: Figure) -> None:
        axes = figure.subplots(1, len(conditions), squeeze=False, sharey=True)[0]
        for panel, at in zip(axes, conditions, strict=True):
            for index, arm in enumerate(names):
                if (point := results.accuracy(arm, at)) is not None:
                    half = 100 * point.half if point.count > 1 else 0
                    panel.errorbar(100 * point.mean, -index, xerr=half, ms=5, capsize=3, **arm_style(index))
                    describe_points(panel, [100 * point.mean], [-index], [f"{arm}: {point.text()} %"])
            panel.set_title(_condition_text(at), fontsize=9)
            panel.set_xlabel("test accuracy, %")
            panel.grid(alpha=0.3, axis="x")
        axes[0].set_yticks([-index for index in range(len(names))], names, fontsize=8)

    return render_svg(draw, width=max(5.5, 3.2 * len(conditions) + 1), height=1.1 + 0.27 * len(names))


def _image_counts(results: ComparisonResults) -> list[int | str]:
    return sorted(results.recipe["images_per_class"], key=lambda images: (isinstance(images, str), images))


def _draw_accuracies(
    results: ComparisonResults, panels: dict[str, list[Condition]], position: AxisPosition, axis: str
) -> str:
    def draw(figure: Figure) -> None:
        axes = figure.subplots(1, len(panels), squeeze=False, sharey=True)[0]
        for panel, (title, conditions) in zip(axes, panels.items(), strict=True):
            if isinstance(position(conditions[0])[0], str):
                # Names take their places in this order. The first arm may lack some of them.
                panel.xaxis.update_units([position(at)[0] for at in conditions])
            for index, arm in enumerate(results.arms):
                _draw_points(panel, results, arm, conditions, position, index)
            panel.set_title(title, fontsize=9)
            panel.set_xlabel(axis)
            panel.margins(x=0.15)
            panel.grid(alpha=0.3)
        axes[0].set_ylabel("test accuracy, %")
        add_legend(figure, len(panels))

    return render_svg(draw, width=max(5.5, 3.2 * len(panels)), height=3.6)


def _draw_points(
    panel: Axes,
    results: ComparisonResults,
    arm: str,
    conditions: Sequence[Condition],
    position: AxisPosition,
    index: int,
) -> None:
    points = [(position(at), point) for at in conditions if (point := results.accuracy(arm, at)) is not None]
    if not points:
        return
    if not isinstance(points[0][0][0], str):
        points.sort(key=lambda point: point[0])
    places, heights = [place for (place, _), _ in points], [100 * point.mean for _, point in points]
    halves = [100 * point.half if point.count > 1 else 0 for _, point in points]
    panel.errorbar(places, heights, halves, label=arm, ms=4, capsize=3, **arm_style(index))
    if index == 0:
        for ((place, text), _), height in zip(points, heights, strict=True):
            panel.annotate(text, (place, height), (5, 4), textcoords="offset points", fontsize=7)


def draw_sensitivity(results: ComparisonResults) -> str:
    """Draw mean final test accuracy over the learning rate, one panel per weight decay and condition."""
    decays = results.recipe["grid"]["weight_decay"]
    panels = [(at, decay) for at in results.conditions for decay in decays]

    def draw(figure: Figure) -> None:
        axes = figure.subplots(1, len(panels), squeeze=False, sharey=True)[0]
        for panel, (at, decay) in zip(axes, panels, strict=True):
            for index, arm in enumerate(results.arms):
                points = mean_by_grid_point(results, arm, at).items()
                line = [(rate, value) for (rate, own_decay), value in points if own_decay == decay]
                rates, values = [rate for rate, _ in line], [100 * value for _, value in line]
                panel.plot(rates, values, label=arm, ms=4, **arm_style(index))
            panel.set_xscale("log")
            panel.set_title(f"{at}, decay {decay:g}", fontsize=9)
            panel.set_xlabel("learning rate")
            panel.grid(alpha=0.3)
        axes[0].set_ylabel("test accuracy, %")
        add_legend(figure, len(panels))

    return render_svg(draw, width=max(5.5, 3.2 * len(panels)), height=3.4)


def draw_origins(results: ComparisonResults) -> str:
    """Draw the origins of the elements of each arm's descendants, as shares."""
    bars = _origin_bars(results)
    origins = list(dict.fromkeys(origin for _, shares in bars for origin in shares))

    def draw(figure: Figure) -> None:
        panel = figure.subplots()
        names = [name for name, _ in bars][::-1]
        left = [0.0] * len(bars)
        for index, origin in enumerate(origins):
            widths = [100 * shares.get(origin, 0) for _, shares in bars][::-1]
            colour, hatch = COLOURS[index % len(COLOURS)], HATCHES[index % len(HATCHES)]
            panel.barh(names, widths, left=left, label=origin, color=colour, hatch=hatch, alpha=0.8)
            shown = [at for at, width in enumerate(widths) if width > 0]
            describe_points(
                panel,
                [left[at] + widths[at] / 2 for at in shown],
                [names[at] for at in shown],
                [f"{names[at]}: {origin} {widths[at]:.1f} %" for at in shown],
            )
            left = [start + width for start, width in zip(left, widths, strict=True)]
        panel.set_xlim(0, 100)
        panel.set_xlabel("share of the descendant's elements, %")
        add_legend(figure, 2)

    return render_svg(draw, width=7, height=1.2 + 0.28 * len(bars))


def _origin_bars(results: ComparisonResults) -> list[tuple[str, dict[str, float]]]:
    """Return the names of descendants, each with its elements' shares by origin; means if there are many sizes."""
    by_arm = {
        arm: {size: shares for size in results.sizes_of(arm) if (shares := results.origins(arm, size))}
        for arm in results.arms
    }
    if sum(map(len, by_arm.values())) <= MAX_BARS:
        return [
            (f"{arm}, {_size_text(size)}", shares) for arm, sizes in by_arm.items() for size, shares in sizes.items()
        ]
    means = []
    for arm, sizes in by_arm.items():
        origins = dict.fromkeys(origin for shares in sizes.values() for origin in shares)
        mean = {origin: fmean(shares.get(origin, 0) for shares in sizes.values()) for origin in origins}
        means += [(f"{arm}, mean of {len(sizes)} sizes", mean)] if sizes else []
    return means


def _condition_text(at: Condition) -> str:
    return f"{_size_text(at.size)}, {format_images(at.images)}"


def _size_text(size: str) -> str:
    return ", ".join(f"{key} {value}" for key, value in Size.parse(size).items()) or "the gene's own size"
