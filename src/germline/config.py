"""Settings as people write them: YAML with dotted overrides, checked before anything runs."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from germline.errors import GermlineError, SettingError

LONGEST_VALUE = 60  # of a wrong value, as it is shown
ModelT = TypeVar("ModelT", bound=BaseModel)


class _UniqueKeys(yaml.SafeLoader):
    """YAML that refuses a key standing twice."""


def _mapping(loader: _UniqueKeys, node: yaml.MappingNode) -> dict[Any, Any]:
    keys = [loader.construct_object(key) for key, _ in node.value]
    for index, key in enumerate(keys):
        if key in keys[:index]:
            line = node.value[index][0].start_mark.line + 1
            raise yaml.YAMLError(f"key '{key}' stands twice, again at line {line}")
    return loader.construct_mapping(node, deep=True)


_UniqueKeys.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)
# YAML 1.1 reads 1e-3 as text; a number is meant.
_UniqueKeys.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"),
    list("-+0123456789."),
)


def parse_yaml(text: str, where: str) -> dict[str, Any]:
    """Read a YAML mapping.

    Raises:
        SettingError: It is not YAML, or no mapping, or a key stands twice.
    """
    raw = _read_yaml(text, f"'{where}'")
    if not isinstance(raw, dict):
        raise SettingError(
            f"'{where}' is no recipe",
            "a mapping of keys to values is expected",
            "begin with a copy: germline show demo",
        )
    return raw


def _read_yaml(text: str, where: str) -> Any:
    try:
        return yaml.load(text, Loader=_UniqueKeys)  # noqa: S506 - a SafeLoader
    # Dates and numbers that are none, and nesting without end, are not YAMLErrors to this reader.
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split()).replace('in "<unicode string>", ', "at ")
        raise SettingError(f"{where} is not valid YAML", reason, "mend that line") from error


def merge_settings(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Nested mappings, one put over the other; null takes away what lies below."""
    result: dict[str, Any] = _copy(below)
    for key, value in above.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, Mapping) and isinstance(result.get(key), Mapping):
            result[key] = merge_settings(result[key], value)
        else:
            result[key] = _copy(value)
    return result


def apply_overrides(raw: Mapping[str, Any], overrides: Iterable[str]) -> dict[str, Any]:
    """A copy of nested mappings with `a.b=value` put in; values are read as YAML.

    Raises:
        SettingError: An override is not key=value, or goes through something that is no mapping.
    """
    result: dict[str, Any] = _copy(raw)
    for text in overrides:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise SettingError(f"--set {text}", "it is not key=value", "write for example --set epochs=20")
        place = result
        *path, last = key.split(".")
        for part in path:
            place = place.setdefault(part, {})
            if not isinstance(place, dict):
                raise SettingError(f"--set {text}", f"'{part}' is a value, not a group of keys", f"set {part} itself")
        place[last] = _read_yaml(value, f"--set {text}")
    return result


def _copy(value: Any) -> Any:
    return {key: _copy(inner) for key, inner in value.items()} if isinstance(value, Mapping) else value


def validate_settings(model: type[ModelT], raw: Mapping[str, Any], where: str) -> ModelT:
    """Check raw settings against a model.

    Raises:
        SettingError: The first problem, in one line, with the nearest key where a key is unknown.
    """
    try:
        return model.model_validate(dict(raw))
    except GermlineError as error:  # a check of the model's own
        raise type(error)(f"{where}: {error.what}", error.why, error.fix) from error
    except ValidationError as error:
        # A key that is misspelt is also one that is missing; the first says more.
        found = error.errors()
        first = next((one for one in found if one["type"] == "extra_forbidden"), found[0])
        place = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            raise _unknown_key(model, place, where) from error
        if first["type"] == "missing":
            raise SettingError(f"{where}: key '{place}' is missing", "it has no default", "add it") from error
        place = _given(raw, first["loc"])
        reason = first["msg"].removeprefix("Value error, ")
        # A problem of several settings together has no place: all that were given are named.
        given = f"{place}={first.get('input')!r}" if place else ", ".join(f"{key}={raw[key]!r}" for key in raw)
        short = given if len(given) <= LONGEST_VALUE else f"{given[:LONGEST_VALUE]} …"
        raise SettingError(f"{where}: {short}", reason, f"mend {'this key' if place else 'these keys'}") from error


def _given(raw: Any, loc: Sequence[str | int]) -> str:
    """The keys of `loc` that lead through what was given; pydantic also names the type that it tried there."""
    keys = []
    for part in loc:
        known = range(len(raw)) if isinstance(raw, list) else raw if isinstance(raw, Mapping) else ()
        if part in known:
            raw = raw[part]
            keys.append(str(part))
    return ".".join(keys)


def _unknown_key(model: type[BaseModel], place: str, where: str) -> SettingError:
    known = sorted(_keys(model))
    near = _nearest(place, known)
    fix = f"Did you mean {' or '.join(near)}?" if near else f"Known: {', '.join(known)}"
    return SettingError(f"{where}: unknown key '{place}'", "", fix)


def _nearest(place: str, known: list[str]) -> list[str]:
    """Whole keys whose last part is the nearest to that of `place`; those of its own group, if there are any."""
    group, _, wanted = place.rpartition(".")
    for among in ([key for key in known if key.rpartition(".")[0] == group], known):
        parts = sorted({key.rpartition(".")[2] for key in among})
        near = difflib.get_close_matches(wanted, parts, n=3, cutoff=0.6)
        if near:
            found = [key for part in near for key in among if key.rpartition(".")[2] == part]
            return [key for key in found if key.rpartition(".")[2] == wanted] or found
    return []


def _keys(model: type[BaseModel]) -> set[str]:
    keys = set(model.model_fields)
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            keys |= {f"{name}.{key}" for key in _keys(field.annotation)}
    return keys
