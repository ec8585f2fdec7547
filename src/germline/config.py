"""Settings as users write them: YAML with dotted overrides."""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

import yaml

from germline.errors import SettingError

# A recipe has about 100 values in 5 levels. Longer texts would take seconds to parse.
LONGEST_YAML, MOST_NODES, MOST_NESTING = 200_000, 20_000, 50
# PyYAML also raises these, for wrong dates, numbers and tags, and for endless nesting.
_YAML_ERRORS = (ValueError, RecursionError, LookupError, AttributeError, TypeError, ArithmeticError)
_MERGE = "tag:yaml.org,2002:merge"


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
