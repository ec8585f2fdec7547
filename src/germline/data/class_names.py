"""Class names that a Python data set declares, and labels aligned by them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import ConcatDataset, Dataset, Subset

from germline.arguments import list_class_names
from germline.errors import DataError

Names = tuple[str, ...]
_DEPTH = 8  # data sets inside each other that are searched for names


def find_class_names(source: Any, label_key: str | None = None) -> Names | None:
    """Find the class names whose indices are the labels of a data set.

    Subsets and joined data sets have the names of the data sets inside.

    Args:
        source: Python data set.
        label_key: Key of the label, for data sets with dictionaries as items.

    Raises:
        DataError: Joined data sets name their classes differently.
    """
    if isinstance(source, Subset):
        return find_class_names(source.dataset, label_key)
    if isinstance(source, ConcatDataset):
        parts = list(dict.fromkeys(find_class_names(part, label_key) for part in source.datasets))
        named = [names for names in parts if names is not None]
        if len(named) > 1:
            raise DataError(
                f"Joined data sets name their classes differently: {_show(named[0])} and {_show(named[1])}",
                "The same label would mean different classes",
                "Use data sets with the same classes, or one folder with all of them",
            )
        return named[0] if named and len(parts) == 1 else None
    if _attribute(source, "target_transform") is not None:
        return None
    return _declared(source, label_key)


def find_inner_names(source: Any, depth: int = _DEPTH) -> Names | None:
    """Find class names of a data set somewhere inside others, which may have changed the labels."""
    names = _declared(source, None)
    if names is not None or depth == 0:
        return names
    inner = source.datasets if isinstance(source, ConcatDataset) else list(_fields(source).values())
    for value in inner:
        is_searched = (
            isinstance(value, Dataset) or hasattr(type(value), "class_to_idx") or "class_to_idx" in _fields(value)
        )
        if is_searched and (names := find_inner_names(value, depth - 1)) is not None:
            return names
    return None


def _declared(source: Any, label_key: str | None) -> Names | None:
    """Return the names in `class_to_idx`, `classes`, a timm reader, or the features of a Hugging Face data set."""
    features = _attribute(source, "features")
    if label_key is not None and isinstance(features, Mapping):
        return _as_names(getattr(features.get(label_key), "names", None))
    places = _attribute(source, "class_to_idx") or _attribute(_attribute(source, "reader"), "class_to_idx")
    if isinstance(places, Mapping) and sorted(places.values(), key=str) == sorted(range(len(places)), key=str):
        return _as_names([name for name, _ in sorted(places.items(), key=lambda pair: int(pair[1]))])
    return _as_names(_attribute(source, "classes"))


def _fields(source: Any) -> dict[str, Any]:
    try:
        fields: dict[str, Any] = vars(source)
    except TypeError:
        return {}
    return fields


def _attribute(source: Any, name: str) -> Any:
    try:
        return getattr(source, name, None)
    except Exception:  # it comes from code of the user
        return None


def _as_names(value: Any) -> Names | None:
    is_list = isinstance(value, (list, tuple)) and bool(value) and all(isinstance(name, str) for name in value)
    return tuple(value) if is_list and len(set(value)) == len(value) else None


def check_class_names(classes: Sequence[Any]) -> Names:
    """Return class names that a user gives as texts.

    Raises:
        DataError: They are one text or no list, or a name is there twice.
    """
    names = tuple(str(name) for name in list_class_names(classes, DataError))
    if "" in names:
        raise DataError("classes= has an empty name", "A name tells a class from others", "Use a name for each class")
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise DataError(f"classes= has '{twice}' twice", "A name belongs to one class", "Use each name once")
    return names


def align_labels(labels: Tensor, names: Names, training: Names, split: str) -> Tensor:
    """Relabel images with the training classes, by name.

    Args:
        labels: int64 [N], indices into `names`.
        names: Class names of these images.
        training: Class names of the training images.
        split: Name of the split for the message.

    Raises:
        DataError: An image is of a class that training does not have.
    """
    if names == training:
        return labels
    present = set(labels.tolist())
    for index, name in enumerate(names):
        if index in present and name not in training:
            raise DataError(
                f"The {split} images have a class '{name}'",
                f"The training images have no such class, but {_show(training)}",
                "Remove its images, or add the class to training",
            )
    places = torch.tensor([training.index(name) if name in training else -1 for name in names], dtype=torch.int64)
    return places[labels]


def _show(names: Names) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
