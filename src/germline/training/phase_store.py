"""Kept phases: what a finished piece of work came to, whole or not at all, so that a later try need not do it again."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from germline.errors import ArtefactError, SettingError
from germline.files import atomic_folder, hash_tensor, read_json, read_tensors, write_json, write_tensors

LOGGER = logging.getLogger("germline")
TENSORS, STATE = "kept.safetensors", "kept.json"

State = tuple[dict[str, Tensor], dict[str, Any]]
Work = Callable[[], tuple[Mapping[str, Tensor], dict[str, Any]]]


def place_of(folder: Path, name: str) -> Path:
    """Where the phase `name` is kept.

    Raises:
        SettingError: The name does not lead to a place below the folder.
    """
    parts = Path(name).parts
    if not parts or Path(name).is_absolute() or ".." in parts:
        raise SettingError(f"phase '{name}'", "its name is that of a folder within the run's", "use letters and digits")
    return folder / name


def as_read(name: str, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> State:
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


def write_kept(place: Path, state: State) -> None:
    """Write a state in the place of whatever is there; a crash leaves the old folder or the new one."""
    tensors, facts = state
    hashes = {name: hash_tensor(tensor) for name, tensor in tensors.items()}
    with atomic_folder(place) as fresh:
        write_tensors(fresh / TENSORS, tensors)
        write_json(fresh / STATE, {"sha256": {"facts": _facts_hash(facts), "tensors": hashes}, "facts": facts})


def read_kept(place: Path) -> State | None:
    """The state in a folder; None where there is none, or a damaged one, which is named in a warning."""
    if not (place / STATE).exists():
        return None
    try:
        return _read(place)
    except (ArtefactError, KeyError, TypeError, AttributeError) as error:
        LOGGER.warning("what was kept in %s is passed over and made again: %s", place, error)
        return None


def _read(place: Path) -> State:
    state, tensors = read_json(place / STATE), read_tensors(place / TENSORS)
    facts, hashes = state["facts"], state["sha256"]
    # The hashes are in the order in which the tensors were given; the file has an order of its own.
    found = {name: tensors[name] for name in hashes["tensors"]}
    whole = {"facts": _facts_hash(facts), "tensors": {name: hash_tensor(tensor) for name, tensor in found.items()}}
    if whole != hashes or found.keys() != tensors.keys():
        raise ArtefactError(f"'{place}' is damaged", "a hash is not the one that was written")
    return found, facts


def _facts_hash(facts: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()
