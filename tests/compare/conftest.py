"""A comparison that takes seconds, as a file, and as it has run."""

import pytest

from germline.registry import METHODS
from helpers.comparison import RECIPE, comparison, results


@pytest.fixture
def recipe_file(tmp_path):
    (tmp_path / "micro.yaml").write_text(RECIPE)
    return tmp_path / "micro.yaml"


@pytest.fixture(scope="session")
def whole(tmp_path_factory):
    """The folder of the recipe's comparison, done once for all tests; they leave it as it is."""
    place = tmp_path_factory.mktemp("whole")
    (place / "micro.yaml").write_text(RECIPE)
    comparison(place / "micro.yaml", place / "out").run()
    return place / "out"


@pytest.fixture
def whole_results(whole):
    """Its results, without what clock and host say."""
    return results(whole)


@pytest.fixture
def bred(monkeypatch):
    """The method of the tests that makes its own ancestor can be named in recipes."""
    monkeypatch.setitem(METHODS._places, "bred", "helpers.comparison:Bred")
