"""Settings of a method with types, defaults and meanings, read from source files without importing torch."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import germline
from germline.setting_problems import unknown_key_error

TRAIN_SETTINGS = "germline.training.settings:TrainSettings"
_ATTRIBUTE = re.compile(r"(?m)^ {4}(\w+): ((?:.|\n {8})+)")


@dataclass(frozen=True)
class SettingLine:
    """One setting.

    Attributes:
        key: Key as `--set` takes it.
        type: Its type, as the source file writes it.
        default: Its default, as the source file writes it; empty if it has none.
        meaning: Its meaning, from the docstring.
    """

    key: str
    type: str
    default: str
    meaning: str


def list_settings(place: str) -> list[SettingLine]:
    """List the settings of a class in their order; those of a base class come first.

    Args:
        place: The class as `module:name`; the module is germline's own.
    """
    module, _, name = place.partition(":")
    lines: dict[str, SettingLine] = {}
    for line in _read_class(module, name):
        lines.pop(line.key, None)
        lines[line.key] = line
    return list(lines.values())


def check_keys(place: str, changes: Sequence[str]) -> None:
    """Refuse an unknown key of `--set` before torch is imported.

    Keys that the class's source mentions, such as former names, are left to the class itself.

    Args:
        place: The class as `module:name`; the module is germline's own.
        changes: Texts such as `epochs=20`.

    Raises:
        SettingError: The class has no such setting; the message names the nearest ones.
    """
    known = {line.key for line in list_settings(place)}
    groups = {key.partition(".")[0] for key in known if "." in key}
    for key in filter(None, (text.partition("=")[0] for text in changes if "=" in text)):
        first = key.partition(".")[0]
        is_known = key in known or any(name.startswith(f"{key}.") for name in known)
        if is_known or (first in known and first not in groups) or first in _list_strings(place.partition(":")[0]):
            continue
        raise unknown_key_error({*known, *groups}, key, "--set")


def _list_strings(module: str) -> set[str]:
    tree = _parse_module(module)
    return {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}


def _read_class(module: str, name: str) -> Iterator[SettingLine]:
    home, node = _find_class(module, name)
    if node is None:
        return
    for base in node.bases:
        yield from _read_class(home, ast.unparse(base))
    _, _, attributes = inspect.cleandoc(ast.get_docstring(node) or "").partition("Attributes:\n")
    meanings = {key: " ".join(text.split()) for key, text in _ATTRIBUTE.findall(attributes)}
    for item in node.body:
        if not isinstance(item, ast.AnnAssign) or not isinstance(item.target, ast.Name):
            continue
        key, type_ = item.target.id, ast.unparse(item.annotation)
        if type_.startswith("ClassVar"):
            continue
        group = list(_read_class(home, type_.removesuffix(" | None"))) if type_.isidentifier() else []
        if group:
            yield from (SettingLine(f"{key}.{line.key}", line.type, line.default, line.meaning) for line in group)
        else:
            yield SettingLine(key, _type_text(home, type_), _default_text(item.value), meanings.get(key, ""))


def _find_class(module: str, name: str) -> tuple[str, ast.ClassDef | None]:
    """Return the module that defines a class, and the class; None if it is not one of germline's."""
    tree = _parse_module(module)
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and node.name == name:
            return module, node
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("germline"):
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    return _find_class(node.module or "", alias.name)
    return module, None


def _type_text(module: str, text: str) -> str:
    """Write a type for people: names of types are replaced by their definitions, and choices are listed."""
    for name in set(re.findall(r"\b[A-Z]\w+", text)) - {"Literal"}:
        text = re.sub(rf"\b{name}\b", lambda _, name=name: _find_type(module, name), text)  # type: ignore[misc]
    text = re.sub(r"Annotated\[(\w+), [^\]]*\]", r"\1", text)
    return re.sub(r"Literal\[([^\]]*)\]", lambda found: found[1].replace("'", "").replace(", ", " | "), text)


def _find_type(module: str, name: str) -> str:
    for node in _parse_module(module).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name:
            return ast.unparse(node.value)
        if isinstance(node, ast.ImportFrom) and any((alias.asname or alias.name) == name for alias in node.names):
            return _find_type(node.module or "", name) if (node.module or "").startswith("germline") else name
    return name


def _default_text(value: ast.expr | None) -> str:
    if isinstance(value, ast.Call) and ast.unparse(value.func) == "Field":
        given = [*(word.value for word in value.keywords if word.arg == "default"), *value.args]
        value = given[0] if given else None
    if value is None:
        return ""
    text = ast.unparse(value)
    return {"None": "null", "True": "true", "False": "false"}.get(text, text.strip("'"))


@cache
def _parse_module(module: str) -> ast.Module:
    path = Path(germline.__file__).parent.joinpath(*module.split(".")[1:])
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return ast.parse(path.read_text(encoding="utf-8") if path.is_file() else "")
