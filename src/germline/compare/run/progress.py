"""What people see of a running comparison: a line a running cell, and how much of the stage is done."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self

TASK_LINE_SECONDS = 30.0


class TaskProgress(NamedTuple):
    """How far one task has come.

    Attributes:
        task: Its name.
        phase: The phase of training that it is in.
        step: Steps done in that phase.
        whole: Steps of that phase.
        left: Seconds that it will go on for.
    """

    task: str
    phase: str
    step: int
    whole: int
    left: float


@dataclass
class ProgressDisplay:
    """Shows the tasks of one stage on the standard error stream: bars on a terminal, plain lines elsewhere.

    Attributes:
        stage: What the tasks are, such as "cells".
        whole: How many there are.
        quiet: Whether nothing is shown.
    """

    stage: str
    whole: int
    quiet: bool = False
    _done: int = 0
    _began: float = field(default_factory=time.monotonic)
    _told: dict[str, float] = field(default_factory=dict)
    _bars: Any = None
    _ids: dict[str, Any] = field(default_factory=dict)

    def __enter__(self) -> Self:
        if not self.quiet and sys.stderr.isatty():
            self._bars = _bars()
            self._bars.start()
            self._ids[""] = self._bars.add_task(self.stage, sum_costs=self.whole)
        return self

    def __exit__(self, *_: object) -> None:
        if self._bars is not None:
            self._bars.stop()

    def show(self, line: TaskProgress) -> None:
        """Show how far a task has come."""
        if self.quiet:
            return
        if self._bars is not None:
            title = f"{line.task}: {line.phase}"
            if line.task not in self._ids:
                self._ids[line.task] = self._bars.add_task(title, sum_costs=line.whole)
            self._bars.update(self._ids[line.task], description=title, completed=line.step, sum_costs=line.whole)
            return
        now = time.monotonic()
        # The first sight of a task begins its clock, so that short ones are not told at all.
        if now - self._told.setdefault(line.task, now) >= TASK_LINE_SECONDS:
            self._told[line.task] = now
            print(
                f"  {line.task}: {line.phase}, step {line.step}/{line.whole}, {line.left:.0f} s left",
                file=sys.stderr,
                flush=True,
            )

    def end(self, task: str, error: str | None) -> None:
        """Show that a task has ended."""
        self._done += 1
        if self.quiet:
            return
        if self._bars is not None:
            if task in self._ids:
                self._bars.remove_task(self._ids.pop(task))
            self._bars.update(self._ids[""], completed=self._done)
            if error is None:
                return
        left = (time.monotonic() - self._began) / self._done * (self.whole - self._done)
        ended = f"{task}; about {left:.0f} s left for these" if error is None else f"{task} FAILED: {error}"
        print(f"{self.stage} {self._done}/{self.whole}: {ended}", file=sys.stderr, flush=True)


def _bars() -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True))
