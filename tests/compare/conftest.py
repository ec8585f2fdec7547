"""Fixtures: a short comparison, as a recipe file and as finished results."""

import pytest

from germline.registry import METHODS
from helpers.comparison import RECIPE, comparison, results


@pytest.fixture
def recipe_file(tmp_path):
    (tmp_path / "micro.yaml").write_text(RECIPE)
    return tmp_path / "micro.yaml"


@pytest.fixture(scope="session")
def finished_out(tmp_path_factory):
    """Output folder of the recipe's comparison, run once for all tests; they must not change it."""
    place = tmp_path_factory.mktemp("finished")
    (place / "micro.yaml").write_text(RECIPE)
    comparison(place / "micro.yaml", place / "out").run()
    return place / "out"


@pytest.fixture
def finished_results(finished_out):
    """Results of that comparison, without times and facts about the host."""
    return results(finished_out)


@pytest.fixture
def self_made_ancestor(monkeypatch):
    """Register the test method that makes its own ancestor."""
    monkeypatch.setitem(METHODS._places, "bred", "helpers.comparison:SelfMadeAncestor")
