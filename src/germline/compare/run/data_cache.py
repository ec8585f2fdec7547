"""Data sets and weights of a comparison, read once per process."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path

from germline.data import DataSet, MissingDataError, load_data, load_data_or_placeholder, make_placeholder
from germline.errors import DataError
from germline.files import hash_tensor, read_tensors
from germline.loading import load_network
from germline.network import WEIGHTS

PACKAGED = Path(__file__).parents[2] / "data" / "packs" / "ancestor"


@lru_cache(maxsize=4)
def load_data_once(name: str) -> DataSet:
    """Load a data set."""
    return load_data(name)


@lru_cache(maxsize=4)
def load_data_or_placeholder_once(name: str) -> tuple[DataSet, tuple[str, ...]]:
    """Load a data set, or a placeholder with its known numbers if it is missing.

    Returns:
        The data set, and a message for each missing one.
    """
    try:
        return load_data_once(name), ()
    except MissingDataError:
        data, missing = load_data_or_placeholder(name)
        return data, tuple(dict.fromkeys(map(str, missing)))


@lru_cache(maxsize=4)
def make_placeholder_once(name: str, classes: int, images: int, side: int, channels: int) -> DataSet:
    """Build a placeholder of a data set from its numbers."""
    return make_placeholder(name, classes, images, side, channels)


@lru_cache(maxsize=16)
def missing_data_message(name: str) -> str:
    """Return why a data set cannot be read on this machine; an empty string if it can."""
    try:
        return "" if len(load_data_once(name).train) else f"'{name}' has no training images."
    except DataError as error:
        return str(error)


@lru_cache(maxsize=16)
def fingerprint_data(name: str) -> str:
    """Return the fingerprint of a data set's training images."""
    return load_data_once(name).fingerprint()


@lru_cache(maxsize=16)
def fingerprint_validation(name: str) -> str:
    """Return the fingerprint of a data set's validation images."""
    return load_data_once(name).val.fingerprint()


@lru_cache(maxsize=16)
def fingerprint_test(name: str) -> str:
    """Return the fingerprint of a data set's test images."""
    return load_data_once(name).test.fingerprint()


@lru_cache(maxsize=16)
def hash_weights(path: str) -> str:
    """Hash the weights of a network; `packaged` is the one in germline."""
    folder = PACKAGED if path == "packaged" else Path(path)
    if folder.is_file():
        return hashlib.sha256(folder.read_bytes()).hexdigest()
    if (folder / WEIGHTS).is_file():
        tensors = read_tensors(folder / WEIGHTS)
    else:
        tensors = dict(load_network(path).model.state_dict())
    hashes = [(name, hash_tensor(tensor)) for name, tensor in sorted(tensors.items())]
    return hashlib.sha256(repr(hashes).encode()).hexdigest()
