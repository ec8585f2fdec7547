"""Engine that runs the tasks of a comparison on a Ray cluster."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import secrets
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from germline.compare.run.executor import ComparisonTask, TaskResult
from germline.compare.run.progress import ProgressDisplay, TaskProgress
from germline.compare.run.progress_mailbox import ProgressMailbox
from germline.compare.run.ray_worker import IDENTITY_FILE, StageContext, fingerprint_all, run_on_node
from germline.compare.run.store import READINGS_FILE, ArtifactStore
from germline.data.search_path import DATA_VARIABLE
from germline.errors import SettingError
from germline.files import append_json, file_lock, write_text
from germline.learngene import library_versions

WAIT_SECONDS = 0.5  # between two looks at the progress of running tasks
LONG_WAIT_SECONDS = 60.0  # without the end of a task, before the nodes are counted again


@dataclass(frozen=True)
class RayEngine:
    """Runs tasks on the nodes of a Ray cluster.

    Attributes:
        address: Address of the cluster, "auto" for that of this machine; None: `RAY_ADDRESS`, or else this machine.
        cpus: CPUs per task; torch uses as many threads, and at least one.
        gpus: GPUs per task, a fraction to share one; None: one if the cluster has GPUs.
        retries: Number of times that a task starts again after its node or worker died.
    """

    address: str | None = None
    cpus: float = 1.0
    gpus: float | None = None
    retries: int = 3
    _kept: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    def run(
        self, tasks: Sequence[ComparisonTask], store: ArtifactStore, display: ProgressDisplay
    ) -> Iterator[TaskResult]:
        """Run all tasks as Ray tasks and yield the outcome of each when it ends.

        Raises:
            SettingError: No cluster answers, or no node is large enough for a task.
        """
        ray = connect_to_ray(self.address)
        options = self._choose_resources(ray)
        context = self._make_context(store)
        mailbox = self._find_mailbox(ray)
        run = ray.remote(**options, max_retries=self.retries)(run_on_node)
        shared = ray.put((replace(store, folder=store.folder.absolute()), context, mailbox))
        pending = {run.remote(task, shared): task for task in tasks}
        try:
            for reference in _wait_for_each(ray, pending, options, mailbox, display):
                error, readings = self._read_outcome(ray, reference)
                for reading in readings.splitlines():
                    append_json(store.out / READINGS_FILE, json.loads(reading))
                yield TaskResult(pending.pop(reference), error)
        finally:
            # After an error or Ctrl-C, running tasks would work for a run that has ended.
            # Where the cluster is gone, there is nothing to stop, and the first error matters.
            with contextlib.suppress(Exception):
                for reference in pending:
                    ray.cancel(reference, force=True)

    def describe(self) -> str:
        """Describe the cluster and what each task has of it."""
        ray = connect_to_ray(self.address)
        nodes = _list_nodes(ray)
        total = {kind: sum(node.get(kind, 0) for node in nodes) for kind in ("CPU", "GPU")}
        cluster = f"{len(nodes)} nodes with {total['CPU']:g} CPUs and {total['GPU']:g} GPUs"
        share = {"num_cpus": self.cpus, "num_gpus": self._choose_gpus(nodes)}
        return f"Ray {ray.__version__}, {cluster}, {_describe_share(share)} per task"

    def _choose_resources(self, ray: Any) -> dict[str, float]:
        """Return the resources of a task, once some node is known to have them."""
        share = {"num_cpus": self.cpus, "num_gpus": self._choose_gpus(_list_nodes(ray))}
        if not _has_room(ray, share):
            raise SettingError(
                f"no node of the cluster has {_describe_share(share)}",
                "Tasks would wait without end",
                "Pass smaller --task-cpus or --task-gpus, or add a node",
            )
        return share

    def _choose_gpus(self, nodes: Sequence[Mapping[str, float]]) -> float:
        if self.gpus is not None:
            return self.gpus
        return 1.0 if any(node.get("GPU", 0) for node in nodes) else 0.0

    def _make_context(self, store: ArtifactStore) -> StageContext:
        identity = _identify_folder(store.folder) if store.remote is None else None
        return StageContext(
            token=secrets.token_hex(8),
            identity=identity,
            versions=library_versions(),
            fingerprints=fingerprint_all(store),
            threads=max(1, int(self.cpus)),
            folder=str(Path.cwd()),
            data_folders=os.environ.get(DATA_VARIABLE),
        )

    def _find_mailbox(self, ray: Any) -> Any:
        """Return the mailbox of this connection. Starting its process takes as long as a hundred short tasks."""
        key = f"mailbox of {ray.get_runtime_context().get_job_id()}"
        if key not in self._kept:
            self._kept[key] = _start_mailbox(ray)
        return self._kept[key]

    def _read_outcome(self, ray: Any, reference: Any) -> tuple[str | None, str]:
        """Return the error of a task and what it noted about final data; errors of germline's code are raised here."""
        try:
            outcome: tuple[str | None, str] = ray.get(reference)
        except ray.exceptions.RayTaskError as error:
            raise error.as_instanceof_cause() from error
        except ray.exceptions.RayError as error:
            reason = f"{type(error).__name__}: {str(error).strip().splitlines()[0]}"
            return f"Its node or worker died {self.retries + 1} times. The last reason is {reason}", ""
        return outcome


def connect_to_ray(address: str | None) -> Any:
    """Return the module of Ray, connected to a cluster; without an address, a cluster of this machine starts.

    Raises:
        SettingError: No cluster answers.
    """
    # Ray would report its use to its makers.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray

    if ray.is_initialized():
        return ray
    place = address or os.environ.get("RAY_ADDRESS") or "local"
    options: dict[str, Any] = {"include_dashboard": False} if place == "local" else {}
    try:
        ray.init(address=place, log_to_driver=False, logging_level=logging.ERROR, **options)
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise SettingError(
            f"no Ray cluster answers at '{place}'",
            reason,
            "Run ray start --head on one machine and pass its --address, or leave --address out",
        ) from error
    return ray


def _identify_folder(folder: Path) -> str:
    """Return the text by which nodes know that a store's folder is the driver's, and not one of the same name."""
    path = folder / IDENTITY_FILE
    with file_lock(path.with_suffix(".lock")):
        if not path.exists():
            write_text(path, secrets.token_hex(16))
        return path.read_text(encoding="utf-8")


def _list_nodes(ray: Any) -> list[dict[str, float]]:
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def _start_mailbox(ray: Any) -> Any:
    """Start the mailbox beside the driver, since other nodes may die."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    beside = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
    make = ray.remote(num_cpus=0, max_restarts=-1, scheduling_strategy=beside)(ProgressMailbox)
    return make.remote()


def _has_room(ray: Any, share: Mapping[str, float]) -> bool:
    """Tell whether some node is large enough for a task."""
    return any(
        node.get("CPU", 0) >= share["num_cpus"] and node.get("GPU", 0) >= share["num_gpus"] for node in _list_nodes(ray)
    )


def _describe_share(share: Mapping[str, float]) -> str:
    return f"{share['num_cpus']:g} CPUs and {share['num_gpus']:g} GPUs"


def _wait_for_each(
    ray: Any,
    pending: Mapping[Any, ComparisonTask],
    share: Mapping[str, float],
    mailbox: Any,
    display: ProgressDisplay,
) -> Iterator[Any]:
    """Yield the reference of each task that ends, and show the progress of the others meanwhile."""
    show, last = _make_progress_reader(ray, mailbox, display), time.monotonic()
    while pending:
        waiting = list(pending)
        ready, _ = ray.wait(waiting, timeout=WAIT_SECONDS)
        if ready:
            ready, _ = ray.wait(waiting, num_returns=len(waiting), timeout=0)
            last = time.monotonic()
        elif time.monotonic() - last > LONG_WAIT_SECONDS:
            last = time.monotonic()
            # The only node with a GPU may have died.
            if not _has_room(ray, share):
                text = f"germline: No node of the cluster has {_describe_share(share)} now. Tasks wait for one."
                print(text, file=sys.stderr, flush=True)
        show({task.name for reference, task in pending.items() if reference not in ready})
        yield from ready


def _make_progress_reader(ray: Any, mailbox: Any, display: ProgressDisplay) -> Callable[[set[str]], None]:
    """Return a function that shows new progress of tasks. It never waits: a slow mailbox must not delay results."""
    asked: list[Any] = [mailbox.collect_progress.remote()]
    last = [time.monotonic()]

    def show(running: set[str]) -> None:
        if time.monotonic() - last[0] < WAIT_SECONDS or not ray.wait(asked, timeout=0)[0]:
            return
        last[0] = time.monotonic()
        try:
            collected: list[TaskProgress] = ray.get(asked[0])
        except ray.exceptions.RayError:  # the mailbox restarts
            collected = []
        asked[0] = mailbox.collect_progress.remote()
        # The last progress of a task may arrive after its end.
        for progress in collected:
            if progress.task in running:
                display.show_task(progress)

    return show
