"""What a trained collective network comes to: unknown classes that it meets, and the gene."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from germline.data import DataSet, of_classes
from germline.learngene import Learngene, Provenance
from germline.methods.openworld.collective import Collective, CollectiveState
from germline.methods.openworld.gradient_criterion import choose_window, find_dead_units
from germline.methods.openworld.novelty import detect_unknown, measure_confidence
from germline.methods.openworld.task_stream import measure_forgetting
from germline.methods.openworld.windows import collect_units, cut_window, find_window_starts
from germline.methods.provenance import make_provenance
from germline.training import FitResult


def detect_new_classes(
    collective: Collective, state: CollectiveState | None, data: DataSet, unknown: DataSet
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """What becomes of unknown pictures after the last base task, as it is kept.

    Args:
        collective: With its tasks.
        state: After the last of them.
        data: Base classes.
        unknown: Classes that were in no task; their labels only tell how well they are detected.
    """
    assert state is not None  # noqa: S101 - it is only asked once the tasks are done
    network, seen = collective.build_network(state), len(collective.tasks)
    learnt = tuple(dict.fromkeys(name for task in collective.tasks for name in task.classes))
    ours = measure_confidence(network, collective.heads, seen, of_classes(data, learnt).val)
    theirs, labels = measure_confidence(network, collective.heads, seen, unknown.val), unknown.val.labels
    assert labels is not None  # noqa: S101 - a stream is labelled, or no task could be drawn of it
    rules = collective.rules
    return {}, detect_unknown(ours, theirs, labels, unknown.classes, percentile=rules.percentile, share=rules.met)


def extract_learngene(
    collective: Collective, state: CollectiveState, data: DataSet, met: dict[str, Any] | None
) -> Learngene:
    """The window of units that the criterion chooses, with the importance of each weight to the last task.

    Args:
        collective: With all its tasks.
        state: After the last of them.
        data: Base classes.
        met: What `meet` told; None where nothing unknown came.

    Raises:
        SettingError: No window can be taken.
    """
    rules, network, last = collective.rules, collective.build_network(state), len(collective.tasks) - 1
    form, own = rules.condense_spec(None, data), rules.individual == "own"
    dead = find_dead_units(network, collective.tasks[last].val)
    fitting = [
        at
        for at in find_window_starts(state.spec, form, rules.units, own=own)
        if not {*range(at, at + rules.units)} & {*dead}
    ]
    choice = choose_window(state.heat, rules.units, dead=dead, fitting=fitting)
    network.model.to(collective.run.fabric.device)
    units = collect_units(state.spec, state.tensors, collective.estimate_importance(last, network))
    told = {
        "heat": state.heat,
        "scores": choice.scores,
        "windows": choice.windows,
        "window": [choice.start, rules.units],
        "fitting": fitting,
        "dead": dead,
        "accuracies": state.accuracies,
        "parameters": state.parameters,
        "grown": state.grown,
        "detection": met,
    }
    return Learngene(
        method=rules.name,
        settings=rules.model_dump(mode="json"),
        architecture="vgg",
        spec=form,
        tensors={**cut_window(units, form, choice.start, rules.units, own=own), **(units if rules.whole else {})},
        preprocess=collective.preprocess,
        provenance=_provenance(collective, state, data, told),
    )


def _provenance(collective: Collective, state: CollectiveState, data: DataSet, told: dict[str, Any]) -> Provenance:
    steps, samples, seconds = state.results
    ends, met = state.accuracies[-1], told["detection"]
    metrics = {
        "accuracy on all tasks in the end": sum(ends) / len(ends),
        "forgetting": measure_forgetting(state.accuracies),
    }
    if met is not None:
        metrics |= {"unknown pictures found": met["detection"], "false alarms": met["false_alarms"]}
    return make_provenance(
        f"none: a collective network grown over {len(collective.tasks)} tasks",
        data,
        collective.run,
        [FitResult(int(steps), int(samples), seconds, [], [])],
        metrics,
        {"collective": told},
    )
