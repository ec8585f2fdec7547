"""Circuits of a trained CNN: which channels they have, how descendants of both families grow, and what is refused."""

import pytest
import torch

from germline.architectures import ResNet12Spec, Size, VggSpec, count_elements
from germline.baselines.circuit import CircuitBaseline
from germline.baselines.random_gene import RandomGene
from germline.errors import SettingError, UnknownNameError
from germline.learngene import Learngene
from germline.methods.gtl.circuits import (
    circuit_spec,
    describe_layout,
    draw_circuit,
    extract_circuit,
    select_strongest_circuit,
)
from germline.randomness import generator
from germline.registry import architecture_of
from germline.training import CrossEntropy, Run, TrainSettings

RUN = Run(device="cpu", quiet=True)


@pytest.fixture(scope="module")
def vgg(make_convolutional):
    return make_convolutional(VggSpec, widths=((6,), (8, 8)))


@pytest.fixture(scope="module")
def resnet(make_convolutional):
    return make_convolutional(ResNet12Spec, depths=(1, 1), widths=(6, 8))


def condense(ancestor, images, seed=0, **settings):
    return CircuitBaseline(**settings).condense(ancestor, images, Run(device="cpu", quiet=True, seed=seed))


@pytest.mark.parametrize("family", ["vgg", "resnet"])
def test_gene_contains_only_the_circuit(request, family, pico):
    ancestor = request.getfixturevalue(family)
    own = ancestor.model.state_dict()
    narrow = circuit_spec(ancestor.spec)
    drawn = draw_circuit(ancestor.spec, narrow, generator(3, "circuit", "channels"))
    strongest = select_strongest_circuit(own, ancestor.spec, narrow, "scale")
    for gene, circuit in (
        (condense(ancestor, pico, seed=3), drawn),
        (condense(ancestor, pico, choose="scale"), strongest),
    ):
        expected = extract_circuit(own, ancestor.spec, circuit)
        assert gene.tensors.keys() == expected.keys()
        assert all(torch.equal(tensor, expected[name]) for name, tensor in gene.tensors.items())
        assert gene.classes is None
        assert gene.spec == ancestor.spec
        assert gene.provenance.ancestor == ancestor.source
        stored = gene.bound_method().cost(gene.spec, 0, 0).stored
        assert stored == {name: tensor.numel() for name, tensor in gene.tensors.items()}
    other = condense(ancestor, pico, seed=4).tensors
    assert not all(torch.equal(tensor, other[name]) for name, tensor in condense(ancestor, pico).tensors.items())


@pytest.mark.parametrize(
    ("family", "size", "origins"),
    [
        ("vgg", {}, ["copied", "zero-filled", "fresh"]),
        ("vgg", {"width": 12}, ["copied", "zero-filled", "fresh"]),
        # Each group has one channel, so none is outside the circuit.
        ("vgg", {"width": 1, "depth2": 4}, ["copied", "identity", "fresh"]),
        ("resnet", {}, ["copied", "zero-filled", "fresh"]),
        ("resnet", {"depth1": 2, "width2": 3}, ["copied", "zero-filled", "fresh"]),
    ],
    ids=str,
)
def test_any_size_grows_and_the_ledger_counts_every_element(request, family, size, origins, pico):
    gene = condense(request.getfixturevalue(family), pico)
    child = gene.inherit(Size(**size), classes=4, seed=1)
    sizes = count_elements(child.model)
    assert {name: count.total() for name, count in child.ledger.entries.items()} == sizes
    assert child.ledger.totals().keys() == set(origins)
    assert child.ledger.entries["head.fc.weight"] == {"fresh": 4 * child.network.spec.features}
    again, other = gene.inherit(Size(**size), classes=4, seed=1), gene.inherit(Size(**size), classes=4, seed=2)
    for name, tensor in child.model.state_dict().items():
        assert torch.equal(tensor, again.model.state_dict()[name])
        if child.ledger.entries[name]["fresh"] and tensor.ndim > 1:
            assert not torch.equal(tensor, other.model.state_dict()[name])


def test_fresh_weights_follow_the_initialiser(vgg, pico):
    """With one planted channel per group, the rest has the standard deviation of a fresh network."""
    gene = condense(vgg, pico, share=1e-9)
    child = gene.inherit(Size(width=64), classes=4)
    kernel = child.model.stages[1].blocks[1].conv.weight.detach()
    assert float(kernel[1:].std()) == pytest.approx((2 / (9 * len(kernel))) ** 0.5, rel=0.05)
    assert not kernel[0, 1:].any()


def test_descendants_accept_colour_and_larger_images(resnet, pico):
    child = condense(resnet, pico).inherit(classes=3, channels=3, image_size=64)
    assert (child.network.spec.channels, child.network.spec.image_size) == (3, 64)
    first = "stages.0.blocks.0.units.0.conv.weight"
    assert child.ledger.entries[first].keys() == {"adapted", "fresh"}
    assert not child.ledger.totals().get("sliced")


@pytest.mark.parametrize(("family", "model"), [("vgg", "resnet12_x025"), ("resnet", "vgg11_x025")])
def test_loaded_circuit_grows_in_the_other_family_and_trains(request, family, model, pico, tmp_path):
    condense(request.getfixturevalue(family), pico).save(tmp_path / "gene")
    gene = Learngene.load(tmp_path / "gene")
    child = gene.inherit(Size(width=8), pico.classes, model=model)
    assert architecture_of(child.network.spec).name != gene.architecture
    assert child.network.spec.stages == ((1, 1, 1, 1) if family == "vgg" else (1, 1, 2, 2, 2))
    assert {name: count.total() for name, count in child.ledger.entries.items()} == count_elements(child.model)
    planted = {name for name, count in child.ledger.entries.items() if count["copied"]}
    assert planted
    assert all(name.startswith(("stages.0.", "stages.1.")) for name in planted)
    before = {name: tensor.clone() for name, tensor in child.model.state_dict().items()}
    settings = TrainSettings(steps=2, batch_size=40)
    result = RUN.fit("child", child.network, CrossEntropy(), pico.train, settings, val=pico.val)
    assert result.losses[-1][1] > 0
    after = child.model.state_dict()
    assert not [name for name, tensor in before.items() if torch.equal(tensor, after[name])]
    # Zero-filled weights are trained like all others.
    rows = len(gene.tensors["stages.1.blocks.0" + (".conv.weight" if family == "vgg" else ".units.0.conv.weight")])
    name = "stages.1.blocks.0" + (".units.0.conv.weight" if family == "vgg" else ".conv.weight")
    zero_filled = before[name][:rows] == 0
    assert zero_filled.any()
    assert after[name][:rows][zero_filled].abs().min() > 0


def test_preset_of_the_same_family_sets_depths_and_widths(vgg, pico, make_convolutional):
    widths = ((4,), (4,), (4,), (4,), (4,))
    gene = condense(make_convolutional(VggSpec, widths=widths), pico)
    child = gene.inherit(classes=2, model="vgg16_x025", image_size=64)
    assert child.network.spec.stages == (2, 2, 3, 3, 3)
    assert (child.network.spec.image_size, child.network.spec.widths[0]) == (64, (16, 16))
    with pytest.raises(SettingError, match=r"method circuit cannot grow 5 stages. The gene has 2"):
        condense(vgg, pico).inherit(classes=2, model="vgg16_x025")


def test_other_families_and_names_are_refused(vgg, pico):
    gene = condense(vgg, pico)
    with pytest.raises(SettingError, match=r"Method 'circuit' cannot grow a vit\..*Use a vgg or a resnet12"):
        gene.inherit(classes=2, model="vit_pico")
    with pytest.raises(SettingError, match=r"Method 'circuit' cannot grow a resnet\..*Use a vgg or a resnet12"):
        gene.inherit(classes=2, model="resnet18_x025")
    with pytest.raises(UnknownNameError, match="resnet12_x025"):
        gene.inherit(classes=2, model="resnet12_x25")
    with pytest.raises(SettingError, match=r"No classes given. This gene has no head"):
        gene.inherit()


def test_other_methods_refuse_a_model(gene):
    with pytest.raises(
        SettingError, match=r"method tleg cannot grow model=vit_nano. It grows only sizes of its gene.s own network"
    ):
        gene.inherit(model="vit_nano")


def test_random_gene_shuffles_a_circuit(vgg, pico):
    gene = condense(vgg, pico)
    shuffled = RandomGene(method="circuit").derive(gene, generator(0))
    child = shuffled.inherit(classes=3, model="resnet12_x025")
    assert child.network.spec.widths == (16, 32, 64, 128)
    name = "stages.1.blocks.0.conv.weight"
    mine = child.model.state_dict()["stages.1.blocks.0.units.0.conv.weight"]
    rows, columns = gene.tensors[name].shape[:2]
    assert not torch.equal(mine[:rows, :columns], gene.tensors[name])
    assert mine[:rows, :columns].flatten().sort().values.equal(gene.tensors[name].flatten().sort().values)


def test_share_of_one_copies_the_ancestor(resnet, pico):
    gene = condense(resnet, pico, share=1.0)
    child = gene.inherit(classes=resnet.classes)
    own = resnet.model.state_dict()
    assert all(torch.equal(t, own[name]) for name, t in child.model.state_dict().items() if "head" not in name)
    assert describe_layout(circuit_spec(resnet.spec, 1.0)).narrowest == (6, 8)
    assert set(child.ledger.totals()) == {"copied", "fresh"}


def test_bad_settings_no_ancestor_and_a_vit_are_refused(pico, make_network):
    for settings in ({"share": 0}, {"share": 1.1}, {"choose": "norm"}):
        with pytest.raises(SettingError):
            CircuitBaseline(**settings)
    with pytest.raises(SettingError, match="'circuit' needs an ancestor"):
        CircuitBaseline().condense_spec(None, pico)
    with pytest.raises(SettingError, match="A circuit cannot grow in a vit"):
        CircuitBaseline().condense_spec(make_network(), pico)


def test_sizes_are_described(vgg, pico):
    gene = condense(vgg, pico)
    assert gene.describe_sizes() == "any width and depth of a vgg or a resnet12"


def test_protection_of_descendants_is_off_by_default(vgg, pico):
    gene = condense(vgg, pico)
    child = gene.inherit(classes=pico.classes, seed=1)
    assert gene.bound_method().objective(gene, child) is None
    protected = condense(vgg, pico, protected_steps=3, inherited_rate=0.5)
    objective = protected.bound_method().objective(protected, protected.inherit(classes=pico.classes, seed=1))
    protection = objective.protection
    assert (protection.steps, protection.rate, objective.label_smoothing) == (3, 0.5, None)
    entries = child.ledger.entries
    for name, mask in protection.masks.items():
        assert int(mask.sum()) == mask.numel() - entries[name]["fresh"]


def test_protected_circuit_does_not_change_at_first(vgg, pico):
    gene = condense(vgg, pico, protected_steps=1)
    child = gene.inherit(classes=pico.classes, seed=1)
    before = {name: tensor.clone() for name, tensor in child.model.state_dict().items()}
    objective = gene.bound_method().objective(gene, child)
    masks = objective.protection.masks
    settings = TrainSettings(steps=1, batch_size=20, lr=0.01, warmup=0.0)
    Run(device="cpu", quiet=True).fit("descendant", child.network, objective, pico.train, settings)
    after = child.model.state_dict()
    for name, mask in masks.items():
        assert torch.equal(after[name][mask], before[name][mask])
    free = [name for name in before if name.startswith("head") and name.endswith("weight")]
    assert free
    assert not any(torch.equal(after[name], before[name]) for name in free)
