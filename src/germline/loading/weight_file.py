"""Files of weights: a state dict in a .pth or .safetensors file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from germline.errors import ArtefactError, SettingError
from germline.files import read_tensors
from germline.loading.build import build_timm_model, describe_network, read_preprocess
from germline.loading.labels import number_classes
from germline.network import Network, load_strict


def load_weight_file(path: Path, model: str | None) -> Network:
    """Load a file of weights into a model of timm.

    Args:
        path: A .pth or .safetensors file.
        model: Name in timm of the model that the weights belong to.

    Raises:
        SettingError: No model is given.
        ArtefactError: The file is damaged, or does not fit the model.
    """
    if model is None:
        raise SettingError(
            f"'{path}' is a file of weights", "its architecture is unknown", "give its timm name with --model"
        )
    tensors = read_tensors(path) if path.suffix == ".safetensors" else _read_pth(path)
    built = build_timm_model(model)
    classes = _count_classes(built, tensors)
    if classes != built.num_classes:
        built = build_timm_model(model, num_classes=classes)
    load_strict(built, tensors, path)
    preprocess = read_preprocess(built.pretrained_cfg)
    spec, reason = describe_network(built, preprocess)
    return Network(
        model=built,
        preprocess=preprocess,
        classes=number_classes(built.num_classes),
        spec=spec,
        source=str(path),
        reason=reason,
        assumed=frozenset({"classes", "image_size", "statistics"}),
    )


def _count_classes(model: Any, tensors: dict[str, Tensor]) -> int:
    """Count the outputs of the classifier that timm names in the model's configuration."""
    names = model.pretrained_cfg.get("classifier")
    first = names if isinstance(names, str) or not names else names[0]
    weight = tensors.get(f"{first}.weight")
    return int(model.num_classes) if weight is None else weight.shape[0]


def _read_pth(path: Path) -> dict[str, Tensor]:
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds here, from zip to unpickling errors
        raise ArtefactError(
            f"'{path}' cannot be read as plain weights",
            # The rest of torch's message explains how to load the file unsafely.
            str(error).splitlines()[0].split(". ")[0],
            "give a file that torch.load(weights_only=True) can load",
        ) from error
    for key in ("state_dict", "model"):
        loaded = loaded.get(key, loaded) if isinstance(loaded, dict) else loaded
    if not isinstance(loaded, dict) or not all(isinstance(value, Tensor) for value in loaded.values()):
        raise ArtefactError(
            f"'{path}' holds no state dict",
            "a mapping from names to tensors is expected",
            "give a file that holds `model.state_dict()`",
        )
    return dict(loaded)
