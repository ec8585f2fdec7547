"""Files of weights: a state dict in a .pth or .safetensors file, and the network that it belongs to."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from germline.errors import SettingError
from germline.loading.assume import IMAGENET_STATISTICS, read_own_channels, read_own_size, read_statistics
from germline.loading.build import describe_network
from germline.loading.checkpoint import read_checkpoint
from germline.loading.labels import number_classes, read_checkpoint_classes
from germline.loading.request import ImageRequest, ModelRequest
from germline.loading.weight_model import build_for_weights
from germline.loading.weights import check_weights, load_weights
from germline.network import Network
from germline.sharing import name_source

_SIDE = 224  # of networks that do not store the size of their images


def load_weight_file(path: Path, model: str | None, images: ImageRequest | None = None) -> Network:
    """Load a file of weights into the network that it belongs to.

    Args:
        path: A .pth, .pt, .bin, .ckpt or .safetensors file.
        model: Architecture, preset or name in timm, with fields that no shape shows: `vit,heads=3`.
        images: Image size, mean and std that the user gives.

    Raises:
        SettingError: No model is given, or something that the file does not show.
        ArtefactError: The file is damaged, or does not fit the model.
        UnknownNameError: There is no such model.
    """
    if model is None:
        raise SettingError(
            f"'{path}' is a file of weights",
            "its architecture is unknown",
            "give its name with --model, for example vit,heads=3 or resnet18 or a timm name",
        )
    request = ModelRequest.parse(model)
    checkpoint = read_checkpoint(path, request.entry)
    built, tensors, notes = build_for_weights(request, checkpoint.tensors, path)
    load_weights(built, tensors, path)
    check_weights(built)
    config: Mapping[str, Any] = getattr(built, "pretrained_cfg", None) or {}
    own_size, channels = read_own_size(built), read_own_channels(built) or 3
    size = own_size or (config.get("input_size") or (_SIDE,))[-1]
    statistics = read_statistics(config, channels) or IMAGENET_STATISTICS
    preprocess, assumptions, assumed = (images or ImageRequest()).complete(
        channels, size, statistics, is_fixed=own_size is not None
    )
    spec, reason = describe_network(built, preprocess)
    count = int(getattr(built, "num_classes", 0)) if spec is None else spec.classes
    classes = read_checkpoint_classes(checkpoint.facts, count)
    return Network(
        model=built.eval(),
        preprocess=preprocess,
        classes=classes or number_classes(count),
        spec=spec,
        source=name_source(path),
        reason=reason,
        notes=(*checkpoint.notes, *notes, *assumptions),
        assumed=assumed if classes else assumed | {"classes"},
    )
