"""A stream of tasks for a growing network: the outputs of each task, and the growth between tasks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from germline.architectures import VggSpec
from germline.errors import SettingError
from germline.methods.openworld.net2wider import group_of_unit, widen_spec
from germline.registry import ARCHITECTURES

HeadKind = Literal["shared", "per-task", "class-incremental"]
Growth = tuple[tuple[int, int], ...]  # (conv unit, counted from 1; channels to add), one before each task but the first
PUBLISHED_STAGES = (2, 2, 3, 3, 3)


@dataclass(frozen=True)
class Heads:
    """Outputs of the network that answer each task.

    Attributes:
        kind: Kind of outputs. `shared`: all tasks on the same outputs, literally as published. `per-task`: own outputs
            for each task. `class-incremental`: one output per class; those of all classes seen so far compete.
        tasks: Classes of each task, in their order.
        classes: All classes that may come, base classes first.
        ways: Number of classes of a task.
        max_tasks: Largest number of tasks.
    """

    kind: HeadKind
    tasks: tuple[tuple[str, ...], ...]
    classes: tuple[str, ...]
    ways: int
    max_tasks: int

    @property
    def outputs(self) -> int:
        """Number of outputs of the network."""
        return self.ways * self.max_tasks if self.kind == "per-task" else max(self.ways, len(self.classes))

    def columns(self, task: int, seen: int) -> Tensor:
        """List the outputs that compete on a task's images, its own classes first and in order; int64 [K].

        Args:
            task: Index of the task.
            seen: Number of tasks on which the network was trained.
        """
        if self.kind == "per-task":
            return torch.arange(task * self.ways, (task + 1) * self.ways)
        if self.kind == "shared":
            return torch.arange(self.outputs)
        known = [self.classes.index(name) for names in self.tasks[:seen] for name in names]
        task_classes = [self.classes.index(name) for name in self.tasks[task]]
        return torch.tensor(list(dict.fromkeys([*task_classes, *sorted(known)])))


def published_growth(spec: VggSpec) -> Growth:
    """Return the twenty growth steps of the published collective network, in proportion to its first width.

    They make a VGG16 of it.

    Raises:
        SettingError: The network has other units.
    """
    if spec.stages != PUBLISHED_STAGES:
        raise SettingError(
            f"growth=published for stages of {', '.join(map(str, spec.stages))} units",
            "The published steps are for 13 conv units",
            "Use model=collective_x0125 or another of that name, or give growth=[[unit, channels], ...]",
        )
    width = spec.widths[0][0]
    later_steps = [(unit, width if unit < 8 else 2 * width) for unit in range(5, 14) for _ in range(2)]
    return ((3, width), (4, width), *later_steps)


def specs_by_task(spec: VggSpec, growth: Growth, tasks: int) -> list[VggSpec]:
    """List the network's spec at each task, the first included.

    Raises:
        SettingError: A step names a unit that does not exist, or adds nothing.
    """
    specs = [spec]
    for unit, added in growth[: tasks - 1]:
        group_of_unit(ARCHITECTURES["vgg"], spec, unit - 1)
        if added < 1:
            raise SettingError(
                f"growth with {added} channels for unit {unit}", "A step adds at least one", "Use 1 or more"
            )
        specs.append(widen_spec(specs[-1], unit - 1, added))
    return specs + [specs[-1]] * (tasks - len(specs))


def measure_forgetting(accuracies: Sequence[Sequence[float]]) -> float:
    """Measure forgetting: the mean over earlier tasks of their best accuracy minus their last.

    Args:
        accuracies: Accuracies after each task, on it and all before it.
    """
    last = accuracies[-1]
    losses = [max(row[task] for row in accuracies[task:]) - last[task] for task in range(len(last) - 1)]
    return sum(losses) / len(losses) if losses else 0.0
