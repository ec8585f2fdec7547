"""Report on the record `collective`: a collective network over its stream of tasks."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from pydantic import TypeAdapter

from germline.methods.openworld import report_figures as figures
from germline.methods.openworld.report_learning import comparison_with_joint, tuning_sections
from germline.methods.openworld.report_records import CollectiveRecord, Seeds
from germline.methods.openworld.task_stream import measure_forgetting
from germline.reporting.hook import RecordedBlocks
from germline.reporting.html import Rows, Section
from germline.reporting.statistics import estimate

_STORED = TypeAdapter(CollectiveRecord)


def parse(value: object) -> CollectiveRecord:
    """Check the record of a collective network.

    Raises:
        ValueError: It is damaged, or its parts do not fit each other.
    """
    record = _STORED.validate_python(value)
    tasks, units = len(record.accuracies), len(record.scores)
    if any(len(epoch) != units for epochs in record.heat for epoch in epochs) or not all(record.heat):
        raise ValueError(f"the heat does not have {units} units")
    if [len(row) for row in record.accuracies] != [*range(1, tasks + 1)]:
        raise ValueError("each task adds one accuracy")
    if not len(record.heat) == len(record.parameters) == len(record.grown) == tasks or sum(record.window) > units:
        raise ValueError(f"not all parts have {tasks} tasks and {units} units")
    if record.joint is not None and len(record.joint) != len(record.classes):
        raise ValueError("each task has one accuracy of the joint training")
    if record.tuning is not None and record.tuning.chosen >= len(record.tuning.points):
        raise ValueError("the chosen point of the tuning is not there")
    return record


def comparison_sections(arms: Sequence[str], records: Mapping[str, Seeds]) -> list[Section]:
    """Show every arm's collectives, with figures of the first seed."""
    arm, seeds = next(iter(records.items()))
    seed, record = next(iter(seeds.items()))
    first = {arm: next(iter(seeds.values())) for arm, seeds in records.items()}
    means = {arm: [one.means for one in seeds.values()] for arm, seeds in records.items()}
    sections = [
        _table_section(records),
        Section(f"Gradients by unit and task, {arm}", f"Seed {seed}. {HEAT_NOTE}", figures.draw_heat(record)),
        Section(
            "Forgetting over the stream",
            "Mean accuracy over all tasks so far, on validation images. One line per arm, means over seeds.",
            figures.draw_mean_accuracies(arms, means),
        ),
        Section("Growth over the stream", "First seed of each arm.", figures.draw_growth(arms, first)),
        *comparison_with_joint(records),
        *tuning_sections(records),
    ]
    detections = {arm: one.detection for arm, one in first.items() if one.detection}
    if detections:
        note = f"{DETECTION_NOTE} First seed of each arm."
        sections.append(Section("Unknown images", note, figures.draw_detection(arms, detections)))
    return sections


def gene_sections(record: CollectiveRecord) -> list[Section]:
    """Show one collective: its gradients, forgetting, growth and detection of unknown images."""
    name = "this collective"
    sections = [
        _table_section({name: {0: record}}),
        Section("Gradients by unit and task", HEAT_NOTE, figures.draw_heat(record)),
        Section("Forgetting over the stream", FORGETTING_NOTE, figures.draw_task_accuracies(record)),
        Section(
            "Growth over the stream", "Numbers are the units that grew.", figures.draw_growth([name], {name: record})
        ),
        *tuning_sections({name: {0: record}}),
    ]
    if record.detection:
        figure = figures.draw_detection([name], {name: record.detection})
        sections.append(Section("Unknown images", DETECTION_NOTE, figure))
    return sections


HEAT_NOTE = (
    "Share of a unit's weights with a gradient above the threshold, as a mean over a task's epochs. The frame is the "
    "window that the criterion chose, which becomes the gene unless the setting `window` names another."
)
FORGETTING_NOTE = (
    "Accuracy on validation images. A thin line is one task, from the moment it was learned; the thick line is the "
    "mean over tasks."
)
DETECTION_NOTE = (
    "Share of unknown images below the threshold, over that of known images, as the threshold rises. The circle marks "
    "the threshold that was used."
)


def chosen_blocks(record: CollectiveRecord, settings: Mapping[str, Any]) -> RecordedBlocks:
    """Return the units of the gene's window, counted from 1.

    A window that the settings give replaces the recorded one, which the collective chose. Windows compete if their
    arms' settings differ in nothing else.
    """
    start, size = record.window
    given = settings.get("window", "auto")
    first = start + 1 if given == "auto" else int(given)
    others = {key: value for key, value in settings.items() if key != "window"}
    return RecordedBlocks(tuple(range(first, first + size)), given != "auto", json.dumps(others, sort_keys=True))


def collectives_table(records: Mapping[str, Seeds]) -> Rows:
    """List per arm the units that the criterion chose, the final accuracy, forgetting and detection."""
    head = ["arm", "units chosen", "dead units", "final accuracy over all tasks, %", "forgetting, points"]
    rows = [[*head, "unknown images detected, %", "false alarms, %", "new classes detected"]]
    for arm, seeds in records.items():
        collectives = list(seeds.values())
        detections = [one.detection for one in collectives if one.detection]
        dead = (", ".join(str(unit + 1) for unit in one.dead) or "none" for one in collectives)
        rows.append(
            [
                arm,
                "; ".join(dict.fromkeys(one.units for one in collectives)),
                "; ".join(dict.fromkeys(dead)),
                estimate([one.means[-1] for one in collectives]).text(),
                estimate([measure_forgetting(one.accuracies) for one in collectives]).text(),
                estimate([one.detection for one in detections]).text() if detections else "",
                estimate([one.false_alarms for one in detections]).text() if detections else "",
                f"{fmean(len(one.flagged) for one in detections):.3g}" if detections else "",
            ]
        )
    return rows


def _table_section(records: Mapping[str, Seeds]) -> Section:
    note = "Means with 95 % t intervals over seeds. Arms that share their collectives are shown once."
    return Section("The collectives", note, collectives_table(records))
