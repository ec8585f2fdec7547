"""`germline list`: what it prints, without torch, and that its settings equal the fields of the classes."""

import pytest
from pydantic import BaseModel

from germline.cli.setting_list import check_keys, list_settings
from germline.compare.recipe.loader import load_recipe
from germline.compare.recipe.text import has_quick_version, list_packaged_recipes
from germline.errors import SettingError
from germline.registry import METHODS
from germline.training import TrainSettings

COMMANDS = {
    "help": ("--help",),
    "version": ("--version",),
    "methods": ("list", "methods"),
    "methods-for": ("list", "methods", "--for", "resnet18"),
    "models": ("list", "models"),
    "data": ("list", "data"),
    "recipes": ("list", "recipes"),
    "settings": ("list", "settings", "pool"),
    "show": ("show", "demo"),
    "wrong-kind": ("list", "method"),
    "wrong-recipe": ("check", "dmeo"),
}


def list_keys(model, prefix=""):
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from list_keys(field.annotation, f"{prefix}{name}.")
        else:
            yield prefix + name


@pytest.mark.parametrize("words", COMMANDS.values(), ids=COMMANDS)
def test_a_list_needs_no_torch(words, tmp_path, light):
    done = light(*words, place=tmp_path)
    assert done.returncode == (2 if "wrong" in find_id(words) else 0), done
    assert not {"torch", "timm", "numpy"} & set(done.slow)


def find_id(words):
    return next(name for name, given in COMMANDS.items() if given == words)


def test_no_paper_is_printed_twice(run):
    for line in run("list", "methods").out.splitlines():
        assert line.count("arXiv") <= 1, line


def test_methods_are_listed_for_a_preset(run):
    rows = dict(line.split(maxsplit=1) for line in run("list", "methods", "--for", "resnet18").out.splitlines())
    assert rows["layers"] == "shallower"
    assert rows["distil"] == "shallower, deeper, narrower, wider"
    assert "tleg" not in rows
    assert run("list", "methods", "--for", "resnet").out == run("list", "methods", "--for", "resnet18").out
    assert "no method" in run("list", "methods", "--for", "stitched").out


def test_methods_are_listed_for_a_vit_of_timm(run):
    own = run("list", "methods", "--for", "vit")
    assert own.code == 0
    for name in ("vit_tiny_patch16_224", "timm:deit_tiny_patch16_224", "vit_small_patch16_224.augreg_in1k"):
        assert run("list", "methods", "--for", name).out == own.out
    assert run("list", "methods", "--for", "timm:resnet18").out == run("list", "methods", "--for", "resnet18").out
    # A name that begins as a ViT's can be another network: a hybrid, and one with two class tokens.
    for name in ("vit_tiny_r_s16_p8_224", "deit_tiny_distilled_patch16_224", "vit_relpos_small_patch16_224"):
        odd = run("list", "methods", "--for", name)
        assert (odd.code, odd.out) == (2, ""), name
        assert f"No architecture of '{name}'" in odd.err
    other = run("list", "methods", "--for", "resnet50")
    assert (other.code, other.out) == (2, "")
    assert "No architecture of 'resnet50'" in other.err
    assert "Did you mean vit_tiny16" in run("list", "methods", "--for", "vit_tiny").err


@pytest.mark.parametrize("name", list(METHODS))
def test_listed_settings_equal_the_fields_of_the_class(name):
    lines = list_settings(METHODS.place(name))
    assert {line.key for line in lines} == set(list_keys(METHODS[name]))
    assert all(line.meaning and line.type for line in lines), name


def test_training_settings_have_types_and_defaults():
    lines = {line.key: line for line in list_settings("germline.training.settings:TrainSettings")}
    assert set(lines) == set(TrainSettings.model_fields)
    assert (lines["epochs"].type, lines["epochs"].default) == ("float", "20.0")
    assert (lines["optimizer"].type, lines["optimizer"].default) == ("adamw | sgd", "adamw")
    assert lines["steps"].default == "null"


def test_list_settings_has_own_settings_first_and_groups_in_one_line(run):
    tleg = [line.split()[0] for line in run("list", "settings", "tleg").out.splitlines()]
    assert tleg.index("segments") < tleg.index("epochs")
    pool = [line.split()[0] for line in run("list", "settings", "pool").out.splitlines()]
    assert pool.count("distil.KEY") == 1
    assert "distil.lr" not in pool
    assert run("list", "settings", "train").out.startswith("epochs ")


@pytest.mark.parametrize("name", list(METHODS))
def test_keys_that_a_class_accepts_are_not_refused(name):
    assert check_keys(METHODS.place(name), [f"{key}=1" for key in list_keys(METHODS[name])]) is None


@pytest.mark.parametrize(
    ("method", "key"), [("tleg", "dpeth"), ("pool", "lr"), ("pool", "distil.lrr"), ("gtl", "life.stps"), ("auto", "x")]
)
def test_unknown_keys_are_refused_as_the_class_refuses_them(method, key):
    from germline.config import apply_overrides
    from germline.setting_problems import validate_settings

    with pytest.raises(SettingError) as early:
        check_keys(METHODS.place(method), [f"{key}=1"])
    with pytest.raises(SettingError) as late:
        validate_settings(METHODS[method], apply_overrides({}, [f"{key}=1"]), "--set")
    assert early.value.what == late.value.what


def test_listed_titles_equal_those_of_the_loaded_recipes(run):
    lines = run("list", "recipes").out.splitlines()
    for line, name in zip(lines, list_packaged_recipes(), strict=True):
        recipe, quick = load_recipe(name), " [--quick]" * has_quick_version(name)
        mark = " [demonstration]" * (recipe.kind == "demonstration")
        assert line == f"{name:24} {recipe.title}{mark}{quick}"
    assert sum("[demonstration]" in line for line in lines) > 10
