"""Seals: hashes of tensors and of the JSON files beside them, saved in the header of the weights."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from germline.errors import ArtefactError
from germline.files import hash_tensor

if TYPE_CHECKING:
    from torch import Tensor

SEAL_KEY = "germline"  # in the metadata of a safetensors file, which other libraries ignore
_FORMAT = 1
_RESTORE = "run the command that wrote it again, or restore a copy"


def tensor_facts(tensor: Tensor) -> dict[str, Any]:
    """Return hash, shape and type of a tensor, as JSON."""
    return {"sha256": hash_tensor(tensor), "shape": list(tensor.shape), "dtype": str(tensor.dtype)[6:]}


def hash_json(value: Any) -> str:
    """Compute the sha256 of a JSON value, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def make_seal(tensors: Mapping[str, Tensor], files: Mapping[str, Any]) -> dict[str, str]:
    """Return the metadata that seal tensors and the JSON files beside them.

    Args:
        tensors: Tensors by name.
        files: Contents of the JSON files, by file name.
    """
    facts = {
        "format": _FORMAT,
        "files": {name: hash_json(json.loads(json.dumps(content))) for name, content in files.items()},
        "tensors": " ".join(_list_hashes(tensors)),
    }
    return {SEAL_KEY: json.dumps({**facts, "sha256": hash_json(facts)})}


def check_seal(
    metadata: Mapping[str, str], path: Path, tensors: Mapping[str, Tensor], files: Mapping[str, Any]
) -> bool:
    """Compare tensors and JSON files with the seal in the header of the weights.

    Args:
        metadata: Metadata in that header.
        path: File of the weights, for messages.
        tensors: Tensors in it.
        files: Contents of the JSON files beside it, by file name.

    Returns:
        Whether there is a seal. Folders by others have none.

    Raises:
        ArtefactError: Something differs from what was sealed.
    """
    if SEAL_KEY not in metadata:
        return False
    seal = _read_seal(metadata[SEAL_KEY], path)
    for name in sorted(seal["files"].keys() | files.keys()):
        if name not in files or seal["files"].get(name) != hash_json(files[name]):
            raise _difference(path.parent / name, "its content", path)
    expected, found = seal["tensors"].split(), _list_hashes(tensors)
    if len(expected) != len(found):
        raise _difference(path, "the number of tensors", path)
    for name, one, other in zip(sorted(tensors), expected, found, strict=True):
        if one != other:
            raise _difference(path, f"name, hash, shape or type of tensor '{name}'", path)
    return True


def _list_hashes(tensors: Mapping[str, Tensor]) -> list[str]:
    """List one hash of name, type, shape and elements of each tensor, in the order of the names.

    The names themselves are in the file already, and small networks have small files.
    """
    return [hash_json([name, tensor_facts(tensor)]) for name, tensor in sorted(tensors.items())]


def _read_seal(text: str, path: Path) -> dict[str, Any]:
    try:
        seal = json.loads(text)
        number = seal["format"]
        if type(number) is int and number > _FORMAT:
            raise ArtefactError(
                f"the hashes in '{path}' have format {number}",
                f"this germline reads up to format {_FORMAT}",
                "run pip install --upgrade germline",
            )
        own = seal.pop("sha256")
        if own != hash_json(seal) or number != _FORMAT:
            raise ValueError("they differ from what was written")
        return {"files": dict(seal["files"]), "tensors": str(seal["tensors"])}
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise ArtefactError(f"the hashes in '{path}' are damaged", str(error), _RESTORE) from error


def _difference(place: Path, what: str, path: Path) -> ArtefactError:
    return ArtefactError(
        f"'{place}' is damaged or was changed", f"{what} differs from the hash in {path.name}", _RESTORE
    )
