"""Checkpoints as training scripts write them: plain tensors found among nested entries, and pickles refused."""

from __future__ import annotations

import pickletools
import re
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from germline.errors import ArtefactError, SettingError
from germline.files import read_tensors
from germline.paths import open_regular

# Entries that hold the trained weights themselves; all others are averages, teachers, or parts.
PLAIN_ENTRIES = ("state_dict", "model_state_dict", "model", "net", "network", "module", "weights", "model_weights")
_BESIDE = re.compile(r"optim|sched|scaler|loss|criterion|hyper|callback|loop|rng|sampler|config|args", re.IGNORECASE)
_MOST_NESTED = 4
_GLOBAL = re.compile(r"GLOBAL ([\w.]+)")


@dataclass(frozen=True)
class SavedWeights:
    """The weights in a file.

    Attributes:
        tensors: Tensors by the names that the file gives.
        notes: What was chosen among the file's entries, one sentence each.
        facts: Other entries of the file, which may name the classes.
    """

    tensors: dict[str, Tensor]
    notes: tuple[str, ...]
    facts: Mapping[str, Any]


def read_checkpoint(path: Path, entry: str | None = None) -> SavedWeights:
    """Read the weights in a .pth, .pt, .bin, .ckpt or .safetensors file.

    Args:
        path: File to read.
        entry: Name of the entry that holds the weights, dotted if it is nested; None to find it.

    Raises:
        ArtefactError: The file is damaged, holds pickled objects, or no weights.
        SettingError: There are several sets of weights and no entry is named, or there is no such entry.
    """
    loaded = read_tensors(path) if path.suffix == ".safetensors" else _read_pickle(path)
    facts = loaded if isinstance(loaded, Mapping) else {}
    found = dict(_find_states(loaded))
    if not found:
        raise ArtefactError(
            f"'{path}' holds no state dict",
            f"a mapping from names to tensors is expected, it is {_describe(loaded)}",
            "give a file that holds `model.state_dict()`",
        )
    chosen, notes = _choose_entry(path, found, entry)
    tensors = found[chosen]
    loose = [name for name, value in facts.items() if isinstance(value, Tensor) and value.ndim > 1] if chosen else []
    if loose:
        notes.append(f"{len(loose)} tensors beside '{chosen}' are left out, first '{loose[0]}'")
    half = sorted({str(tensor.dtype)[6:] for tensor in tensors.values() if _is_other_float(tensor)})
    if half:
        notes.append(f"weights in {', '.join(half)} are cast to float32")
    tensors = {
        name: tensor.detach().float() if _is_other_float(tensor) else tensor.detach()
        for name, tensor in tensors.items()
    }
    return SavedWeights(tensors, tuple(notes), facts)


def _is_other_float(tensor: Tensor) -> bool:
    return tensor.is_floating_point() and tensor.dtype != torch.float32


def _find_states(value: Any, place: str = "", nesting: int = 0) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """Yield every mapping from names to tensors with its place; training facts beside tensors are left out.

    Tensors beside an entry with a network's usual name are such facts too, such as a confusion matrix.
    """
    if not isinstance(value, Mapping) or nesting > _MOST_NESTED:
        return
    tensors = {name: tensor for name, tensor in value.items() if isinstance(name, str) and isinstance(tensor, Tensor)}
    nested = {
        inside: state
        for name, inner in value.items()
        if isinstance(name, str) and not _BESIDE.search(name)
        for inside, state in _find_states(inner, f"{place}.{name}" if place else name, nesting + 1)
    }
    is_state = any(tensor.ndim > 1 for tensor in tensors.values()) or (tensors and len(tensors) == len(value))
    if is_state and not any(_is_plain(inside) for inside in nested):
        yield place, tensors
        return
    yield from nested.items()


def _is_plain(place: str) -> bool:
    return place.rpartition(".")[2] in PLAIN_ENTRIES


def _choose_entry(path: Path, found: Mapping[str, Any], entry: str | None) -> tuple[str, list[str]]:
    """Choose one set of weights: the named one, the only one, or the plain one."""
    places = list(found)
    if entry is not None and entry in found:
        return entry, [f"weights are read from '{entry}'"]
    # Prefixes of names can be chosen too, later on.
    is_prefix = entry is not None and any(entry in name.split(".") for state in found.values() for name in state)
    if len(places) == 1 and (entry is None or is_prefix):
        return places[0], [f"weights are read from '{places[0]}'"] if places[0] else []
    plain = [place for place in places if _is_plain(place)]
    if len(plain) == 1 and entry is None:
        others = ", ".join(f"'{place}'" for place in places if place != plain[0])
        return plain[0], [f"weights are read from '{plain[0]}', and not from {others}"]
    names = ", ".join(f"'{place}'" for place in places[:8])
    if entry is not None:
        held = f"it has weights in {names}" if any(places) else "it has one set of weights"
        fix = f"use entry={places[0]}" if places[0] else "remove entry"
        raise SettingError(f"'{path}' has no entry '{entry}'", held, fix)
    raise SettingError(
        f"'{path}' holds several sets of weights",
        f"they are in {names}, and none is plainly the network's",
        f"choose one of them: --model NAME,entry={places[0]}",
    )


def _describe(value: Any) -> str:
    if isinstance(value, Mapping):
        return f"a mapping with {', '.join(repr(key) for key in list(value)[:5]) or 'nothing'}"
    return f"a {type(value).__name__}"


def _read_pickle(path: Path) -> Any:
    open_regular(path).close()
    if _is_script(path):  # torch.load would open it, and it holds code
        raise ArtefactError(
            f"'{path}' is a TorchScript archive",
            "it holds code beside its weights",
            _save_anew(path, "torch.jit.load", ".state_dict()"),
        )
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds here, from zip to unpickling errors
        text = str(error).strip() or type(error).__name__
        names = _list_globals(path, text)
        if names:
            entry = _find_entry(path)
            what = f"['{entry}']" if entry else "" if _is_namespace(names) else ".state_dict()"
            raise ArtefactError(
                f"'{path}' cannot be read as plain weights: it holds pickled objects, first {names[0]}",
                "a pickled object can run code when it is opened, and torch.load(weights_only=True) refuses it",
                _save_anew(path, "torch.load", what, ", weights_only=False"),
            ) from error
        raise ArtefactError(
            f"'{path}' cannot be read as plain weights",
            # The rest of torch's message explains how to load the file unsafely. A single word is no reason.
            text.splitlines()[0].split(". ")[0] if " " in text else "its content is no file of torch.save",
            "give a file that torch.load(weights_only=True) can load",
        ) from error


def _save_anew(path: Path, load: str, what: str, options: str = "") -> str:
    line = f'import torch; torch.save({load}("{path.name}"{options}){what}, "weights.pth")'
    return f"run this line of Python if you trust the file, and give weights.pth: {line}"


def _list_globals(path: Path, text: str) -> list[str]:
    """List the names of pickled classes and functions that are not plain weights."""
    try:
        names = [str(name) for name in torch.serialization.get_unsafe_globals_in_checkpoint(path)]
    except Exception:  # a damaged file has no such list
        names = []
    # torch gives a set; the script's own names say more than torch's.
    return sorted(names or _GLOBAL.findall(text), key=lambda name: (name.startswith("torch."), name))


def _is_namespace(names: list[str]) -> bool:
    return names[0].startswith(("argparse.", "types.", "omegaconf", "numpy", "pathlib", "builtins"))


def _is_script(path: Path) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def _find_entry(path: Path) -> str | None:
    """Find the entry of the weights among the texts of a pickle, which is read and not run.

    None if the pickle is no mapping: a whole network has entries of its own modules, but none of weights.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            name = next(name for name in archive.namelist() if name.endswith("data.pkl"))
            steps = [(step.name, value) for step, value, _ in pickletools.genops(archive.read(name))]
    except Exception:  # an old or damaged file
        return None
    first, value = next(step for step in steps if step[0] not in ("PROTO", "FRAME"))
    if first != "EMPTY_DICT" and not str(value).startswith("collections"):
        return None
    return next((entry for entry in PLAIN_ENTRIES if any(value == entry for _, value in steps)), None)
