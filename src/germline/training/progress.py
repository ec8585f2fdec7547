"""Progress of long work: a bar on a terminal, plain lines elsewhere, with rate and time left."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

SECONDS_BETWEEN_LINES = 10.0
WATCH_SECONDS = 0.5

Watcher = Callable[[str, int, int, float], None]
_WATCHERS: list[Watcher] = []


@contextlib.contextmanager
def watch_progress(watcher: Watcher) -> Iterator[None]:
    """Within the block, call `watcher(phase, step, steps, seconds left)` regularly for all training."""
    _WATCHERS.append(watcher)
    try:
        yield
    finally:
        _WATCHERS.remove(watcher)


class Progress:
    """Progress of one phase on the standard error stream."""

    def __init__(self, name: str, total: int, start: int = 0, *, quiet: bool = False) -> None:
        self._name, self._total, self._start, self._quiet = name, total, start, quiet
        self._bar: tuple[RichProgress, TaskID] | None = None
        self._began = self._printed = self._watched = time.monotonic()

    def __enter__(self) -> Progress:
        if not self._quiet and sys.stderr.isatty():
            self._bar = _rich_bar(self._name, self._total, self._start)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar[0].stop()

    def update(self, step: int, loss: float) -> None:
        """Report that `step` steps are done."""
        now = time.monotonic()
        rate = (step - self._start) / max(now - self._began, 1e-9)
        seconds_left = (self._total - step) / rate if rate else float("inf")
        if _WATCHERS and now - self._watched >= WATCH_SECONDS:
            self._watched = now
            for watcher in _WATCHERS:
                watcher(self._name, step, self._total, seconds_left)
        if self._bar is not None:
            self._bar[0].update(self._bar[1], completed=step, loss=f"{loss:.3f}", rate=f"{rate:.1f} steps/s")
        elif not self._quiet and now - self._printed >= SECONDS_BETWEEN_LINES:
            self._printed = now
            steps = f"{self._name}: step {step}/{self._total}"
            line = f"{steps}, loss {loss:.3f}, {rate:.1f} steps/s, {seconds_left:.0f} s left"
            print(line, file=sys.stderr, flush=True)


class PartialProgress:
    """Progress of a part of longer work, whose steps count from `start`; without a whole it is silent."""

    def __init__(self, whole: Progress | None = None, start: int = 0) -> None:
        self._whole, self._start = whole, start

    def __enter__(self) -> PartialProgress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the progress of the whole work open."""

    def update(self, step: int, loss: float) -> None:
        """Report that `step` steps of this part are done."""
        if self._whole is not None:
            self._whole.update(self._start + step, loss)

    def starting_after(self, steps: int) -> PartialProgress:
        """Return the part that starts so many steps later."""
        return PartialProgress(self._whole, self._start + steps)


def _rich_bar(name: str, total: int, start: int) -> tuple[RichProgress, TaskID]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as RichProgress

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("loss {task.fields[loss]}"),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    bar = RichProgress(*columns, console=Console(stderr=True))
    bar.start()
    return bar, bar.add_task(name, total=total, completed=start, loss="", rate="")
