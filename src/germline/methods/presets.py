"""Presets: named settings of a method that stand where nothing else is given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from germline.training import TrainSettings


def fill_from_preset(given: Any, presets: Mapping[str, Mapping[str, Any]], default: str) -> Any:
    """What is given, put over the preset that it names; settings of a training key by key.

    Args:
        given: What a method is made from; what is no mapping stays as it is.
        presets: By name; a mapping within one are the settings of a training.
        default: Where none is named.
    """
    if not isinstance(given, Mapping):
        return given
    preset = _steps_or_epochs(presets.get(str(given.get("preset", default)), {}), given)
    trainings = {key: _over(own, given.get(key, {})) for key, own in preset.items() if isinstance(own, Mapping)}
    return {**preset, **given, **trainings}


def _over(preset: Mapping[str, Any], given: Any) -> Any:
    if isinstance(given, TrainSettings):
        given = given.model_dump(exclude_unset=True)
    if not isinstance(given, Mapping):
        return given
    return {**_steps_or_epochs(preset, given), **given}


def _steps_or_epochs(preset: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """A preset whose steps would make the epochs that were asked for mean nothing loses them."""
    return {key: value for key, value in preset.items() if key != "steps" or "epochs" not in given}
