"""Recipes as they lie on disk: YAML, packaged or a user's own, one extending another, with dotted overrides."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from germline.compare.recipe.schema import Recipe
from germline.config import apply_overrides, merge_settings, parse_yaml, validate_settings
from germline.errors import ArtefactError, SettingError, UnknownNameError


def list_packaged_recipes() -> dict[str, Path]:
    """Recipes that come with germline, by name."""
    root = Path(str(files("germline") / "recipes"))
    return {str(path.relative_to(root).with_suffix("")): path for path in sorted(root.rglob("*.yaml"))}


def _merge_extended(name: str, above: tuple[str, ...]) -> dict[str, Any]:
    """A recipe's mapping, put over that of the recipe which it extends."""
    if name in above:
        raise SettingError(f"recipe '{name}' extends itself", " -> ".join((*above, name)), "take out one `extends`")
    raw = parse_yaml(read_recipe_text(name), name)
    base = raw.pop("extends", None)
    return raw if base is None else merge_settings(_merge_extended(str(base), (*above, name)), raw)


def read_recipe_text(name: str) -> str:
    """The text of a recipe, by path or packaged name.

    Raises:
        UnknownNameError: There is neither.
        ArtefactError: There is no such file, or it is no text.
    """
    path = Path(name)
    known = list_packaged_recipes()
    if not path.is_file():
        if name not in known and path.suffix in (".yaml", ".yml"):
            raise ArtefactError(f"no recipe at '{name}'", "there is no such file", "germline list recipes has names")
        if name not in known:
            raise UnknownNameError.with_nearest("recipe", name, known)
        path = known[name]
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ArtefactError(f"cannot read recipe '{path}'", str(error), "write it as UTF-8 text") from error


def load_recipe(name: str, overrides: Sequence[str] = ()) -> Recipe:
    """Read, override and check a recipe; one that `extends` another changes what it says and keeps the rest.

    Raises:
        UnknownNameError: There is no such recipe, method or arm.
        SettingError: A key is unknown or a value is not allowed.
    """
    raw = _merge_extended(name, ())
    return validate_settings(Recipe, apply_overrides(raw, overrides), name)
