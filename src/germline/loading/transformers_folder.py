"""Folders of transformers: its ViT and DINOv2 become timm's networks, and all others are refused as what they are."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from germline.architectures import VIT, Preprocess, VitSpec
from germline.errors import ArtefactError, GermlineError
from germline.files import read_json, read_tensors
from germline.loading.assume import ASSUMED, IMAGENET_STATISTICS, describe_preprocess, make_preprocess
from germline.loading.build import describe_network
from germline.loading.infer import infer_spec
from germline.loading.labels import ClassNames, number_classes, read_class_names
from germline.loading.tensor_names import rename_tensors
from germline.loading.timm_config import LARGEST_CONFIG
from germline.loading.weights import check_weights, load_weights
from germline.network import CONFIG, WEIGHTS, Network
from germline.sharing import name_source

_PREPROCESSOR = "preprocessor_config.json"
_TYPES = {"vit": "ViT", "dinov2": "DINOv2", "dinov2_with_registers": "DINOv2 with registers"}
_HALF = ((0.5,) * 3, (0.5,) * 3)
# Fields of a spec by their keys in a configuration.
_FIELDS = {
    "hidden_size": "width",
    "num_hidden_layers": "depth",
    "num_attention_heads": "heads",
    "patch_size": "patch_size",
    "num_channels": "channels",
}
_EPS = 1e-6  # of the norms of timm's ViTs
_SMALL_CHANGE = 1e-4  # of outputs by another eps, relative to the largest


def is_transformers_folder(folder: Path) -> bool:
    """Return whether a folder was written by transformers; a folder that cannot be read is none."""
    try:
        config = read_json(folder / CONFIG, LARGEST_CONFIG)
    except GermlineError:
        return False
    is_theirs = isinstance(config, dict) and bool({"model_type", "transformers_version"} & config.keys())
    return is_theirs and "architecture" not in config


def load_transformers_folder(folder: Path) -> Network:
    """Load a ViT or DINOv2 that transformers saved; without a classifier its outputs are the class token.

    Raises:
        ArtefactError: It is another network, or its files are missing, damaged, or do not fit together.
    """
    config = read_json(folder / CONFIG, LARGEST_CONFIG)
    kind = _check_config(config, folder)
    tensors = read_tensors(_find_weights(folder))
    named = rename_tensors(tensors, folder / WEIGHTS)
    found, notes = dict(named.tensors), [*named.notes, "the folder has no hashes of germline"]
    width = found["norm.weight"].shape[0] if "norm.weight" in found else 0
    if "head.weight" in found and found["head.weight"].shape[-1] == 2 * width:
        found = {name: tensor for name, tensor in found.items() if not name.startswith("head.")}
        notes.append(
            "its classifier reads class token and mean together, so it is left out: outputs are the class token"
        )
    if "reg_token" in found:
        _move_class_position(found)
    given = {field: _read_number(config, key, folder) for key, field in _FIELDS.items() if key in config}
    spec, _ = infer_spec("vit", found, {"global_pool": "token", **given}, folder / WEIGHTS)
    assert isinstance(spec, VitSpec)  # noqa: S101 - for the type checker
    model = VIT.build(spec).eval()
    load_weights(model, found, folder / WEIGHTS)
    check_weights(model)
    notes += _set_eps(model, spec, _read_eps(config, kind))
    preprocess, more, assumed = _read_preprocessor(folder, kind, spec)
    notes += more
    labels = _read_labels(config, spec.classes, folder)
    notes += labels.notes if labels else ()
    described, reason = describe_network(model, preprocess)
    return Network(
        model=model,
        preprocess=preprocess,
        classes=labels.names if labels else number_classes(spec.classes),
        spec=described,
        source=f"{name_source(folder, folder / WEIGHTS)} (transformers' {_TYPES[kind]}, read without hashes)",
        reason=reason,
        notes=tuple(notes),
        assumed=assumed if labels or not spec.classes else assumed | {"classes"},
    )


def _check_config(config: Any, folder: Path) -> str:
    """Return the kind of network, and refuse what the architecture `vit` does not compute."""
    kind = config.get("model_type")
    names = config.get("architectures")
    if kind not in _TYPES:
        name = names[0] if isinstance(names, list) and names else kind
        raise ArtefactError(
            f"'{folder}' is a {str(name)[:60]} of transformers",
            f"only its {', '.join(_TYPES.values())} are read",
            "use the same network of timm, or load it in Python and pass the module as a teacher",
        )
    reasons = [
        f"{key}={config[key]}"
        for key, good in (("hidden_act", "gelu"), ("use_swiglu_ffn", False), ("use_mask_token", None))
        if key in config and good is not None and config[key] != good
    ]
    if reasons:
        raise ArtefactError(
            f"'{folder}' is a {_TYPES[kind]} with {reasons[0]}",
            "the vit architecture has GELU in MLPs of two layers",
            "load it in Python and pass the module as a teacher",
        )
    return str(kind)


def _find_weights(folder: Path) -> Path:
    if (folder / WEIGHTS).exists():
        return folder / WEIGHTS
    for name in (f"{WEIGHTS}.index.json", "pytorch_model.bin", "tf_model.h5", "flax_model.msgpack"):
        if (folder / name).exists():
            raise ArtefactError(
                f"'{folder}' has no {WEIGHTS}",
                f"its weights are in {name}",
                "run save_pretrained(FOLDER, safe_serialization=True, max_shard_size='20GB') of transformers",
            )
    raise ArtefactError(f"'{folder}' has no {WEIGHTS}", "the weights are missing", "restore a copy of the folder")


def _read_number(config: Mapping[str, Any], key: str, folder: Path) -> int:
    value = config[key]
    if type(value) is not int or not 1 <= value <= 100_000:
        raise ArtefactError(
            f"'{folder / CONFIG}' has {key}={str(value)[:40]}", "it is a whole number of at least 1", "restore a copy"
        )
    return value


def _move_class_position(tensors: dict[str, Tensor]) -> None:
    """Add the class token's position to the token, since registers come between it and the patches."""
    table = tensors["pos_embed"]
    tensors["cls_token"] = tensors["cls_token"] + table[:, :1]
    tensors["pos_embed"] = table[:, 1:].clone()


def _read_eps(config: Mapping[str, Any], kind: str) -> float:
    eps = config.get("layer_norm_eps", 1e-12 if kind == "vit" else _EPS)
    return float(eps) if isinstance(eps, int | float) and 0 <= eps <= 1 else _EPS


def _set_eps(model: nn.Module, spec: VitSpec, eps: float) -> list[str]:
    """Keep timm's eps if outputs hardly change; set the file's otherwise, which no architecture rebuilds."""
    if eps == _EPS:
        return []
    shape = (2, spec.channels, spec.image_size, spec.image_size)
    images = torch.linspace(-40, 40, 2 * spec.channels * spec.image_size**2).sin().reshape(shape)
    norms: list[Any] = [part for part in model.modules() if isinstance(part, nn.LayerNorm)]
    with torch.no_grad():
        ours = model(images)
        for norm in norms:
            norm.eps = eps
        theirs = model(images)
    change = float((ours - theirs).abs().max() / theirs.abs().max().clamp_min(1e-12))
    if change > _SMALL_CHANGE:
        return [f"the norms have eps={eps:g}, so that the network is good as a teacher alone"]
    for norm in norms:
        norm.eps = _EPS
    return [f"the norms' eps becomes {_EPS:g} instead of {eps:g}, which changes outputs by {change:.1g}"]


def _read_preprocessor(folder: Path, kind: str, spec: VitSpec) -> tuple[Preprocess, list[str], frozenset[str]]:
    """Read mean and std; the size of the images is that of the position table."""
    path, notes = folder / _PREPROCESSOR, []
    content = read_json(path, LARGEST_CONFIG) if path.exists() else {}
    mean, std = (content.get(key) if isinstance(content, dict) else None for key in ("image_mean", "image_std"))
    if isinstance(content, dict) and content.get("do_normalize") is False:
        mean, std = [0.0] * spec.channels, [1.0] * spec.channels
    factor = content.get("rescale_factor", 1 / 255) if isinstance(content, dict) else 1 / 255
    if not isinstance(factor, int | float) or abs(factor * 255 - 1) > 1e-3:
        raise ArtefactError(
            f"'{path}' has rescale_factor={factor}", "pixels are divided by 255 here", "pass the module in Python"
        )
    if mean is None or std is None:
        chosen = make_preprocess(spec.channels, spec.image_size, *(_HALF if kind == "vit" else IMAGENET_STATISTICS))
        note = f"{ASSUMED} {describe_preprocess(chosen)}; there are no mean and std in {_PREPROCESSOR}"
        return chosen, [note], frozenset({"statistics"})
    try:
        chosen = Preprocess(channels=spec.channels, image_size=spec.image_size, mean=mean, std=std)
    except (ValueError, GermlineError) as error:
        raise ArtefactError(
            f"'{path}' has a wrong mean or std", str(error).splitlines()[0], "restore a copy"
        ) from error
    sizes = {value for key in ("crop_size", "size") for value in _list_sizes(content.get(key))}
    if sizes and spec.image_size not in sizes:
        notes.append(f"images have {spec.image_size} pixels as in the position table, and not {min(sizes)}")
    return chosen, notes, frozenset()


def _list_sizes(given: Any) -> list[int]:
    values = given.values() if isinstance(given, Mapping) else (given,)
    return [value for value in values if type(value) is int]


def _read_labels(config: Mapping[str, Any], count: int, folder: Path) -> ClassNames | None:
    """Read class names; transformers' own LABEL_0 and so on are none."""
    labels = read_class_names({"id2label": config.get("id2label")}, count, folder / CONFIG)
    is_default = labels is not None and labels.names == tuple(f"LABEL_{index}" for index in range(count))
    return None if is_default else labels
