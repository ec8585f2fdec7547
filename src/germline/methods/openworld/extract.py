"""Detection of unknown classes and extraction of the learngene, both from a trained collective network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from torch import Tensor

from germline.architectures import VggSpec
from germline.data import DataSet, select_classes
from germline.learngene import Learngene
from germline.methods.openworld.collective import Collective, CollectiveState
from germline.methods.openworld.gradient_criterion import choose_window, find_dead_units
from germline.methods.openworld.novelty import detect_unknown, measure_confidence
from germline.methods.openworld.task_stream import measure_forgetting
from germline.methods.openworld.windows import collect_units, extract_window, find_window_starts
from germline.methods.provenance import make_provenance
from germline.provenance import Provenance
from germline.training import FitResult


def detect_new_classes(
    collective: Collective, state: CollectiveState | None, data: DataSet, unknown: DataSet
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Detect which unknown classes are new after the last base task.

    Args:
        collective: Trained collective with its tasks.
        state: State after the last of them.
        data: Base classes.
        unknown: Classes of no task. Their labels only measure how well they are detected.

    Returns:
        No tensors, and the facts of `detect_unknown`, as `run.keep` saves them.
    """
    assert state is not None  # noqa: S101 - it is only called once the tasks are done
    network, seen = collective.build_network(state), len(collective.tasks)
    seen_classes = tuple(dict.fromkeys(name for task in collective.tasks for name in task.classes))
    known_confidence = measure_confidence(network, collective.heads, seen, select_classes(data, seen_classes).val)
    unknown_confidence, labels = measure_confidence(network, collective.heads, seen, unknown.val), unknown.val.labels
    assert labels is not None  # noqa: S101 - a stream has labels, else no task could be drawn from it
    rules = collective.rules
    facts = detect_unknown(
        known_confidence,
        unknown_confidence,
        labels,
        unknown.classes,
        percentile=rules.percentile,
        share=rules.met,
    )
    return {}, facts


def extract_learngene(
    collective: Collective,
    state: CollectiveState,
    data: DataSet,
    spec: VggSpec,
    detection: dict[str, Any] | None,
    *,
    additions: Mapping[str, Any],
    spent: Sequence[FitResult],
) -> Learngene:
    """Extract the window that the gradient criterion chooses.

    The gene also holds the importance of each weight of the window to the last task.

    Args:
        collective: Trained collective with all its tasks.
        state: State after the last task.
        data: Base classes.
        spec: Spec of the individual.
        detection: Facts of `detect_new_classes`; None without unknown classes.
        additions: Further facts for the record.
        spent: Results of trainings before the tasks.

    Raises:
        SettingError: No window can be taken.
    """
    rules, network, last = collective.rules, collective.build_network(state), len(collective.tasks) - 1
    size, keeps_place = rules.units, rules.individual == "own"
    dead = find_dead_units(network, collective.tasks[last].val)
    starts = find_window_starts(state.spec, spec, size, keeps_place=keeps_place)
    fitting = [start for start in starts if not {*range(start, start + size)} & {*dead}]
    choice = choose_window(state.heat, size, dead=dead, fitting=fitting)
    network.model.to(collective.run.fabric.device)
    units = collect_units(state.spec, state.tensors, collective.estimate_importance(last, network))
    record = {
        "heat": state.heat,
        "scores": choice.scores,
        "windows": choice.windows,
        "window": [choice.start, size],
        "fitting": fitting,
        "dead": dead,
        "accuracies": state.accuracies,
        "parameters": state.parameters,
        "grown": state.grown,
        "detection": detection,
        **additions,
    }
    window = extract_window(units, spec, choice.start, size, keeps_place=keeps_place)
    return Learngene(
        method="openworld",
        settings=rules.model_dump(mode="json"),
        architecture="vgg",
        spec=spec,
        tensors={**window, **(units if rules.whole else {})},
        preprocess=collective.preprocess,
        provenance=_make_provenance(collective, state, data, record, spent),
    )


def _make_provenance(
    collective: Collective,
    state: CollectiveState,
    data: DataSet,
    record: dict[str, Any],
    spent: Sequence[FitResult],
) -> Provenance:
    steps, samples, seconds = state.results
    accuracies, detection = state.accuracies[-1], record["detection"]
    metrics = {
        "accuracy on all tasks in the end": sum(accuracies) / len(accuracies),
        "forgetting": measure_forgetting(state.accuracies),
    }
    if "joint" in record:
        metrics["accuracy of joint training on the tasks"] = fmean(record["joint"])
    if detection is not None:
        metrics |= {"unknown images found": detection["detection"], "false alarms": detection["false_alarms"]}
    return make_provenance(
        f"none: a collective network grown over {len(collective.tasks)} tasks",
        data,
        collective.run,
        [*spent, FitResult(int(steps), int(samples), seconds, [], [])],
        metrics,
        {"collective": record},
    )
