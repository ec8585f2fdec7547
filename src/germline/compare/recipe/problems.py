"""All problems of a recipe at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from germline.compare.recipe.loader import read_changed_recipe
from germline.compare.recipe.schema import Recipe
from germline.errors import GermlineError, SettingError, UnknownNameError
from germline.methods.base import find_method
from germline.registry import METHODS
from germline.setting_problems import list_problems, validate_settings


def list_recipe_errors(name: str, overrides: Sequence[str] = (), *, quick: bool = False) -> list[GermlineError]:
    """List all errors of a recipe that its text shows; data and ancestors are not read.

    Args:
        name: Name of a packaged recipe, or path of a file.
        overrides: Changes such as `train.steps=100`.
        quick: Whether to check the quick version.

    Raises:
        UnknownNameError: There is no such recipe.
        SettingError: The text is not a recipe, or it has no quick version.
    """
    raw = read_changed_recipe(name, overrides, quick=quick)
    errors: list[GermlineError] = []
    try:
        Recipe.model_validate(raw, context={"errors": errors})
    except GermlineError as error:
        errors.append(error)
    except ValidationError as error:
        # Checks of the whole did not run, so arms are checked one by one.
        return [*list_problems(Recipe, raw, name, error), *_list_arm_errors(raw, name)]
    # A check of the whole repeats that a method is unknown, without its place.
    placed = [error for error in errors if not error.what.startswith("unknown method '")]
    unique = {str(error): error for error in placed or errors}.values()
    return [type(error)(f"{name}: {error.what}", error.why, error.fix) for error in unique]


def _list_arm_errors(raw: Mapping[str, Any], where: str) -> list[GermlineError]:
    errors: list[GermlineError] = []
    arms = raw.get("arms")
    for name, arm in (arms if isinstance(arms, Mapping) else {}).items():
        method, settings = (arm.get("method"), arm.get("settings", {})) if isinstance(arm, Mapping) else (None, {})
        if not isinstance(method, str) or not isinstance(settings, Mapping):
            continue
        try:
            if method not in METHODS:
                raise UnknownNameError.with_nearest(f"method at arms.{name}.method:", method, METHODS)
            validate_settings(find_method(method), settings, f"{where}: arms.{name}.settings")
        except (SettingError, UnknownNameError) as error:
            errors.append(error)
    return errors
