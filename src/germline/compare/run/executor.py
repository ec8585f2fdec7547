"""Where the tasks of a comparison are done: one after the other, or in processes of this machine.

A task is a small picklable thing that is called with the workshop; all that it makes goes into the workshop's store. An
engine for a cluster has to call tasks somewhere that sees the same folder, and to say how each of them ended.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import torch

from germline.compare.run.progress import ProgressDisplay, TaskProgress
from germline.compare.run.store import ArtifactStore
from germline.errors import GermlineError, TrainingError
from germline.training import best_device
from germline.training.progress import watch_progress


class ComparisonTask(Protocol):
    """A piece of work that makes or finds something in the store."""

    @property
    def name(self) -> str:
        """For people to read; unique among the tasks of a stage."""

    def __call__(self, store: ArtifactStore) -> None:
        """Do it."""


@dataclass(frozen=True)
class TaskResult:
    """How a task ended.

    Attributes:
        task: Which one.
        error: Why it failed, in a line; None where it did not.
    """

    task: ComparisonTask
    error: str | None = None


class Engine(Protocol):
    """Does tasks that do not wait for each other."""

    def run(
        self, tasks: Sequence[ComparisonTask], store: ArtifactStore, display: ProgressDisplay
    ) -> Iterator[TaskResult]:
        """Do all of them, and give each as it ends; a failed one does not keep the others from being done."""

    def describe(self) -> str:
        """On what it computes, for the report."""


@dataclass(frozen=True)
class SerialEngine:
    """Does tasks in this process."""

    def run(
        self, tasks: Sequence[ComparisonTask], store: ArtifactStore, display: ProgressDisplay
    ) -> Iterator[TaskResult]:
        """One after the other."""
        for task in tasks:
            with watch_progress(partial(_show_progress, display, task.name)):
                ended = _run_task(task, store)
            yield ended

    def describe(self) -> str:
        """Threads of this process."""
        return f"{best_device()}, 1 process of {torch.get_num_threads()} threads"


@dataclass(frozen=True)
class ProcessEngine:
    """Does tasks in processes of this machine, which share its cores.

    Attributes:
        workers: Processes.
    """

    workers: int

    @property
    def threads(self) -> int:
        """Of each process."""
        return max(1, (os.cpu_count() or 1) // self.workers)

    def run(
        self, tasks: Sequence[ComparisonTask], store: ArtifactStore, display: ProgressDisplay
    ) -> Iterator[TaskResult]:
        """As many at once as there are workers.

        Raises:
            TrainingError: A worker was killed.
        """
        context = multiprocessing.get_context("spawn")
        lines = context.SimpleQueue()
        reader = threading.Thread(target=_show_worker_progress, args=(lines, display), daemon=True)
        reader.start()
        others = set(multiprocessing.active_children())
        with ProcessPoolExecutor(
            min(self.workers, len(tasks)), context, initializer=_start_worker, initargs=(self.threads, lines)
        ) as pool:
            waiting = [pool.submit(_run_worker_task, task, store) for task in tasks]
            # The pool watches over the workers that it had when it last woke; this wakes it with all of them there.
            pool.submit(os.getpid)
            try:
                for future in as_completed(waiting):
                    yield future.result()
            except BaseException as error:
                pool.shutdown(wait=False, cancel_futures=True)
                # What they are at is begun again on --resume; to wait for it would keep Ctrl-C waiting.
                for worker in set(multiprocessing.active_children()) - others:
                    worker.terminate()
                if isinstance(error, BrokenProcessPool):
                    raise _worker_died() from error
                raise
        lines.put(None)
        reader.join()

    def describe(self) -> str:
        """Processes and their threads."""
        return f"{best_device()}, {self.workers} processes of {self.threads} threads"


def _show_progress(display: ProgressDisplay, name: str, phase: str, step: int, whole: int, left: float) -> None:
    display.show(TaskProgress(name, phase, step, whole, left))


def _run_task(task: ComparisonTask, store: ArtifactStore) -> TaskResult:
    try:
        task(store)
    except GermlineError as error:
        return TaskResult(task, " ".join(str(error).split()))
    except (RuntimeError, MemoryError) as error:  # what torch raises when it is out of memory, or cannot go on
        return TaskResult(
            task, f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no reason given'}"
        )
    return TaskResult(task)


def _run_worker_task(task: ComparisonTask, store: ArtifactStore) -> TaskResult:
    """In a worker: what its training comes to is told to the process that shows it."""
    lines = _PROGRESS_QUEUES[0]
    with watch_progress(lambda *come: lines.put(TaskProgress(task.name, *come))):
        return _run_task(task, store)


_PROGRESS_QUEUES: list[multiprocessing.SimpleQueue[TaskProgress | None]] = []


def _start_worker(threads: int, lines: multiprocessing.SimpleQueue[TaskProgress | None]) -> None:
    torch.set_num_threads(threads)
    _PROGRESS_QUEUES[:] = [lines]
    # Ctrl-C reaches every process of a terminal; the one that was started by hand answers for all.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_exit_with_parent, args=(os.getppid(),), daemon=True).start()


def _exit_with_parent(parent: int) -> None:
    """End this worker when its parent was killed; an orphan would work beside the run that is resumed."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def _show_worker_progress(lines: multiprocessing.SimpleQueue[TaskProgress | None], display: ProgressDisplay) -> None:
    while (line := lines.get()) is not None:
        display.show(line)


def _worker_died() -> TrainingError:
    return TrainingError(
        "a worker process was killed", "mostly for want of memory", "pass fewer --workers; --resume goes on"
    )
