"""Kept phases: what a finished piece of work came to, whole or not at all, so that a later try need not do it again."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from germline.errors import ArtefactError, SettingError
from germline.files import atomic_folder, hash_tensor, read_json, read_tensors, write_json, write_tensors
from germline.network import Network, load_strict
from germline.training.objectives import Objective

_LOGGER = logging.getLogger("germline")
PHASE_TENSORS, PHASE_STATE = "kept.safetensors", "kept.json"
_MODEL, _OBJECTIVE, _RESULT = "result.safetensors", "objective.safetensors", "result.json"

PhaseState = tuple[dict[str, Tensor], dict[str, Any]]
PhaseWork = Callable[[], tuple[Mapping[str, Tensor], dict[str, Any]]]


def phase_folder(folder: Path, name: str) -> Path:
    """Where the phase `name` is kept.

    Raises:
        SettingError: The name does not lead to a place below the folder.
    """
    parts = Path(name).parts
    if not parts or Path(name).is_absolute() or ".." in parts:
        raise SettingError(f"phase '{name}'", "its name is that of a folder within the run's", "use letters and digits")
    return folder / name


def as_stored(name: str, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> PhaseState:
    """A state as reading it back would give it: tensors on the CPU that share no memory, facts as JSON has them.

    Raises:
        SettingError: The facts are none that JSON can hold.
    """
    try:
        known = json.loads(json.dumps(facts, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise SettingError(
            f"the facts of phase '{name}' cannot be kept", str(error), "give numbers, text, lists and dicts; no nan"
        ) from error
    copies = {key: value.detach().cpu().clone(memory_format=torch.contiguous_format) for key, value in tensors.items()}
    return copies, known


def write_phase(place: Path, state: PhaseState) -> None:
    """Write a state in the place of whatever is there; a crash leaves the old folder or the new one."""
    tensors, facts = state
    hashes = {name: hash_tensor(tensor) for name, tensor in tensors.items()}
    with atomic_folder(place) as fresh:
        write_tensors(fresh / PHASE_TENSORS, tensors)
        write_json(fresh / PHASE_STATE, {"sha256": {"facts": _facts_hash(facts), "tensors": hashes}, "facts": facts})


def read_phase(place: Path) -> PhaseState | None:
    """The state in a folder; None where there is none, or a damaged one, which is named in a warning."""
    if not (place / PHASE_STATE).exists():
        return None
    try:
        return _read(place)
    except (ArtefactError, KeyError, TypeError, AttributeError) as error:
        _LOGGER.warning("what was kept in %s is passed over and made again: %s", place, error)
        return None


def _read(place: Path) -> PhaseState:
    state, tensors = read_json(place / PHASE_STATE), read_tensors(place / PHASE_TENSORS)
    facts, hashes = state["facts"], state["sha256"]
    # The hashes are in the order in which the tensors were given; the file has an order of its own.
    found = {name: tensors[name] for name in hashes["tensors"]}
    whole = {"facts": _facts_hash(facts), "tensors": {name: hash_tensor(tensor) for name, tensor in found.items()}}
    if whole != hashes or found.keys() != tensors.keys():
        raise ArtefactError(f"'{place}' is damaged", "a hash is not the one that was written")
    return found, facts


def _facts_hash(facts: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


@dataclass(frozen=True)
class FitResult:
    """What a phase of training came to.

    Attributes:
        steps: Optimiser steps.
        samples: Pictures seen, repeats counted.
        seconds: Wall time, earlier tries of a resumed run not counted.
        losses: (step, loss) of the logged steps.
        scores: One entry an evaluation: step, accuracy, loss.
    """

    steps: int
    samples: int
    seconds: float
    losses: list[tuple[int, float]]
    scores: list[dict[str, float]]

    @property
    def accuracy(self) -> float:
        """Accuracy after the last step; a run without validation pictures has none and gives nan."""
        return self.scores[-1]["accuracy"] if self.scores else float("nan")


def write_result(place: Path, network: Network, objective: Objective, result: FitResult) -> None:
    """Keep what a phase came to, the weights that its objective owns included; with this it is finished."""
    write_tensors(place / _MODEL, network.model.state_dict())
    if owned := objective.state_dict():
        write_tensors(place / _OBJECTIVE, owned)
    write_json(place / _RESULT, result.__dict__)


def read_result(place: Path, network: Network, objective: Objective) -> FitResult:
    """The result of a finished phase; network and objective get their weights."""
    load_strict(network.model, read_tensors(place / _MODEL), place)
    if objective.state_dict():
        load_strict(objective, read_tensors(place / _OBJECTIVE), place)
    network.model.eval()
    stored = read_json(place / _RESULT)
    return FitResult(**{**stored, "losses": [(int(step), float(loss)) for step, loss in stored["losses"]]})


def has_result(place: Path) -> bool:
    """Whether the phase in a folder is finished."""
    return (place / _RESULT).exists()
