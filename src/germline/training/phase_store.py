"""Results of finished phases, saved atomically, so that a resumed run skips them."""

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
from germline.files import (
    atomic_folder,
    hash_tensor,
    read_json,
    read_metadata,
    read_tensors,
    write_json,
    write_tensors,
)
from germline.network import Network, load_strict
from germline.seals import check_seal, make_seal
from germline.training.objectives import Objective

_LOGGER = logging.getLogger("germline")
PHASE_TENSORS, PHASE_STATE = "kept.safetensors", "kept.json"
_MODEL, _OBJECTIVE, _RESULT = "result.safetensors", "objective.safetensors", "result.json"

PhaseState = tuple[dict[str, Tensor], dict[str, Any]]
PhaseWork = Callable[[], tuple[Mapping[str, Tensor], dict[str, Any]]]


def find_phase_folder(folder: Path, name: str) -> Path:
    """Return the folder of the phase `name`.

    Raises:
        SettingError: The name leads out of the run's folder.
    """
    parts = Path(name).parts if isinstance(name, str) else ()
    if not parts or Path(name).is_absolute() or ".." in parts:
        raise SettingError(f"phase '{name}'", "Its name is a path within the run's folder", "Use letters and digits")
    return folder / name


def normalise_state(name: str, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> PhaseState:
    """Convert a state to what reading it returns: tensors on the CPU in memory of their own, facts as in JSON.

    Raises:
        SettingError: JSON cannot represent the facts.
    """
    try:
        as_json = json.loads(json.dumps(facts, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise SettingError(
            f"The facts of phase '{name}' cannot be saved", str(error), "Use numbers, text, lists and dicts, but no nan"
        ) from error
    copies = {key: value.detach().cpu().clone(memory_format=torch.contiguous_format) for key, value in tensors.items()}
    return copies, as_json


def write_phase(place: Path, state: PhaseState) -> None:
    """Replace a folder by a state atomically; a crash leaves the old or the new one."""
    tensors, facts = state
    hashes = {name: hash_tensor(tensor) for name, tensor in tensors.items()}
    with atomic_folder(place) as fresh:
        write_tensors(fresh / PHASE_TENSORS, tensors)
        write_json(fresh / PHASE_STATE, {"sha256": {"facts": _facts_hash(facts), "tensors": hashes}, "facts": facts})


def read_phase(place: Path) -> PhaseState | None:
    """Read the state in a folder; None if it is missing, or damaged, with a warning."""
    if not (place / PHASE_STATE).exists():
        return None
    try:
        return _read(place)
    except (ArtefactError, LookupError, TypeError, ValueError, AttributeError, RecursionError) as error:
        _LOGGER.warning("The saved phase %s is damaged and computed again: %s", place, error)
        return None


def _read(place: Path) -> PhaseState:
    state, tensors = read_json(place / PHASE_STATE), read_tensors(place / PHASE_TENSORS)
    facts, hashes = state["facts"], state["sha256"]
    # The hashes keep the order of the given tensors; the file has another order.
    ordered = {name: tensors[name] for name in hashes["tensors"]}
    actual = {"facts": _facts_hash(facts), "tensors": {name: hash_tensor(tensor) for name, tensor in ordered.items()}}
    if actual != hashes or ordered.keys() != tensors.keys():
        raise ArtefactError(f"'{place}' is damaged", "A hash differs from the saved one")
    return ordered, facts


def _facts_hash(facts: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


@dataclass(frozen=True)
class FitResult:
    """Result of a phase of training.

    Attributes:
        steps: Number of optimiser steps.
        samples: Number of images seen, with repeats.
        seconds: Wall time, without earlier tries of a resumed run.
        losses: (step, loss) of the logged steps.
        scores: One entry per evaluation: step, accuracy, loss.
    """

    steps: int
    samples: int
    seconds: float
    losses: list[tuple[int, float]]
    scores: list[dict[str, float]]

    @property
    def accuracy(self) -> float:
        """Accuracy after the last step; nan without validation images."""
        return self.scores[-1]["accuracy"] if self.scores else float("nan")


def write_result(place: Path, network: Network, objective: Objective, result: FitResult) -> None:
    """Save the result of a phase with all weights, including the objective's; this marks it as finished."""
    state, facts = network.model.state_dict(), {_RESULT: result.__dict__}
    write_tensors(place / _MODEL, state, make_seal(state, facts))
    if tensors := objective.state_dict():
        write_tensors(place / _OBJECTIVE, tensors, make_seal(tensors, facts))
    write_json(place / _RESULT, result.__dict__)


def read_result(place: Path, network: Network, objective: Objective) -> FitResult:
    """Read the result of a finished phase, and load the weights of network and objective."""
    stored = read_json(place / _RESULT)
    load_strict(network.model, _read_sealed(place / _MODEL, stored), place)
    if objective.state_dict():
        load_strict(objective, _read_sealed(place / _OBJECTIVE, stored), place)
    network.model.eval()
    try:
        return FitResult(**{**stored, "losses": [(int(step), float(loss)) for step, loss in stored["losses"]]})
    except (LookupError, TypeError, ValueError) as error:
        raise ArtefactError(
            f"'{place / _RESULT}' is not the result of a training",
            f"There is a problem with {error}",
            "Restore a copy, or remove the folder to train again",
        ) from error


def _read_sealed(path: Path, result: Any) -> dict[str, Tensor]:
    """Read tensors and compare them, and the result beside them, with their hashes; earlier versions saved none."""
    tensors = read_tensors(path)
    check_seal(read_metadata(path), path, tensors, {_RESULT: result})
    return tensors


def has_result(place: Path) -> bool:
    """Return whether the phase in a folder is finished."""
    return (place / _RESULT).exists()
