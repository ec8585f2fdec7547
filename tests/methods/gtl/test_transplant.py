"""Transplants: a circuit computes the same in its host as alone, and every element has an origin."""

import pytest
import torch
from torch.nn.functional import leaky_relu

from germline.architectures import ResNet12Spec, Size, VggSpec, extract_features
from germline.errors import SettingError
from germline.methods.gtl.circuits import (
    circuit_spec,
    describe_layout,
    draw_circuit,
    extract_circuit,
    remove_head,
    select_strongest_circuit,
)
from germline.methods.gtl.transplant import first_channels, mark_inherited, transplant_circuit
from germline.randomness import generator
from germline.registry import architecture_of

IMAGE_FIELDS = {"image_size": 32, "channels": 3, "classes": 5}
VGG = VggSpec(widths=((8, 8), (12, 12, 12)), **IMAGE_FIELDS)
RESNET = ResNet12Spec(depths=(1, 2), widths=(8, 12), **IMAGE_FIELDS)
BOTH = pytest.mark.parametrize("spec", [VGG, RESNET], ids=["vgg", "resnet12"])


def awake(spec, seed=0):
    """Build a network whose norms and statistics differ from channel to channel, with its head if it has one."""
    torch.manual_seed(seed)
    model = architecture_of(spec).build(spec).eval()
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if tensor.ndim == 1 and "norm" in name:
                tensor.uniform_(0.5, 1.5) if name.endswith(("var", "norm.weight")) else tensor.uniform_(-0.3, 0.3)
            elif tensor.ndim == 0:
                tensor.fill_(7)
    return model


def cut(spec, seed=0, share=0.2):
    """Draw a circuit of a network; return its spec, its tensors and its channels."""
    narrow = circuit_spec(spec, share)
    circuit = draw_circuit(spec, narrow, generator(seed))
    return narrow, extract_circuit(awake(spec).state_dict(), spec, circuit), circuit


def loaded(spec, tensors):
    model = architecture_of(spec).build(spec).eval()
    model.load_state_dict(tensors)
    return model


def maps(spec, tensors):
    """Return the features of a few fixed images after each block, by the name of the block."""
    images = torch.rand(3, 3, 32, 32, generator=generator(9))
    with torch.no_grad():
        return extract_features(loaded(spec, tensors), architecture_of(spec).feature_names(spec), images)[1]


def ends(spec):
    """Return the last block and its channel group of each stage."""
    units = architecture_of(spec).units(spec)
    taps = architecture_of(spec).feature_names(spec)
    return [(taps[stage.chain[-1].block], stage.chain[-1].writes) for stage in units]


def apart(one, other):
    return float((one - other).norm() / other.norm())


def distances(host, tensors, places, narrow, gene):
    """Measure for each stage the relative distance of a circuit in its host from the circuit alone."""
    whole, alone = maps(host, tensors), maps(narrow, gene)
    return [
        apart(whole[tap][:, places[group]], alone[own])
        for (tap, group), (own, _) in zip(ends(host), ends(narrow), strict=True)
    ]


@BOTH
def test_a_circuit_computes_the_same_in_its_own_net_and_in_one_twice_as_wide(spec):
    narrow, gene, circuit = cut(spec)
    wide = architecture_of(spec).resize(spec, Size(width=16))
    drawn = draw_circuit(wide, narrow, generator(5))
    for host, places in ((spec, circuit), (spec, None), (wide, None), (wide, drawn)):
        tensors, _ = transplant_circuit(awake(host, 1).state_dict(), gene, narrow, host, places)
        where = first_channels(narrow, host) if places is None else places
        assert max(distances(host, tensors, where, narrow, gene)) <= 1e-6
        back = extract_circuit(tensors, host, where)
        assert back.keys() == gene.keys()
        assert all(torch.equal(tensor, gene[name]) for name, tensor in back.items())


@BOTH
def test_without_zeros_it_would_not(spec):
    narrow, gene, circuit = cut(spec)
    tensors, _ = transplant_circuit(awake(spec, 1).state_dict(), gene, narrow, spec, circuit)
    before = awake(spec, 1).state_dict()
    unit = architecture_of(spec).units(spec)[1].chain[0]
    name = f"{unit.name}.conv.weight"
    rows = circuit[unit.writes]
    others = [channel for channel in range(8) if channel not in circuit[unit.reads].tolist()]
    tensors[name][rows[:, None], others] = before[name][rows[:, None], others]
    assert max(distances(spec, tensors, circuit, narrow, gene)) > 1e-2


@BOTH
def test_a_narrower_host_computes_what_the_narrowed_gene_does_alone(spec):
    narrow, gene, _ = cut(spec, share=0.5)
    host = architecture_of(spec).resize(spec, Size(width1=3, width2=5))
    tensors, counts = transplant_circuit(awake(host, 1).state_dict(), gene, narrow, host)
    small = remove_head(host)
    strongest = extract_circuit(gene, narrow, select_strongest_circuit(gene, narrow, small))
    assert max(distances(host, tensors, first_channels(small, host), small, strongest)) <= 1e-6
    assert all(torch.equal(tensors[name], tensor) for name, tensor in strongest.items())
    kept = sum(tensor.numel() for tensor in strongest.values())
    assert sum(counts[name].get("copied", 0) for name in counts) == kept < sum(t.numel() for t in gene.values())


def test_the_strongest_kernels_stay_when_narrowing():
    spec = VggSpec(widths=((3,), (2,)), image_size=8, channels=1, classes=2)
    gene = awake(remove_head(spec)).state_dict()
    gene["stages.0.blocks.0.conv.weight"] = torch.tensor([1.0, 2.0, 3.0]).view(3, 1, 1, 1).expand(3, 1, 3, 3).clone()
    # Times the kernels: 1, 0.2 and 3.
    gene["stages.0.blocks.0.norm.weight"] = torch.tensor([1.0, 0.1, -1.0])
    host = VggSpec(widths=((2,), (2,)), image_size=8, channels=1, classes=2)
    tensors, _ = transplant_circuit(awake(host, 1).state_dict(), gene, remove_head(spec), host)
    assert tensors["stages.0.blocks.0.norm.weight"].tolist() == [1.0, -1.0]
    assert tensors["stages.0.blocks.0.conv.weight"][:, 0, 0, 0].tolist() == [1.0, 3.0]
    read = gene["stages.1.blocks.0.conv.weight"]
    assert torch.equal(tensors["stages.1.blocks.0.conv.weight"], read[:, [0, 2]])


def test_a_deeper_vgg_passes_the_circuit_on():
    narrow, gene, _ = cut(VGG)
    host = architecture_of(VGG).resize(VGG, Size(depth1=4, depth2=5, width=12))
    tensors, counts = transplant_circuit(awake(host, 1).state_dict(), gene, narrow, host)
    places = first_channels(narrow, host)
    assert max(distances(host, tensors, places, narrow, gene)) <= 1e-5
    width, whole = len(places["stages.1.blocks.4"]), host.widths[1][0]
    kernel = {"identity": width * width * 9, "zero-filled": width * (whole - width) * 9}
    kernel["fresh"] = (whole - width) * whole * 9
    assert counts["stages.1.blocks.4.conv.weight"] == kernel
    assert counts["stages.1.blocks.4.norm.weight"] == {"identity": width, "fresh": whole - width}
    assert counts["stages.1.blocks.4.norm.num_batches_tracked"] == {"fresh": 1}


def test_a_deeper_resnet_adds_one_leaky_relu_a_block():
    narrow, gene, _ = cut(RESNET)
    host = architecture_of(RESNET).resize(RESNET, Size(depth2=3))
    tensors, counts = transplant_circuit(awake(host, 1).state_dict(), gene, narrow, host)
    (_, _), (tap, group) = ends(host)
    found, alone = (
        maps(host, tensors)[tap][:, first_channels(narrow, host)[group]],
        maps(narrow, gene)[ends(narrow)[1][0]],
    )
    assert apart(found, leaky_relu(alone, 0.1)) <= 1e-6
    # The cost of the paper's rule: only negative maps change, which a leaky ReLU has already made small.
    assert 1e-3 < apart(found, alone) < 0.2
    width = len(first_channels(narrow, host)[group])
    last = "stages.1.blocks.2.units.2"
    assert counts[f"{last}.norm.weight"] == counts[f"{last}.norm.bias"] == {"zero-filled": width, "fresh": 12 - width}
    assert counts[f"{last}.conv.weight"] == {"fresh": 12 * 12 * 9}
    assert counts[f"{last}.norm.running_var"] == {"fresh": 12}


@pytest.mark.parametrize(
    ("spec", "size", "gone"),
    [
        (VGG, {"depth1": 1, "depth2": 2}, ("stages.0.blocks.1", "stages.1.blocks.2")),
        (RESNET, {"depth2": 1}, ("stages.1.blocks.1",)),
    ],
    ids=["vgg", "resnet12"],
)
def test_a_shallower_host_takes_the_first(spec, size, gone):
    narrow, gene, _ = cut(spec)
    host = architecture_of(spec).resize(spec, Size(**size))
    tensors, counts = transplant_circuit(awake(host, 1).state_dict(), gene, narrow, host)
    left = {name: tensor for name, tensor in gene.items() if not name.startswith(gone)}
    small = architecture_of(spec).resize(narrow, Size(**size))
    assert max(distances(host, tensors, first_channels(narrow, host), small, left)) <= 1e-6
    assert sum(counts[name].get("copied", 0) for name in counts) == sum(tensor.numel() for tensor in left.values())


def test_grey_and_colour():
    narrow, gene, _ = cut(RESNET)
    grey = RESNET.model_copy(update={"channels": 1})
    tensors, counts = transplant_circuit(awake(grey, 1).state_dict(), gene, narrow, grey)
    places = first_channels(narrow, grey)
    images = torch.rand(2, 1, 32, 32, generator=generator(9))
    taps = architecture_of(grey).feature_names(grey)
    with torch.no_grad():
        found = extract_features(loaded(grey, tensors), taps, images)[1]
        alone = extract_features(loaded(narrow, gene), taps, images.repeat(1, 3, 1, 1))[1]
    for tap, group in ends(grey):
        assert apart(found[tap][:, places[group]], alone[tap]) <= 1e-5
    width = len(places["stages.0"])
    assert counts["stages.0.blocks.0.units.0.conv.weight"] == {"adapted": width * 9, "fresh": (8 - width) * 9}
    assert counts["stages.0.blocks.0.shortcut.conv.weight"] == {"adapted": width, "fresh": 8 - width}


def test_every_element_is_counted_as_by_hand():
    spec = VggSpec(widths=((3,), (4,)), image_size=8, channels=1, classes=2)
    narrow = VggSpec(widths=((2,), (1,)), image_size=8, channels=1, classes=0)
    gene, fresh = awake(narrow).state_dict(), awake(spec, 1).state_dict()
    places = {"stages.0.blocks.0": torch.tensor([0, 2]), "stages.1.blocks.0": torch.tensor([3])}
    tensors, counts = transplant_circuit(fresh, gene, narrow, spec, places)
    first, second = "stages.0.blocks.0", "stages.1.blocks.0"
    assert counts[f"{first}.conv.weight"] == {"copied": 2 * 9, "fresh": 9}
    assert counts[f"{second}.conv.weight"] == {"copied": 2 * 9, "zero-filled": 9, "fresh": 3 * 3 * 9}
    for name in ("weight", "bias", "running_mean", "running_var"):
        assert counts[f"{first}.norm.{name}"] == {"copied": 2, "fresh": 1}
        assert counts[f"{second}.norm.{name}"] == {"copied": 1, "fresh": 3}
    assert counts[f"{first}.norm.num_batches_tracked"] == {"copied": 1}
    assert counts["head.fc.weight"] == {"fresh": 8}
    assert {name: sum(found.values()) for name, found in counts.items()} == {n: t.numel() for n, t in fresh.items()}
    kernel = tensors[f"{second}.conv.weight"]
    assert torch.equal(kernel[3][[0, 2]], gene[f"{second}.conv.weight"][0])
    assert not kernel[3, 1].any()
    assert torch.equal(kernel[:3], fresh[f"{second}.conv.weight"][:3])
    assert torch.equal(fresh[f"{second}.conv.weight"], awake(spec, 1).state_dict()[f"{second}.conv.weight"])


def test_other_numbers_of_channels_are_refused():
    narrow, gene, circuit = cut(VGG)
    for places in ({**circuit, "stages.0.blocks.0": torch.tensor([0])}, {"stages.0.blocks.0": torch.tensor([0])}):
        with pytest.raises(SettingError, match="They are not as many as its channels"):
            transplant_circuit(awake(VGG).state_dict(), gene, narrow, VGG, places)


def test_a_gene_of_a_resnet_in_a_vgg():
    narrow, gene, _ = cut(RESNET)
    host = VggSpec(widths=((8, 8), (12,) * 7, (16,)), **IMAGE_FIELDS)
    tensors, counts = transplant_circuit(awake(host, 1).state_dict(), gene, narrow, host)
    places = first_channels(narrow, host)
    # Two blocks of three units; the rest of the stage passes them on; the third stage is fresh.
    chain = [f"stages.1.blocks.{block}.units.{unit}" for block in (0, 1) for unit in (0, 1, 2)]
    for index, name in enumerate(chain):
        mine, own = tensors[f"stages.1.blocks.{index}.conv.weight"], gene[f"{name}.conv.weight"]
        assert torch.equal(mine[: len(own), : own.shape[1]], own)
        assert "copied" in counts[f"stages.1.blocks.{index}.norm.running_mean"]
    found = maps(host, tensors)
    assert apart(found["stages.1.blocks.6"][:, :5], found["stages.1.blocks.5"][:, :5]) <= 1e-5
    assert counts["stages.2.blocks.0.conv.weight"] == {"fresh": 16 * 12 * 9}
    assert not [name for name in counts if "shortcut" in name]
    assert len(places["stages.2.blocks.0"]) == 0


def test_a_gene_of_a_vgg_in_a_resnet():
    spec = VggSpec(widths=((8,), (12, 12), (16,)), **IMAGE_FIELDS)
    narrow, gene, _ = cut(spec)
    tensors, counts = transplant_circuit(awake(RESNET, 1).state_dict(), gene, narrow, RESNET)
    width = describe_layout(narrow).narrowest[1]
    block, later = "stages.1.blocks.0", "stages.1.blocks.1"
    for index in (0, 1):
        own = gene[f"stages.1.blocks.{index}.conv.weight"]
        assert torch.equal(tensors[f"{block}.units.{index}.conv.weight"][:width, : own.shape[1]], own)
    assert "identity" in counts[f"{block}.units.2.conv.weight"]
    assert counts[f"{block}.shortcut.norm.weight"] == {"zero-filled": width, "fresh": 12 - width}
    # The second block is surplus: its input passes through one more leaky ReLU.
    assert counts[f"{later}.units.2.norm.weight"] == {"zero-filled": width, "fresh": 12 - width}
    assert counts[f"{later}.units.0.conv.weight"] == {"fresh": 12 * 12 * 9}
    found = maps(RESNET, tensors)
    assert apart(found[later][:, :width], leaky_relu(found[block][:, :width], 0.1)) <= 1e-6


@BOTH
@pytest.mark.parametrize("size", ["", "width=16", "width=4"])
def test_marked_elements_are_those_that_are_not_fresh(spec, size):
    narrow, gene, _ = cut(spec)
    host = architecture_of(spec).resize(spec, Size.parse(size))
    fresh = awake(host, seed=1).state_dict()
    tensors, counts = transplant_circuit(fresh, gene, narrow, host)
    masks = mark_inherited(fresh, gene, narrow, host)
    assert masks.keys() <= describe_layout(host).parameters.keys()
    for name in describe_layout(host).parameters:
        inherited = tensors[name].numel() - counts[name].get("fresh", 0)
        assert int(masks[name].sum() if name in masks else 0) == inherited
        changed = tensors[name] != fresh[name]
        assert not (changed & ~masks.get(name, torch.zeros_like(changed))).any()
