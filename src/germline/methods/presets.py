"""Presets: named settings of a method that fill in what is not given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import model_validator

from germline.training import TrainSettings
from germline.training.stable_dump import StableDump

Presets = Mapping[str, Mapping[str, Any]]
# Augmentation of DeiT's training, without its repeats: the code of TLEG has it, and other papers name DeiT.
DEIT_AUGMENTATION: Mapping[str, Any] = {
    "mixup": 0.8,
    "cutmix": 1.0,
    "label_smoothing": 0.1,
    "randaugment": "rand-m9-mstd0.5-inc1",
    "color_jitter": 0.4,
    "erasing": 0.25,
}


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

    def complete_dump(self, dumped: dict[str, Any]) -> dict[str, Any]:
        """Add settings that are left out, and that the preset would fill in with another value."""
        preset = self.presets.get(str(dumped.get("preset")), {})
        trainings = {
            key: {**dumped[key], **_list_undone(settings, getattr(self, key), dumped[key])}
            for key, settings in preset.items()
            if isinstance(settings, Mapping) and key in dumped
        }
        return {**dumped, **trainings, **_list_undone(preset, self, dumped)}


def _list_undone(preset: Mapping[str, Any], settings: Any, dumped: Mapping[str, Any]) -> dict[str, Any]:
    """List the settings of a preset that have another value, and that a dump leaves out."""
    given = {key: getattr(settings, key) for key in preset if key not in dumped}
    return {key: value for key, value in given.items() if value != preset[key]}


def _fill_in_training(preset: Mapping[str, Any], given: Any) -> Any:
    if isinstance(given, TrainSettings):
        # A dump would leave out a setting that is given at the value with which it is omitted.
        given = {name: getattr(given, name) for name in given.model_fields_set}
    if not isinstance(given, Mapping):
        return given
    return {**_without_unused_steps(preset, given), **given}


def _without_unused_steps(preset: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out a preset's steps if epochs are given: steps go before epochs, and would hide them."""
    return {key: value for key, value in preset.items() if key != "steps" or "epochs" not in given}
