"""Data sets by name, and data sets from images that are given in Python."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Sequence, Sized
from dataclasses import replace
from typing import Any, cast, get_args

import numpy as np
import torch
from torch import Tensor

from germline.data.concat import concat_data_sets
from germline.data.dataset import Augmentation, DataSet, Images, Role, Split
from germline.data.placeholder import MissingDataError
from germline.data.resize import resize_data_set
from germline.errors import DataError
from germline.randomness import generator
from germline.registry import DATA

VALIDATION_SHARE = 0.1
SELF_SIZED_SETS = ("folder", "mini-imagenet")  # their readers parse the size after @


def list_data_sets() -> dict[str, str]:
    """Map names of data sets to the first docstring line of their readers."""
    return {name: (inspect.getdoc(DATA[name]) or "").splitlines()[0] for name in DATA}


def load_data(
    source: Any,
    *,
    val: Any = None,
    test: Any = None,
    classes: Sequence[str] = (),
    augmentation: Sequence[Augmentation] = ("shift",),
) -> DataSet:
    """Load a data set by name, or wrap images that are given in Python.

    A name is for example `glyphs/base`, `fashion-mnist`, `cifar10:/data`, `cifar-fs/base:/data` or `folder:/photos`.
    A size can follow, as in `glyphs/base@112`. A plus sign joins data sets, as in `glyphs/base+fashion-mnist`.
    Data sets for further roles follow a comma, as in `glyphs/base,held_out=glyphs/open`.

    Images are a pair of tensors, a map-style Dataset, or a DataLoader of one. A pair has images [N, C, H, W], uint8 or
    float in [0, 1], and labels [N] or None. An item of a Dataset is an image, or an image and its label.

    Args:
        source: Name of a data set, a `DataSet`, or training images.
        val: Validation images of one of these kinds; None takes a tenth of the training images.
        test: Test images of one of these kinds.
        classes: Ordered class names of images given in Python; empty for numbers.
        augmentation: Changes that keep the label of an image given in Python.

    Raises:
        UnknownNameError: No data set has that name.
        DataError: The data set cannot be read.
    """
    if isinstance(source, DataSet):
        return source
    if isinstance(source, str):
        return _load_named(source)
    train = to_images(source, classes)
    if val is None:
        train, held = _split_validation(train)
    else:
        held = to_images(val, train.classes)
    splits: dict[Split, Any] = {"train": train, "val": held}
    if test is not None:
        splits["test"] = to_images(test, train.classes)
    return DataSet(name="given in Python", read=_reader(splits), augmentation=tuple(augmentation))


def load_data_or_placeholder(source: str) -> tuple[DataSet, tuple[MissingDataError, ...]]:
    """Load a data set by name, with placeholders for data sets that are not on this machine.

    Returns:
        The data set, and one error for each missing data set.

    Raises:
        UnknownNameError: No data set has that name.
        DataError: The data set cannot be read, or is missing and has no published numbers.
    """
    missing: list[MissingDataError] = []
    return _load_named(source, missing), tuple(missing)


def _load_named(source: str, missing: list[MissingDataError] | None = None) -> DataSet:
    """Load a data set with its roles; with a list, missing ones become placeholders and are added to it."""
    first, *others = re.split(rf",({'|'.join(get_args(Role))})=", source)
    data_set = _load_joined(first, missing)
    if not others:
        return data_set
    further = [_load_named(other, missing) for other in others[1::2]]
    roles = dict(zip(cast("list[Role]", others[::2]), further, strict=True))
    return replace(data_set, name=source, roles=roles, _cache={})


def _load_joined(source: str, missing: list[MissingDataError] | None) -> DataSet:
    """Load one data set, or several joined by `+`; a `+` in the name of a folder joins nothing."""
    names = re.split(rf"\+(?=(?:{'|'.join(map(re.escape, DATA))})(?:[/:+@]|$))", source)
    parts = [_load_one(name, missing) for name in names]
    return parts[0] if len(parts) == 1 else concat_data_sets(source, parts)


def _load_one(source: str, missing: list[MissingDataError] | None) -> DataSet:
    """Load one data set by name, resized if a size follows, as in `digits@64`."""
    name, place = _split_name(source)
    sized = re.fullmatch(r"(.+)@([0-9]+)", source, re.DOTALL)
    if sized and name not in SELF_SIZED_SETS:
        return resize_data_set(_load_one(sized[1], missing), int(sized[2]))
    try:
        return cast("Callable[[str | None], DataSet]", DATA[name])(place)
    except MissingDataError as error:
        if missing is None or error.placeholder is None:
            raise
        missing.append(error)
        return error.placeholder


def _split_name(source: str) -> tuple[str, str | None]:
    """Split `cifar10:/data`, `glyphs/base` or `cifar-fs/base:/data` into the registered name and the rest."""
    for mark in (":", "/"):
        name, separator, place = source.partition(mark)
        if separator and name in DATA:
            return name, place
    return source, None


def _reader(splits: dict[Split, Images]) -> Callable[[Split], Images]:
    def read(split: Split) -> Images:
        if split not in splits:
            raise DataError(f"No {split} images were given", fix=f"Pass {split}= to germline.load_data")
        return splits[split]

    return read


def to_images(source: Any, classes: Sequence[str] = ()) -> Images:
    """Convert a pair of tensors, a map-style Dataset or a DataLoader to uint8 images in memory.

    Raises:
        DataError: The source is none of these, or its images differ in size.
    """
    if isinstance(source, Images):
        return source
    if isinstance(source, Tensor):
        images, labels = source, None
    elif isinstance(source, tuple) and len(source) == 2:
        images, labels = torch.as_tensor(source[0]), source[1]
    else:
        images, labels = _from_items(getattr(source, "dataset", source))
    numbers = None if labels is None else torch.as_tensor(labels).to(torch.int64)
    names = tuple(classes)
    if not names and numbers is not None and len(numbers):
        names = tuple(str(index) for index in range(int(numbers.max()) + 1))
    return Images(_to_uint8(images), numbers, names if numbers is not None else ())


def _from_items(items: Any) -> tuple[Tensor, list[int] | None]:
    if not (isinstance(items, Sized) and hasattr(items, "__getitem__")):
        raise DataError(
            f"A {type(items).__name__} is not a data set",
            "It has no length or cannot be indexed",
            "Pass a map-style Dataset, a DataLoader of one, or a pair of tensors",
        )
    images: list[Tensor] = []
    labels: list[int] = []
    for item in cast("Iterable[Any]", (items[index] for index in range(len(items)))):
        image, label = item if isinstance(item, (tuple, list)) else (item, None)
        images.append(_to_uint8(_as_tensor(image)))
        if label is not None:
            labels.append(int(label))
    if len({image.shape for image in images}) != 1:
        raise DataError(
            "The images differ in size", "Images in memory have one size", "Use a Dataset that resizes them"
        )
    return torch.stack(images), labels or None


def _as_tensor(image: Any) -> Tensor:
    if isinstance(image, Tensor):
        return image
    array = np.asarray(image)
    grey = array.ndim == 2
    return torch.from_numpy(array[None] if grey else array.transpose(2, 0, 1).copy())


def _to_uint8(images: Tensor) -> Tensor:
    if images.dtype == torch.uint8:
        return images
    if images.is_floating_point() and len(images) and float(images.min()) >= 0 and float(images.max()) <= 1:
        return (images * 255).round().to(torch.uint8)
    raise DataError(
        f"Images of type {images.dtype}",
        "Images are uint8, or floats in [0, 1] without normalisation",
        "Remove normalisation from the transform: the network's Preprocess does it",
    )


def _split_validation(images: Images) -> tuple[Images, Images]:
    order = torch.randperm(len(images), generator=generator(0, "validation"))
    held = max(1, round(len(images) * VALIDATION_SHARE))
    return images.subset(order[held:].sort().values), images.subset(order[:held].sort().values)
