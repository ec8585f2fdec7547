"""Sections of a report on arms over sizes, smaller and larger than the ancestor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from germline.compare.analysis.results import ComparisonResults, Condition, accuracy_at
from germline.compare.analysis.size_lines import (
    LEAST_SIZES,
    READING_PROTOCOLS,
    LineEnd,
    Reading,
    count_parameters,
    find_crossovers,
    group_sizes,
    list_readings,
    own_parameters,
    read_means,
)
from germline.compare.recipe.keys import CONTROL
from germline.registry import METHODS
from germline.reporting.hover import describe_points
from germline.reporting.html import Rows, Section
from germline.reporting.plotting import PAGE_WIDTH, add_legend, arm_style, render_svg
from germline.reporting.statistics import estimate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DIRECTIONS: tuple[LineEnd, ...] = ("smaller", "larger")


def size_sections(results: ComparisonResults) -> list[Section]:
    """Set all arms side by side over sizes, if there are enough sizes for a line."""
    recipe = results.recipe
    if recipe["protocol"] not in READING_PROTOCOLS or len(recipe["sizes"]) < LEAST_SIZES:
        return []
    marked = "A dotted line marks the ancestor's own size. A cross marks where scratch overtakes the first arm."
    crossing = (
        f"Controls whose mean is above that of {results.subject}, on the way from the ancestor's own size to smaller "
        "or larger ones. Numbers are parameters relative to that size, interpolated between two sizes. These are "
        "means over seeds and no claims."
    )
    best = "The arm with the highest mean over seeds, with its 95 % t interval. It is chosen after the fact: no claim."
    return [
        Section(
            "Accuracy over parameters",
            f"One line per arm; bars are 95 % intervals. {marked}",
            draw_size_lines(results),
        ),
        Section("The best arm at each size", best, best_arm_table(results)),
        Section(f"Where {results.subject} is overtaken", crossing, crossover_table(results)),
    ]


def best_arm_table(results: ComparisonResults) -> Rows:
    """List size, parameters, their ratio to the ancestor's own size, and the best arm of each reading."""
    readings, own = list_readings(results), own_parameters(results)
    rows = [["size", "parameters", "relative to the ancestor", *(reading.name for reading in readings)]]
    for sizes in group_sizes(results.recipe["sizes"]).values():
        for size in sorted(sizes, key=lambda size: count_parameters(results, size)):
            count = count_parameters(results, size)
            texts = [_best_text(results, size, reading) for reading in readings]
            rows.append([size or "own size", f"{count:,}", "" if own is None else f"{count / own:.2f}", *texts])
    return rows


def _best_text(results: ComparisonResults, size: str, reading: Reading) -> str:
    means = read_means(results, size, reading)
    if not means:
        return "failed"
    best = max(means, key=lambda arm: means[arm])
    cells = results.cells(best, Condition(size, reading.images)).values()
    return f"{best}, {estimate(list(map(reading.value, cells))).text()} %"


def crossover_table(results: ComparisonResults) -> Rows:
    """List the controls that overtake the subject, by reading, line of sizes and direction."""
    rows = [["accuracy", "sizes that differ in", "direction", "who overtakes"]]
    for reading in list_readings(results):
        for axis, sizes in group_sizes(results.recipe["sizes"]).items():
            for direction in DIRECTIONS:
                found = find_crossovers(results, sizes, reading, direction)
                texts = [one.text(direction) for one in found]
                rows += [[reading.name, axis, direction, "; ".join(texts)]] if texts else []
    return rows


def draw_size_lines(results: ComparisonResults) -> str:
    """Draw accuracy over parameters, one row of panels per reading and one column per line of sizes.

    The ancestor's own size is a dotted line (`own-ROW-COLUMN`). Scratch's crossing of the subject is a cross
    (`crossing-ROW-COLUMN-DIRECTION`).
    """
    readings, groups = list_readings(results), group_sizes(results.recipe["sizes"])

    def draw(figure: Figure) -> None:
        axes = figure.subplots(len(readings), len(groups), squeeze=False, sharex="col", sharey="row")
        for row, (panels, reading) in enumerate(zip(axes, readings, strict=True)):
            for column, (panel, sizes) in enumerate(zip(panels, groups.values(), strict=True)):
                _draw_panel(panel, results, sizes, reading, f"{row}-{column}")
            panels[0].set_ylabel(f"{reading.name}, %", fontsize=8)
        for panel, axis in zip(axes[0], groups, strict=True):
            panel.set_title(f"sizes that differ in {axis}", fontsize=9)
        for panel in axes[-1]:
            panel.set_xlabel("parameters, thousands")
        add_legend(figure, 1)

    return render_svg(draw, width=min(PAGE_WIDTH, 2 + 4.5 * len(groups)), height=2.3 * len(readings) + 1.2)


def _draw_panel(panel: Axes, results: ComparisonResults, sizes: Sequence[str], reading: Reading, name: str) -> None:
    for index, arm in enumerate(results.arms):
        _draw_line(panel, results, arm, sizes, reading, index)
    own = own_parameters(results)
    if own is not None:
        panel.axvline(own / 1e3, color="0.4", linestyle=":", linewidth=1, zorder=0, gid=f"own-{name}")
        for direction in DIRECTIONS:
            for one in find_crossovers(results, sizes, reading, direction):
                if one.control == CONTROL and not one.is_first:
                    _mark_crossing(panel, own * one.ratio / 1e3, f"crossing-{name}-{direction}", one.ratio)
    panel.set_xscale("log")
    ticks = sorted({count_parameters(results, size) / 1e3 for size in sizes} | ({own / 1e3} if own else set()))
    panel.set_xticks(ticks, [f"{tick:,.0f}" for tick in ticks], fontsize=7)
    panel.minorticks_off()
    panel.grid(alpha=0.3)


def _mark_crossing(panel: Axes, place: float, name: str, ratio: float) -> None:
    panel.plot(
        [place], [0.03], marker="x", color="black", linestyle="", transform=panel.get_xaxis_transform(), gid=name
    )
    panel.annotate(
        f"x {ratio:.2f}",
        (place, 0.03),
        (4, 2),
        xycoords=panel.get_xaxis_transform(),
        textcoords="offset points",
        fontsize=7,
    )


def _draw_line(
    panel: Axes, results: ComparisonResults, arm: str, sizes: Sequence[str], reading: Reading, index: int
) -> None:
    points = []
    for size in sizes:
        cells = results.cells(arm, Condition(size, reading.images)).values() if results.has_size(arm, size) else ()
        if cells:
            points.append((count_parameters(results, size), size, estimate(list(map(reading.value, cells)))))
    if not points:
        return
    points.sort(key=lambda point: point[0])
    places, values = [count / 1e3 for count, _, _ in points], [value for _, _, value in points]
    halves = [100 * value.half if value.count > 1 else 0 for value in values]
    means = [100 * value.mean for value in values]
    texts = [
        f"{arm}, {size or 'own size'}, {count:,} parameters, {reading.name}: {value.text()} %"
        for count, size, value in points
    ]
    describe_points(panel, places, means, texts)
    panel.errorbar(places, means, halves, label=arm, ms=4, lw=1, capsize=2, **arm_style(index))


def untrained_sections(results: ComparisonResults) -> list[Section]:
    """Show the accuracy before any training, where descendants inherit a head for the data's classes.

    The protocols `same-labels` and `instincts` have it in their own tables.
    """
    recipe = results.recipe
    is_known = recipe["data"] == recipe["ancestor"]["data"] and recipe["tasks"] is None and not recipe["final"]
    if not is_known or recipe["protocol"] in ("same-labels", "instincts", "frozen", "paths"):
        return []
    rows = [["condition", "arm", "before any training, %"]]
    for at in results.conditions:
        for arm in results.arms_at(at.size):
            cells = [cell for cell in results.cells(arm, at).values() if cell["curve"][0]["step"] == 0]
            if cells and _inherits_head(results, arm):
                rows.append([str(at), arm, estimate([accuracy_at(0)(cell) for cell in cells]).text()])
    if len(rows) == 1:
        return []
    note = "Validation images, for arms whose descendants inherit the ancestor's head. Means with 95 % t intervals."
    return [Section("Accuracy before any training", note, rows)]


def _inherits_head(results: ComparisonResults, arm: str) -> bool:
    """Return whether descendants of an arm inherit a head; no if its method or its stored gene is not here."""
    name = results.method_of(arm)
    if name not in METHODS:
        return False
    try:
        method = METHODS[name].model_validate(results.settings_of(arm))
    except ValueError:
        return False
    return bool(method.traits.has_gene and method.traits.inherits_head)
