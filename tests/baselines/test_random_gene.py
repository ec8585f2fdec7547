"""The random gene: the elements of a gene at shuffled places."""

import pytest
import torch

from germline.architectures import Size
from germline.baselines.finetune import Finetune
from germline.baselines.random_gene import RandomGene
from germline.errors import SettingError, UnknownNameError
from germline.learngene import Learngene
from germline.methods.tleg.method import TLEG
from germline.provenance import Provenance
from germline.randomness import generator
from germline.training import Run
from germline.traits import Traits

SHORT = {"steps": 3, "batch_size": 40, "depth": 4, "grid": "one", "segments": [2, 2]}


@pytest.fixture(scope="module")
def method():
    return RandomGene(method="tleg", settings=SHORT)


@pytest.fixture(scope="module")
def shuffled(method, gene):
    return method.derive(gene, generator(0, "draw"))


def test_every_tensor_keeps_its_elements_at_other_places(gene, shuffled):
    assert shuffled.tensors.keys() == gene.tensors.keys()
    for name, tensor in shuffled.tensors.items():
        own = gene.tensors[name]
        assert (tensor.shape, tensor.dtype) == (own.shape, own.dtype)
        assert torch.equal(tensor.flatten().sort().values, own.flatten().sort().values)
    weight, own = (one.tensors["offset.0.mlp.fc1.weight"].flatten() for one in (shuffled, gene))
    # A shuffle of 1024 elements leaves about one in its place. The remaining correlation is of the order 1/32.
    assert int((weight == own).sum()) < 10
    assert abs(float(torch.corrcoef(torch.stack([weight, own]))[0, 1])) < 0.15


def test_integers_are_copied_and_the_gene_does_not_change(method, gene):
    counts = torch.arange(50)
    given = type(gene)(**{**gene.__dict__, "tensors": {**gene.tensors, "counts": counts}})
    before = {name: tensor.clone() for name, tensor in given.tensors.items()}
    found = method.derive(given, generator(1, "draw"))
    assert torch.equal(found.tensors["counts"], counts)
    assert found.tensors["counts"] is not counts
    assert all(torch.equal(value, given.tensors[name]) for name, value in before.items())


def test_metrics_of_the_source_gene_are_removed(method, gene):
    scored = type(gene)(**{**gene.__dict__, "provenance": Provenance(ancestor="x", metrics={"accuracy": 0.9})})
    found = method.derive(scored, generator(0, "draw")).provenance
    assert (found.ancestor, found.metrics) == ("x", {})


def test_shuffle_depends_on_the_generator(method, gene, shuffled):
    same, other = (method.derive(gene, generator(seed, "draw")) for seed in (0, 1))
    assert all(torch.equal(value, same.tensors[name]) for name, value in shuffled.tensors.items())
    name = "slope.0.mlp.fc1.weight"
    assert not torch.equal(shuffled.tensors[name], other.tensors[name])


def test_condense_shuffles_the_inner_gene_by_the_seed_of_the_run(method, ancestor, pico):
    found = [method.condense(ancestor, pico, Run(device="cpu", quiet=True, seed=seed)) for seed in (3, 3, 4)]
    inner = method.delegate().condense(ancestor, pico, Run(device="cpu", quiet=True, seed=3))
    expected = method.derive(inner, generator(3, "random-gene"))
    assert all(torch.equal(value, expected.tensors[name]) for name, value in found[0].tensors.items())
    assert all(torch.equal(value, found[1].tensors[name]) for name, value in found[0].tensors.items())
    assert not torch.equal(found[0].tensors["frame.head.weight"], found[2].tensors["frame.head.weight"])
    assert (found[0].method, found[0].bound_method()) == ("random-gene", method)


def test_loaded_gene_grows_what_the_inner_method_grows(method, ancestor, pico, tmp_path):
    method.condense(ancestor, pico, Run(device="cpu", quiet=True)).save(tmp_path / "gene")
    loaded = Learngene.load(tmp_path / "gene")
    assert loaded.bound_method() == method
    assert loaded.bound_method().derived_from() == TLEG(**SHORT)
    child = loaded.inherit(size=Size(depth=5), classes=3)
    # The inner method has two segments, of three and two blocks, on the grid (l+1)/L.
    name = "mlp.fc1.weight"
    offset, slope = (loaded.tensors[f"{kind}.1.{name}"] for kind in ("offset", "slope"))
    assert torch.allclose(child.model.blocks[3].mlp.fc1.weight, offset + slope / 2, atol=1e-7)
    assert child.network.source.startswith("grown by random-gene from")
    assert loaded.describe_sizes() == "depth=2 or more, at width=16,heads=2"
    with pytest.raises(SettingError, match="This gene cannot grow depth=1"):
        loaded.inherit(size=Size(depth=1))
    assert method.objective(loaded, child) is None
    assert method.condense_spec(ancestor, pico).depth == 4


def test_instance_has_the_declarations_of_its_inner_method():
    tleg, finetune = RandomGene(), RandomGene(method="finetune")
    scratch = RandomGene(method="scratch")
    assert (tleg.ancestor, finetune.ancestor, scratch.ancestor) == ("optional", "required", "none")
    assert (tleg.traits, finetune.traits) == (TLEG.traits, Traits(needs_own_size=True))
    assert (RandomGene.ancestor, RandomGene.traits, RandomGene.name) == ("optional", Traits(), "random-gene")
    assert tleg.architectures == TLEG.architectures
    assert "vit" in RandomGene.architectures


def test_missing_settings_are_the_inner_defaults():
    assert RandomGene() == RandomGene(method="tleg", settings=TLEG().model_dump(mode="json"))
    assert RandomGene(settings={"steps": 7}).derived_from().steps == 7
    assert RandomGene(method="finetune").derived_from() == Finetune()
    assert RandomGene(method="distil", settings={"alpha": 0.1}).settings["temperature"] == 2.0


def test_wrong_methods_and_settings_are_refused(ancestor, pico):
    with pytest.raises(UnknownNameError, match=r"Unknown method 'tlge'. Did you mean tleg"):
        RandomGene(method="tlge")
    with pytest.raises(SettingError, match="A random gene is another method's gene"):
        RandomGene(method="random-gene")
    with pytest.raises(SettingError, match=r"settings\.stepps is unknown to method 'tleg'"):
        RandomGene(settings={"stepps": 3})
    with pytest.raises(SettingError, match=r"settings\.steps is unknown to method .tleg., or has a wrong value"):
        RandomGene(settings={"steps": -1})
    with pytest.raises(SettingError):
        RandomGene(method=3)
    with pytest.raises(SettingError, match="'scratch' has no gene"):
        RandomGene(method="scratch").condense(ancestor, pico, Run(device="cpu", quiet=True))


def test_convolutional_gene_keeps_its_counters(ancestors, pico):
    method = RandomGene(method="weight-selection", settings={"layers": "even"})
    gene = method.condense(ancestors["vgg"], pico, Run(device="cpu", quiet=True))
    own = ancestors["vgg"].model.state_dict()
    counters = [name for name in own if name.endswith("num_batches_tracked")]
    assert counters
    assert all(int(gene.tensors[name]) == int(own[name]) == 2 for name in counters)
    child = gene.inherit(size=Size(width=2))
    assert child.network.spec.widths[0] == (2,)
    assert set(child.ledger.totals()) == {"copied", "sliced"}
    variances = [value for name, value in child.model.state_dict().items() if name.endswith("running_var")]
    assert all(bool((value > 0).all()) for value in variances)
