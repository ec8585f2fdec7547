"""Data sets by name, and data sets from images that are given in Python."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path, PurePath
from typing import Any, cast, get_args

from germline.arguments import check_type
from germline.data.class_names import check_class_names
from germline.data.concat import concat_data_sets
from germline.data.dataset import Augmentation, DataSet, Role
from germline.data.placeholder import MissingDataError
from germline.data.python_data import read_python_splits, read_split_of
from germline.data.resize import resize_data_set
from germline.errors import DataError, UnknownNameError
from germline.registry import DATA, make_unknown_data_error

_AUGMENTATION: tuple[Augmentation, ...] = ("shift",)  # of images given in Python
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
    augmentation: Sequence[Augmentation] = _AUGMENTATION,
) -> DataSet:
    """Load a data set by name, or wrap images that are given in Python.

    A name is for example `glyphs/base`, `fashion-mnist`, `cifar10:/data`, `cifar-fs/base:/data` or `folder:/photos`.
    A size can follow, as in `glyphs/base@112`. A plus sign joins data sets, as in `glyphs/base+fashion-mnist`.
    Data sets for further roles follow a comma, as in `glyphs/base,held_out=glyphs/open`.

    Images are a pair of tensors, a map-style Dataset, or a DataLoader of one. A pair has images [N, C, H, W], uint8 or
    float in [0, 1], and labels [N] or None. An item of a Dataset is an image, an image and its label, or a dictionary
    of them. Subsets and samplers are followed. Labels of all splits are matched by class name where the data name
    their classes. What has no one meaning is refused.

    Args:
        source: Name of a data set, a `DataSet`, or training images.
        val: Validation images of one of these kinds; None takes a tenth of the training images.
        test: Test images of one of these kinds.
        classes: Ordered class names of images given in Python; empty for the data's own names, or numbers.
        augmentation: Changes that keep the label of an image given in Python.

    Raises:
        UnknownNameError: No data set has that name.
        DataError: The data set cannot be read.
        SettingError: The augmentation is no list.
    """
    classes, changes = check_class_names(classes), _check_augmentation(augmentation)
    if isinstance(source, PurePath):
        raise DataError(
            f"'{source}' is a path", "The name of a folder has a prefix", f'Use load_data("folder:{source}")'
        )
    if isinstance(source, (str, DataSet)):
        if val is not None or test is not None or classes or changes != _AUGMENTATION:
            raise DataError(
                "val=, test=, classes= and augmentation= go with images given in Python",
                "A named data set has splits, class names and augmentation of its own",
                "Remove them, or pass the images themselves",
            )
        return _load_named(source) if isinstance(source, str) else source
    splits = read_python_splits(source, val, test, classes)
    return DataSet(name="given in Python", read=read_split_of(splits), augmentation=changes)


def _check_augmentation(augmentation: Sequence[Augmentation]) -> tuple[Augmentation, ...]:
    """Return the names of changes, which are spelt correctly."""
    fix = 'Pass a list, such as augmentation=["shift"], or an empty one'
    check_type("augmentation", augmentation, (list, tuple), "It is a list of changes", fix)
    for name in augmentation:
        if name not in get_args(Augmentation):
            raise UnknownNameError.with_nearest("augmentation", str(name), get_args(Augmentation))
    return tuple(augmentation)


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
    names = [source] if _is_folder(re.sub(r"@[0-9]+$", "", source)) else names
    parts = [_load_one(name, missing) for name in names]
    return parts[0] if len(parts) == 1 else concat_data_sets(source, parts)


def _load_one(source: str, missing: list[MissingDataError] | None) -> DataSet:
    """Load one data set by name, resized if a size follows, as in `digits@64`."""
    name, place = _split_name(source)
    sized = re.fullmatch(r"(.+)@([0-9]+)", source, re.DOTALL)
    if sized and name not in SELF_SIZED_SETS and not _is_folder(source):
        return resize_data_set(_load_one(sized[1], missing), int(sized[2]))
    if name not in DATA:
        raise make_unknown_data_error(source)
    try:
        return cast("Callable[[str | None], DataSet]", DATA[name])(place)
    except MissingDataError as error:
        if missing is None or error.placeholder is None:
            raise
        missing.append(error)
        return error.placeholder


def _is_folder(source: str) -> bool:
    """Whether the place after the colon is a folder, whose name may end in @ and a number."""
    _, separator, place = source.partition(":")
    return bool(separator) and Path(place).expanduser().is_dir()


def _split_name(source: str) -> tuple[str, str | None]:
    """Split `cifar10:/data`, `glyphs/base` or `cifar-fs/base:/data` into the registered name and the rest."""
    for mark in (":", "/"):
        name, separator, place = source.partition(mark)
        if separator and name in DATA:
            return name, place
    return source, None
