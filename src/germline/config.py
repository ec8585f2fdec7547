"""Settings as users write them: YAML with dotted overrides, checked before anything runs."""

from __future__ import annotations

import difflib
import re
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from germline.errors import GermlineError, SettingError

# A recipe has about 100 values in 5 levels. Longer texts would take seconds to parse.
LONGEST_YAML, MOST_NODES, MOST_NESTING = 200_000, 20_000, 50
LONGEST_VALUE = 60  # characters of a wrong value that a message shows
# PyYAML also raises these, for wrong dates, numbers and tags, and for endless nesting.
_YAML_ERRORS = (ValueError, RecursionError, LookupError, AttributeError, TypeError, ArithmeticError)
_MERGE = "tag:yaml.org,2002:merge"
ModelT = TypeVar("ModelT", bound=BaseModel)


class _UniqueKeys(yaml.SafeLoader):
    """YAML loader that refuses duplicate keys, and aliases that repeat too much."""

    def compose_document(self) -> Any:
        """Compose the nodes of a document, and count them as often as aliases repeat them."""
        node = super().compose_document()
        if node is not None:
            _count_nodes(node, {}, 0)
        return node


def _count_nodes(node: yaml.Node, counts: dict[int, int], nesting: int) -> int:
    """Count the nodes below a node, those of aliases once per use.

    Args:
        node: Node to count.
        counts: Counts of the nodes that are finished; 0 for those that are not.
        nesting: Number of nodes around this one.
    """
    known = counts.get(id(node))
    if known is not None and isinstance(node, yaml.CollectionNode):
        if known == 0:
            raise yaml.YAMLError(f"the alias at line {node.start_mark.line + 1} contains itself")
        return known
    if nesting > MOST_NESTING:
        raise yaml.YAMLError(f"line {node.start_mark.line + 1} is nested in more than {MOST_NESTING} levels")
    counts[id(node)] = 0
    total = 1
    if isinstance(node, yaml.CollectionNode):
        for item in node.value:
            for inner in item if isinstance(item, tuple) else (item,):
                total += _count_nodes(inner, counts, nesting + 1)
    if total > MOST_NODES:
        raise yaml.YAMLError(f"it has more than {MOST_NODES:,} values, those that aliases repeat included")
    counts[id(node)] = total
    return total


def _mapping(loader: _UniqueKeys, node: yaml.MappingNode) -> dict[Any, Any]:
    merges = [value for key, value in node.value if key.tag == _MERGE]
    if len(merges) > 1:
        raise yaml.YAMLError(f"key '<<' is given twice, again at line {merges[1].start_mark.line + 1}")
    own = yaml.MappingNode(node.tag, [item for item in node.value if item[0].tag != _MERGE], node.start_mark)
    keys = set()
    for key_node, _ in own.value:
        key = loader.construct_object(key_node, deep=True)
        # A key that cannot be hashed is refused below, with its place.
        if isinstance(key, Hashable) and key in keys:
            raise yaml.YAMLError(f"key '{key}' is given twice, again at line {key_node.start_mark.line + 1}")
        if isinstance(key, Hashable):
            keys.add(key)
    return {**_merged(loader, merges), **loader.construct_mapping(own, deep=True)}


def _merged(loader: _UniqueKeys, merges: Sequence[yaml.Node]) -> dict[Any, Any]:
    """Return the keys that `<<: *one` or `<<: [*one, *two]` takes from other mappings; the first has priority."""
    taken: dict[Any, Any] = {}
    for node in merges:
        value = loader.construct_object(node, deep=True)
        for mapping in value if isinstance(value, list) else [value]:
            if not isinstance(mapping, dict):
                raise yaml.YAMLError(f"'<<' at line {node.start_mark.line + 1} takes the keys of mappings only")
            taken = {**mapping, **taken}
    return taken


_UniqueKeys.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)
# YAML 1.1 reads 1e-3 as text, but users mean a number.
_UniqueKeys.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"),
    list("-+0123456789."),
)


def parse_yaml(text: str, where: str) -> dict[str, Any]:
    """Parse a YAML mapping.

    Args:
        text: YAML text.
        where: Name of its source, for messages.

    Raises:
        SettingError: The text is not valid YAML or not a mapping, or a key is given twice.
    """
    raw = _read_yaml(text, f"'{where}'")
    if not isinstance(raw, dict):
        raise SettingError(
            f"'{where}' is not a recipe",
            "a recipe is a mapping of keys to values",
            "use a copy of `germline show demo` as a start",
        )
    return raw


def _read_yaml(text: str, where: str) -> Any:
    if len(text) > LONGEST_YAML:
        raise SettingError(
            f"{where} is too long", f"a recipe has at most {LONGEST_YAML:,} characters", "give another file"
        )
    try:
        return yaml.load(text, Loader=_UniqueKeys)  # noqa: S506 - a SafeLoader
    except (yaml.YAMLError, *_YAML_ERRORS) as error:
        reason = " ".join(str(error).split()).replace('in "<unicode string>", ', "at ") or type(error).__name__
        raise SettingError(f"{where} is not valid YAML", reason, "remove the mistake there") from error


def merge_settings(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Merge nested mappings; values of `above` have priority, and a null there removes the key."""
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
    """Copy nested mappings and apply overrides such as `a.b=value`, whose values are read as YAML.

    Raises:
        SettingError: An override is not key=value, has no value, or has a key that leads through a plain value.
    """
    result: dict[str, Any] = _copy(raw)
    for text in overrides:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise SettingError(f"--set {text}", "it is not key=value", "use for example --set epochs=20")
        if not value.strip():
            raise SettingError(f"--set {text}", "it has no value", f"give one, or use {key}=null for none")
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
    """Explain each problem that pydantic found, one error per setting; unknown keys come first.

    Args:
        model: Class of the settings.
        raw: Settings as a user gave them.
        where: Name of their source, for messages.
        error: What pydantic found.
    """
    problems = sorted(error.errors(), key=lambda problem: problem["type"] != "extra_forbidden")
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
