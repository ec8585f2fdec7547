"""Work of a Ray worker process: check that its node fits the comparison, then run tasks.

Nodes need the same versions of germline and its libraries, the same data, and a store that all of them reach.
"""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from germline.compare.run.executor import ComparisonTask, run_task
from germline.compare.run.part_keys import name_by_content
from germline.compare.run.progress import TaskProgress
from germline.compare.run.store import READINGS_FILE, ArtifactStore
from germline.data.search_path import DATA_VARIABLE
from germline.errors import SettingError
from germline.learngene import library_versions
from germline.training.progress import watch_progress

IDENTITY_FILE = ".identity"

# Stores of the stages that this worker process has checked, by token. They keep the specs that they have computed.
_STORES: dict[str, ArtifactStore] = {}


@dataclass(frozen=True)
class StageContext:
    """What a worker has to know and to check before it runs tasks of a stage.

    Attributes:
        token: Unique name of the stage.
        identity: Text of the file in the store's folder that identifies it; None: the store is remote.
        versions: Versions of the driver's libraries.
        fingerprints: Fingerprints of the driver's data, by name.
        threads: Number of threads of torch per task.
        folder: Working folder of the driver.
        data_folders: Driver's value of GERMLINE_DATA; None: it is not set.
    """

    token: str
    identity: str | None
    versions: Mapping[str, str]
    fingerprints: Mapping[str, str]
    threads: int
    folder: str
    data_folders: str | None


def run_on_node(task: ComparisonTask, shared: Any) -> tuple[str | None, str]:
    """Run a task in a worker process of a node.

    Args:
        task: Task to run.
        shared: Store, context of the stage, and mailbox for progress.

    Returns:
        The reason of a failure in one line, or None; and lines for the driver's log of final data.
    """
    store, context, mailbox = shared

    def report(*progress: Any) -> None:
        mailbox.put_progress.remote(TaskProgress(task.name, *progress))

    torch.set_num_threads(context.threads)
    with watch_progress(report):
        result = run_task(_CheckedTask(task, context), store)
    readings = _local_folder(context) / READINGS_FILE
    if not readings.exists():
        return result.error, ""
    text = readings.read_text(encoding="utf-8")
    shutil.rmtree(readings.parent)
    return result.error, text


@dataclass(frozen=True)
class _CheckedTask:
    """A task whose worker process is checked first, once per stage."""

    task: ComparisonTask
    context: StageContext

    @property
    def name(self) -> str:
        return self.task.name

    def __call__(self, store: ArtifactStore) -> None:
        token = self.context.token
        if token not in _STORES:
            _prepare_worker(self.context, store)
            _STORES.clear()
            _STORES[token] = replace(store, out=_local_folder(self.context))
        self.task(_STORES[token])


def _local_folder(context: StageContext) -> Path:
    """Return this process's output folder, which exists only between a reading of final data and its log.

    The comparison's output folder may not exist on this machine, so the driver writes the log.
    """
    return Path(tempfile.gettempdir()) / f"germline-{context.token}-{os.getpid()}"


def _prepare_worker(context: StageContext, store: ArtifactStore) -> None:
    """Use the driver's folders, and check that this node would make the same parts, and where the driver sees them."""
    if Path(context.folder).is_dir():
        os.chdir(context.folder)
    if context.data_folders is not None:
        os.environ[DATA_VARIABLE] = context.data_folders
    node = socket.gethostname()
    place = store.folder / IDENTITY_FILE
    is_same = place.exists() and place.read_text(encoding="utf-8") == context.identity
    if context.identity is not None and not is_same:
        raise SettingError(
            f"node '{node}' does not see the store '{store.folder}'",
            "The folder is not shared with the machine that started the comparison",
            "Pass a shared folder or a URL such as s3://bucket/path as --store",
        )
    versions = library_versions()
    other = [name for name, version in context.versions.items() if versions.get(name) != version]
    if other:
        raise SettingError(
            f"node '{node}' has other versions of {', '.join(other)}",
            "Results would depend on the node",
            "Install the same versions on all nodes",
        )
    fingerprints = fingerprint_all(store)
    changed = [name for name, fingerprint in context.fingerprints.items() if fingerprints[name] != fingerprint]
    if changed:
        raise SettingError(
            f"node '{node}' has other images of {', '.join(changed)}",
            "Results would depend on the node",
            "Give all nodes the same data",
        )


def fingerprint_all(store: ArtifactStore) -> dict[str, str]:
    """Return the fingerprints of the data of a comparison and its ancestor, by name."""
    names = dict.fromkeys((store.recipe.data, store.recipe.ancestor.data))
    return {name: name_by_content(name) for name in names}
