"""Fixtures: a comparison of seconds, as a recipe file and as finished results."""

import pytest

from germline.registry import METHODS
from helpers.comparison import RECIPE, comparison, results


@pytest.fixture
def recipe_file(tmp_path):
    (tmp_path / "micro.yaml").write_text(RECIPE)
    return tmp_path / "micro.yaml"


@pytest.fixture(scope="session")
def whole(tmp_path_factory):
    """Output folder of the recipe's comparison, run once for all tests; they must not change it."""
    place = tmp_path_factory.mktemp("whole")
    (place / "micro.yaml").write_text(RECIPE)
    comparison(place / "micro.yaml", place / "out").run()
    return place / "out"


@pytest.fixture
def whole_results(whole):
    """Results of that comparison, without times and facts about the host."""
    return results(whole)


@pytest.fixture
def self_made_ancestor(monkeypatch):
    """Register the test method that makes its own ancestor."""
    monkeypatch.setitem(METHODS._places, "bred", "helpers.comparison:SelfMadeAncestor")
