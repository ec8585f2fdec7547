"""Settings that are checked: each problem that pydantic finds becomes one error with one message."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ValidationError

from germline.errors import GermlineError, SettingError

LONGEST_VALUE = 60  # characters of a wrong value that a message shows
ModelT = TypeVar("ModelT", bound=BaseModel)


class CheckedSettings(BaseModel):
    """Settings whose constructor raises a `SettingError` about the first problem, in place of pydantic's list.

    So does a change of settings that are frozen.

    `model_validate` still raises pydantic's error, from which recipes list all problems.
    """

    if not TYPE_CHECKING:  # type checkers see the fields as arguments

        def __init__(self, **settings: Any) -> None:
            try:
                super().__init__(**settings)
            except ValidationError as error:
                raise list_problems(type(self), settings, type(self).__name__, error)[0] from None

        def __setattr__(self, name: str, value: Any) -> None:
            try:
                super().__setattr__(name, value)
            except ValidationError as error:
                kind, reason = type(self).__name__, error.errors()[0]["msg"]
                fix = f"Make new settings, such as {kind}({name}=...)"
                raise SettingError(f"{kind}.{name} cannot be changed", reason, fix) from None

        __init__.__pydantic_base_init__ = True  # so `model_validate` does not call it


def validate_settings(model: type[ModelT], raw: Mapping[str, Any], where: str) -> ModelT:
    """Validate raw settings with a pydantic model.

    Args:
        model: Class of the settings.
        raw: Settings as a user gave them.
        where: Name of their source, for messages.

    Raises:
        SettingError: A setting is wrong, missing or unknown. The message names the first problem in one line, and the
            nearest keys if a key is unknown.
    """
    try:
        return model.model_validate(dict(raw))
    except GermlineError as error:  # raised by the model's own validators
        raise type(error)(f"{where}: {error.what}", error.why, error.fix) from error
    except ValidationError as error:
        raise list_problems(model, raw, where, error)[0] from error


def list_problems(
    model: type[BaseModel], raw: Mapping[str, Any], where: str, error: ValidationError
) -> list[SettingError]:
    """Explain each problem that pydantic found, one error per setting; unknown keys come first, missing ones last.

    Args:
        model: Class of the settings.
        raw: Settings as a user gave them.
        where: Name of their source, for messages.
        error: What pydantic found.
    """
    # A preset that does not exist also leaves its keys missing.
    order = {"extra_forbidden": 0, "missing": 2}
    problems = sorted(error.errors(), key=lambda problem: order.get(problem["type"], 1))
    unknown = [str(problem["loc"][-1]) for problem in problems if problem["type"] == "extra_forbidden"]
    explained: dict[str, SettingError] = {}
    for problem in problems:
        # A misspelt key is reported twice, as unknown and as missing; "unknown" says more.
        key = str(problem["loc"][-1]) if problem["loc"] else ""
        if problem["type"] == "too_short" and any(_is_inside(other["loc"], problem["loc"]) for other in problems):
            continue  # an element that is refused is not counted either
        if problem["type"] == "missing" and difflib.get_close_matches(key, unknown, n=1, cutoff=0.6):
            continue
        place = ".".join(map(str, problem["loc"])) if problem["type"] in ("extra_forbidden", "missing") else ""
        # A type with several forms reports one problem for each form.
        explained.setdefault(place or _select_given_keys(raw, problem["loc"]), _explain(model, raw, where, problem))
    return list(explained.values())


def _is_inside(loc: Sequence[str | int], outer: Sequence[str | int]) -> bool:
    return len(loc) > len(outer) and tuple(loc[: len(outer)]) == tuple(outer)


def _explain(model: type[BaseModel], raw: Mapping[str, Any], where: str, problem: Mapping[str, Any]) -> SettingError:
    path = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        return unknown_key_error(_list_keys(model), path, where)
    if problem["type"] == "missing":
        return SettingError(f"{where}: key '{path}' is missing", "it has no default", f"set {path}")
    path = _select_given_keys(raw, problem["loc"])
    reason = problem["msg"].removeprefix("Value error, ")
    # A problem of several settings together has no path, so the message names all settings that were given.
    given = f"{path}={problem.get('input')!r}" if path else ", ".join(f"{key}={raw[key]!r}" for key in raw)
    short = given if len(given) <= LONGEST_VALUE else f"{given[:LONGEST_VALUE]} …"
    fix = f"set {path} to {_describe_allowed(problem)}" if path else "set these keys to other values"
    return SettingError(f"{where}: {short}", reason, fix)


_ALLOWED = {
    "greater_than": "a number above {gt}",
    "greater_than_equal": "a number of at least {ge}",
    "less_than": "a number below {lt}",
    "less_than_equal": "a number of at most {le}",
    "literal_error": "{expected}",
    "too_short": "a list with at least {min_length} values",
    "too_long": "a list with at most {max_length} values",
    "finite_number": "a finite number",
    "bool_parsing": "true or false",
    "bool_type": "true or false",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "string_type": "a text",
    "tuple_type": "a list such as [1,2]",
    "list_type": "a list",
    "dict_type": "a mapping of keys to values",
    "model_type": "a mapping of keys to values",
}


def _describe_allowed(problem: Mapping[str, Any]) -> str:
    """Describe the values that a setting allows; pydantic says which rule was broken."""
    if problem["type"] == "too_short" and isinstance(problem.get("input"), Mapping):
        return "a mapping with at least {min_length} keys".format_map(problem["ctx"])
    return _ALLOWED.get(problem["type"], "another value").format_map(problem.get("ctx") or {})


def _select_given_keys(raw: Any, loc: Sequence[str | int]) -> str:
    """Join the keys of `loc` that exist in the raw settings; pydantic adds the names of the types that it tried."""
    keys = []
    for part in loc:
        known = range(len(raw)) if isinstance(raw, list) else raw if isinstance(raw, Mapping) else ()
        if part in known:
            raw = raw[part]
            keys.append(str(part))
    return ".".join(keys)


def unknown_key_error(keys: Iterable[str], path: str, where: str) -> SettingError:
    """Return the error for a key that does not exist; its message names the nearest of the `keys`."""
    known = sorted(keys)
    near = _find_nearest(path, known)
    fix = f"Did you mean {' or '.join(near)}?" if near else f"Known: {', '.join(known)}"
    return SettingError(f"{where}: unknown key '{path}'", "", fix)


def _find_nearest(path: str, known: list[str]) -> list[str]:
    """Find the full keys whose last part is nearest to that of `path`; keys of the same group have priority."""
    group, _, wanted = path.rpartition(".")
    for candidates in ([key for key in known if key.rpartition(".")[0] == group], known):
        parts = sorted({key.rpartition(".")[2] for key in candidates})
        near = difflib.get_close_matches(wanted, parts, n=3, cutoff=0.6)
        if near:
            keys = [key for part in near for key in candidates if key.rpartition(".")[2] == part]
            return [key for key in keys if key.rpartition(".")[2] == wanted] or keys
    return []


def _list_keys(model: type[BaseModel]) -> set[str]:
    keys = set(model.model_fields)
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            keys |= {f"{name}.{key}" for key in _list_keys(field.annotation)}
    return keys
