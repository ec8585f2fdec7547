"""Labels as whole numbers or names: read from numbers, texts and one-hot vectors."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from germline.arguments import name_type
from germline.errors import DataError

MOST_CLASSES = 100_000
_FIX = "Pass one whole number or one class name per image"


@dataclass(frozen=True)
class ReadLabels:
    """Labels as a user gave them, before they become indices of class names.

    Attributes:
        numbers: int64 [N], indices into `names` if there are names.
        names: Class names of text labels, sorted; None for numbers.
        count: Number of classes that the labels imply.
        are_digits: Whether the labels are texts that are all digits.
    """

    numbers: Tensor
    names: tuple[str, ...] | None
    count: int
    are_digits: bool = False


def read_labels(labels: Any, source: str) -> ReadLabels | None:
    """Read one label per image.

    A label is a whole number, a text, or a one-hot vector. Texts that are all digits are numbers.

    Args:
        labels: Labels as a tensor, an array or a sequence.
        source: Name of the images for messages.

    Returns:
        The labels; None if every label is None.

    Raises:
        DataError: A label is of another form, is no whole number, or differs in form from the others.
    """
    values = [_to_plain(label) for label in _iterate(labels, source)]
    if all(value is None for value in values):
        return None
    kinds = [_kind(value) for value in values]
    for index, kind in enumerate(kinds):
        if kind not in {"a number", "a text", "a vector"}:
            raise DataError(f"Label {index} of {source} is {kind}", "A label names one class", _FIX)
        if kind != kinds[0]:
            raise DataError(
                f"Label {index} of {source} is {kind}, label 0 is {kinds[0]}", "All labels have one form", _FIX
            )
    if kinds[0] == "a text":
        return _read_texts(values, source)
    if kinds[0] == "a vector":
        return _read_vectors(values, source)
    return _read_numbers(values, source)


def _iterate(labels: Any, source: str) -> Sequence[Any]:
    if isinstance(labels, Tensor):
        labels = labels.detach().cpu()
        labels = labels.to_dense() if labels.layout != torch.strided else labels
        if labels.ndim == 0:
            raise DataError(f"The labels of {source} are one number", "There is one label per image", _FIX)
        if labels.ndim > 2:
            raise DataError(
                f"The labels of {source} have shape {tuple(labels.shape)}",
                "A label names one class, and maps of labels are for segmentation",
                _FIX,
            )
        return labels.tolist()  # type: ignore[no-any-return]
    is_table = not isinstance(labels, np.ndarray) and getattr(labels, "ndim", 1) != 1
    if isinstance(labels, (str, bytes, Mapping, Set)) or is_table or not hasattr(labels, "__iter__"):
        raise DataError(f"The labels of {source} are {name_type(labels)}", "There is one label per image", _FIX)
    return list(labels)


def _to_plain(label: Any) -> Any:
    if isinstance(label, (Tensor, np.ndarray)):
        label = label.tolist()
    if isinstance(label, np.generic):
        label = label.item()
    if isinstance(label, (list, tuple)) and len(label) == 1:
        return _to_plain(label[0])
    if isinstance(label, (list, tuple)):
        return [_to_plain(value) for value in label]
    return label


def _kind(value: Any) -> str:
    if value is None:
        return "missing"
    if isinstance(value, (bool, int, float)):
        return "a number"
    if isinstance(value, str):
        return "a text"
    if isinstance(value, list):
        plain = bool(value) and all(isinstance(entry, (bool, int, float)) for entry in value)
        return "a vector" if plain else "an empty list" if not value else "a list of other things than numbers"
    return name_type(value)


def _read_numbers(values: list[Any], source: str) -> ReadLabels:
    for index, value in enumerate(values):
        if not math.isfinite(value) or value != int(value):
            raise DataError(f"Label {index} of {source} is {value}", "A label is a whole number", _FIX)
        if value < 0:
            raise DataError(
                f"Label {index} of {source} is {int(value)}",
                "Labels start at 0, and negative numbers often mark images without a label",
                "Remove such images, or pass labels from 0",
            )
        if value >= MOST_CLASSES:
            raise DataError(
                f"Label {index} of {source} is {int(value)}",
                f"Labels number the classes from 0, and there are at most {MOST_CLASSES} classes",
                _FIX,
            )
    numbers = torch.tensor([int(value) for value in values], dtype=torch.int64)
    return ReadLabels(numbers, None, int(numbers.max()) + 1)


def _read_texts(values: list[str], source: str) -> ReadLabels:
    if all(value.isascii() and value.isdigit() and str(int(value)) == value for value in values):
        return replace(_read_numbers([int(value) for value in values], source), are_digits=True)
    for index, value in enumerate(values):
        if not value.strip():
            raise DataError(f"Label {index} of {source} is an empty text", "A label names one class", _FIX)
    names = tuple(sorted(set(values)))
    places = {name: place for place, name in enumerate(names)}
    return ReadLabels(torch.tensor([places[value] for value in values], dtype=torch.int64), names, len(names))


def _read_vectors(values: list[list[float]], source: str) -> ReadLabels:
    length = len(values[0])
    for index, value in enumerate(values):
        if len(value) != length:
            raise DataError(
                f"Label {index} of {source} has {len(value)} numbers, label 0 has {length}",
                "One-hot labels have one length",
                _FIX,
            )
        if sorted(value) != [0] * (length - 1) + [1]:
            ones, others = value.count(1), [entry for entry in value if entry not in (0, 1)]
            form = "a soft label or a box" if others else f"multi-hot with {ones} ones"
            raise DataError(
                f"Label {index} of {source} is a vector of {length} numbers that is not one-hot: {form}",
                "An image has exactly one class",
                _FIX,
            )
    numbers = torch.tensor([value.index(1) for value in values], dtype=torch.int64)
    return ReadLabels(numbers, None, length)
