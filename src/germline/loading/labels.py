"""Class names that configurations of other libraries give."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from germline.errors import ArtefactError

CONFIG_KEYS = ("label_names", "labels", "id2label")
CHECKPOINT_KEYS = ("classes", "class_names", "label_names", "labels", "idx_to_class", "class_to_idx")


def number_classes(count: int) -> tuple[str, ...]:
    """Return class names "0", "1" and so on."""
    return tuple(str(index) for index in range(count))


class ClassNames(NamedTuple):
    """Class names of a configuration.

    Attributes:
        names: One name per output, all different.
        notes: What was changed in them, one sentence each.
    """

    names: tuple[str, ...]
    notes: tuple[str, ...] = ()


def read_class_names(config: Mapping[str, Any], count: int, origin: object) -> ClassNames | None:
    """Read class names from a configuration; None if it has none.

    A name that several outputs have gets the index of each output behind it. ImageNet has two classes called crane.

    Args:
        config: Configuration of timm (`label_names`) or of transformers (`id2label`).
        count: Number of the network's outputs.
        origin: File or name of the configuration, for messages.

    Raises:
        ArtefactError: The names are not texts, or not one per output, or indices do not make them different.
    """
    key = next((key for key in CONFIG_KEYS if config.get(key)), None)
    if key is None or count == 0:
        return None
    names = _list_names(config[key], count)
    if names is None or not all(isinstance(name, str) for name in names):
        raise _labels_error(origin, key, f"{count} texts are expected, one per output")
    if len(names) != count:
        raise _labels_error(origin, key, f"there are {len(names)} names for {count} outputs")
    counts = Counter(names)
    different = tuple(f"{name} ({index})" if counts[name] > 1 else name for index, name in enumerate(names))
    repeated = [name for name, times in counts.items() if times > 1]
    if not repeated:
        return ClassNames(different)
    if len(set(different)) < count:
        raise _labels_error(origin, key, f"'{repeated[0]}' is given twice")
    first = " and ".join(new for new, name in zip(different, names, strict=True) if name == repeated[0])
    return ClassNames(different, (f"class names that are given twice have their indices, such as {first}",))


def read_checkpoint_classes(facts: Mapping[str, Any], count: int) -> tuple[str, ...] | None:
    """Read class names that a training script saved beside its weights; None if there are none that fit."""
    for key in CHECKPOINT_KEYS:
        given = facts.get(key)
        if key == "class_to_idx" and isinstance(given, Mapping):
            given = {index: name for name, index in given.items()}
        names = None if given is None or count == 0 else _list_names(given, count)
        if names and len(names) == len(set(map(str, names))) == count and all(isinstance(name, str) for name in names):
            return tuple(names)
    return None


def _list_names(given: Any, count: int) -> list[Any] | None:
    """List names in the order of the outputs; None if they are neither a list nor a mapping from indices."""
    if isinstance(given, Mapping):
        by_index = {str(index): name for index, name in given.items()}
        indices = [str(index) for index in range(max(count, len(by_index)))]
        return [by_index[index] for index in indices] if by_index.keys() == set(indices) else None
    return list(given) if isinstance(given, Sequence) and not isinstance(given, str) else None


def _labels_error(origin: object, key: str, reason: str) -> ArtefactError:
    return ArtefactError(f"'{origin}' has wrong class names in '{key}'", reason, f"set {key} to one name per output")
