"""Recipes: YAML as people write it, dotted overrides, the nearest key, and every packaged recipe."""

import json
from pathlib import Path

import pytest
from pydantic import BaseModel

from germline.config import overridden, parse_yaml, validated
from germline.errors import SettingError, UnknownNameError
from germline.recipe import load_recipe, packaged_recipes, recipe_text
from germline.training import TrainSettings

DEMO = "demo"


@pytest.mark.parametrize(
    ("written", "meant"),
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
def test_values_are_read_as_meant(written, meant):
    found = parse_yaml(f"key: {written}", "test")["key"]
    assert (found, type(found)) == (meant, type(meant))
    assert overridden({}, [f"key={written}"])["key"] == meant


def test_overrides_reach_into_groups_and_make_them():
    raw = {"train": {"steps": 3, "lr": 1.0}, "seeds": [0]}
    found = overridden(raw, ["train.steps=5", "ancestor.train.lr=1e-2", "seeds=[1, 2]", "title=a=b"])
    assert found == {
        "train": {"steps": 5, "lr": 1.0},
        "seeds": [1, 2],
        "ancestor": {"train": {"lr": 0.01}},
        "title": "a=b",
    }
    assert raw == {"train": {"steps": 3, "lr": 1.0}, "seeds": [0]}


def test_later_overrides_go_before_earlier_ones():
    assert overridden({}, ["lr=1", "lr=2"]) == {"lr": 2}


@pytest.mark.parametrize("text", ["steps", "=3", "", "a.b", "train.steps.x=3"])
def test_bad_overrides_are_named(text):
    with pytest.raises(SettingError, match=r"--set"):
        overridden({"train": {"steps": 3}}, [text])


@pytest.mark.parametrize(
    ("given", "near"),
    [("epoch", "epochs"), ("batchsize", "batch_size"), ("wieght_decay", "weight_decay"), ("eval_evry", "eval_every")],
)
def test_an_unknown_key_comes_with_the_nearest(given, near):
    with pytest.raises(SettingError, match=f"unknown key '{given}'. Did you mean .*{near}"):
        validated(TrainSettings, {given: 3}, "--set")


def test_an_unknown_key_without_a_near_one_comes_with_all():
    with pytest.raises(SettingError, match=r"Known: .*batch_size.*epochs"):
        validated(TrainSettings, {"zzzz": 3}, "--set")


def test_an_unknown_key_goes_before_a_missing_one():
    class Model(BaseModel, extra="forbid"):
        first: int
        second: int

    with pytest.raises(SettingError, match=r"unknown key 'secnd'. Did you mean second"):
        validated(Model, {"secnd": 3}, "here")
    with pytest.raises(SettingError, match=r"here: key 'first' is missing"):
        validated(Model, {}, "here")


def test_a_long_value_is_cut_short():
    with pytest.raises(SettingError) as caught:
        validated(TrainSettings, {"lr": "x" * 10_000}, "--set")
    assert len(str(caught.value)) < 250


# Recipes that tune nothing themselves, and the kept result whose tuned settings they use.
TUNED_BY = {"lab/tleg-scratch-long": "tleg-samples", "lab/tleg-scratch-longer": "tleg-samples"}


@pytest.mark.parametrize("key", ["lr", "epochs", "weight_decay"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1, "abc", None, [1]])
def test_every_wrong_value_is_one_line(key, value):
    with pytest.raises(SettingError, match=f"^--set: {key}=") as caught:
        validated(TrainSettings, {key: value}, "--set")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", list(packaged_recipes()))
def test_packaged_recipes_are_sound(name):
    recipe = load_recipe(name)
    assert recipe.title
    assert recipe.seeds
    assert (recipe.kind == "full") <= (len(recipe.seeds) >= 3 and (recipe.tune is not None or name in TUNED_BY))
    assert "scratch" in recipe.arms


@pytest.mark.parametrize("name", list(TUNED_BY))
def test_a_recipe_without_a_grid_takes_what_another_found_best(name):
    recipe = load_recipe(name)
    kept = Path(__file__).parent.parent / "benchmarks" / "results" / f"{TUNED_BY[name]}.json"
    tuned = json.loads(kept.read_text(encoding="utf-8"))["tuned"]
    for arm in recipe.arms:
        settings = recipe.train_settings(arm)
        assert (settings.lr, settings.weight_decay) == (tuned[arm]["lr"], tuned[arm]["weight_decay"])


@pytest.mark.parametrize("name", list(packaged_recipes()))
def test_packaged_recipes_can_be_priced(name):
    from germline.compare.price import price

    found = price(load_recipe(name))
    assert found.cells > 0
    assert found.samples > 0
    assert f"{found.cells} cells" in found.text()


def test_the_sample_recipe_costs_what_it_says():
    from germline.compare.price import price

    recipe = load_recipe("lab/tleg-samples")
    found = price(recipe)
    assert found.cells == len(recipe.arms) * len(recipe.sizes) * len(recipe.images_per_class) * len(recipe.seeds)
    makers = len(recipe.seeds) + 1
    # the fine-tuned arm wants an ancestor of four blocks beside the one of six
    assert found.ancestors == 2 * makers
    assert found.ancestor_samples == 2 * makers * recipe.ancestor.train.steps * recipe.ancestor.train.batch_size


def test_a_recipe_is_found_by_name_or_path(tmp_path):
    (tmp_path / "mine.yaml").write_text(recipe_text(DEMO))
    assert load_recipe(str(tmp_path / "mine.yaml")) == load_recipe(DEMO)
    with pytest.raises(UnknownNameError, match=r"unknown recipe 'dmeo'. Did you mean demo"):
        load_recipe("dmeo")


def test_a_recipe_says_the_same_after_json(tmp_path):
    import json

    from germline.recipe import Recipe

    recipe = load_recipe("lab/tleg-samples")
    assert Recipe.model_validate(json.loads(json.dumps(recipe.model_dump(mode="json")))) == recipe


def test_overrides_of_a_recipe_are_checked():
    assert load_recipe(DEMO, ["train.lr=1e-2", "seeds=[5]"]).train.lr == 0.01
    with pytest.raises(SettingError, match=r"demo: unknown key 'train.step'. Did you mean steps"):
        load_recipe(DEMO, ["train.step=3"])
    with pytest.raises(SettingError, match=r"demo: arms.gene.settings: depth=0"):
        load_recipe(DEMO, ["arms.gene.settings.depth=0"])
    with pytest.raises(SettingError, match=r"demo: arms.gene.train: lr=-1"):
        load_recipe(DEMO, ["arms.gene.train.lr=-1"])


def test_settings_of_an_arm_go_before_the_recipes_and_tuned_ones_before_all():
    recipe = load_recipe(DEMO, ["train.lr=1", "arms.gene.train={lr: 2}"])
    assert recipe.train_settings("scratch").lr == 1
    assert recipe.train_settings("gene").lr == 2
    assert recipe.train_settings("gene", lr=3).lr == 3


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: 1\na: 2\n", "key 'a' stands twice"),
        ("a: {b: 1, b: 2}\n", "key 'b' stands twice"),
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
def test_what_is_no_recipe_is_one_line(text, words):
    with pytest.raises(SettingError) as caught:
        parse_yaml(text, "r.yaml")
    assert words in str(caught.value)
    assert "r.yaml" in str(caught.value)
    assert "\n" not in str(caught.value)
