"""Engines that run the tasks of a comparison, in this process or in worker processes.

A task is a small picklable callable. It is called with the artifact store and writes all its results there. An engine
for a cluster has to call tasks where the same folder is visible, and to report how each task ended.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from multiprocessing.context import BaseContext
from typing import Protocol

import torch

from germline.compare.run.progress import ProgressDisplay, TaskProgress
from germline.compare.run.store import ArtifactStore
from germline.errors import GermlineError, TrainingError
from germline.training import describe_device
from germline.training.progress import watch_progress


class ComparisonTask(Protocol):
    """A task that makes parts of the store, or finds them there."""

    @property
    def name(self) -> str:
        """Readable name, unique among the tasks of a stage."""

    def __call__(self, store: ArtifactStore) -> None:
        """Run the task."""


@dataclass(frozen=True)
class TaskResult:
    """Outcome of a task.

    Attributes:
        task: The task that ended.
        error: Reason of the failure in one line; None: the task succeeded.
    """

    task: ComparisonTask
    error: str | None = None


class Engine(Protocol):
    """Runs tasks that do not depend on each other."""

    def run(
        self, tasks: Sequence[ComparisonTask], store: ArtifactStore, display: ProgressDisplay
    ) -> Iterator[TaskResult]:
        """Run all tasks and yield the outcome of each when it ends. A failed task does not stop the others."""

    def describe(self) -> str:
        """Describe the hardware for the report."""


@dataclass(frozen=True)
class SerialEngine:
    """Runs tasks one after another in this process."""

    def run(
        self, tasks: Sequence[ComparisonTask], store: ArtifactStore, display: ProgressDisplay
    ) -> Iterator[TaskResult]:
        """Run the tasks in order and yield each outcome."""
        for task in tasks:
            with watch_progress(partial(_show_progress, display, task.name)):
                result = run_task(task, store)
            yield result

    def describe(self) -> str:
        """Describe the device and the threads of this process."""
        return f"{describe_device()}, 1 process of {torch.get_num_threads()} threads"


@dataclass(frozen=True)
class ProcessEngine:
    """Runs tasks in worker processes, which share the cores of this machine.

    Attributes:
        workers: Number of worker processes.
    """

    workers: int

    @property
    def threads(self) -> int:
        """Number of threads per process."""
        return max(1, (os.cpu_count() or 1) // self.workers)

    def run(
        self, tasks: Sequence[ComparisonTask], store: ArtifactStore, display: ProgressDisplay
    ) -> Iterator[TaskResult]:
        """Run one task per worker at a time and yield each outcome.

        Raises:
            TrainingError: A worker was killed.
        """
        context = _process_context()
        progress = context.SimpleQueue()
        reader = threading.Thread(target=_show_worker_progress, args=(progress, display), daemon=True)
        reader.start()
        other_children = set(multiprocessing.active_children())
        with ProcessPoolExecutor(
            min(self.workers, len(tasks)), context, initializer=_start_worker, initargs=(self.threads, progress)
        ) as pool:
            futures = [pool.submit(_run_worker_task, task, store) for task in tasks]
            # The pool only watches workers that existed when it last woke. This wakes it when all of them exist.
            pool.submit(os.getpid)
            try:
                for future in as_completed(futures):
                    yield future.result()
            except BaseException as error:
                pool.shutdown(wait=False, cancel_futures=True)
                # Waiting for running tasks would delay Ctrl-C, and --resume starts them again.
                for worker in set(multiprocessing.active_children()) - other_children:
                    worker.terminate()
                if isinstance(error, BrokenProcessPool):
                    raise _killed_worker_error() from error
                raise
        progress.put(None)
        reader.join()

    def describe(self) -> str:
        """Describe the device, the processes and their threads."""
        return f"{describe_device()}, {self.workers} processes of {self.threads} threads"


def _process_context() -> BaseContext:
    """Return the way to start workers: on Linux as copies of one process that has imported torch and nothing else.

    Elsewhere each worker imports torch, which takes seconds: copies of a process are not safe with macOS's libraries.
    """
    context = multiprocessing.get_context("forkserver" if sys.platform == "linux" else "spawn")
    context.set_forkserver_preload([__name__])
    return context


def _show_progress(display: ProgressDisplay, name: str, phase: str, step: int, steps: int, left: float) -> None:
    display.show_task(TaskProgress(name, phase, step, steps, left))


def run_task(task: ComparisonTask, store: ArtifactStore) -> TaskResult:
    """Run a task and return its outcome; expected errors become a reason in one line."""
    try:
        task(store)
    except GermlineError as error:
        return TaskResult(task, " ".join(str(error).split()))
    except (RuntimeError, MemoryError) as error:  # raised by torch, for example when memory runs out
        reason = str(error).splitlines()[0] if str(error) else "no reason given"
        return TaskResult(task, f"{type(error).__name__}: {reason}")
    return TaskResult(task)


def _run_worker_task(task: ComparisonTask, store: ArtifactStore) -> TaskResult:
    """Run a task in a worker, and send its progress to the process that shows it."""
    progress = _PROGRESS_QUEUES[0]
    with watch_progress(lambda *report: progress.put(TaskProgress(task.name, *report))):
        return run_task(task, store)


# The queue to the process that shows progress; empty outside a worker.
_PROGRESS_QUEUES: list[multiprocessing.SimpleQueue[TaskProgress | None]] = []


def _start_worker(threads: int, progress: multiprocessing.SimpleQueue[TaskProgress | None]) -> None:
    torch.set_num_threads(threads)
    _PROGRESS_QUEUES[:] = [progress]
    # Ctrl-C reaches every process of a terminal. Only the parent answers it, and then stops its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_exit_with_parent, daemon=True).start()


def _exit_with_parent() -> None:
    """Exit when the parent was killed; an orphan would work beside the resumed run."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _show_worker_progress(queue: multiprocessing.SimpleQueue[TaskProgress | None], display: ProgressDisplay) -> None:
    while (progress := queue.get()) is not None:
        display.show_task(progress)


def _killed_worker_error() -> TrainingError:
    return TrainingError(
        "A worker process was killed",
        "It probably ran out of memory",
        "Pass fewer --workers, and --resume to continue",
    )
