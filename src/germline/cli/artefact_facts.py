"""What the files of a gene or a network say, read and verified without importing torch."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from germline.catalogue import list_methods
from germline.errors import GermlineError
from germline.files import read_json
from germline.paths import open_regular
from germline.seals import hash_json

_MANIFEST, _TENSORS = "learngene.json", "learngene.safetensors"
_CONFIG, _WEIGHTS, _RECORD = "config.json", "model.safetensors", "descendant.json"
LARGEST_HASHED = 2**28  # bytes of weights that are hashed before the first line is printed
LARGEST_HEADER = 2**26
_TYPES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "I64": "int64", "I32": "int32"}
_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4}
_FEW_CLASSES = 6


def read_gene_facts(folder: Path) -> dict[str, str] | None:
    """Read the facts of a gene; None if loading it has to explain or check something."""
    try:
        manifest = read_json(folder / _MANIFEST)
        sealed = {key: value for key, value in manifest.items() if key != "sha256"}
        if manifest["format"] != 1 or manifest["sha256"] != hash_json(sealed):
            return None
        # A record is checked by the module that reads it, which needs torch.
        if manifest["provenance"]["record"] or not _has_tensors(folder / _TENSORS, manifest["tensors"]):
            return None
        return describe_manifest(manifest)
    except (GermlineError, OSError, KeyError, TypeError, ValueError, AttributeError):
        return None


def describe_manifest(manifest: Mapping[str, Any]) -> dict[str, str]:
    """Describe a gene by its manifest: what it holds and where it comes from, for people to read."""
    origin, classes, images = manifest["provenance"], manifest["classes"], manifest["preprocess"]
    tensors = manifest["tensors"].values()
    counts = [math.prod(tensor["shape"]) for tensor in tensors]
    widths = {name: _BYTES[short] for short, name in _TYPES.items()}
    size = sum(count * widths.get(tensor["dtype"], 1) for count, tensor in zip(counts, tensors, strict=True))
    known = list_methods().get(manifest["method"])
    directions = {} if known is None or manifest["anatomy"] not in known.grows else {
        "sizes": known.sizes(manifest["anatomy"])
    }  # fmt: skip
    return {
        "method": manifest["method"],
        "architecture": manifest["anatomy"],
        "network": _describe_spec(manifest["spec"]),
        "ancestor": f"{origin['ancestor']} (licence: {origin['ancestor_licence']})",
        "condensed on": f"{origin['data']} (licence: {origin['data_licence']})",
        "grows": manifest["grows"],
        **directions,
        "head": "none" if classes is None else _describe_classes(classes),
        "images": _describe_images(images["channels"], images["image_size"]),
        "holds": f"{len(counts)} tensors, {sum(counts):,} elements, {size:,} bytes",
        **{name: f"{value:.4f}" for name, value in origin["metrics"].items()},
    }


def read_model_facts(folder: Path) -> dict[str, str] | None:
    """Read the facts of a model folder; None if its files cannot be read, which loading it then explains."""
    try:
        config = read_json(folder / _CONFIG)
        header = _read_header(folder / _WEIGHTS)
        images = config["pretrained_cfg"]
        labels = config.get("label_names") or images.get("label_names")
        shapes = [(math.prod(tensor["shape"]), _BYTES.get(tensor["dtype"], 1)) for tensor in header.values()]
        source = read_json(folder / _RECORD)["source"] if (folder / _RECORD).is_file() else "a trained network"
        classes = _describe_classes(labels) if labels else f"{config['num_classes']} classes without names"
        sizes = ", with sizes of its own" * bool(config.get("model_args"))
        return {
            "architecture": f"{config['architecture']} of timm{sizes}",
            "source": str(source),
            "head": "none" if config["num_classes"] == 0 else classes,
            "images": _describe_images(images["input_size"][0], images["input_size"][1]),
            "licence": str(images.get("license", "unknown")),
            "holds": f"{len(shapes)} tensors, {sum(count for count, _ in shapes):,} elements, "
            f"{sum(count * width for count, width in shapes):,} bytes",
        }
    except (GermlineError, OSError, KeyError, TypeError, ValueError, AttributeError, IndexError):
        return None


def print_facts(facts: Mapping[str, str]) -> None:
    """Print facts as two columns at once, before anything slow is imported."""
    width = max(map(len, facts))
    for name, value in facts.items():
        print(f" {name:{width}}  {value}")
    print(flush=True)


def _describe_spec(spec: Mapping[str, Any]) -> str:
    sizes = {key: value for key, value in spec.items() if key in ("depth", "depths", "width", "widths", "heads")}
    return ", ".join(f"{key} {_plain(value)}" for key, value in sizes.items())


def _plain(value: Any) -> str:
    return "/".join(map(_plain, value)) if isinstance(value, (list, tuple)) else str(value)


def _describe_classes(classes: list[str]) -> str:
    return f"{len(classes)} classes: {', '.join(classes[:_FEW_CLASSES])}{' ...' if len(classes) > _FEW_CLASSES else ''}"


def _describe_images(channels: int, side: int) -> str:
    return f"{channels} x {side} x {side}"


def _read_header(path: Path) -> dict[str, dict[str, Any]]:
    """Read the header of a safetensors file: type, shape and place of each tensor."""
    with open_regular(path) as stream:
        length = int.from_bytes(stream.read(8), "little")
        if length > LARGEST_HEADER:
            raise ValueError("its header is too long")
        header: dict[str, dict[str, Any]] = json.loads(stream.read(length))
    header.pop("__metadata__", None)
    return header


def _has_tensors(path: Path, facts: Mapping[str, Mapping[str, Any]]) -> bool:
    """Return whether a file holds just these tensors; the contents of a large file are left to the loader."""
    header = _read_header(path)
    if header.keys() != facts.keys():
        return False
    is_small = path.stat().st_size <= LARGEST_HASHED
    with open_regular(path) as stream:
        start = 8 + int.from_bytes(stream.read(8), "little")
        for name, tensor in header.items():
            fact, (first, end) = facts[name], tensor["data_offsets"]
            if _TYPES.get(tensor["dtype"]) != fact["dtype"] or tensor["shape"] != fact["shape"]:
                return False
            if is_small:
                stream.seek(start + first)
                if hashlib.sha256(stream.read(end - first)).hexdigest() != fact["sha256"]:
                    return False
    return True
