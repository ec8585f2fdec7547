"""Progress of a running comparison: one bar or line per running task, and the finished share of a stage."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self

TASK_LINE_SECONDS = 30.0


class TaskProgress(NamedTuple):
    """Progress of one task.

    Attributes:
        task: Name of the task.
        phase: Name of the training phase.
        step: Finished steps of the phase.
        steps: Steps of the whole phase.
        seconds_left: Seconds until the phase ends, as estimated.
    """

    task: str
    phase: str
    step: int
    steps: int
    seconds_left: float


@dataclass
class ProgressDisplay:
    """Display of a stage's tasks on standard error: bars in a terminal, plain lines elsewhere.

    Attributes:
        stage: Name of the stage, such as "cells".
        total: Number of tasks of the stage.
        quiet: Whether to show nothing.
    """

    stage: str
    total: int
    quiet: bool = False
    _finished: int = 0
    _start: float = field(default_factory=time.monotonic)
    _line_times: dict[str, float] = field(default_factory=dict)
    _bars: Any = None
    _bar_ids: dict[str, Any] = field(default_factory=dict)

    def __enter__(self) -> Self:
        if not self.quiet and sys.stderr.isatty():
            self._bars = _make_bars()
            self._bars.start()
            self._bar_ids[""] = self._bars.add_task(self.stage, total=self.total)
        return self

    def __exit__(self, *_: object) -> None:
        if self._bars is not None:
            self._bars.stop()

    def show_task(self, progress: TaskProgress) -> None:
        """Show the progress of a running task."""
        if self.quiet:
            return
        task, phase, step, steps, seconds_left = progress
        if self._bars is not None:
            title = f"{task}: {phase}"
            if task not in self._bar_ids:
                self._bar_ids[task] = self._bars.add_task(title, total=steps)
            self._bars.update(self._bar_ids[task], description=title, completed=step, total=steps)
            return
        now = time.monotonic()
        # The first report of a task only starts its clock, so that short tasks print no line.
        if now - self._line_times.setdefault(task, now) >= TASK_LINE_SECONDS:
            self._line_times[task] = now
            text = f"  {task}: {phase}, step {step}/{steps}, {seconds_left:.0f} s left"
            print(text, file=sys.stderr, flush=True)

    def end_task(self, task: str, error: str | None) -> None:
        """Show that a task has finished or failed."""
        self._finished += 1
        if self.quiet:
            return
        if self._bars is not None:
            if task in self._bar_ids:
                self._bars.remove_task(self._bar_ids.pop(task))
            self._bars.update(self._bar_ids[""], completed=self._finished)
            if error is None:
                return
        left = (time.monotonic() - self._start) / self._finished * (self.total - self._finished)
        outcome = f"{task}; about {left:.0f} s left in this stage" if error is None else f"{task} FAILED: {error}"
        print(f"{self.stage} {self._finished}/{self.total}: {outcome}", file=sys.stderr, flush=True)


def _make_bars() -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True))
