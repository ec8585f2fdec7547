"""Specs read from the shapes of tensors: a ViT's and a ResNet's; what no shape shows is asked for."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from torch import Tensor

from germline.architectures import ResNetSpec, Spec, VitSpec
from germline.architectures.transformer import find_mlp_ratio
from germline.errors import SettingError
from germline.loading.weights import mismatch_error

INFERRED = ("vit", "resnet")
FREE_FIELDS = ("drop_path", "init_values", "image_size")  # no tensor shows them
_PATCHES = "patch_embed.proj.weight"
_BLOCK = re.compile(r"^blocks\.(\d+)\.")
_STAGE = re.compile(r"^layer(\d+)\.(\d+)\.")
# Sizes of images that networks with such stems are usually trained on; no tensor of a ResNet shows the size.
_SMALL_SIDE, _LARGE_SIDE = 32, 224


def infer_spec(
    architecture: str, tensors: Mapping[str, Tensor], given: Mapping[str, Any], path: Path
) -> tuple[Spec, tuple[str, ...]]:
    """Read the spec of a network from its tensors.

    Args:
        architecture: Name of the architecture.
        tensors: Tensors by timm's names.
        given: Fields that the user or a preset gives.
        path: File of the tensors, for messages.

    Returns:
        The spec, and what was assumed because no shape shows it.

    Raises:
        SettingError: A field that no shape shows is not given.
        ArtefactError: The tensors belong to another architecture, or contradict what is given.
    """
    kind: type[Spec] = VitSpec if architecture == "vit" else ResNetSpec
    if unknown := sorted(given.keys() - kind.model_fields.keys()):
        known = ", ".join(kind.model_fields)
        raise SettingError(
            f"model '{architecture},{unknown[0]}'", f"a {architecture} has no such field", f"use {known}"
        )
    fields, notes = (_read_vit if architecture == "vit" else _read_resnet)(tensors, given, path)
    for name, value in given.items():
        if fields.get(name) is not None and fields[name] != value and name not in FREE_FIELDS:
            text = f"{name}={value} is expected, and the tensors have {name}={fields[name]}"
            raise mismatch_error(path, text, f"{architecture} reads all sizes from the tensors")
    try:
        return kind.model_validate({**fields, **given}), notes
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"]))
        raise SettingError(
            f"model '{architecture},{name}={first['input']}'", first["msg"], f"set {name} right"
        ) from error


def _read_vit(
    tensors: Mapping[str, Tensor], given: Mapping[str, Any], path: Path
) -> tuple[dict[str, Any], tuple[str, ...]]:
    kernel = tensors.get(_PATCHES)
    depth = _count(_BLOCK, tensors)
    hidden, qkv = tensors.get("blocks.0.mlp.fc1.weight"), tensors.get("blocks.0.attn.qkv.weight")
    if kernel is None or kernel.ndim != 4 or not depth or hidden is None or qkv is None:
        parts = ((_PATCHES, kernel), ("blocks.0", depth), ("blocks.0.mlp.fc1", hidden), ("blocks.0.attn.qkv", qkv))
        missing = next((name for name, found in parts if found is None or (name == "blocks.0" and not depth)), _PATCHES)
        raise mismatch_error(path, f"a ViT has {missing}, the file has {_list_first(tensors)}")
    width, channels, height, side = kernel.shape
    if height != side:
        raise mismatch_error(path, f"its patches are {height} x {side} pixels, and a ViT's are square")
    query_norm = tensors.get("blocks.0.attn.q_norm.weight")
    registers = tensors["reg_token"].shape[1] if "reg_token" in tensors else 0
    has_class = "cls_token" in tensors
    positions, is_apart = _read_positions(tensors, int(has_class) + registers, path)
    fields: dict[str, Any] = {
        "image_size": positions * side,
        "channels": channels,
        "classes": _count_classes(tensors, "head"),
        "depth": depth,
        "width": width,
        "patch_size": side,
        "mlp_ratio": find_mlp_ratio(hidden.shape[0], width),
        "qkv_bias": "blocks.0.attn.qkv.bias" in tensors,
        "qk_norm": query_norm is not None,
        "class_token": has_class,
        "reg_tokens": registers,
        "no_embed_class": is_apart,
        "init_values": 1e-5 if "blocks.0.ls1.gamma" in tensors else None,
        "norm_first": "fc_norm.weight" not in tensors,
    }
    notes: list[str] = []
    if query_norm is not None and query_norm.shape[0] and width % query_norm.shape[0] == 0:
        fields["heads"] = width // query_norm.shape[0]
    elif "heads" not in given:
        raise SettingError(
            f"'{path}' does not show its number of attention heads",
            f"a ViT of width {width} with any number of heads has the same tensors",
            f"give it, for example --model vit,heads={max(1, width // 64)}; timm calls it num_heads",
        )
    if "global_pool" not in given:
        fields["global_pool"] = "token" if has_class and fields["norm_first"] else "avg"
        if has_class:
            notes.append(f"assumed pooling: {fields['global_pool']}, which no tensor shows")
    return fields, tuple(notes)


def _read_positions(tensors: Mapping[str, Tensor], prefix: int, path: Path) -> tuple[int, bool]:
    """Read the patches per side, and whether class and register tokens have no positions."""
    table = tensors.get("pos_embed")
    if table is None or table.ndim != 3:
        raise mismatch_error(path, f"a ViT has pos_embed [1, tokens, width], the file has {_list_first(tensors)}")
    for count, is_apart in ((table.shape[1] - prefix, False), (table.shape[1], True)):
        side = math.isqrt(max(count, 0))
        if side and side * side == count:
            return side, is_apart and prefix > 0
    raise mismatch_error(path, f"pos_embed has {table.shape[1]} positions, which are no square of patches")


def _read_resnet(
    tensors: Mapping[str, Tensor], given: Mapping[str, Any], path: Path
) -> tuple[dict[str, Any], tuple[str, ...]]:
    stages = {int(match[1]) for name in tensors if (match := _STAGE.match(name))}
    depths = tuple(
        _count(re.compile(rf"^layer{stage}\.(\d+)\."), tensors) for stage in range(1, max(stages, default=0) + 1)
    )
    if any(name.endswith(".conv3.weight") for name in tensors):
        raise mismatch_error(path, "it has Bottleneck blocks of three convolutions, and ours have two")
    if len(depths) != 4 or not all(depths):
        raise mismatch_error(path, f"a ResNet has layer1 to layer4, the file has {_list_first(tensors)}")
    seconds = [tensors.get(f"layer{stage}.0.conv2.weight") for stage in range(1, 5)]
    widths = tuple(second.shape[0] for second in seconds if second is not None)
    if len(widths) != 4:
        raise mismatch_error(path, "its blocks have no conv2.weight, and ours do")
    deep, plain = tensors.get("conv1.0.weight"), tensors.get("conv1.weight")
    first = plain if deep is None else deep
    if first is None or first.ndim != 4:
        raise mismatch_error(path, f"a ResNet has conv1.weight, the file has {_list_first(tensors)}")
    if any(name.endswith("downsample.1.weight") and tensor.ndim == 4 for name, tensor in tensors.items()):
        raise mismatch_error(path, "its shortcuts average before they project, and ours do not")
    side = first.shape[-1]
    fields = {
        "image_size": _SMALL_SIDE if side == 3 and deep is None else _LARGE_SIDE,
        "channels": first.shape[1],
        "classes": _count_classes(tensors, "fc"),
        "depths": depths,
        "widths": widths,
    }
    if deep is not None:
        return {**fields, "stem_type": "deep", "stem_width": first.shape[0]}, ()
    if side == 7:
        if first.shape[0] != 64:
            raise mismatch_error(path, f"its stem of 7 x 7 pixels has {first.shape[0]} channels, and timm's has 64")
        return {**fields, "stem_type": ""}, ()
    if side != 3:
        raise mismatch_error(path, f"its stem's kernel has {side} x {side} pixels, and ours have 3 or 7")
    fields |= {"stem_type": "small", "stem_width": first.shape[0]}
    note = "assumed stem: 3 x 3 pixels with stride 1 and no pool, which no tensor shows"
    return fields, () if "stem_type" in given else (note,)


def _count(pattern: re.Pattern[str], tensors: Mapping[str, Tensor]) -> int:
    """Count the numbered parts; 0 if one of them is missing."""
    numbers = {int(match[1]) for name in tensors if (match := pattern.match(name))}
    return len(numbers) if numbers == set(range(len(numbers))) else 0


def _count_classes(tensors: Mapping[str, Tensor], head: str) -> int:
    weight = tensors.get(f"{head}.weight")
    return 0 if weight is None else weight.shape[0]


def _list_first(tensors: Mapping[str, Tensor]) -> str:
    names = [f"{name} {list(tensor.shape)}" for name, tensor in list(tensors.items())[:3]]
    return ", ".join(names) or "nothing"
