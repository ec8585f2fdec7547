"""Transplants: a circuit computes the same in its host and alone, and every element has an origin."""

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


def build_random(spec, seed=0):
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


def make_gene(spec, seed=0, share=0.2):
    """Draw a circuit of a network; return its spec, its tensors and its channels."""
    narrow = circuit_spec(spec, share)
    circuit = draw_circuit(spec, narrow, generator(seed))
    return narrow, extract_circuit(build_random(spec).state_dict(), spec, circuit), circuit


def load(spec, tensors):
    model = architecture_of(spec).build(spec).eval()
    model.load_state_dict(tensors)
    return model


def compute_maps(spec, tensors):
    """Return the features of a few fixed images after each block, by the name of the block."""
    images = torch.rand(3, 3, 32, 32, generator=generator(9))
    with torch.no_grad():
        return extract_features(load(spec, tensors), architecture_of(spec).feature_names(spec), images)[1]


def list_stage_ends(spec):
    """Return the last block and its channel group of each stage."""
    units = architecture_of(spec).units(spec)
    taps = architecture_of(spec).feature_names(spec)
    return [(taps[stage.chain[-1].block], stage.chain[-1].writes) for stage in units]


def relative_distance(one, other):
    return float((one - other).norm() / other.norm())


def measure_distances(host, tensors, places, narrow, gene):
    """Return, for each stage, the relative distance between a circuit in its host and the circuit alone."""
    in_host, alone = compute_maps(host, tensors), compute_maps(narrow, gene)
    return [
        relative_distance(in_host[tap][:, places[group]], alone[own])
        for (tap, group), (own, _) in zip(list_stage_ends(host), list_stage_ends(narrow), strict=True)
    ]


@BOTH
def test_circuit_computes_the_same_in_its_own_and_a_wider_host(spec):
    narrow, gene, circuit = make_gene(spec)
    wide = architecture_of(spec).resize(spec, Size(width=16))
    random_places = draw_circuit(wide, narrow, generator(5))
    for host, places in ((spec, circuit), (spec, None), (wide, None), (wide, random_places)):
        tensors, _ = transplant_circuit(build_random(host, 1).state_dict(), gene, narrow, host, places)
        channels = first_channels(narrow, host) if places is None else places
        assert max(measure_distances(host, tensors, channels, narrow, gene)) <= 1e-6
        back = extract_circuit(tensors, host, channels)
        assert back.keys() == gene.keys()
        assert all(torch.equal(tensor, gene[name]) for name, tensor in back.items())


@BOTH
def test_weights_from_other_channels_change_the_circuit(spec):
    narrow, gene, circuit = make_gene(spec)
    tensors, _ = transplant_circuit(build_random(spec, 1).state_dict(), gene, narrow, spec, circuit)
    before = build_random(spec, 1).state_dict()
    unit = architecture_of(spec).units(spec)[1].chain[0]
    name = f"{unit.name}.conv.weight"
    rows = circuit[unit.writes]
    others = [channel for channel in range(8) if channel not in circuit[unit.reads].tolist()]
    tensors[name][rows[:, None], others] = before[name][rows[:, None], others]
    assert max(measure_distances(spec, tensors, circuit, narrow, gene)) > 1e-2


@BOTH
def test_narrower_host_has_the_strongest_channels(spec):
    narrow, gene, _ = make_gene(spec, share=0.5)
    host = architecture_of(spec).resize(spec, Size(width1=3, width2=5))
    tensors, counts = transplant_circuit(build_random(host, 1).state_dict(), gene, narrow, host)
    small = remove_head(host)
    strongest = extract_circuit(gene, narrow, select_strongest_circuit(gene, narrow, small))
    assert max(measure_distances(host, tensors, first_channels(small, host), small, strongest)) <= 1e-6
    assert all(torch.equal(tensors[name], tensor) for name, tensor in strongest.items())
    kept = sum(tensor.numel() for tensor in strongest.values())
    assert sum(counts[name].get("copied", 0) for name in counts) == kept < sum(t.numel() for t in gene.values())


def test_narrowing_keeps_the_strongest_kernels():
    spec = VggSpec(widths=((3,), (2,)), image_size=8, channels=1, classes=2)
    gene = build_random(remove_head(spec)).state_dict()
    gene["stages.0.blocks.0.conv.weight"] = torch.tensor([1.0, 2.0, 3.0]).view(3, 1, 1, 1).expand(3, 1, 3, 3).clone()
    # The products with the kernels are 1, 0.2 and 3.
    gene["stages.0.blocks.0.norm.weight"] = torch.tensor([1.0, 0.1, -1.0])
    host = VggSpec(widths=((2,), (2,)), image_size=8, channels=1, classes=2)
    tensors, _ = transplant_circuit(build_random(host, 1).state_dict(), gene, remove_head(spec), host)
    assert tensors["stages.0.blocks.0.norm.weight"].tolist() == [1.0, -1.0]
    assert tensors["stages.0.blocks.0.conv.weight"][:, 0, 0, 0].tolist() == [1.0, 3.0]
    read = gene["stages.1.blocks.0.conv.weight"]
    assert torch.equal(tensors["stages.1.blocks.0.conv.weight"], read[:, [0, 2]])


def test_added_units_of_a_vgg_are_identities():
    narrow, gene, _ = make_gene(VGG)
    host = architecture_of(VGG).resize(VGG, Size(depth1=4, depth2=5, width=12))
    tensors, counts = transplant_circuit(build_random(host, 1).state_dict(), gene, narrow, host)
    places = first_channels(narrow, host)
    assert max(measure_distances(host, tensors, places, narrow, gene)) <= 1e-5
    width, total = len(places["stages.1.blocks.4"]), host.widths[1][0]
    kernel = {"identity": width * width * 9, "zero-filled": width * (total - width) * 9}
    kernel["fresh"] = (total - width) * total * 9
    assert counts["stages.1.blocks.4.conv.weight"] == kernel
    assert counts["stages.1.blocks.4.norm.weight"] == {"identity": width, "fresh": total - width}
    assert counts["stages.1.blocks.4.norm.num_batches_tracked"] == {"fresh": 1}


def test_added_blocks_of_a_resnet_are_leaky_relus():
    narrow, gene, _ = make_gene(RESNET)
    host = architecture_of(RESNET).resize(RESNET, Size(depth2=3))
    tensors, counts = transplant_circuit(build_random(host, 1).state_dict(), gene, narrow, host)
    (_, _), (tap, group) = list_stage_ends(host)
    found, alone = (
        compute_maps(host, tensors)[tap][:, first_channels(narrow, host)[group]],
        compute_maps(narrow, gene)[list_stage_ends(narrow)[1][0]],
    )
    assert relative_distance(found, leaky_relu(alone, 0.1)) <= 1e-6
    # This is the cost of the paper's rule. Only negative values change, and a leaky ReLU has already reduced them.
    assert 1e-3 < relative_distance(found, alone) < 0.2
    width = len(first_channels(narrow, host)[group])
    last = "stages.1.blocks.2.units.2"
    assert counts[f"{last}.norm.weight"] == counts[f"{last}.norm.bias"] == {"zero-filled": width, "fresh": 12 - width}
    assert counts[f"{last}.conv.weight"] == {"fresh": 12 * 12 * 9}
    assert counts[f"{last}.norm.running_var"] == {"fresh": 12}


@pytest.mark.parametrize(
    ("spec", "size", "dropped"),
    [
        (VGG, {"depth1": 1, "depth2": 2}, ("stages.0.blocks.1", "stages.1.blocks.2")),
        (RESNET, {"depth2": 1}, ("stages.1.blocks.1",)),
    ],
    ids=["vgg", "resnet12"],
)
def test_shallower_host_has_the_first_blocks(spec, size, dropped):
    narrow, gene, _ = make_gene(spec)
    host = architecture_of(spec).resize(spec, Size(**size))
    tensors, counts = transplant_circuit(build_random(host, 1).state_dict(), gene, narrow, host)
    kept = {name: tensor for name, tensor in gene.items() if not name.startswith(dropped)}
    small = architecture_of(spec).resize(narrow, Size(**size))
    assert max(measure_distances(host, tensors, first_channels(narrow, host), small, kept)) <= 1e-6
    assert sum(counts[name].get("copied", 0) for name in counts) == sum(tensor.numel() for tensor in kept.values())


def test_colour_gene_computes_the_same_in_a_grey_host():
    narrow, gene, _ = make_gene(RESNET)
    grey = RESNET.model_copy(update={"channels": 1})
    tensors, counts = transplant_circuit(build_random(grey, 1).state_dict(), gene, narrow, grey)
    places = first_channels(narrow, grey)
    images = torch.rand(2, 1, 32, 32, generator=generator(9))
    taps = architecture_of(grey).feature_names(grey)
    with torch.no_grad():
        found = extract_features(load(grey, tensors), taps, images)[1]
        alone = extract_features(load(narrow, gene), taps, images.repeat(1, 3, 1, 1))[1]
    for tap, group in list_stage_ends(grey):
        assert relative_distance(found[tap][:, places[group]], alone[tap]) <= 1e-5
    width = len(places["stages.0"])
    assert counts["stages.0.blocks.0.units.0.conv.weight"] == {"adapted": width * 9, "fresh": (8 - width) * 9}
    assert counts["stages.0.blocks.0.shortcut.conv.weight"] == {"adapted": width, "fresh": 8 - width}


def test_counts_of_origins_equal_hand_calculation():
    spec = VggSpec(widths=((3,), (4,)), image_size=8, channels=1, classes=2)
    narrow = VggSpec(widths=((2,), (1,)), image_size=8, channels=1, classes=0)
    gene, fresh = build_random(narrow).state_dict(), build_random(spec, 1).state_dict()
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
    assert torch.equal(fresh[f"{second}.conv.weight"], build_random(spec, 1).state_dict()[f"{second}.conv.weight"])


def test_other_numbers_of_channels_are_refused():
    narrow, gene, circuit = make_gene(VGG)
    for places in ({**circuit, "stages.0.blocks.0": torch.tensor([0])}, {"stages.0.blocks.0": torch.tensor([0])}):
        with pytest.raises(SettingError, match="They are not as many as its channels"):
            transplant_circuit(build_random(VGG).state_dict(), gene, narrow, VGG, places)


def test_gene_of_a_resnet_fits_a_vgg():
    narrow, gene, _ = make_gene(RESNET)
    host = VggSpec(widths=((8, 8), (12,) * 7, (16,)), **IMAGE_FIELDS)
    tensors, counts = transplant_circuit(build_random(host, 1).state_dict(), gene, narrow, host)
    places = first_channels(narrow, host)
    # The gene has two blocks of three units. The last unit of the stage is an identity. The third stage is fresh.
    chain = [f"stages.1.blocks.{block}.units.{unit}" for block in (0, 1) for unit in (0, 1, 2)]
    for index, name in enumerate(chain):
        kernel, own = tensors[f"stages.1.blocks.{index}.conv.weight"], gene[f"{name}.conv.weight"]
        assert torch.equal(kernel[: len(own), : own.shape[1]], own)
        assert "copied" in counts[f"stages.1.blocks.{index}.norm.running_mean"]
    found = compute_maps(host, tensors)
    assert relative_distance(found["stages.1.blocks.6"][:, :5], found["stages.1.blocks.5"][:, :5]) <= 1e-5
    assert counts["stages.2.blocks.0.conv.weight"] == {"fresh": 16 * 12 * 9}
    assert not [name for name in counts if "shortcut" in name]
    assert len(places["stages.2.blocks.0"]) == 0


def test_gene_of_a_vgg_fits_a_resnet():
    spec = VggSpec(widths=((8,), (12, 12), (16,)), **IMAGE_FIELDS)
    narrow, gene, _ = make_gene(spec)
    tensors, counts = transplant_circuit(build_random(RESNET, 1).state_dict(), gene, narrow, RESNET)
    width = describe_layout(narrow).narrowest[1]
    block, later = "stages.1.blocks.0", "stages.1.blocks.1"
    for index in (0, 1):
        own = gene[f"stages.1.blocks.{index}.conv.weight"]
        assert torch.equal(tensors[f"{block}.units.{index}.conv.weight"][:width, : own.shape[1]], own)
    assert "identity" in counts[f"{block}.units.2.conv.weight"]
    assert counts[f"{block}.shortcut.norm.weight"] == {"zero-filled": width, "fresh": 12 - width}
    # The host has one more block: its input passes through one more leaky ReLU.
    assert counts[f"{later}.units.2.norm.weight"] == {"zero-filled": width, "fresh": 12 - width}
    assert counts[f"{later}.units.0.conv.weight"] == {"fresh": 12 * 12 * 9}
    found = compute_maps(RESNET, tensors)
    assert relative_distance(found[later][:, :width], leaky_relu(found[block][:, :width], 0.1)) <= 1e-6


@BOTH
@pytest.mark.parametrize("size", ["", "width=16", "width=4"])
def test_mark_inherited_marks_all_elements_that_are_not_fresh(spec, size):
    narrow, gene, _ = make_gene(spec)
    host = architecture_of(spec).resize(spec, Size.parse(size))
    fresh = build_random(host, seed=1).state_dict()
    tensors, counts = transplant_circuit(fresh, gene, narrow, host)
    masks = mark_inherited(fresh, gene, narrow, host)
    assert masks.keys() <= describe_layout(host).parameters.keys()
    for name in describe_layout(host).parameters:
        inherited = tensors[name].numel() - counts[name].get("fresh", 0)
        assert int(masks[name].sum() if name in masks else 0) == inherited
        changed = tensors[name] != fresh[name]
        assert not (changed & ~masks.get(name, torch.zeros_like(changed))).any()
