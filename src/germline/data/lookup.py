"""One way to name a data set: `glyphs/base`, `cifar100:/data`, `folder:/photos`; or what a Python user has at hand."""

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
SELF_SIZED_SETS = ("folder", "mini-imagenet")  # whose readers take the size behind an @ themselves


def list_data_sets() -> dict[str, str]:
    """Names of data sets, each with the first line of its reader's docstring."""
    return {name: (inspect.getdoc(DATA[name]) or "").splitlines()[0] for name in DATA}


def load_data(
    source: Any,
    *,
    val: Any = None,
    test: Any = None,
    classes: Sequence[str] = (),
    augmentation: Sequence[Augmentation] = ("shift",),
) -> DataSet:
    """Find a data set.

    Args:
        source: A name (`glyphs/base`, `fashion-mnist`, `cifar10:/data`, `cifar-fs/base:/data`, `folder:/photos`), which
            may have a size behind it (`glyphs/base@112`), be several joined (`glyphs/base+fashion-mnist`), and go on
            with sets for further roles (`glyphs/base,held_out=glyphs/open`); a `DataSet`; or training pictures: a pair
            of tensors (uint8 or float in [0, 1], [N, C, H, W]; labels [N] or None), a map-style Dataset of (picture,
            label) or of pictures, or a DataLoader round one.
        val: Validation pictures in the same forms; a tenth of the training pictures is set apart where it is left out.
        test: Test pictures in the same forms.
        classes: Ordered class names of such pictures; numbers where they are left out.
        augmentation: What may be done to such pictures in training.

    Raises:
        UnknownNameError: No data set has that name.
        DataError: It cannot be read.
    """
    if isinstance(source, DataSet):
        return source
    if isinstance(source, str):
        return _named(source)
    train = to_images(source, classes)
    if val is None:
        train, held = _set_apart(train)
    else:
        held = to_images(val, train.classes)
    splits: dict[Split, Any] = {"train": train, "val": held}
    if test is not None:
        splits["test"] = to_images(test, train.classes)
    return DataSet(name="given in Python", read=_reader(splits), augmentation=tuple(augmentation))


def load_data_or_placeholder(source: str) -> tuple[DataSet, tuple[MissingDataError, ...]]:
    """Find a data set by name; a set that is not on this machine is known by its published numbers alone.

    Returns:
        The data set, and one error for each set that is missing.

    Raises:
        UnknownNameError: No data set has that name.
        DataError: It cannot be read, or is missing and its numbers are not known.
    """
    missing: list[MissingDataError] = []
    return _named(source, missing), tuple(missing)


def _named(source: str, missing: list[MissingDataError] | None = None) -> DataSet:
    """The set of a name, with those of its further roles; with a list, missing sets are described and noted there."""
    first, *others = re.split(rf",({'|'.join(get_args(Role))})=", source)
    found = _one_or_several(first, missing)
    if not others:
        return found
    further = [_named(other, missing) for other in others[1::2]]
    roles = dict(zip(cast("list[Role]", others[::2]), further, strict=True))
    return replace(found, name=source, roles=roles, _cache={})


def _one_or_several(source: str, missing: list[MissingDataError] | None) -> DataSet:
    """One set, or several joined by `+`, as in `glyphs/base+fashion-mnist`; a `+` in a folder's name joins nothing."""
    names = re.split(rf"\+(?=(?:{'|'.join(map(re.escape, DATA))})(?:[/:+@]|$))", source)
    parts = [_one(name, missing) for name in names]
    return parts[0] if len(parts) == 1 else concat_data_sets(source, parts)


def _one(source: str, missing: list[MissingDataError] | None) -> DataSet:
    """One set by its name; a set in memory is resized where a size stands behind it, as in `digits@64`."""
    name, place = _split_name(source)
    sized = re.fullmatch(r"(.+)@([0-9]+)", source, re.DOTALL)
    if sized and name not in SELF_SIZED_SETS:
        return resize_data_set(_one(sized[1], missing), int(sized[2]))
    try:
        return cast("Callable[[str | None], DataSet]", DATA[name])(place)
    except MissingDataError as error:
        if missing is None or error.placeholder is None:
            raise
        missing.append(error)
        return error.placeholder


def _split_name(source: str) -> tuple[str, str | None]:
    """`cifar10:/data`, `glyphs/base` and `cifar-fs/base:/data` name a set and a place within or of it."""
    for mark in (":", "/"):
        name, found, place = source.partition(mark)
        if found and name in DATA:
            return name, place
    return source, None


def _reader(splits: dict[Split, Images]) -> Callable[[Split], Images]:
    def read(split: Split) -> Images:
        if split not in splits:
            raise DataError(f"no {split} pictures were given", fix=f"pass {split}= to germline.load_data")
        return splits[split]

    return read


def to_images(source: Any, classes: Sequence[str] = ()) -> Images:
    """Bring a pair of tensors, a map-style Dataset or a DataLoader into memory as uint8.

    Raises:
        DataError: It is none of these, or its pictures differ in size.
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
            f"a {type(items).__name__} is no data set",
            "it has no length or cannot be indexed",
            "pass a map-style Dataset, a DataLoader round one, or a pair of tensors",
        )
    images: list[Tensor] = []
    labels: list[int] = []
    for item in cast("Iterable[Any]", (items[index] for index in range(len(items)))):
        image, label = item if isinstance(item, (tuple, list)) else (item, None)
        images.append(_to_uint8(_as_tensor(image)))
        if label is not None:
            labels.append(int(label))
    if len({image.shape for image in images}) != 1:
        raise DataError("pictures differ in size", "in memory they have one size", "resize them in the Dataset")
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
        f"pictures of type {images.dtype}",
        "pictures are uint8, or floats in [0, 1] that are not yet normalised",
        "leave normalisation out of the transform: the network's Preprocess does it",
    )


def _set_apart(images: Images) -> tuple[Images, Images]:
    order = torch.randperm(len(images), generator=generator(0, "validation"))
    held = max(1, round(len(images) * VALIDATION_SHARE))
    return images.subset(order[held:].sort().values), images.subset(order[:held].sort().values)
