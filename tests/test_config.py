"""Settings: YAML values, merged mappings, dotted overrides, and the nearest key."""

from typing import Annotated, Literal

import pytest
from pydantic import BaseModel, Field

from germline.config import apply_overrides, merge_settings, parse_yaml
from germline.errors import SettingError
from germline.setting_problems import validate_settings
from germline.training import TrainSettings


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1e-3", 1e-3),
        ("1.0e-3", 1e-3),
        ("-2E4", -2e4),
        (".5e1", 5.0),
        ("1.e3", 1e3),
        ("3", 3),
        ("1e", "1e"),
        ("e3", "e3"),
        ("'1e-3'", "1e-3"),
        ("depth=6", "depth=6"),
        ("[1e-3, 2]", [1e-3, 2]),
        ("{a: 1e2}", {"a": 100.0}),
        ("true", True),
        ("null", None),
    ],
)
def test_yaml_values_have_the_expected_type(text, expected):
    found = parse_yaml(f"key: {text}", "test")["key"]
    assert (found, type(found)) == (expected, type(expected))
    assert apply_overrides({}, [f"key={text}"])["key"] == expected


def test_overrides_change_and_create_groups():
    raw = {"train": {"steps": 3, "lr": 1.0}, "seeds": [0]}
    found = apply_overrides(raw, ["train.steps=5", "ancestor.train.lr=1e-2", "seeds=[1, 2]", "title=a=b"])
    assert found == {
        "train": {"steps": 5, "lr": 1.0},
        "seeds": [1, 2],
        "ancestor": {"train": {"lr": 0.01}},
        "title": "a=b",
    }
    assert raw == {"train": {"steps": 3, "lr": 1.0}, "seeds": [0]}


@pytest.mark.parametrize(
    ("below", "above", "expected"),
    [
        ({"a": 1}, {"b": 2}, {"a": 1, "b": 2}),
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": 3}}, {"a": {"b": 3, "c": 2}}),
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": None}}, {"a": {"c": 2}}),
        ({"a": {"b": 1}, "d": 4}, {"a": None}, {"d": 4}),
        ({"a": 1}, {"b": None}, {"a": 1}),
        # a list is a value: it is not merged
        ({"a": [1, 2]}, {"a": [3]}, {"a": [3]}),
        ({"a": {"b": 1}}, {"a": 2}, {"a": 2}),
        ({"a": 2}, {"a": {"b": 1}}, {"a": {"b": 1}}),
        ({}, {}, {}),
    ],
)
def test_one_mapping_is_merged_over_another(below, above, expected):
    before = {key: dict(value) if isinstance(value, dict) else value for key, value in below.items()}
    found = merge_settings(below, above)
    assert found == expected
    assert list(found) == list(expected)
    assert below == before
    for value in found.values():
        if isinstance(value, dict):
            value["new"] = 1
    assert below == before


def test_later_overrides_win():
    assert apply_overrides({}, ["lr=1", "lr=2"]) == {"lr": 2}


@pytest.mark.parametrize("text", ["steps", "=3", "", "a.b", "train.steps.x=3", "steps=", "steps= "])
def test_bad_overrides_are_refused(text):
    with pytest.raises(SettingError, match=r"--set"):
        apply_overrides({"train": {"steps": 3}}, [text])


@pytest.mark.parametrize(
    ("given", "near"),
    [("epoch", "epochs"), ("batchsize", "batch_size"), ("wieght_decay", "weight_decay"), ("eval_evry", "eval_every")],
)
def test_unknown_key_error_names_the_nearest_key(given, near):
    with pytest.raises(SettingError, match=f"unknown key '{given}'. Did you mean .*{near}"):
        validate_settings(TrainSettings, {given: 3}, "--set")


def test_nearest_key_of_a_group_has_its_full_path():
    class Outer(BaseModel, extra="forbid"):
        first: TrainSettings = TrainSettings()
        second: TrainSettings = TrainSettings()

    with pytest.raises(SettingError, match=r"Did you mean first\.lr or second\.lr\?"):
        validate_settings(Outer, {"lr": 3}, "--set")
    with pytest.raises(SettingError, match=r"Did you mean second\.steps\?"):
        validate_settings(Outer, {"second": {"step": 3}}, "--set")


def test_wrong_value_is_named_by_its_key_alone():
    class Model(BaseModel):
        counts: list[Annotated[int, Field(ge=1)] | Literal["all"]]

    with pytest.raises(SettingError, match=r"here: counts\.1=0"):
        validate_settings(Model, {"counts": [3, 0]}, "here")


def test_unknown_key_without_a_near_one_lists_all_keys():
    with pytest.raises(SettingError, match=r"Known: .*batch_size.*epochs"):
        validate_settings(TrainSettings, {"zzzz": 3}, "--set")


def test_unknown_key_is_reported_before_a_missing_one():
    class Model(BaseModel, extra="forbid"):
        first: int
        second: int

    with pytest.raises(SettingError, match=r"unknown key 'secnd'. Did you mean second"):
        validate_settings(Model, {"secnd": 3}, "here")
    with pytest.raises(SettingError, match=r"here: key 'first' is missing"):
        validate_settings(Model, {}, "here")


def test_long_value_is_shortened():
    with pytest.raises(SettingError) as caught:
        validate_settings(TrainSettings, {"lr": "x" * 10_000}, "--set")
    assert len(str(caught.value)) < 250


@pytest.mark.parametrize("key", ["lr", "epochs", "weight_decay"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1, "abc", None, [1]])
def test_wrong_value_gives_one_line(key, value):
    with pytest.raises(SettingError, match=f"^--set: {key}=") as caught:
        validate_settings(TrainSettings, {key: value}, "--set")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: 1\na: 2\n", "Key 'a' is given twice"),
        ("a: {b: 1, b: 2}\n", "Key 'b' is given twice"),
        ("a:\n\tb: 1\n", "not valid YAML"),
        ("a: [1\n", "not valid YAML"),
        ("a: 2024-99-99\n", "not valid YAML"),
        ("a: *b\n", "not valid YAML"),
        ("&a {b: *a}\n", "not valid YAML"),
        ("? [1, 2]\n: 3\n", "not valid YAML"),
        ("a: !!python/object/apply:os.getcwd []\n", "not valid YAML"),
        ("a: \x00\n", "not valid YAML"),
        ("", "a mapping"),
        ("- 1\n", "a mapping"),
        ("text\n", "a mapping"),
        ("[" * 3000, "not valid YAML"),
    ],
)
def test_invalid_yaml_gives_one_line(text, words):
    with pytest.raises(SettingError) as caught:
        parse_yaml(text, "r.yaml")
    assert words in str(caught.value)
    assert "r.yaml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_yaml_merge_keys_are_applied():
    text = "a: &a {x: 1, y: {z: 2}}\nb: &b {<<: *a, x: 3}\nc: {<<: *b, w: 4}\nd: {<<: [*b, *a]}"
    assert parse_yaml(text, "here") == {
        "a": {"x": 1, "y": {"z": 2}},
        "b": {"x": 3, "y": {"z": 2}},
        "c": {"x": 3, "y": {"z": 2}, "w": 4},
        "d": {"x": 3, "y": {"z": 2}},
    }


@pytest.mark.parametrize("text", ["a: &a {x: 1}\nb: {<<: *a, <<: *a}", "a: {<<: 3}", "a: &a {<<: *a}", "<<: 1"])
def test_wrong_merge_keys_are_refused(text):
    with pytest.raises(SettingError, match="is not valid YAML"):
        parse_yaml(text, "here")
