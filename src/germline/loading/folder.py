"""Model folders: timm's `config.json` beside `model.safetensors`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from germline.architectures import Preprocess, Spec
from germline.errors import ArtefactError, GermlineError
from germline.files import read_json, read_metadata, read_tensors
from germline.loading.budget import AllocationBudget
from germline.loading.build import build_timm_model, describe_network
from germline.loading.timm_config import TimmConfig, read_timm_config
from germline.network import CONFIG, RECORD, WEIGHTS, Network, load_strict
from germline.paths import read_unchanged
from germline.registry import architecture_of
from germline.seals import SEAL_KEY, check_seal
from germline.sharing import name_source

# timm's own file for weights that are pickled.
_PICKLED_WEIGHTS = "pytorch_model.bin"
# These are exact in float32, the type of networks that are built.
_HALVES = (torch.float16, torch.bfloat16)


def load_model_folder(folder: Path) -> Network:
    """Load a model folder of germline or timm.

    Nothing outside the folder is read, and nothing is fetched. Tensors, configuration and record are compared with the
    hashes that germline saved. The source of a folder by others says that it has none.

    Raises:
        ArtefactError: The configuration or the weights are missing, damaged, or do not fit together.
        UnknownNameError: timm has no such model.
    """
    return read_unchanged(folder, _read)


def _read(folder: Path) -> Network:
    config, content = read_timm_config(folder / CONFIG)
    weights = folder / WEIGHTS
    if not weights.exists() and (folder / _PICKLED_WEIGHTS).exists():
        raise ArtefactError(
            f"'{folder}' has its weights in {_PICKLED_WEIGHTS}",
            "a pickle can run code when it is opened",
            "use timm's `save_for_hf(..., safe_serialization=True)`, or give that file with --model",
        )
    tensors, metadata = read_tensors(weights), read_metadata(weights)
    model = _build(config, tensors, folder / CONFIG)
    load_strict(model, _check_tensors(model, tensors, weights), weights)
    spec, reason = describe_network(model, config.preprocess)
    _check_spec(spec, config.preprocess, folder / CONFIG)
    record = _read_record(folder / RECORD)
    files = {CONFIG: content} if record is None else {CONFIG: content, RECORD: record}
    is_sealed = check_seal(metadata, weights, tensors, files)
    source = (record or {}).get("source") or name_source(folder, weights, _read_digest(metadata))
    return Network(
        model=model,
        preprocess=config.preprocess,
        classes=config.classes,
        spec=spec,
        licence=config.licence,
        source=source if is_sealed else f"{source} (read without hashes)",
        reason=reason,
        assumed=frozenset() if config.has_labels else frozenset({"classes"}),
    )


def _read_digest(metadata: Mapping[str, str]) -> str:
    """Return the hash in the header of weights that germline sealed; empty for those by others."""
    return str(json.loads(metadata[SEAL_KEY])["sha256"]) if SEAL_KEY in metadata else ""


def _build(config: TimmConfig, tensors: Mapping[str, Tensor], path: Path) -> Any:
    """Build the network; its size is limited by that of the weights."""
    elements = sum(tensor.numel() for tensor in tensors.values())
    try:
        with AllocationBudget(elements, len(tensors), str(path)):
            return build_timm_model(config.architecture, num_classes=len(config.classes), **config.arguments)
    # timm does not check arguments, so that a wrong one can raise any error.
    except Exception as error:
        text = error.why if isinstance(error, GermlineError) else str(error)
        if isinstance(error, GermlineError) and str(path) in error.what:
            raise
        raise ArtefactError(
            f"timm cannot build the network in '{path}'",
            text.splitlines()[0][:200] if text else type(error).__name__,
            "restore a copy, or give another folder",
        ) from error


def _check_tensors(model: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    """Refuse tensors of another type than the network's, and numbers that are not finite."""
    checked = dict(tensors)
    for name, own in model.state_dict().items():
        tensor = tensors.get(name)
        if tensor is None:
            continue
        if tensor.dtype != own.dtype and not (own.dtype == torch.float32 and tensor.dtype in _HALVES):
            raise ArtefactError(
                f"'{path}' does not fit the network",
                f"tensor '{name}' is {str(tensor.dtype)[6:]}, and the network's is {str(own.dtype)[6:]}",
                "restore a copy, or save the weights in the network's own type",
            )
        if not bool(torch.isfinite(tensor).all()):
            raise ArtefactError(
                f"'{path}' holds numbers that are not finite",
                f"the first such tensor is '{name}'",
                "give a network whose training did not diverge, or restore a copy",
            )
    return checked


def _check_spec(spec: Spec | None, preprocess: Preprocess, path: Path) -> None:
    """Refuse a size of images that is not the size of the network's images."""
    if spec is None or not architecture_of(spec).stores_image_size or spec.image_size == preprocess.image_size:
        return
    raise ArtefactError(
        f"'{path}': input_size has {preprocess.image_size} pixels, and the weights are for {spec.image_size}",
        "the network would read images of a wrong size",
        "restore a copy, or correct input_size",
    )


def _read_record(path: Path) -> dict[str, Any] | None:
    """Read `descendant.json`, which only descendants have."""
    if not path.exists():
        return None
    record = read_json(path)
    source = record.get("source", "") if isinstance(record, dict) else None
    if not isinstance(source, str) or source.encode(errors="ignore").decode() != source:
        raise ArtefactError(
            f"'{path}' is not the record of a descendant",
            "it is no mapping, or its source is no text",
            "run germline inherit again, or restore a copy",
        )
    return dict(record)
