"""Models of timm and of the hub, by name."""

from __future__ import annotations

import re
from typing import Any

from germline.errors import SettingError
from germline.loading.assume import make_preprocess, read_own_size
from germline.loading.build import build_timm_model, describe_network, read_preprocess
from germline.loading.labels import ClassNames, number_classes, read_class_names
from germline.loading.request import ImageRequest
from germline.network import Network

IMAGENET_CLASSES = 1000
_SIDE = re.compile(r"@(\d{1,4})$")


def load_timm_model(name: str, weights: bool, images: ImageRequest | None = None) -> Network:
    """Load a model of timm or of the hub.

    Args:
        name: Name that `timm.create_model` accepts; `NAME@96` builds it for images of 96 pixels.
        weights: Whether to fetch its weights.
        images: Image size, mean and std that the user gives.

    Raises:
        ArtefactError: timm cannot build the model, or cannot fetch its weights.
        SettingError: The model cannot read images of that size.
        UnknownNameError: timm has no such model.
    """
    from timm.data import ImageNetInfo

    given = images or ImageRequest()
    plain, side = split_side(name)
    if side is not None and given.image_size not in (None, side):
        raise SettingError(
            f"image_size={given.image_size} for '{name}'", "the name has another size", "give one of them"
        )
    name, side = plain, given.image_size if side is None else side
    built = _build(name, weights, side)
    count = built.num_classes
    labels = read_class_names(built.pretrained_cfg, count, name)
    if labels is None and count == IMAGENET_CLASSES:
        info = ImageNetInfo()
        labels = ClassNames(tuple(info.index_to_label_name(index) for index in range(count)))
    preprocess = read_preprocess(built.pretrained_cfg)
    size = side or read_own_size(built) or preprocess.image_size
    preprocess = preprocess.model_copy(update={"image_size": size})
    if given.mean is not None and given.std is not None:
        preprocess = make_preprocess(preprocess.channels, size, given.mean, given.std)
    spec, reason = describe_network(built, preprocess)
    return Network(
        model=built,
        preprocess=preprocess,
        classes=number_classes(count) if labels is None else labels.names,
        spec=spec,
        licence=built.pretrained_cfg.get("license") or "unknown",
        source=f"timm {name}" + (f" at {side} pixels" if side else ""),
        reason=reason,
        notes=() if labels is None else labels.notes,
        assumed=frozenset() if labels is not None else frozenset({"classes"}),
    )


def split_side(name: str) -> tuple[str, int | None]:
    """Split `NAME@96` into the name and the image size in pixels, None if it has none.

    Raises:
        SettingError: No image has that size.
    """
    match = _SIDE.search(name)
    if match is None:
        return name, None
    return name[: match.start()], ImageRequest(image_size=int(match[1])).image_size


def _build(name: str, weights: bool, side: int | None) -> Any:
    """Build a model, for images of `side` pixels if it is made for one size."""
    if side is None:
        return build_timm_model(name, pretrained=weights)
    try:
        built = build_timm_model(name, pretrained=weights, img_size=side)
    except TypeError:  # a network of convolutions takes no size, and reads every size
        return build_timm_model(name, pretrained=weights)
    patch = getattr(getattr(built, "patch_embed", None), "patch_size", (1,))[0]
    if side % patch:
        fit = max(1, round(side / patch)) * patch
        raise SettingError(f"'{name}@{side}'", f"its patches have {patch} pixels", f"use {name}@{fit}")
    return built
