"""Atomic checkpoints in a bounded number; damaged ones are skipped."""

from __future__ import annotations

import hashlib
import logging
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from germline.errors import ArtefactError
from germline.files import atomic_folder, read_json, read_tensors, write_json, write_tensors
from germline.seals import hash_json

_LOGGER = logging.getLogger("germline")


@dataclass(frozen=True)
class Checkpoint:
    """The state of a training run after a number of steps.

    Attributes:
        step: Number of steps done.
        tensors: Tensors by group: `model`, `optimizer` and, if there are any, `objective`, `second` (the objective's
            optimiser) and `average`.
        facts: Values that are not tensors: the history so far.
        origin: Folder that it was read from; empty for a new one.
    """

    step: int
    tensors: Mapping[str, Mapping[str, Tensor]]
    facts: Mapping[str, Any]
    origin: Path | str = ""


class CheckpointFolder:
    """The checkpoints of one phase."""

    def __init__(self, folder: Path, keep: int) -> None:
        self._folder, self._keep = folder, keep

    def save(self, checkpoint: Checkpoint) -> None:
        """Write a checkpoint, then remove the oldest ones above the limit."""
        with atomic_folder(self._folder / f"step-{checkpoint.step:08d}") as fresh:
            hashes = {}
            for group, tensors in checkpoint.tensors.items():
                write_tensors(fresh / f"{group}.safetensors", tensors)
                hashes[group] = _hash(fresh / f"{group}.safetensors")
            state = {"step": checkpoint.step, "sha256": hashes, "facts": checkpoint.facts}
            write_json(fresh / "state.json", {**state, "state_sha256": hash_json(state)})
        for old in self._all()[: -self._keep]:
            shutil.rmtree(old, ignore_errors=True)

    def load_latest(self) -> Checkpoint | None:
        """Load the newest intact checkpoint; log a warning for each damaged one."""
        for folder in reversed(self._all()):
            try:
                return _read(folder)
            except (ArtefactError, LookupError, TypeError, ValueError, AttributeError, RecursionError) as error:
                _LOGGER.warning("Checkpoint %s is skipped: %s", folder, error)
        return None

    def latest_path(self) -> Path | None:
        """Return the folder of the newest checkpoint, or None."""
        return next(reversed(self._all()), None)

    def _all(self) -> list[Path]:
        return sorted(self._folder.glob("step-*"))


def _read(folder: Path) -> Checkpoint:
    state = read_json(folder / "state.json")
    # Checkpoints of earlier versions have no hash of the state itself.
    if state.pop("state_sha256", None) not in (None, hash_json(state)):
        raise ArtefactError(f"'{folder / 'state.json'}' is damaged", "Its hash differs from the saved one")
    tensors = {}
    for group, expected in state["sha256"].items():
        path = folder / f"{group}.safetensors"
        tensors[group] = read_tensors(path)
        if _hash(path) != expected:
            raise ArtefactError(f"'{path}' is damaged", "Its hash differs from the saved one")
    if type(state["step"]) is not int or state["step"] < 0 or not isinstance(state["facts"], dict):
        raise ArtefactError(f"'{folder / 'state.json'}' is damaged", "Its step or its facts are of a wrong kind")
    return Checkpoint(step=state["step"], tensors=tensors, facts=state["facts"], origin=folder)


def _hash(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
