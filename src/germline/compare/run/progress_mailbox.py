"""Mailbox for the progress of tasks that run on other machines."""

from __future__ import annotations

from germline.compare.run.progress import TaskProgress


class ProgressMailbox:
    """Holds the latest progress of each task until the driver collects it.

    It lives in a process of its own, so its module must not import torch.
    """

    def __init__(self) -> None:
        self._latest: dict[str, TaskProgress] = {}

    def put_progress(self, progress: TaskProgress) -> None:
        """Replace the progress of a task."""
        self._latest[progress.task] = progress

    def collect_progress(self) -> list[TaskProgress]:
        """Return the progress that is new since the last call."""
        latest, self._latest = list(self._latest.values()), {}
        return latest
