"""A stream of tasks for a network that grows: which tasks, which outputs answer them, when it grows."""

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
    """Which outputs of the network answer a task.

    Attributes:
        kind: All tasks on the same outputs, literally as published (`shared`); outputs of its own for each task
            (`per-task`); or one output a class, those of all classes seen so far competing (`class-incremental`).
        tasks: For each task its classes, in their order.
        classes: Every class that may come, base classes first.
        ways: Classes of a task.
        most: Tasks that there may be.
    """

    kind: HeadKind
    tasks: tuple[tuple[str, ...], ...]
    classes: tuple[str, ...]
    ways: int
    max_tasks: int

    @property
    def outputs(self) -> int:
        """Of the network."""
        return self.ways * self.max_tasks if self.kind == "per-task" else max(self.ways, len(self.classes))

    def columns(self, task: int, seen: int) -> Tensor:
        """Outputs that compete over a task's pictures, those of its own classes first and in their order; int64 [K].

        Args:
            task: Whose pictures.
            seen: Tasks that the network has met.
        """
        if self.kind == "per-task":
            return torch.arange(task * self.ways, (task + 1) * self.ways)
        if self.kind == "shared":
            return torch.arange(self.outputs)
        known = [self.classes.index(name) for names in self.tasks[:seen] for name in names]
        own = [self.classes.index(name) for name in self.tasks[task]]
        return torch.tensor(list(dict.fromkeys([*own, *sorted(known)])))


def published_growth(spec: VggSpec) -> Growth:
    """The twenty steps that make a VGG16 of the published collective network, in proportion to its first width.

    Raises:
        SettingError: The network has other units.
    """
    if spec.stages != PUBLISHED_STAGES:
        raise SettingError(
            f"growth=published for stages of {', '.join(map(str, spec.stages))} units",
            "the published steps are for 13 conv units",
            "use model=collective_x0125 or another of that name, or give growth=[[unit, channels], ...]",
        )
    width = spec.widths[0][0]
    twice = [(unit, width if unit < 8 else 2 * width) for unit in range(5, 14) for _ in range(2)]
    return ((3, width), (4, width), *twice)


def specs_by_task(spec: VggSpec, growth: Growth, tasks: int) -> list[VggSpec]:
    """The network's form at each task, the first included.

    Raises:
        SettingError: A step names a unit that is not there, or adds nothing.
    """
    found = [spec]
    for unit, added in growth[: tasks - 1]:
        group_of_unit(ARCHITECTURES["vgg"], spec, unit - 1)
        if added < 1:
            raise SettingError(f"growth with {added} channels for unit {unit}", "a step adds at least one")
        found.append(widen_spec(found[-1], unit - 1, added))
    return found + [found[-1]] * (tasks - len(found))


def measure_forgetting(accuracies: Sequence[Sequence[float]]) -> float:
    """How much is lost: the best that an earlier task ever had minus what it has at the end, mean over these tasks.

    Args:
        accuracies: After each task those on it and all before it.
    """
    last = accuracies[-1]
    lost = [max(row[task] for row in accuracies[task:]) - last[task] for task in range(len(last) - 1)]
    return sum(lost) / len(lost) if lost else 0.0
