"""Tensor names of other libraries: prefixes are stripped, and names become timm's."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from germline.errors import SettingError

# The weight of the convolution that reads the images, by library; a name of each is found exactly once per network.
ANCHORS = {
    "patch_embed.proj.weight": "timm",
    "embeddings.patch_embeddings.projection.weight": "transformers",
    "conv_proj.weight": "torchvision",
    "conv1.0.weight": "timm",
    "conv1.weight": "timm",
}
_HEADS = ("head", "fc", "classifier", "linear", "heads.head", "head.fc")
# Names of one ViT in transformers and in timm. ViT and DINOv2 differ in their layers' norms and MLPs.
_TRANSFORMERS = (
    (r"^embeddings\.patch_embeddings\.projection\.", "patch_embed.proj."),
    (r"^embeddings\.cls_token$", "cls_token"),
    (r"^embeddings\.register_tokens$", "reg_token"),
    (r"^embeddings\.position_embeddings$", "pos_embed"),
    (r"^(?:encoder\.layer|layers?)\.(\d+)\.", r"blocks.\1."),
    (r"\.attention\.(?:attention\.)?(query|key|value)\.", r".attn.\1."),
    (r"\.attention\.(q|k|v)_proj\.", r".attn.\1."),
    (r"\.attention\.(?:output\.dense|o_proj)\.", ".attn.proj."),
    (r"\.layernorm_before\.", ".norm1."),
    (r"\.layernorm_after\.", ".norm2."),
    (r"\.intermediate\.dense\.", ".mlp.fc1."),
    (r"(?<!attention)\.output\.dense\.", ".mlp.fc2."),
    (r"\.layer_scale([12])\.lambda1$", r".ls\1.gamma"),
    (r"^layernorm\.", "norm."),
    (r"^classifier\.", "head."),
)
_TORCHVISION = (
    (r"^conv_proj\.", "patch_embed.proj."),
    (r"^class_token$", "cls_token"),
    (r"^encoder\.pos_embedding$", "pos_embed"),
    (r"^encoder\.layers\.encoder_layer_(\d+)\.", r"blocks.\1."),
    (r"\.ln_([12])\.", r".norm\1."),
    (r"\.self_attention\.in_proj_", ".attn.qkv."),
    (r"\.self_attention\.out_proj\.", ".attn.proj."),
    (r"\.mlp\.(?:linear_1|0)\.", ".mlp.fc1."),
    (r"\.mlp\.(?:linear_2|3)\.", ".mlp.fc2."),
    (r"^encoder\.ln\.", "norm."),
    (r"^heads\.(?:head\.)?", "head."),
)
# Parts of pretraining that no classifier has, and the shortcuts and heads of common ResNet scripts.
_PRETRAINING = re.compile(r"^(?:mask_token|decoder_|embeddings\.mask_token|pooler\.)")
_RESNET = ((r"\.shortcut\.", ".downsample."), (r"^(?:linear|classifier|head)\.", "fc."))
# Convolutions inside blocks are called conv1 too: a network's own is not inside another network's part.
_PART = re.compile(r"(?:^|\.)(?:layer|layers|blocks|stages|features)\.?\d+\.")
_QKV = (("query", "key", "value"), ("q", "k", "v"))


@dataclass(frozen=True)
class NamedTensors:
    """Weights under timm's names.

    Attributes:
        tensors: Tensors by timm's names.
        notes: What was stripped, renamed or left out, one sentence each.
    """

    tensors: dict[str, Tensor]
    notes: tuple[str, ...]


def rename_tensors(
    tensors: Mapping[str, Tensor], path: Path, entry: str | None = None, anchors: tuple[str, ...] = ()
) -> NamedTensors:
    """Strip prefixes, and turn the names of transformers, torchvision and common scripts into timm's.

    Args:
        tensors: Tensors by the names that a file gives.
        path: File that they come from, for messages.
        entry: Prefix to choose if the file holds several networks.
        anchors: Further names that the network has once, in timm's spelling.

    Raises:
        SettingError: The names hold several networks, such as student and teacher.
    """
    prefixes = _find_prefixes(tensors, {**ANCHORS, **dict.fromkeys(anchors, "timm")})
    chosen = _choose_prefix(prefixes, path, entry)
    if chosen is None:
        return NamedTensors(dict(tensors), ())
    notes, library = [], prefixes[chosen]
    inner = {name.removeprefix(chosen): tensor for name, tensor in tensors.items() if name.startswith(chosen)}
    outside = {name: tensor for name, tensor in tensors.items() if not name.startswith(chosen)}
    if chosen:
        notes.append(f"the prefix '{chosen}' is stripped from the names of {len(inner)} tensors")
        inner |= _find_head(inner, outside, notes)
    renamed = _rename(inner, library)
    dropped = sorted(name for name in inner if _PRETRAINING.search(name))
    if dropped:
        notes.append(f"{len(dropped)} tensors of the pretraining are left out, first '{dropped[0]}'")
    if library != "timm":
        notes.append(f"names of {library} become timm's")
    return NamedTensors(renamed, tuple(notes))


def _find_prefixes(tensors: Mapping[str, Tensor], anchors: Mapping[str, str]) -> dict[str, str]:
    """Find the prefixes of networks, and the library that each one's names are from; kernels of images come first."""
    kernels: dict[str, str] = {}
    others: dict[str, str] = {}
    for name, tensor in tensors.items():
        for anchor, library in anchors.items():
            prefix = name.removesuffix(anchor)
            if anchor and name.endswith(anchor) and (not prefix or prefix.endswith(".")) and not _PART.search(prefix):
                (kernels if tensor.ndim == 4 else others).setdefault(prefix, library)
    return kernels or others


def _choose_prefix(prefixes: Mapping[str, str], path: Path, entry: str | None) -> str | None:
    if not prefixes:
        return None
    if "" in prefixes:
        return ""
    wanted = [prefix for prefix in prefixes if entry and entry.strip(".") in prefix.strip(".").split(".")]
    candidates = wanted or list(prefixes)
    # Parts of one network may have kernels of the same name, as in `module.` and `module.stage2.0.branches.0.0.`.
    outer = min(candidates, key=len)
    if all(prefix.startswith(outer) for prefix in candidates):
        return outer
    names = ", ".join(f"'{prefix}'" for prefix in candidates)
    raise SettingError(
        f"'{path}' holds several networks",
        f"their names begin with {names}",
        f"choose one of them: --model NAME,entry={candidates[0].strip('.').split('.')[-1]}",
    )


def _find_head(inner: Mapping[str, Tensor], outside: Mapping[str, Tensor], notes: list[str]) -> dict[str, Tensor]:
    """Find a linear classifier beside a backbone that has none; everything else outside is left out."""
    found: dict[str, Tensor] = {}
    has_own = any(f"{head}.weight" in inner for head in _HEADS)
    for head in _HEADS:
        matches = [name for name in outside if name == f"{head}.weight" or name.endswith(f".{head}.weight")]
        if not has_own and len(matches) == 1 and outside[matches[0]].ndim == 2:
            prefix = matches[0].removesuffix("weight")
            found = {
                f"head.{kind}": outside[f"{prefix}{kind}"]
                for kind in ("weight", "bias")
                if f"{prefix}{kind}" in outside
            }
            notes.append(f"the classifier is '{prefix[:-1]}'")
            break
    rest = [name for name in outside if not any(outside[name] is tensor for tensor in found.values())]
    if rest:
        notes.append(f"{len(rest)} tensors outside the network are left out, first '{rest[0]}'")
    return found


def _rename(tensors: Mapping[str, Tensor], library: str) -> dict[str, Tensor]:
    kept = {name: tensor for name, tensor in tensors.items() if not _PRETRAINING.search(name)}
    if library == "timm":
        is_resnet = {"layer1", "layer2"} <= {name.partition(".")[0] for name in kept}  # an HRNet has layer1 alone
        return {_substitute(name, _RESNET if is_resnet else ()): tensor for name, tensor in kept.items()}
    rules = _TRANSFORMERS if library == "transformers" else _TORCHVISION
    renamed = {_substitute(name, rules): tensor for name, tensor in kept.items()}
    return _merge_qkv(renamed)


def _substitute(name: str, rules: tuple[tuple[str, str], ...]) -> str:
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name


def _merge_qkv(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Merge queries, keys and values of each block into one tensor, in that order."""
    merged = dict(tensors)
    for names in _QKV:
        for name in list(merged):
            block, found, kind = name.partition(f".attn.{names[0]}.")
            parts = [f"{block}.attn.{part}.{kind}" for part in names]
            if found and all(part in merged for part in parts):
                merged[f"{block}.attn.qkv.{kind}"] = torch.cat([merged.pop(part) for part in parts])
    return merged
