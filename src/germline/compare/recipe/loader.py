"""Load recipes: packaged ones and files, with overrides."""

from __future__ import annotations

import re
from collections.abc import Sequence

from germline.compare.recipe.schema import Recipe
from germline.compare.recipe.text import RENAMED_KEYS, read_recipe
from germline.config import apply_overrides
from germline.setting_problems import validate_settings


def load_recipe(name: str, overrides: Sequence[str] = (), *, quick: bool = False) -> Recipe:
    """Read a recipe, apply overrides and validate the result.

    A recipe that `extends` another one changes the keys that it names and keeps the others.

    Args:
        name: Name of a packaged recipe, or path of a file. `NAME-quick` is the quick version of NAME.
        overrides: Changes such as `train.steps=100`.
        quick: Whether to apply the changes under the recipe's key `quick`, for a run that only shows that it works.

    Raises:
        UnknownNameError: There is no such recipe, method or arm.
        SettingError: A key is unknown, a value is not allowed, or the recipe has no quick version.
    """
    raw = read_recipe(name, quick=quick)
    return validate_settings(Recipe, apply_overrides(raw, map(rename_override, overrides)), name)


def rename_override(override: str) -> str:
    """Replace the former name of a key in a change such as `levelling.most=4`."""
    key = re.split(r"[.=]", override, maxsplit=1)[0]
    return RENAMED_KEYS.get(key, key) + override[len(key) :]
