"""Report on what a collective learns and forgets: against joint training, and at each strength that was tried."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import fmean

from germline.methods.openworld.report_records import CollectiveRecord, Seeds, TuningPointRecord
from germline.reporting.html import Rows, Section
from germline.reporting.statistics import Estimate, estimate

JOINT_MARGIN = 0.1  # share of 1 by which a collective may be below joint training


def comparison_with_joint(records: Mapping[str, Seeds]) -> list[Section]:
    """Compare the streams' collectives with joint training on the same tasks; nothing without a joint training."""
    rows = joint_table(records)
    if len(rows) == 1:
        return []
    note = (
        "Means over the tasks of the stream, on validation images, with 95 % t intervals over seeds. One network was "
        "trained at once on the classes of all tasks and more, for as many images. The last column says whether the "
        "whole interval is within the margin."
    )
    return [Section("Stream and joint training", note, rows)]


def joint_table(records: Mapping[str, Seeds]) -> Rows:
    """List per arm the accuracy of its collectives and of joint training on the same tasks, if there is one."""
    rows: Rows = [
        [
            "arm",
            "joint training",
            "tasks",
            "accuracy when learned, %",
            "accuracy in the end, %",
            "joint accuracy, %",
            "below joint, points",
            f"within {100 * JOINT_MARGIN:.0f} points",
        ]
    ]
    joint_arms = {arm: seeds for arm, seeds in records.items() if any(one.joint for one in seeds.values())}
    for arm, seeds in records.items():
        for joint_arm, joint_seeds in joint_arms.items():
            pairs = [
                (one, joint_seeds[seed])
                for seed, one in seeds.items()
                if one.joint is None and seed in joint_seeds and _has_same_tasks(one, joint_seeds[seed])
            ]
            if pairs:
                rows.append([arm, joint_arm, *_compare_pairs(pairs)])
    return rows


def tuning_sections(records: Mapping[str, Seeds]) -> list[Section]:
    """Show all strengths and rates that were tried; nothing if nothing was tuned."""
    rows: Rows = [
        [
            "arm",
            "consolidation",
            "distillation",
            "learning rate",
            "all first tasks, %",
            "earlier tasks, %",
            "newest task, %",
            "chosen, times",
        ]
    ]
    tasks: set[int] = set()
    for arm, seeds in records.items():
        tunings = [one.tuning for one in seeds.values() if one.tuning is not None]
        tasks |= {tuning.tasks for tuning in tunings}
        tried: dict[tuple[float, float, float], list[TuningPointRecord]] = {}
        for tuning in tunings:
            for point in tuning.points:
                tried.setdefault(_point_key(point), []).append(point)
        chosen = [_point_key(one.points[one.chosen]) for one in tunings]
        for key, points in tried.items():
            rows.append([arm, *(f"{value:g}" for value in key), *_point_texts(points), str(chosen.count(key))])
    if not tasks:
        return []
    note = (
        f"Mean accuracy on validation images after the first {' or '.join(map(str, sorted(tasks)))} tasks, by which "
        "the strengths and the rate were chosen. Earlier tasks show what is forgotten, the newest task "
        "shows what is learned. 95 % t intervals over seeds."
    )
    return [Section("Strength of the anchor", note, rows)]


def _has_same_tasks(one: CollectiveRecord, joint: CollectiveRecord) -> bool:
    """Tell whether the stream began with the tasks on which the joint training was measured."""
    count = len(joint.classes)
    return 0 < count <= len(one.accuracies) and one.classes[:count] == joint.classes


def _compare_pairs(pairs: list[tuple[CollectiveRecord, CollectiveRecord]]) -> list[str]:
    count = len(pairs[0][1].classes)
    learned = [fmean(row[-1] for row in one.accuracies[:count]) for one, _ in pairs]
    ends = [fmean(one.accuracies[-1][:count]) for one, _ in pairs]
    joints = [fmean(joint.joint or ()) for _, joint in pairs]
    gap = estimate([joint - end for joint, end in zip(joints, ends, strict=True)])
    texts = [estimate(values).text() for values in (learned, ends, joints)]
    return [str(count), *texts, gap.text(sign=True), _margin_verdict(gap)]


def _margin_verdict(gap: Estimate) -> str:
    if gap.count < 2:
        return "one seed"
    if gap.high <= JOINT_MARGIN:
        return "yes"
    return "no" if gap.low > JOINT_MARGIN else "not shown"


def _point_key(point: TuningPointRecord) -> tuple[float, float, float]:
    return point.consolidation, point.distillation, point.lr


def _point_texts(points: list[TuningPointRecord]) -> list[str]:
    """Return the accuracies over all first tasks, the earlier ones and the newest one, in percent."""
    lasts = [point.accuracies[-1] for point in points if point.accuracies]
    if len(lasts) < len(points):
        return ["loss not finite", "", ""]
    earlier = [fmean(last[:-1]) for last in lasts if len(last) > 1]
    return [
        estimate([fmean(last) for last in lasts]).text(),
        estimate(earlier).text() if earlier else "",
        estimate([last[-1] for last in lasts]).text(),
    ]
