"""The `config.json` of a model folder: read, filtered and checked before anything is built."""

from __future__ import annotations

import inspect
import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from torch import nn

from germline.architectures import Preprocess
from germline.architectures.base import MAX_CLASSES, MAX_IMAGE_SIZE
from germline.errors import ArtefactError, GermlineError, UnknownNameError
from germline.files import read_json
from germline.loading.build import read_preprocess
from germline.loading.labels import number_classes

LARGEST_CONFIG = 2**24  # bytes
_MAX_NUMBER = 100_000
_MAX_ENTRIES, _MAX_TEXT, _MAX_NESTING = 1000, 200, 4
# Arguments that timm's functions take besides those of the network's class, for every network.
_COMMON = frozenset({"img_size", "in_chans", "global_pool", "drop_rate", "drop_path_rate"})
# Arguments that read files, reach for a network, or build something else than a classifier.
_FORBIDDEN = frozenset(
    {"pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "pretrained_model_args", "pretrained_custom_load"}
    | {"pretrained_strict", "pretrained_filter_fn", "checkpoint_path", "cache_dir", "model_cfg", "feature_cfg"}
    | {"features_only", "feature_cls", "out_indices", "pruned", "kwargs_filter", "scriptable", "exportable", "no_jit"}
    | {"device", "dtype"}
)


@dataclass(frozen=True)
class TimmConfig:
    """A checked configuration.

    Attributes:
        architecture: Name of the model in timm.
        arguments: Arguments of that model's function, without the number of classes.
        preprocess: Preprocessing of the network's images.
        classes: Ordered class names.
        licence: Licence of the weights, or "unknown".
        has_labels: Whether the class names are the file's; if not, they are numbers.
    """

    architecture: str
    arguments: dict[str, Any]
    preprocess: Preprocess
    classes: tuple[str, ...]
    licence: str
    has_labels: bool


def read_timm_config(path: Path) -> tuple[TimmConfig, dict[str, Any]]:
    """Read and check a `config.json`.

    Returns:
        The configuration, and the file's content as it is.

    Raises:
        ArtefactError: The file is missing, or an entry is missing, wrong or not allowed.
        UnknownNameError: timm has no such model.
    """
    content = read_json(path, LARGEST_CONFIG)
    try:
        return _check_config(content), content
    except UnknownNameError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
        raise ArtefactError(
            f"'{path}' is not a timm configuration",
            f"there is a problem with {_first_line(error)}",
            "give the folder that `germline train` or `germline inherit` wrote",
        ) from error
    except GermlineError as error:
        raise ArtefactError(f"'{path}': {error.what}", error.why, error.fix) from error


def _first_line(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg'].removeprefix('Value error, ')}"
    return str(error).splitlines()[0][:200] if str(error) else type(error).__name__


def _check_config(content: Any) -> TimmConfig:
    if not isinstance(content, Mapping):
        raise TypeError(f"its kind: it is a {type(content).__name__}, not a mapping")
    data = content["pretrained_cfg"]
    if not isinstance(data, Mapping):
        raise TypeError("pretrained_cfg: it is not a mapping")
    architecture = _check_architecture(content["architecture"])
    arguments = content.get("model_args", {})
    if not isinstance(arguments, Mapping):
        raise TypeError("model_args: it is not a mapping")
    arguments = dict(arguments)
    count = arguments.pop("num_classes", content.get("num_classes"))
    count = _check_count(content.get("num_classes", count), count)
    _check_arguments(architecture, arguments)
    preprocess = _check_preprocess(data, arguments)
    labels = content.get("label_names") or data.get("label_names")
    classes = _check_labels(labels, count) if labels else number_classes(count)
    licence = data.get("license") or "unknown"
    _check_unicode("license", licence)
    return TimmConfig(architecture, arguments, preprocess, classes, licence, bool(labels))


def _check_architecture(name: Any) -> str:
    import timm

    import germline.timm  # noqa: F401 - registers germline's own networks

    _check_text("architecture", name)
    if ":" in name or "/" in name or "\\" in name:
        raise ValueError(f"architecture: '{name}' leads to another place")
    if not timm.is_model(name):
        raise UnknownNameError.with_nearest("model", name, timm.list_models())
    return str(name)


def _check_count(count: Any, in_arguments: Any) -> int:
    if type(count) is not int or not 0 <= count <= MAX_CLASSES:
        raise ValueError(f"num_classes: it is not a whole number from 0 to {MAX_CLASSES}")
    if in_arguments != count or type(in_arguments) is not int:
        raise ValueError(f"num_classes: it is {count}, and {str(in_arguments)[:20]} in model_args")
    return count


def _check_arguments(architecture: str, arguments: dict[str, Any]) -> None:
    """Check that arguments are known to the network's classes, plain, and small enough to be real."""
    known = _list_arguments(architecture)
    for name, value in arguments.items():
        if name in _FORBIDDEN:
            raise ValueError(f"model_args.{name}: a folder must not decide this")
        if name not in known:
            raise ValueError(f"model_args.{name}: {architecture} has no such argument")
        _check_plain(f"model_args.{name}", value, MAX_IMAGE_SIZE if name == "img_size" else _MAX_NUMBER, 0)


def _list_arguments(architecture: str) -> set[str]:
    """List the arguments of all networks, and of functions that create them, in the module of a model of timm."""
    import timm

    members = vars(sys.modules[timm.model_entrypoint(architecture).__module__])
    makers: list[Any] = [value for name, value in members.items() if name.startswith("_create")]
    makers += [kind.__init__ for kind in members.values() if inspect.isclass(kind) and issubclass(kind, nn.Module)]
    names = {name for maker in makers for name in inspect.signature(maker).parameters}
    return (names | _COMMON) - _FORBIDDEN - {"self", "args", "kwargs"}


def _check_plain(name: str, value: Any, most: int, nesting: int) -> None:
    """Check that a value is plain JSON of ordinary size."""
    if value is None or isinstance(value, bool):
        return
    if isinstance(value, int | float):
        if not math.isfinite(value) or abs(value) > most:
            raise ValueError(f"{name}: {str(value)[:20]} is not between -{most} and {most}")
    elif isinstance(value, str):
        _check_text(name, value)
    elif nesting == _MAX_NESTING or len(value) > _MAX_ENTRIES:
        raise ValueError(f"{name}: it is too long or nested too deeply")
    else:
        for item in value.values() if isinstance(value, Mapping) else value:
            _check_plain(name, item, most, nesting + 1)


def _check_text(name: str, value: Any) -> None:
    if not isinstance(value, str) or len(value) > _MAX_TEXT or not value.isprintable():
        raise ValueError(f"{name}: it is not a line of at most {_MAX_TEXT} characters")


def _check_unicode(name: str, value: Any) -> None:
    """Check that a value is a text that can be printed; JSON can hold halves of characters, which cannot."""
    if not isinstance(value, str) or value.encode(errors="ignore").decode() != value:
        raise ValueError(f"{name}: {str(value)[:60]!r} is not a text")


def _check_preprocess(data: Mapping[str, Any], arguments: Mapping[str, Any]) -> Preprocess:
    size = data["input_size"]
    if len(size) != 3 or not all(type(number) is int and 1 <= number <= MAX_IMAGE_SIZE for number in size):
        raise ValueError(f"input_size: it is not channels, height and width of at most {MAX_IMAGE_SIZE} pixels")
    preprocess = read_preprocess(dict(data))
    channels = arguments.get("in_chans", 3)
    if channels != preprocess.channels:
        raise ValueError(f"input_size: it has {preprocess.channels} channels, and the network has {channels}")
    return preprocess


def _check_labels(labels: Any, count: int) -> tuple[str, ...]:
    if isinstance(labels, Mapping):  # timm allows a mapping from index to name
        labels = [labels[str(index)] for index in range(len(labels))]
    if not isinstance(labels, list):
        raise TypeError("label_names: it is not a list")
    if len(labels) != count:
        raise ValueError(f"label_names: there are {len(labels)} for {count} classes")
    for label in labels:
        _check_unicode("label_names", label)
    if len(set(labels)) != count:
        twice = next(label for index, label in enumerate(labels) if label in labels[:index])
        raise ValueError(f"label_names: '{twice[:60]}' is there twice")
    return tuple(labels)
