"""A gene that is at hand: of any method, from its folder alone."""

import pytest
import torch
from pydantic import ValidationError

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
def collective(pico, tmp_path_factory):
    """The folder of an open-world gene that keeps all its units."""
    gene = condense(OpenWorld(**TINY, whole=True), data=pico, run=Run(device="cpu", quiet=True))
    folder = tmp_path_factory.mktemp("collective") / "gene"
    gene.save(folder)
    return folder


@pytest.fixture
def expansion(gene, tmp_path):
    """The folder of a tleg gene."""
    gene.save(tmp_path / "gene")
    return tmp_path / "gene"


def test_the_gene_is_taken_as_it_is(expansion, gene, pico):
    method = Stored(gene=str(expansion))
    found = condense(method, data=pico, run=Run(device="cpu", quiet=True))
    assert (found.method, found.settings) == (gene.method, gene.settings)
    assert all(torch.equal(value, found.tensors[name]) for name, value in gene.tensors.items())
    assert method.condense_spec(None, pico) == gene.spec
    sizes = {name: value.numel() for name, value in gene.tensors.items()}
    assert method.cost(gene.spec, 100, 7) == GeneCost(samples=0, flops=0, stored=sizes)


def test_it_grows_what_the_gene_s_method_grows(expansion, gene):
    method = Stored(gene=str(expansion))
    assert method.delegate() == TLEG(**gene.settings)
    assert (method.ancestor, method.traits) == ("none", Traits(roles=(), varies_with_seed=False))
    assert method.describe_sizes(gene.spec, gene).text == gene.describe_sizes()
    target = gene.target(Size(depth=5), None)
    ours, theirs = (one.inherit(gene, target, torch.Generator()) for one in (method, gene.bound_method()))
    own = theirs.model.state_dict()
    assert all(torch.equal(value, own[name]) for name, value in ours.model.state_dict().items())
    with pytest.raises(SettingError, match="This gene cannot grow"):
        method.check_size(gene, method.descendant_spec(gene.spec, Size(width=8), gene))


def test_how_descendants_grow_may_be_changed(collective, pico):
    quiet = Run(device="cpu", quiet=True)
    free = Stored(gene=str(collective), settings={"anchor": "none"})
    held = Stored(gene=str(collective))
    gene = condense(free, data=pico, run=quiet)
    assert gene.settings["anchor"] == "none"
    child = gene.inherit(classes=pico.classes)
    assert free.objective(gene, child) is None
    assert isinstance(held.objective(gene, child), EwcObjective)
    other = condense(Stored(gene=str(collective), settings={"window": 2, "whole": False}), data=pico, run=quiet)
    same = condense(OpenWorld(**TINY, window=2), data=pico, run=quiet)
    assert other.tensors.keys() == same.tensors.keys()
    assert all(torch.equal(value, other.tensors[name]) for name, value in same.tensors.items())


def test_how_the_gene_was_made_may_not(collective, expansion, pico, tmp_path):
    quiet = Run(device="cpu", quiet=True)
    with pytest.raises(SettingError, match=r"settings=\{'tasks': 7\}.*was made with other settings"):
        condense(Stored(gene=str(collective), settings={"tasks": 7}), data=pico, run=quiet)
    with pytest.raises(SettingError, match=r"settings\.steps is unknown to method 'tleg', or has a wrong value"):
        condense(Stored(gene=str(expansion), settings={"steps": -1}), data=pico, run=quiet)
    condense(Stored(gene=str(collective), settings={"window": 2, "whole": False}), data=pico, run=quiet).save(
        tmp_path / "cut"
    )
    with pytest.raises(SettingError, match=r"window=3.*keeps no units but its own window's.*whole=true"):
        condense(Stored(gene=str(tmp_path / "cut"), settings={"window": 3}), data=pico, run=quiet)
    with pytest.raises(ValidationError, match="There is no learngene at"):
        Stored(gene=str(tmp_path / "nowhere"))


def test_another_gene_in_the_same_folder_is_another_setting(expansion, gene):
    before = Stored(gene=str(expansion))
    changed = {name: value + 1 for name, value in gene.tensors.items()}
    type(gene)(**{**gene.__dict__, "tensors": changed}).save(expansion.parent / "other")
    assert before.sha256 != ""
    assert Stored(gene=str(expansion.parent / "other")).sha256 != before.sha256
