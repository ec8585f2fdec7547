"""Wider units keep the outputs of a network; gradients and importance widen with the weights."""

import pytest
import torch
from torch.nn.functional import cross_entropy

from germline.architectures import VGG, Size, VggSpec
from germline.errors import SettingError
from germline.methods.openworld.net2wider import (
    add_noise_to_copies,
    draw_widening,
    group_of_unit,
    widen_spec,
    widen_tensors,
)
from germline.registry import model_spec
from helpers import architecture_cases as cases
from helpers.architecture_cases import count_parameters

# The published schedule: a unit, counted from 1, and the channels added, in multiples of the first width.
STEPS = [(3, 1), (4, 1)] + [(u, 1) for u in (5, 6, 7) for _ in "ab"] + [(u, 2) for u in range(8, 14) for _ in "ab"]
UNEVEN = VggSpec(image_size=32, channels=1, classes=3, widths=((4,), (5, 3), (6,)), hidden=(7, 6))


def widen_by_schedule(name, factor, tolerance=1e-4):
    """Check that all twenty steps keep the outputs of a random network, and return the last spec."""
    spec = model_spec(name, image_size=32, channels=3, classes=64)
    model, source = cases.build_random(VGG, spec), torch.Generator().manual_seed(1)
    images = torch.rand(4, 3, 32, 32)
    with torch.no_grad():
        # Outputs of deviation 1 make the tolerance of 1e-4 meaningful.
        before = model(images)
        model.head.fc.weight /= before.std()
        model.head.fc.bias /= before.std()
        before = model(images)
    tensors = model.state_dict()
    for number, (unit, times) in enumerate(STEPS):
        step = draw_widening(group_of_unit(VGG, spec, unit - 1), times * factor, source)
        tensors, spec = widen_tensors(tensors, step), widen_spec(spec, unit - 1, times * factor)
        wider = VGG.build(spec).eval()
        wider.load_state_dict(tensors)
        with torch.no_grad():
            assert (wider(images) - before).abs().max() < tolerance, number
    assert before.std() > 0.5
    return spec


@pytest.mark.parametrize(("name", "factor"), [("collective_x0125", 8)])
def test_published_schedule_keeps_the_outputs(name, factor):
    spec = widen_by_schedule(name, factor)
    vgg16 = model_spec("vgg16", image_size=32, channels=3, classes=64)
    assert spec.widths == VGG.resize(vgg16, Size(width=factor)).widths


def test_published_schedule_keeps_the_outputs_at_full_width():
    assert (
        widen_by_schedule("collective", 64).widths == model_spec("vgg16", image_size=32, channels=3, classes=64).widths
    )


def test_published_specs_have_the_published_parameters():
    cifar = {"image_size": 32, "channels": 3}
    base = model_spec("collective", **cifar, classes=64)
    final = base
    for unit, times in STEPS:
        final = widen_spec(final, unit - 1, 64 * times)
    assert count_parameters(VGG, base) == 5_107_712
    assert count_parameters(VGG, final) == 16_359_424
    assert count_parameters(VGG, model_spec("individual", **cifar, classes=5)) == 11_785_797
    large = model_spec("individual84", image_size=84, channels=3, classes=5)
    assert (large.side, count_parameters(VGG, large)) == (2, 11_785_797)


@pytest.mark.parametrize("unit", range(4))
def test_one_step_keeps_the_outputs_in_training_mode(unit):
    model, images = cases.build_random(VGG, UNEVEN), torch.rand(6, 1, 32, 32)
    step = draw_widening(group_of_unit(VGG, UNEVEN, unit), 4, torch.Generator().manual_seed(0))
    wider = VGG.build(widen_spec(UNEVEN, unit, 4))
    wider.load_state_dict(widen_tensors(model.state_dict(), step))
    with torch.no_grad():
        assert torch.allclose(wider.train()(images), model.train()(images), atol=1e-4)


@pytest.mark.parametrize("unit", range(4))
@pytest.mark.parametrize("kind", ["gradients", "squares"])
def test_widened_gradients_equal_those_of_the_wider_network(unit, kind):
    model, images, labels = cases.build_random(VGG, UNEVEN), torch.rand(6, 1, 32, 32), torch.tensor([0, 1, 2, 0, 1, 2])
    step = draw_widening(group_of_unit(VGG, UNEVEN, unit), 4, torch.Generator().manual_seed(0))
    wider = VGG.build(widen_spec(UNEVEN, unit, 4)).eval()
    wider.load_state_dict(widen_tensors(model.state_dict(), step))
    power = 2 if kind == "squares" else 1
    found = []
    for network in (model, wider):
        cross_entropy(network(images), labels).backward()
        found.append({name: own.grad**power for name, own in network.named_parameters()})
    expected = widen_tensors(found[0], step, kind)
    for name, value in found[1].items():
        assert torch.allclose(value, expected[name], rtol=1e-3, atol=1e-5), name


def test_noise_changes_only_the_copies():
    model, images = cases.build_random(VGG, UNEVEN), torch.rand(4, 1, 32, 32)
    step = draw_widening(group_of_unit(VGG, UNEVEN, 1), 4, torch.Generator().manual_seed(0))
    exact = widen_tensors(model.state_dict(), step)
    noisy = add_noise_to_copies(exact, step, 1e-2, torch.Generator().manual_seed(0))
    assert [name for name in exact if not torch.equal(exact[name], noisy[name])] == ["stages.1.blocks.0.conv.weight"]
    name = "stages.1.blocks.0.conv.weight"
    assert torch.equal(noisy[name][:5], exact[name][:5])
    assert 0 < (noisy[name] - exact[name]).abs().max() < 0.1 * exact[name].std()
    assert add_noise_to_copies(exact, step, 0.0, torch.Generator()).keys() == exact.keys()
    wider = VGG.build(widen_spec(UNEVEN, 1, 4)).eval()
    wider.load_state_dict(noisy)
    with torch.no_grad():
        assert not torch.equal(wider(images), model(images))


def test_units_that_cannot_be_widened_are_refused():
    with pytest.raises(SettingError, match=r"Conv unit 5 does not exist. There are 4"):
        group_of_unit(VGG, UNEVEN, 4)
    with pytest.raises(SettingError, match="Conv unit 0"):
        widen_spec(UNEVEN, -1, 1)
    with pytest.raises(SettingError, match="Widening adds at least one"):
        draw_widening(group_of_unit(VGG, UNEVEN, 0), 0, torch.Generator())
