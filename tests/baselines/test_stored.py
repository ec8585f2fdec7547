"""A stored gene of any method, loaded from its folder."""

import pytest
import torch

from germline.api import condense
from germline.architectures import Size
from germline.baselines.stored import Stored
from germline.errors import SettingError
from germline.methods.base import GeneCost
from germline.methods.openworld.ewc import EwcObjective
from germline.methods.openworld.method import OpenWorld
from germline.methods.tleg.method import TLEG
from germline.training import Run
from germline.traits import Traits

TINY = {"preset": "tiny", "ways": 3, "growth": "none", "tasks": 2, "individual": "own"}


@pytest.fixture(scope="module")
def openworld_folder(pico, tmp_path_factory):
    """Folder of an openworld gene that has all its units."""
    gene = condense(OpenWorld(**TINY, whole=True), data=pico, run=Run(device="cpu", quiet=True))
    folder = tmp_path_factory.mktemp("collective") / "gene"
    gene.save(folder)
    return folder


@pytest.fixture
def tleg_folder(gene, tmp_path):
    """Folder of a tleg gene."""
    gene.save(tmp_path / "gene")
    return tmp_path / "gene"


def test_condense_returns_the_stored_gene(tleg_folder, gene, pico):
    method = Stored(gene=str(tleg_folder))
    found = condense(method, data=pico, run=Run(device="cpu", quiet=True))
    assert (found.method, found.settings) == (gene.method, gene.settings)
    assert all(torch.equal(value, found.tensors[name]) for name, value in gene.tensors.items())
    assert method.condense_spec(None, pico) == gene.spec
    sizes = {name: value.numel() for name, value in gene.tensors.items()}
    assert method.cost(gene.spec, 100, 7) == GeneCost(samples=0, flops=0, stored=sizes)


def test_stored_grows_what_the_genes_method_grows(tleg_folder, gene):
    method = Stored(gene=str(tleg_folder))
    assert method.delegate() == TLEG(**gene.settings)
    assert (method.ancestor, method.traits) == ("none", Traits(roles=(), varies_with_seed=False))
    assert method.describe_sizes(gene.spec, gene).text == gene.describe_sizes()
    target = gene.target(Size(depth=5), None)
    child, expected = (one.inherit(gene, target, torch.Generator()) for one in (method, gene.bound_method()))
    own = expected.model.state_dict()
    assert all(torch.equal(value, own[name]) for name, value in child.model.state_dict().items())
    with pytest.raises(SettingError, match="This gene cannot grow"):
        method.check_size(gene, method.descendant_spec(gene.spec, Size(width=8), gene))


def test_settings_of_growth_can_be_changed(openworld_folder, pico):
    quiet = Run(device="cpu", quiet=True)
    unanchored = Stored(gene=str(openworld_folder), settings={"anchor": "none"})
    anchored = Stored(gene=str(openworld_folder))
    gene = condense(unanchored, data=pico, run=quiet)
    assert gene.settings["anchor"] == "none"
    child = gene.inherit(classes=pico.classes)
    assert unanchored.objective(gene, child) is None
    assert isinstance(anchored.objective(gene, child), EwcObjective)
    cut = condense(Stored(gene=str(openworld_folder), settings={"window": 2, "whole": False}), data=pico, run=quiet)
    expected = condense(OpenWorld(**TINY, window=2), data=pico, run=quiet)
    assert cut.tensors.keys() == expected.tensors.keys()
    assert all(torch.equal(value, cut.tensors[name]) for name, value in expected.tensors.items())


def test_settings_of_condensing_cannot_be_changed(openworld_folder, tleg_folder, pico, tmp_path):
    quiet = Run(device="cpu", quiet=True)
    with pytest.raises(SettingError, match=r"settings=\{'tasks': 7\}.*was made with other settings"):
        condense(Stored(gene=str(openworld_folder), settings={"tasks": 7}), data=pico, run=quiet)
    with pytest.raises(SettingError, match=r"settings\.steps is unknown to method 'tleg', or has a wrong value"):
        condense(Stored(gene=str(tleg_folder), settings={"steps": -1}), data=pico, run=quiet)
    condense(Stored(gene=str(openworld_folder), settings={"window": 2, "whole": False}), data=pico, run=quiet).save(
        tmp_path / "cut"
    )
    with pytest.raises(SettingError, match=r"window=3.*keeps no units but its own window's.*whole=true"):
        condense(Stored(gene=str(tmp_path / "cut"), settings={"window": 3}), data=pico, run=quiet)
    with pytest.raises(SettingError, match="There is no learngene at"):
        Stored(gene=str(tmp_path / "nowhere"))


def test_hash_setting_depends_on_the_genes_tensors(tleg_folder, gene):
    before = Stored(gene=str(tleg_folder))
    changed = {name: value + 1 for name, value in gene.tensors.items()}
    type(gene)(**{**gene.__dict__, "tensors": changed}).save(tleg_folder.parent / "other")
    assert before.sha256 != ""
    assert Stored(gene=str(tleg_folder.parent / "other")).sha256 != before.sha256
