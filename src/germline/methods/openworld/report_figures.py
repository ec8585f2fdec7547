"""Figures of collective networks: gradients, forgetting, growth and detection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import TYPE_CHECKING

from germline.reporting.hover import describe_points
from germline.reporting.plotting import (
    COLOUR_STEPS,
    COLOURS,
    PAGE_WIDTH,
    add_legend,
    arm_style,
    render_svg,
    use_whole_numbers,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from germline.methods.openworld.report_records import CollectiveRecord, DetectionRecord


def draw_heat(record: CollectiveRecord) -> str:
    """Draw the heat by unit and task, with a frame around the chosen window (element `window`)."""
    values = [list(column) for column in zip(*record.by_task, strict=True)]
    tasks, units = len(values[0]), len(values)

    def draw(figure: Figure) -> None:
        import matplotlib as mpl
        from matplotlib.colors import ListedColormap
        from matplotlib.patches import Rectangle
        from matplotlib.ticker import MaxNLocator

        panel = figure.subplots()
        colour_map = mpl.colormaps["cividis"]
        colours = ListedColormap([colour_map(step / (COLOUR_STEPS - 1)) for step in range(COLOUR_STEPS)])
        edges = ([at + 0.5 for at in range(tasks + 1)], [at + 0.5 for at in range(units + 1)])
        mesh = panel.pcolormesh(*edges, values, cmap=colours, rasterized=False)
        cells = [(task + 1, unit + 1, values[unit][task]) for unit in range(units) for task in range(tasks)]
        texts = [f"unit {unit}, task {task}: q {value:.3g}" for task, unit, value in cells]
        describe_points(panel, [task for task, _, _ in cells], [unit for _, unit, _ in cells], texts)
        start, size = record.window
        frame = Rectangle((0.5, start + 0.5), tasks, size, fill=False, ec=COLOURS[1], lw=3, gid="window")
        panel.add_patch(frame)
        panel.set_xlabel("task")
        panel.set_ylabel("unit")
        panel.invert_yaxis()
        for axis in (panel.xaxis, panel.yaxis):
            axis.set_major_locator(MaxNLocator(integer=True))
        figure.colorbar(mesh, ax=panel, label="q", pad=0.01)

    return render_svg(draw, width=PAGE_WIDTH, height=max(2.5, 1.2 + 0.25 * units))


def draw_mean_accuracies(arms: Sequence[str], means: Mapping[str, Sequence[Sequence[float]]]) -> str:
    """Draw the mean accuracy over all tasks so far, one line per arm.

    Args:
        arms: All arms of the comparison.
        means: Mean accuracy after each task, by arm and seed.
    """

    def draw(figure: Figure) -> None:
        panel = figure.subplots()
        for arm, seeds in means.items():
            by_task = list(zip(*seeds, strict=False))
            values = [100 * fmean(accuracies) for accuracies in by_task]
            panel.plot(list(range(1, len(by_task) + 1)), values, label=arm, ms=4, **arm_style(arms.index(arm)))
        _label_accuracy_panel(figure, panel)

    return render_svg(draw, width=7, height=3.6)


def draw_task_accuracies(record: CollectiveRecord) -> str:
    """Draw the accuracy of every task over the stream, their mean, and that of the task just learned."""
    count = len(record.accuracies)

    def draw(figure: Figure) -> None:
        panel = figure.subplots()
        for task in range(count):
            values = [100 * row[task] for row in record.accuracies[task:]]
            panel.plot(list(range(task + 1, count + 1)), values, color="#b0b0b0", lw=0.8, marker=".", ms=3)
        tasks = list(range(1, count + 1))
        panel.plot(tasks, [100 * value for value in record.means], label="mean of all tasks so far", **arm_style(0))
        newest = [100 * row[-1] for row in record.accuracies]
        panel.plot(tasks, newest, label="the task just learned", **arm_style(1))
        _label_accuracy_panel(figure, panel)

    return render_svg(draw, width=7, height=3.6)


def _label_accuracy_panel(figure: Figure, panel: Axes) -> None:
    use_whole_numbers(panel)
    panel.set_xlabel("tasks learned")
    panel.set_ylabel("validation accuracy, %")
    panel.set_ylim(0, 100)
    panel.grid(alpha=0.3)
    add_legend(figure, 1)


def draw_growth(arms: Sequence[str], records: Mapping[str, CollectiveRecord]) -> str:
    """Draw the number of parameters over tasks; numbers are the units that grew in the first arm."""

    def draw(figure: Figure) -> None:
        panel = figure.subplots()
        for arm, record in records.items():
            tasks, counts = list(range(1, len(record.parameters) + 1)), [count / 1e3 for count in record.parameters]
            panel.step(tasks, counts, where="post", label=arm, **arm_style(arms.index(arm)))
        first = next(iter(records.values()))
        for task, (unit, count) in enumerate(zip(first.grown, first.parameters, strict=True), 1):
            if unit:
                panel.annotate(str(unit), (task, count / 1e3), (0, 5), textcoords="offset points", fontsize=7)
        use_whole_numbers(panel)
        panel.set_xlabel("task")
        panel.set_ylabel("parameters, thousands")
        panel.set_ylim(0, 1.15e-3 * max(max(record.parameters) for record in records.values()))
        panel.grid(alpha=0.3)
        add_legend(figure, 1)

    return render_svg(draw, width=7, height=3.4)


def draw_detection(arms: Sequence[str], detections: Mapping[str, DetectionRecord]) -> str:
    """Draw detected unknown images over false alarms, with a circle at the threshold that was used."""

    def draw(figure: Figure) -> None:
        panel = figure.subplots()
        for arm, detection in detections.items():
            line = arm_style(arms.index(arm))
            curve = [(0.0, 0.0), *((alarms, detected) for _, detected, alarms in detection.curve)]
            name = f"{arm}, area under the whole curve {detection.auroc:.2f}"
            panel.plot(*zip(*((100 * x, 100 * y) for x, y in curve), strict=True), label=name, ms=4, **line)
            used = (100 * detection.false_alarms, 100 * detection.detection)
            panel.plot(*used, "o", ms=9, mfc="none", mec=line["color"])
        panel.plot([0, 50], [0, 50], color="#b0b0b0", lw=0.8)
        panel.set_xlabel("false alarms, % of known images")
        panel.set_ylabel("detected, % of unknown images")
        panel.grid(alpha=0.3)
        add_legend(figure, 1)

    return render_svg(draw, width=7, height=3.8)
