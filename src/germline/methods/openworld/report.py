"""How a collective network grew over a stream of tasks: gradients, forgetting, growth, and what it took for unknown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from germline.methods.openworld.task_stream import measure_forgetting
from germline.reporting.html import Section
from germline.reporting.plotting import COLOURS, legend, style, svg
from germline.reporting.statistics import estimate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 11.0  # inches
SHADES = 24  # more, and matplotlib would embed the scale as a bitmap


class Detection(BaseModel):
    """Unknown pictures told from known ones; shares of 1."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    percentile: float
    detection: float
    false_alarms: float
    auroc: float
    flagged: tuple[str, ...]
    curve: tuple[tuple[float, float, float], ...]


class Growing(BaseModel):
    """What is kept of a collective network.

    Attributes:
        heat: Share of gradients above the threshold, by task, epoch and unit.
        scores: By unit, the criterion's.
        window: First unit of the gene, counted from 0, and number of units.
        dead: Units with constant outputs, counted from 0.
        accuracies: After each task those on it and all before it.
        parameters: At each task.
        grown: Unit, counted from 1, that grew before each task; 0 for none.
        detection: None where nothing unknown came.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    heat: tuple[tuple[tuple[float, ...], ...], ...] = Field(min_length=1)
    scores: tuple[float, ...] = Field(min_length=1)
    window: tuple[int, int]
    dead: tuple[int, ...]
    accuracies: tuple[tuple[float, ...], ...] = Field(min_length=1)
    parameters: tuple[int, ...]
    grown: tuple[int, ...]
    detection: Detection | None

    @property
    def by_task(self) -> list[list[float]]:
        """Mean over epochs, by task and unit."""
        return [[fmean(column) for column in zip(*epochs, strict=True)] for epochs in self.heat]

    @property
    def means(self) -> list[float]:
        """After each task the mean accuracy over all tasks so far."""
        return [fmean(row) for row in self.accuracies]

    @property
    def units(self) -> str:
        """The gene's, counted from 1."""
        return f"{self.window[0] + 1} to {sum(self.window)}"


Seeds = Mapping[int, Growing]
_KEPT = TypeAdapter(Growing)


def read(value: object) -> Growing:
    """What a gene keeps of its collective.

    Raises:
        ValueError: It is not that, or its parts do not fit each other.
    """
    found = _KEPT.validate_python(value)
    tasks, units = len(found.accuracies), len(found.scores)
    if any(len(epoch) != units for epochs in found.heat for epoch in epochs) or not all(found.heat):
        raise ValueError(f"the heat is not that of {units} units")
    if [len(row) for row in found.accuracies] != [*range(1, tasks + 1)]:
        raise ValueError("after each task there is one accuracy more")
    if not len(found.heat) == len(found.parameters) == len(found.grown) == tasks or sum(found.window) > units:
        raise ValueError(f"not all parts are of {tasks} tasks and {units} units")
    return found


def among(arms: Sequence[str], found: Mapping[str, Seeds]) -> list[Section]:
    """Every arm's collectives, and the first seed's drawn."""
    sections = [_collectives(found), _heat_of_arms(found)]
    note = "Mean accuracy over all tasks met so far, on validation pictures; a line an arm, means over seeds."
    sections.append(Section("Forgetting over the stream", note, _curves(arms, found)))
    first = {arm: next(iter(seeds.values())) for arm, seeds in found.items()}
    sections.append(Section("Growth over the stream", "Of each arm's first seed.", _growth(arms, first)))
    known = {arm: one for arm, one in first.items() if one.detection}
    if known:
        sections.append(Section("Unknown pictures", f"{_DETECTION} Of each arm's first seed.", _detected(arms, known)))
    return sections


def alone(found: Growing) -> list[Section]:
    """One collective: which gradients it met, what it forgot, how it grew, what it detected."""
    one = {"this collective": found}
    sections = [
        _collectives({"this collective": {0: found}}),
        Section("Gradients by unit and task", _HEAT, _heat(found)),
        Section("Forgetting over the stream", _FORGETTING, _tasks(found)),
        Section("Growth over the stream", "Numbers are the units that grew.", _growth(list(one), one)),
    ]
    return (
        [*sections, Section("Unknown pictures", _DETECTION, _detected(list(one), one))] if found.detection else sections
    )


_HEAT = (
    "Share of a unit's weights whose gradient is larger than the threshold, mean over a task's epochs; the frame is "
    "the window that became the gene."
)
_FORGETTING = (
    "Accuracy on validation pictures: a thin line a task, from when it was learnt on; the thick one is their mean."
)
_DETECTION = (
    "Share of unknown pictures below the threshold over that of known ones, as the threshold rises; the dot is the one "
    "that was taken."
)


def table(found: Mapping[str, Seeds]) -> list[list[str]]:
    """Arm by arm: the gene's units, what the collective knows in the end, what it forgot and what it detected."""
    rows = [["arm", "units of the gene", "dead units", "all tasks in the end, %", "forgetting, points"]]
    rows[0] += ["unknown found, %", "false alarms, %", "met classes"]
    for arm, seeds in found.items():
        all_ = list(seeds.values())
        met = [one.detection for one in all_ if one.detection]
        rows.append(
            [
                arm,
                "; ".join(dict.fromkeys(one.units for one in all_)),
                "; ".join(dict.fromkeys(", ".join(str(at + 1) for at in one.dead) or "none" for one in all_)),
                estimate([one.means[-1] for one in all_]).text(),
                estimate([measure_forgetting(one.accuracies) for one in all_]).text(),
                estimate([one.detection for one in met]).text() if met else "",
                estimate([one.false_alarms for one in met]).text() if met else "",
                f"{fmean(len(one.flagged) for one in met):.3g}" if met else "",
            ]
        )
    return rows


def _collectives(found: Mapping[str, Seeds]) -> Section:
    note = "Means with 95 % t intervals over seeds, of collectives that arms do not share."
    return Section("The collectives", note, table(found))


def _heat_of_arms(found: Mapping[str, Seeds]) -> Section:
    arm, seeds = next(iter(found.items()))
    seed, one = next(iter(seeds.items()))
    return Section(f"Gradients by unit and task, {arm}", f"Seed {seed}. {_HEAT}", _heat(one))


def _heat(found: Growing) -> str:
    values = [list(column) for column in zip(*found.by_task, strict=True)]
    tasks, units = len(values[0]), len(values)

    def draw(figure: Figure) -> None:
        import matplotlib as mpl
        from matplotlib.colors import ListedColormap
        from matplotlib.patches import Rectangle
        from matplotlib.ticker import MaxNLocator

        panel = figure.subplots()
        whole = mpl.colormaps["cividis"]
        shades = ListedColormap([whole(shade / (SHADES - 1)) for shade in range(SHADES)])
        edges = ([at + 0.5 for at in range(tasks + 1)], [at + 0.5 for at in range(units + 1)])
        mesh = panel.pcolormesh(*edges, values, cmap=shades, rasterized=False)
        start, size = found.window
        frame = Rectangle((0.5, start + 0.5), tasks, size, fill=False, ec=COLOURS[1], lw=3, gid="window")
        panel.add_patch(frame)
        panel.set_xlabel("task")
        panel.set_ylabel("unit")
        panel.invert_yaxis()
        for axis in (panel.xaxis, panel.yaxis):
            axis.set_major_locator(MaxNLocator(integer=True))
        figure.colorbar(mesh, ax=panel, label="q", pad=0.01)

    return svg(draw, width=WIDTH, height=max(2.5, 1.2 + 0.25 * units))


def _curves(arms: Sequence[str], found: Mapping[str, Seeds]) -> str:
    def draw(figure: Figure) -> None:
        panel = figure.subplots()
        for arm, seeds in found.items():
            rows = list(zip(*(one.means for one in seeds.values()), strict=False))
            at = list(range(1, len(rows) + 1))
            panel.plot(at, [100 * fmean(row) for row in rows], label=arm, ms=4, **style(arms.index(arm)))
        _finish(figure, panel)

    return svg(draw, width=7, height=3.6)


def _tasks(found: Growing) -> str:
    count = len(found.accuracies)

    def draw(figure: Figure) -> None:
        panel = figure.subplots()
        for task in range(count):
            at = list(range(task + 1, count + 1))
            values = [100 * row[task] for row in found.accuracies[task:]]
            panel.plot(at, values, color="#b0b0b0", lw=0.8, marker=".", ms=3)
        at = list(range(1, count + 1))
        panel.plot(at, [100 * value for value in found.means], label="mean of all tasks so far", **style(0))
        own = [100 * row[-1] for row in found.accuracies]
        panel.plot(at, own, label="the task just learnt", **style(1))
        _finish(figure, panel)

    return svg(draw, width=7, height=3.6)


def _whole_numbers(panel: Axes) -> None:
    from matplotlib.ticker import MaxNLocator

    panel.xaxis.set_major_locator(MaxNLocator(integer=True))


def _finish(figure: Figure, panel: Axes) -> None:
    _whole_numbers(panel)
    panel.set_xlabel("tasks learnt")
    panel.set_ylabel("validation accuracy, %")
    panel.set_ylim(0, 100)
    panel.grid(alpha=0.3)
    legend(figure, 1)


def _growth(arms: Sequence[str], found: Mapping[str, Growing]) -> str:
    def draw(figure: Figure) -> None:
        panel = figure.subplots()
        for arm, one in found.items():
            at = list(range(1, len(one.parameters) + 1))
            panel.step(at, [count / 1e3 for count in one.parameters], where="post", label=arm, **style(arms.index(arm)))
        first = next(iter(found.values()))
        for task, (unit, count) in enumerate(zip(first.grown, first.parameters, strict=True), 1):
            if unit:
                panel.annotate(str(unit), (task, count / 1e3), (0, 5), textcoords="offset points", fontsize=7)
        _whole_numbers(panel)
        panel.set_xlabel("task")
        panel.set_ylabel("parameters, thousands")
        panel.set_ylim(0, 1.15e-3 * max(max(one.parameters) for one in found.values()))
        panel.grid(alpha=0.3)
        legend(figure, 1)

    return svg(draw, width=7, height=3.4)


def _detected(arms: Sequence[str], found: Mapping[str, Growing]) -> str:
    def draw(figure: Figure) -> None:
        panel = figure.subplots()
        for arm, one in found.items():
            if one.detection is None:
                continue
            look = style(arms.index(arm))
            curve = [(0.0, 0.0), *((alarms, seen) for _, seen, alarms in one.detection.curve)]
            name = f"{arm}, area under the whole curve {one.detection.auroc:.2f}"
            panel.plot(*zip(*((100 * x, 100 * y) for x, y in curve), strict=True), label=name, ms=4, **look)
            taken = (100 * one.detection.false_alarms, 100 * one.detection.detection)
            panel.plot(*taken, "o", ms=9, mfc="none", mec=look["color"])
        panel.plot([0, 50], [0, 50], color="#b0b0b0", lw=0.8)
        panel.set_xlabel("false alarms, % of known pictures")
        panel.set_ylabel("detected, % of unknown pictures")
        panel.grid(alpha=0.3)
        legend(figure, 1)

    return svg(draw, width=7, height=3.8)
