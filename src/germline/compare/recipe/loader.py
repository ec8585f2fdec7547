"""Load recipes: packaged ones and files, with overrides."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from germline.compare.recipe.schema import Recipe
from germline.compare.recipe.text import RENAMED_KEYS, read_recipe
from germline.config import apply_overrides
from germline.errors import UnknownNameError
from germline.setting_problems import validate_settings


def load_recipe(name: str, overrides: Sequence[str] = (), *, quick: bool = False) -> Recipe:
    """Read a recipe, apply overrides and validate the result.

    A recipe that `extends` another one changes the keys that it names and keeps the others.

    Args:
        name: Name of a packaged recipe, or path of a file. `NAME-quick` is the quick version of NAME.
        overrides: Changes such as `train.steps=100`. `arms.NAME=null` removes an arm.
        quick: Whether to apply the changes under the recipe's key `quick`, for a run that only shows that it works.

    Raises:
        UnknownNameError: There is no such recipe, method or arm.
        SettingError: A key is unknown, a value is not allowed, or the recipe has no quick version.
    """
    return validate_settings(Recipe, read_changed_recipe(name, overrides, quick=quick), name)


def read_changed_recipe(name: str, overrides: Sequence[str] = (), *, quick: bool = False) -> dict[str, Any]:
    """Read a recipe's keys and apply overrides; nothing is validated.

    Args:
        name: Name of a packaged recipe, or path of a file.
        overrides: Changes such as `train.steps=100`. `arms.NAME=null` removes an arm.
        quick: Whether to apply the changes under the recipe's key `quick`.

    Raises:
        UnknownNameError: There is no such recipe, or no arm to remove.
        SettingError: The text is not a recipe, it has no quick version, or an override is not key=value.
    """
    plain = read_recipe(name, quick=quick)
    raw = apply_overrides(plain, map(_rename_override, overrides))
    if isinstance(arms := raw.get("arms"), Mapping) and isinstance(known := plain.get("arms"), Mapping):
        removed = [arm for arm, settings in arms.items() if settings is None]
        if unknown := [arm for arm in removed if arm not in known]:
            raise UnknownNameError.with_nearest("arm", unknown[0], known)
        raw["arms"] = {arm: settings for arm, settings in arms.items() if arm not in removed}
    return raw


def _rename_override(override: str) -> str:
    """Replace the former name of a key in a change such as `levelling.most=4`."""
    key = re.split(r"[.=]", override, maxsplit=1)[0]
    return RENAMED_KEYS.get(key, key) + override[len(key) :]
