"""Circuits of channels: size, choice, mutation and similarity; a circuit computes the same alone and in its host."""

import pytest
import torch

from germline.architectures import ResNet12Spec, Size, VggSpec, VitSpec, extract_features
from germline.architectures.presets import MODELS
from germline.errors import SettingError
from germline.methods.gtl.circuits import (
    circuit_similarity,
    circuit_spec,
    describe_layout,
    draw_circuit,
    extract_circuit,
    mutate_circuit,
    remove_head,
    select_strongest_circuit,
)
from germline.network import load_strict
from germline.randomness import generator
from germline.registry import architecture_of, model_spec
from helpers.architecture_cases import count_parameters

PRESETS = sorted(n for n in MODELS if MODELS[n].architecture in ("vgg", "resnet12") and not n.endswith("x025"))
IMAGE_FIELDS = {"image_size": 32, "channels": 3, "classes": 5}
VGG = VggSpec(widths=((8, 8), (12, 12)), **IMAGE_FIELDS)
RESNET = ResNet12Spec(depths=(2, 1), widths=(8, 12), **IMAGE_FIELDS)


@pytest.mark.parametrize("width", [64, 32, 16])
@pytest.mark.parametrize("name", PRESETS)
def test_circuit_has_its_share_of_the_host_s_parameters(name, width):
    spec = model_spec(name, **IMAGE_FIELDS)
    architecture = architecture_of(spec)
    host = architecture.resize(spec, Size(width=width))
    narrow = circuit_spec(host)
    share = count_parameters(architecture, narrow) / count_parameters(architecture, remove_head(host))
    assert abs(share - 0.2) < 1e-3
    for own, kept in zip(describe_layout(host).narrowest, describe_layout(narrow).narrowest, strict=True):
        assert abs(kept - own * 0.2**0.5) < 2
    assert narrow.stages == host.stages
    assert narrow.classes == 0


@pytest.mark.parametrize(("share", "widths"), [(1.0, (8, 12)), (1e-9, (1, 1))])
def test_share_one_keeps_all_channels_and_the_smallest_share_one(share, widths):
    assert (
        describe_layout(circuit_spec(VGG, share)).narrowest
        == describe_layout(circuit_spec(RESNET, share)).narrowest
        == widths
    )


def test_uneven_units_keep_at_most_the_narrowest_width():
    uneven = VggSpec(widths=((2, 16), (8,)), **IMAGE_FIELDS)
    assert circuit_spec(uneven, 0.9).widths[0] == (2, 2)


def test_circuit_of_a_vit_is_refused():
    spec = VitSpec(depth=1, width=8, heads=1, patch_size=8, **IMAGE_FIELDS)
    with pytest.raises(SettingError, match="A circuit cannot grow in a vit"):
        circuit_spec(spec)


def build_random(spec, seed=0):
    """Build a headless network whose norms and statistics differ from channel to channel."""
    torch.manual_seed(seed)
    model = architecture_of(spec).build(remove_head(spec)).eval()
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if tensor.ndim == 1:
                tensor.uniform_(0.5, 1.5) if name.endswith(("var", "norm.weight")) else tensor.uniform_(-0.3, 0.3)
    return model


@pytest.mark.parametrize("spec", [VGG, RESNET], ids=["vgg", "resnet12"])
def test_circuit_is_drawn_from_all_channels_by_its_generator(spec):
    narrow = circuit_spec(spec)
    circuit = draw_circuit(spec, narrow, generator(3))
    same = draw_circuit(spec, narrow, generator(3))
    for group in describe_layout(spec).groups:
        channels = circuit[group.name]
        assert channels.tolist() == sorted(set(channels.tolist())) == same[group.name].tolist()
        assert len(channels) == describe_layout(narrow).narrowest[group.stage]
    seen = [draw_circuit(spec, narrow, generator(seed)) for seed in range(40)]
    for group in describe_layout(spec).groups:
        assert set(torch.cat([one[group.name] for one in seen]).tolist()) == set(range(group.width))


def test_strength_of_a_channel_sums_over_all_its_writers():
    spec = ResNet12Spec(depths=(1,), widths=(4,), image_size=8, channels=1, classes=2)
    narrow = circuit_spec(spec)
    tensors = {name: torch.ones_like(tensor) for name, tensor in build_random(spec).state_dict().items()}
    assert describe_layout(narrow).narrowest == (2,)
    block = "stages.0.blocks.0"
    tensors[f"{block}.units.2.norm.weight"] = torch.tensor([0.1, -3.0, 0.1, 2.0])
    tensors[f"{block}.shortcut.norm.weight"] = torch.tensor([0.1, 0.1, 2.0, -2.0])
    # The sums over both norms are 0.2, 3.1, 2.1 and 4.
    assert select_strongest_circuit(tensors, spec, narrow, "scale")["stages.0"].tolist() == [1, 3]
    # A kernel of units.2 has 4 x 9 ones and the norm 6; a kernel of the shortcut has one element.
    assert select_strongest_circuit(tensors, spec, narrow, "norm")["stages.0"].tolist() == [1, 3]
    tensors[f"{block}.shortcut.conv.weight"][2] = 100.0
    assert select_strongest_circuit(tensors, spec, narrow, "norm")["stages.0"].tolist() == [1, 2]
    # The first of equal channels is selected.
    assert select_strongest_circuit(tensors, spec, narrow, "norm")[f"{block}.units.0"].tolist() == [0, 1]


@pytest.mark.parametrize("spec", [VGG, RESNET], ids=["vgg", "resnet12"])
def test_extracted_circuit_computes_the_same_as_in_its_host(spec):
    narrow, host = circuit_spec(spec), build_random(spec)
    circuit = draw_circuit(spec, narrow, generator(0))
    tensors = extract_circuit(host.state_dict(), spec, circuit)
    alone = architecture_of(narrow).build(narrow).eval()
    load_strict(alone, tensors, "the circuit")
    # With zero weights from all other channels, the host computes the same on the circuit's channels.
    masked = host.state_dict()
    for group in describe_layout(spec).groups:
        others = [channel for channel in range(group.width) if channel not in circuit[group.name].tolist()]
        for member in group.members:
            if member.role == "read" and member.tensor in masked:
                masked[member.tensor] = masked[member.tensor].index_fill(1, torch.tensor(others), 0.0)
    host.load_state_dict(masked)
    images = torch.rand(3, 3, 32, 32)
    taps = architecture_of(spec).feature_names(spec)
    with torch.no_grad():
        in_host, own = (extract_features(model, taps, images)[1] for model in (host, alone))
    ends = [group for group in describe_layout(spec).groups if group.name in own or group.name.count(".") == 1]
    for group in ends:
        tap = group.name if group.name in own else [name for name in taps if name.startswith(f"{group.name}.")][-1]
        expected = in_host[tap][:, circuit[group.name]]
        assert (own[tap] - expected).norm() <= 1e-6 * expected.norm()
        assert expected.norm() > 0.1
    before = {name: tensor.clone() for name, tensor in tensors.items()}
    with torch.no_grad():
        for tensor in host.state_dict().values():
            tensor.zero_()
    assert all(torch.equal(tensor, before[name]) for name, tensor in tensors.items())


@pytest.mark.parametrize("spec", [VGG, RESNET], ids=["vgg", "resnet12"])
def test_a_thousand_mutations_keep_sizes_and_ties(spec):
    narrow = circuit_spec(spec)
    names = {name: tensor.shape for name, tensor in architecture_of(narrow).build(narrow).state_dict().items()}
    circuit, draw, host = draw_circuit(spec, narrow, generator(0)), generator(1), build_random(spec).state_dict()
    first, changed = circuit, 0
    for number in range(1000):
        before = {name: channels.clone() for name, channels in circuit.items()}
        mutated = mutate_circuit(circuit, spec, draw, 0.2)
        assert all(torch.equal(channels, before[name]) for name, channels in circuit.items())
        for group in describe_layout(spec).groups:
            channels = mutated[group.name].tolist()
            assert len(channels) == len(before[group.name])
            assert channels == sorted(set(channels))
            assert channels[0] >= 0
            assert channels[-1] < group.width
            changed += len(set(channels) - set(before[group.name].tolist()))
        circuit = mutated
        if number % 100 == 0:
            cut = extract_circuit(host, spec, circuit)
            assert {name: tensor.shape for name, tensor in cut.items()} == names
    assert circuit.keys() == {group.name for group in describe_layout(spec).groups} == first.keys()
    # A fifth of all channels change. Even the smallest groups have as many channels outside as inside.
    kept = sum(len(channels) for channels in circuit.values())
    assert abs(changed / (1000 * kept) - 0.2) < 0.02


def test_writers_of_a_stage_mutate_together():
    """Kernels filled with their channel's number show that all writers of a stage keep the same channels."""
    tensors = build_random(RESNET).state_dict()
    for name, tensor in tensors.items():
        if name.endswith("conv.weight"):
            rows = torch.arange(len(tensor)).float()
            tensors[name] = rows[:, None, None, None].expand(tensor.shape).clone()
    circuit = draw_circuit(RESNET, circuit_spec(RESNET), generator(0))
    for draw in range(20):
        circuit = mutate_circuit(circuit, RESNET, generator(draw), 0.5)
        cut = extract_circuit(tensors, RESNET, circuit)
        stream = [cut[f"stages.0.blocks.{block}.units.2.conv.weight"][:, 0, 0, 0] for block in (0, 1)]
        stream.append(cut["stages.0.blocks.0.shortcut.conv.weight"][:, 0, 0, 0])
        assert all(one.tolist() == circuit["stages.0"].tolist() for one in stream)


def test_zero_rate_or_full_circuit_means_no_mutation():
    circuit = draw_circuit(VGG, circuit_spec(VGG), generator(0))
    same = mutate_circuit(circuit, VGG, generator(1), 0.0)
    assert all(torch.equal(channels, circuit[name]) for name, channels in same.items())
    full = draw_circuit(VGG, circuit_spec(VGG, 1.0), generator(0))
    mutated = mutate_circuit(full, VGG, generator(1), 1.0)
    assert all(torch.equal(channels, full[name]) for name, channels in mutated.items())


def test_rate_one_replaces_as_many_channels_as_are_outside():
    spec = VggSpec(widths=((4,),), image_size=8, channels=1, classes=2)
    assert mutate_circuit({"stages.0.blocks.0": torch.tensor([0, 3])}, spec, generator(0), 1.0)[
        "stages.0.blocks.0"
    ].tolist() == [1, 2]
    # Three channels leave, but only one channel is outside.
    swapped = mutate_circuit({"stages.0.blocks.0": torch.tensor([0, 1, 3])}, spec, generator(0), 1.0)
    assert 2 in swapped["stages.0.blocks.0"].tolist()
    assert len(swapped["stages.0.blocks.0"]) == 3


def test_similarity_weights_channels_by_their_parameters():
    spec = VggSpec(widths=((4,), (3,)), image_size=8, channels=1, classes=2)
    one = {"stages.0.blocks.0": torch.tensor([0, 1]), "stages.1.blocks.0": torch.tensor([0])}
    other = {"stages.0.blocks.0": torch.tensor([1, 2]), "stages.1.blocks.0": torch.tensor([0])}
    # A channel of the first unit is written by 9 x 1 + 2 parameters, one of the second by 9 x 4 + 2.
    first, second = 11, 38
    assert circuit_similarity(one, other, spec) == pytest.approx((first + second) / (3 * first + second))
    assert circuit_similarity(one, one, spec) == 1.0
    disjoint = {"stages.0.blocks.0": torch.tensor([2, 3]), "stages.1.blocks.0": torch.tensor([1])}
    assert circuit_similarity(one, disjoint, spec) == 0.0


def test_similarity_includes_the_shortcut_of_a_stage():
    spec = ResNet12Spec(depths=(1,), widths=(2,), image_size=8, channels=1, classes=2)
    names = [group.name for group in describe_layout(spec).groups]
    assert names == ["stages.0", "stages.0.blocks.0.units.0", "stages.0.blocks.0.units.1"]
    one = {name: torch.tensor([0]) for name in names}
    other = {**one, "stages.0": torch.tensor([1])}
    # units.2 has 9 x 2 + 2 per channel, the shortcut 1 + 2; units.0 has 9 + 2, units.1 has 9 x 2 + 2.
    stream, inner = 20 + 3, 11 + 20
    assert circuit_similarity(one, other, spec) == pytest.approx(inner / (2 * stream + inner))


def test_units_read_the_channels_that_the_previous_unit_writes():
    for spec in (VGG, RESNET):
        names = [group.name for group in describe_layout(spec).groups]
        before = None
        for number, stage in enumerate(describe_layout(spec).units):
            assert stage.is_residual == (spec is RESNET)
            entry = before
            for unit in stage.chain:
                assert unit.reads == before
                assert (
                    next(group.stage for group in describe_layout(spec).groups if group.name == unit.writes) == number
                )
                before = unit.writes
                assert f"{unit.name}.conv.weight" in describe_layout(spec).tensors
            for shortcut in stage.shortcuts:
                assert (shortcut.reads, shortcut.writes) == (entry, before)
        written = [unit.writes for stage in describe_layout(spec).units for unit in stage.chain]
        assert sorted(set(written)) == sorted(names)
    first, second = describe_layout(RESNET).units
    assert [unit.block for unit in first.chain] == [0, 0, 0, 1, 1, 1]
    assert [unit.is_last for unit in first.chain] == [False, False, True] * 2
    assert [unit.name for unit in first.shortcuts + second.shortcuts] == [
        "stages.0.blocks.0.shortcut",
        "stages.1.blocks.0.shortcut",
    ]
    assert [unit.block for stage in describe_layout(VGG).units for unit in stage.chain] == [0, 1, 2, 3]
