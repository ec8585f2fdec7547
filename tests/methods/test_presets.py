"""Presets of all methods: every name has a table, given settings override it, and dumps are complete."""

from typing import get_args

import pytest

from germline.baselines.random_gene import RandomGene
from germline.compare.recipe.loader import load_recipe
from germline.errors import SettingError
from germline.methods.presets import PresetSettings
from germline.methods.tleg.method import TLEG
from germline.registry import METHODS

WITH_PRESETS = [name for name in METHODS if issubclass(METHODS[name], PresetSettings)]
PRESETS = [(name, preset) for name in WITH_PRESETS for preset in METHODS[name].presets]


def test_only_methods_with_presets_have_the_setting():
    assert {"tleg", "auto", "pool", "gtl", "openworld", "snnet"} <= set(WITH_PRESETS)
    assert {name for name in METHODS if "preset" in METHODS[name].model_fields} == set(WITH_PRESETS)


@pytest.mark.parametrize("name", WITH_PRESETS)
def test_every_preset_has_a_table(name):
    kind = METHODS[name]
    allowed = kind.model_fields["preset"].annotation
    names = {value for part in (allowed, *get_args(allowed)) for value in get_args(part) if isinstance(value, str)}
    names |= {value for value in get_args(allowed) if isinstance(value, str)}
    assert names == set(kind.presets)
    assert {"lab", "tiny"} < names
    with pytest.raises(SettingError, match="preset='none such'"):
        kind(preset="none such")


@pytest.mark.parametrize(("name", "preset"), PRESETS)
def test_a_dump_with_a_preset_is_complete(name, preset):
    method = METHODS[name](preset=preset)
    settings = method.model_dump(mode="json")
    assert METHODS[name].model_validate(settings) == method
    for key, value in METHODS[name].presets[preset].items():
        setting = getattr(method, key)
        setting = setting.model_dump(include=set(value)) if isinstance(value, dict) else setting
        assert setting == value


def test_given_settings_override_the_preset():
    assert TLEG(preset="lab").steps == 2000
    assert TLEG(preset="lab", lr=1.0).lr == 1.0
    # Steps override epochs, so the preset's steps are left out when epochs are given.
    assert (TLEG(preset="lab", epochs=3).steps, TLEG(preset="lab", epochs=3).epochs) == (None, 3)


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("tleg", {"preset": "paper", "randaugment": None, "erasing": 0.0, "repeats": 1}),
        ("lets", {"preset": "paper", "color_jitter": 0.0}),
        ("pool", {"preset": "paper6", "distil": {"erasing": 0.0, "repeats": 1}}),
        ("snnet", {"preset": "paper", "finetune": {"randaugment": None}}),
    ],
)
def test_a_setting_that_undoes_the_preset_is_in_the_dump(name, given):
    method = METHODS[name](**given)
    settings = method.model_dump(mode="json")
    assert METHODS[name].model_validate(settings) == method
    assert RandomGene(method=name, settings=given).delegate() == method
    plain = METHODS[name](preset=given["preset"]).model_dump(mode="json")
    changed = {key: value for key, value in settings.items() if plain.get(key) != value}
    changed |= {
        key: {k: v for k, v in value.items() if plain[key].get(k) != v}
        for key, value in changed.items()
        if isinstance(value, dict)
    }
    assert changed == {key: value for key, value in given.items() if key != "preset"}


def test_dump_of_tleg_without_preset_has_no_preset_key():
    assert TLEG().preset is None
    assert "preset" not in TLEG().model_dump(mode="json")
    assert TLEG().model_dump(mode="json") | {"preset": "tiny", "steps": 4, "batch_size": 40} == TLEG(
        preset="tiny"
    ).model_dump(mode="json")


def test_paper_preset_of_tleg_equals_the_paper_s_recipe():
    arm = load_recipe("paper/tleg-imagenet").arms["gene"]
    given = TLEG(**arm.settings)
    assert TLEG(preset="paper") == given.model_copy(update={"preset": "paper"})
