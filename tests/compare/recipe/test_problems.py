"""`germline check` names all errors of a recipe at once; kind and minutes have defaults."""

import pytest

from germline.compare.recipe.loader import load_recipe
from germline.compare.recipe.problems import list_recipe_errors
from germline.compare.recipe.text import list_packaged_recipes
from germline.errors import UnknownNameError
from helpers.bad_input import RECIPE


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Function that writes r.yaml with replaced parts of its text."""
    monkeypatch.chdir(tmp_path)

    def call(*changes):
        text = RECIPE
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        (tmp_path / "r.yaml").write_text(text)

    return call


CASES = {
    "keys and values": (
        [("title:", "titel:"), ("kind: quick", "kind: fast"), ("minutes: 1", "minutes: -1")],
        ["unknown key 'titel'", "kind='fast'", "minutes=-1"],
    ),
    "methods and settings beside a wrong value": (
        [("minutes: 1", "minutes: no"), ("{method: tleg, settings: {steps: 2", "{method: tleg, settings: {stps: 2")],
        ["minutes=", "arms.gene.settings: unknown key 'stps'"],
    ),
    "two unknown methods": (
        [("method: tleg", "method: tlge"), ("method: scratch", "method: scrtch")],
        ["'tlge'", "'scrtch'"],
    ),
    "arms, sizes and grid": (
        [("sizes: [depth=2]", "sizes: [depth=2, depth=two]"), ("protocol: samples", "protocol: sensitivity")],
        ["depth=two", "without a grid"],
    ),
    "everything at the end": (
        [("data: digits\n", "data: digits\nfinal: true\nscratch_until_plateau: {}\n"), ("  scratch:", "  other:")],
        ["scratch_until_plateau without an arm 'scratch'", "Only glyphs has a final part"],
    ),
    "missing keys": (
        [("title: Two arms on digits\n", ""), ("seeds: [0, 1]\n", ""), ("sizes: [depth=2]\n", "")],
        ["'title' is missing", "'seeds' is missing", "'sizes' is missing"],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_all_errors_are_listed(case, write):
    changes, expected = CASES[case]
    write(*changes)
    errors = [str(error) for error in list_recipe_errors("r.yaml")]
    assert len(errors) == len(set(errors)) == len(expected), errors
    for text in expected:
        assert sum(text in error for error in errors) == 1, (text, errors)
    assert all(error.startswith("r.yaml: ") for error in errors if "arms" not in error)


def test_a_misspelt_key_is_one_error(write):
    write(("arms:", "arm:"))
    assert len(list_recipe_errors("r.yaml")) == 1


def test_kind_and_minutes_have_defaults(write):
    write(("kind: quick\n", ""), ("minutes: 1\n", ""))
    recipe = load_recipe("r.yaml")
    assert (recipe.kind, recipe.minutes) == ("full", None)
    assert list_recipe_errors("r.yaml") == []


@pytest.mark.parametrize("name", [name for name in list_packaged_recipes() if name.startswith(("demo", "lab/tleg"))])
def test_packaged_recipes_have_no_errors(name):
    assert list_recipe_errors(name) == []


def test_overrides_are_checked(write):
    write()
    errors = list_recipe_errors("r.yaml", ["train.step=3", "levelling={mst: 3}", "seeds=[]"])
    assert sorted(str(error).split(". ")[0] for error in errors)[0].startswith("r.yaml: seeds=[]")
    assert len(errors) == 3


def test_a_missing_recipe_is_named():
    with pytest.raises(UnknownNameError, match="demo"):
        list_recipe_errors("dmeo")
