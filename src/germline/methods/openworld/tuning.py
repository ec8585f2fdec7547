"""Choice of the strengths of a stream's anchors and of the rate, on the validation images of a stream's first tasks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import product
from statistics import fmean
from typing import Any

from torch import Tensor

from germline.errors import TrainingError
from germline.methods.openworld.collective import Collective, CollectiveState
from germline.methods.openworld.settings import OpenWorldSettings
from germline.training import FitResult

_PHASE = "tuning"


@dataclass(frozen=True)
class TunedCollective:
    """A collective with the chosen settings.

    Attributes:
        collective: Collective whose rules have the chosen strength and rate.
        start: State after the first tasks at the chosen settings; None if it is no part of the stream.
        record: All points with their accuracies, and the choice; None if nothing was tuned.
        spent: Steps, images and seconds of the points that were not chosen.
    """

    collective: Collective
    start: CollectiveState | None = None
    record: dict[str, Any] | None = None
    spent: tuple[FitResult, ...] = ()


@dataclass(frozen=True)
class TuningPoint:
    """Strengths and rate to try.

    Attributes:
        consolidation: Strength of consolidation.
        distillation: Strength of distillation.
        lr: Learning rate.
    """

    consolidation: float
    distillation: float
    lr: float

    def change(self, rules: OpenWorldSettings) -> OpenWorldSettings:
        """Return settings with these strengths and this rate."""
        strengths = {"consolidation": self.consolidation, "distillation": self.distillation}
        return rules.model_copy(update={**strengths, "training": rules.training.model_copy(update={"lr": self.lr})})


def list_points(rules: OpenWorldSettings) -> list[TuningPoint]:
    """List the strengths and rates to try; empty if nothing is tuned."""
    if not rules.tune_consolidation and not rules.tune_distillation and not rules.tune_lr:
        return []
    consolidation = rules.tune_consolidation or (rules.consolidation,)
    distillation = rules.tune_distillation or (rules.distillation,)
    return [
        TuningPoint(*point) for point in product(consolidation, distillation, rules.tune_lr or (rules.training.lr,))
    ]


def tune_collective(collective: Collective) -> TunedCollective:
    """Train the first tasks at every strength and rate, and choose the point with the best accuracy.

    The accuracy is the mean over these tasks after the last one, on validation images. It counts what is forgotten and
    what is learned. The first of equal points is chosen. The stream then continues from the chosen point's state, so
    it is the stream that these settings give without tuning. Tuning on the first tasks alone follows Chaudhry et al.,
    arXiv 1812.00420. A joint training is tried for as many steps as those tasks have, and starts again.

    Raises:
        TrainingError: The loss is not finite at any point.
    """
    points, run = list_points(collective.rules), collective.run
    if not points:
        return TunedCollective(collective)
    tensors, facts = run.keep(_PHASE, partial(_try_all_points, collective, points))
    tuned = replace(collective, rules=points[facts["record"]["chosen"]].change(collective.rules))
    start = CollectiveState.from_record(tensors, facts["state"]) if facts["state"] else None
    steps, samples, seconds = facts["spent"]
    return TunedCollective(tuned, start, facts["record"], (FitResult(int(steps), int(samples), seconds, [], []),))


def _try_all_points(collective: Collective, points: list[TuningPoint]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    is_joint = collective.rules.stream == "joint"
    tried = [
        collective.run.keep(f"{_PHASE}/point-{index:03d}", _point_work(collective, index, point))
        for index, point in enumerate(points)
    ]
    scores = [fmean(facts["accuracies"][-1]) if facts.get("accuracies") else -1.0 for _, facts in tried]
    chosen = max(range(len(points)), key=scores.__getitem__)
    if scores[chosen] < 0:
        raise TrainingError(
            "The loss is not finite at any strength and rate that was tried",
            f"The rates are {', '.join(f'{rate:g}' for rate in dict.fromkeys(point.lr for point in points))}",
            "Set smaller rates in tune_lr",
        )
    tensors, state = tried[chosen]
    spent = [facts["results"] for index, (_, facts) in enumerate(tried) if facts and (is_joint or index != chosen)]
    entries = [
        {**asdict(point), "accuracies": facts.get("accuracies")}
        for point, (_, facts) in zip(points, tried, strict=True)
    ]
    return (
        {} if is_joint else tensors,
        {
            "record": {"tasks": collective.rules.tune_tasks, "points": entries, "chosen": chosen},
            "state": None if is_joint else state,
            "spent": [sum(column) for column in zip((0, 0, 0.0), *spent, strict=True)],
        },
    )


def _point_work(
    collective: Collective, index: int, point: TuningPoint
) -> Callable[[], tuple[dict[str, Tensor], dict[str, Any]]]:
    """Return the training of the first tasks at a point; it has the draws of the stream itself."""

    def train_first_tasks() -> tuple[dict[str, Tensor], dict[str, Any]]:
        rules = point.change(collective.rules)
        if rules.stream == "joint":
            steps = (rules.training.steps or 0) // rules.tasks * rules.tune_tasks
            rules = rules.model_copy(update={"training": rules.training.model_copy(update={"steps": steps})})
        short = replace(
            collective,
            rules=rules,
            tasks=collective.tasks[: rules.tune_tasks],
            run=collective.run.branch(f"{_PHASE}/point-{index:03d}"),
        )
        try:
            return short.train_all_tasks().to_record()
        except TrainingError:  # a rate that is too large is a point that is not chosen
            return {}, {}

    return train_first_tasks
