"""Texts and keys of recipes, before anything is validated; none of this needs torch."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from germline.config import LONGEST_YAML, merge_settings, parse_yaml
from germline.errors import ArtefactError, SettingError, UnknownNameError
from germline.paths import read_limited

QUICK = "quick"
QUICK_SUFFIX = "-quick"
DEMONSTRATION = "demonstration"
MAX_EXTENDS = 10  # longest chain of recipes that is followed without parsing them
# Present names of keys by their former names. Saved recipes keep the former names, so that older versions read them.
RENAMED_KEYS = {"levelling": "scratch_until_plateau"}


def rename_old_keys(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Replace the former names of keys by the present ones."""
    return {RENAMED_KEYS[key] if RENAMED_KEYS.get(key, key) not in raw else key: value for key, value in raw.items()}


def list_packaged_recipes() -> dict[str, Path]:
    """List the recipes that come with germline, by name."""
    return dict(_find_packaged_recipes())


@cache
def _find_packaged_recipes() -> tuple[tuple[str, Path], ...]:
    root = Path(str(files("germline") / "recipes"))
    return tuple((str(path.relative_to(root).with_suffix("")), path) for path in sorted(root.rglob("*.yaml")))


def read_recipe(name: str, *, quick: bool = False) -> dict[str, Any]:
    """Read a recipe's keys with those of the recipe that it extends; nothing is validated.

    Raises:
        UnknownNameError: There is no such recipe.
        SettingError: A recipe extends itself, or has no quick version.
    """
    return _read_extended(name, (), quick=quick)


def list_recipe_files(name: str) -> list[str]:
    """List the files of a recipe and of those that it extends, without packaged ones.

    Args:
        name: Name or path of a recipe that does not extend itself.
    """
    files = []
    following: str | None = name
    while following is not None:
        plain, _ = split_quick_name(following)
        files += [plain] if Path(plain).is_file() else []
        base = parse_yaml(read_recipe_text(plain), plain).get("extends")
        following = None if base is None else _find_base(str(base), plain)
    return files


def read_recipe_text(name: str) -> str:
    """Read the text of a recipe.

    Raises:
        UnknownNameError: There is no packaged recipe of that name, and no file.
        ArtefactError: There is no such file, or it is not text.
    """
    path = Path(name)
    packaged = list_packaged_recipes()
    if not path.is_file():
        if name not in packaged and path.suffix in (".yaml", ".yml"):
            raise ArtefactError(
                f"No recipe at '{name}'", "The file does not exist", "Run germline list recipes to see the names"
            )
        if name not in packaged:
            raise UnknownNameError.with_nearest("recipe", name, packaged)
        path = packaged[name]
    try:
        return read_limited(path, 4 * LONGEST_YAML).decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ArtefactError(f"Cannot read recipe '{path}'", str(error), "Use a text file in UTF-8") from error


def has_quick_version(name: str) -> bool:
    """Tell whether a recipe has a key `quick`."""
    return QUICK in parse_yaml(read_recipe_text(name), name)


def find_kind(text: str) -> str:
    """Find the kind of a recipe from its text and those of the recipes that it extends, without parsing them.

    Returns:
        The word after the first `kind:` at the start of a line; empty if none says it.
    """
    for _ in range(MAX_EXTENDS):
        if said := re.search(r"(?m)^kind: *(\w+)", text):
            return said[1]
        if (base := re.search(r"(?m)^extends: *(\S+)", text)) is None:
            break
        text = read_recipe_text(base[1])
    return ""


def format_quick_recipe(name: str) -> str:
    """Format the quick version of a recipe as YAML.

    Raises:
        SettingError: The recipe has no quick version.
    """
    return yaml.safe_dump(read_recipe(name, quick=True), sort_keys=False, width=120, allow_unicode=True)


def split_quick_name(name: str) -> tuple[str, bool]:
    """Split `NAME-quick` into the name of a packaged recipe and whether its quick version is meant."""
    plain = name.removesuffix(QUICK_SUFFIX)
    is_quick = plain != name and plain in list_packaged_recipes() and not Path(name).is_file()
    return (plain, True) if is_quick else (name, False)


def _read_extended(name: str, extending: tuple[str, ...], *, quick: bool) -> dict[str, Any]:
    """Read a recipe's keys over those of the recipe that it extends.

    Args:
        name: Name or path of the recipe.
        extending: Recipes that extend this one.
        quick: Whether to apply the recipe's changes for a quick run. Those of an extended recipe never apply.
    """
    if name in extending:
        chain = " -> ".join((*extending, name))
        raise SettingError(f"Recipe '{name}' extends itself", chain, "Remove one of the keys `extends`")
    plain, is_quick = split_quick_name(name)
    raw = rename_old_keys(parse_yaml(read_recipe_text(plain), plain))
    base, changes = raw.pop("extends", None), raw.pop(QUICK, None)
    if base is not None:
        raw = merge_settings(_read_extended(_find_base(str(base), plain), (*extending, name), quick=False), raw)
    if not (quick or is_quick):
        return raw
    return merge_settings(raw, {**_check_quick(plain, changes), "kind": QUICK})


def _find_base(base: str, recipe: str) -> str:
    """Find the recipe that another one extends: a packaged one, a file beside the other, or the path as it is."""
    beside = Path(recipe).parent / base
    is_own = Path(recipe).is_file() and split_quick_name(base)[0] not in list_packaged_recipes()
    return str(beside) if is_own and beside.is_file() else base


def _check_quick(name: str, changes: Any) -> dict[str, Any]:
    if changes is None:
        raise SettingError(
            f"Recipe '{name}' has no quick version",
            "It has no key `quick`",
            "Run it without --quick, or add `quick` with changes to a copy of it",
        )
    if not isinstance(changes, Mapping):
        raise SettingError(
            f"{name}: quick={changes!r}",
            "It is not a mapping of keys to values",
            "Use keys of the recipe, such as quick: {minutes: 3, seeds: [0, 1]}",
        )
    return rename_old_keys(changes)
