"""Presets: named settings of a method that fill in what is not given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import BaseModel, SerializerFunctionWrapHandler, model_serializer, model_validator

from germline.training import TrainSettings

Presets = Mapping[str, Mapping[str, Any]]


class StableDump(BaseModel):
    """Settings that are left out of a dump while they have no effect.

    Stores are keyed by dumps. A setting that came later is left out at its first value, so that keys stay the same.

    Attributes:
        omitted: Value by name of a setting with which it is left out.
    """

    omitted: ClassVar[Mapping[str, Any]] = {}

    @model_serializer(mode="wrap")
    def _dump_stable(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        settings: dict[str, Any] = dump(self)
        left = {name: value for one in type(self).__mro__ for name, value in vars(one).get("omitted", {}).items()}
        return {key: value for key, value in settings.items() if key not in left or value != left[key]}


class PresetSettings(StableDump):
    """Settings that a preset fills in if they are not given.

    A method with presets has this class first among its bases, a field `preset` with a default, and tables in
    `presets`. Settings of a training within a preset are a mapping, and are filled in key by key.

    Attributes:
        presets: Settings by name of the preset.
    """

    # A method that had no presets at first has the same dump as then.
    omitted: ClassVar[Mapping[str, Any]] = {"preset": None}

    presets: ClassVar[Presets] = {}

    @model_validator(mode="before")
    @classmethod
    def _fill_in(cls, given: Any) -> Any:
        if not isinstance(given, Mapping):
            return given
        name = given.get("preset", cls.model_fields["preset"].default)
        preset = _without_unused_steps(cls.presets.get(str(name), {}), given)
        trainings = {
            key: _fill_in_training(settings, given.get(key, {}))
            for key, settings in preset.items()
            if isinstance(settings, Mapping)
        }
        return {**preset, **given, **trainings}


def _fill_in_training(preset: Mapping[str, Any], given: Any) -> Any:
    if isinstance(given, TrainSettings):
        given = given.model_dump(exclude_unset=True)
    if not isinstance(given, Mapping):
        return given
    return {**_without_unused_steps(preset, given), **given}


def _without_unused_steps(preset: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out a preset's steps if epochs are given: steps go before epochs, and would hide them."""
    return {key: value for key, value in preset.items() if key != "steps" or "epochs" not in given}
