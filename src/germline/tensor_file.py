"""Safetensors files written tensor by tensor, so that no copy of a network is made."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

# Names of types in a header. The library writes tensors in this order of types, and by name within a type.
_TYPES = {
    "uint64": "U64",
    "int64": "I64",
    "float64": "F64",
    "float32": "F32",
    "uint32": "U32",
    "int32": "I32",
    "bfloat16": "BF16",
    "float16": "F16",
    "uint16": "U16",
    "int16": "I16",
    "int8": "I8",
    "uint8": "U8",
    "bool": "BOOL",
}
_ALIGNMENT = 8  # bytes of the header's length and of its end


def write_plain_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None) -> None:
    """Write the same bytes as `safetensors.torch.save_file`, whose older versions copy all tensors first.

    Types that are in none of germline's networks are left to that function.

    Args:
        path: File to write.
        tensors: Contiguous tensors on the CPU, by name.
        metadata: Texts for the header.
    """
    import torch

    types = {name: str(tensor.dtype).removeprefix("torch.") for name, tensor in tensors.items()}
    if not _TYPES.keys() >= set(types.values()):
        from safetensors.torch import save_file

        save_file(dict(tensors), path, dict(metadata) if metadata else None)
        return
    order = list(_TYPES)
    names = sorted(tensors, key=lambda name: (order.index(types[name]), name.encode()))
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    start = 0
    for name in names:
        tensor = tensors[name]
        end = start + tensor.nbytes
        header[name] = {"dtype": _TYPES[types[name]], "shape": list(tensor.shape), "data_offsets": [start, end]}
        start = end
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    with path.open("wb") as stream:
        stream.write(len(text).to_bytes(_ALIGNMENT, "little") + text)
        for name in names:
            stream.write(tensors[name].flatten().view(torch.uint8).numpy().data)
