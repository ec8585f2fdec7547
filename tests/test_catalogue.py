"""The catalogue repeats the facts of methods and data sets, and imports none of their modules."""

import subprocess
import sys

import pytest

from germline.catalogue import EVERY, describe_data_sets, list_methods, list_methods_for
from germline.data import list_data_sets
from germline.errors import UnknownNameError
from germline.registry import ARCHITECTURES, METHODS


@pytest.mark.parametrize("name", list(METHODS))
def test_facts_equal_those_of_the_class(name):
    method, facts = METHODS[name], list_methods()[name]
    assert facts.summary == (method.__doc__ or "").splitlines()[0]
    assert facts.paper == method.paper
    assert facts.line().count(method.paper) == 1
    if name != "stored":  # a stored gene can be of any architecture
        assert set(facts.grows) == set(method.architectures)
    assert all(set(directions) <= set(EVERY) for directions in facts.grows.values())


def test_lines_of_data_sets_equal_the_docstrings():
    assert describe_data_sets() == list_data_sets()


def test_methods_are_listed_by_architecture():
    assert "tleg" in list_methods_for("vit")
    assert "tleg" not in list_methods_for("resnet")
    assert list_methods_for("resnet")["weight-selection"].sizes("resnet") == "shallower, deeper, narrower, wider"
    assert list_methods_for("resnet")["finetune"].sizes("resnet") == "its own size"
    with pytest.raises(UnknownNameError, match="resnet12"):
        list_methods_for("resnet13")


def test_method_of_another_package_is_imported():
    from importlib.metadata import EntryPoint
    from unittest.mock import patch

    import germline.registry

    point = EntryPoint("toy", "helpers.toy_method:Toy", "germline.methods")
    germline.registry._list_installed.cache_clear()
    try:
        with patch("germline.registry.entry_points", lambda group: [point] if group == "germline.methods" else []):
            facts = list_methods()["toy"]
            assert facts.summary
            assert facts.sizes("vit") == "see its documentation"
    finally:
        germline.registry._list_installed.cache_clear()


@pytest.mark.parametrize("name", ["architectures", "catalogue", "compare", "compare.recipe.text", "cli.setting_list"])
def test_light_modules_do_not_import_torch(name):
    code = f"import germline.{name}, sys; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_every_architecture_is_one_object():
    from germline import architectures

    assert ARCHITECTURES["vit"] is ARCHITECTURES["vit"] is architectures.VIT
    with pytest.raises(AttributeError, match="VITT"):
        _ = architectures.VITT
