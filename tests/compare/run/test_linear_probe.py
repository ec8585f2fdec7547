"""The linear probe: exact on separable features, deterministic, and without effect on the network."""

import pytest
import torch
from torch import nn

from germline.architectures import Preprocess
from germline.compare.run import linear_probe, train_cell
from germline.compare.run.linear_probe import fit_linear_probe, pooled_features
from germline.data import load_data
from germline.network import Network
from germline.training import Run
from helpers.comparison import comparison


class Raw(nn.Module):
    """Network whose features are the means of four patches."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(4, 2)

    def forward_features(self, pixels):
        return nn.functional.adaptive_avg_pool2d(pixels, 2)

    def forward_head(self, features, pre_logits=False):
        flat = features.flatten(1)
        return flat if pre_logits else self.head(flat)


def make_images(kind, count=40, seed=0):
    """Images of two classes that differ in their bright half, or not at all."""
    draw = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 2
    images = torch.randint(0, 120, (count, 1, 8, 8), generator=draw, dtype=torch.uint8)
    if kind == "halves":
        images[labels == 0, :, :4] += 130
        images[labels == 1, :, 4:] += 130
    return images, labels


def make_split(kind, seed):
    images, labels = make_images(kind, 40, seed)
    return load_data((images, labels), val=(images, labels), classes=("up", "down")).train


@pytest.fixture
def network():
    images, _ = make_images("halves")
    return Network(Raw(), Preprocess.from_images(images), ("up", "down"))


def test_separable_features_give_full_accuracy(network):
    assert fit_linear_probe(network, make_split("halves", 0), make_split("halves", 1)) == 1.0


def test_noise_gives_chance_accuracy(network):
    assert 0.2 <= fit_linear_probe(network, make_split("noise", 0), make_split("noise", 1)) <= 0.8


def test_constant_feature_keeps_full_accuracy(network):
    train = make_split("halves", 0)
    train.images[:, :, :4, :4] = 0
    assert fit_linear_probe(network, train, train) == 1.0


@pytest.mark.parametrize("architecture", ["vit", "stitched", "vgg", "resnet12", "resnet"])
def test_probe_changes_no_network_and_is_deterministic(ancestors, pico, architecture):
    network = ancestors[architecture]
    before = {name: tensor.clone() for name, tensor in network.model.state_dict().items()}
    torch.manual_seed(5)
    state = torch.get_rng_state()
    first = fit_linear_probe(network, pico.train, pico.val)
    assert torch.get_rng_state().equal(state)
    assert fit_linear_probe(network, pico.train, pico.val) == first
    after = network.model.state_dict()
    assert all(after[name].equal(before[name]) for name in before)
    assert all(parameter.grad is None for parameter in network.model.parameters())
    assert 0 <= first <= 1


def test_pooled_features_are_inputs_of_head(ancestor, pico):
    features, labels = pooled_features(ancestor, pico.val)
    assert features.shape == (len(pico.val), 16)
    assert labels.equal(pico.val.labels)
    with torch.no_grad():
        logits = ancestor.model(ancestor.preprocess(pico.val.images.float() / 255))
        assert torch.allclose(ancestor.model.head(features), logits, atol=1e-5)


def test_features_are_computed_on_the_device_that_is_given(ancestor, pico, monkeypatch):
    used, moves = [], []
    read, move = linear_probe.iterate_batches, ancestor.model.to
    monkeypatch.setattr(
        linear_probe, "iterate_batches", lambda images, size, device: used.append(device) or read(images, size, device)
    )
    monkeypatch.setattr(ancestor.model, "to", lambda device: moves.append(device) or move(device), raising=False)
    device = torch.device("cpu", 0)
    features, labels = pooled_features(ancestor, pico.val, device)
    assert (used, moves) == ([device], [device, torch.device("cpu")])
    monkeypatch.undo()
    plain, _ = pooled_features(ancestor, pico.val)
    assert torch.equal(features, plain)
    assert {features.device.type, labels.device.type} == {"cpu"}


def test_a_cell_reads_features_on_the_device_of_its_run(recipe_file, tmp_path, monkeypatch):
    used = []
    monkeypatch.setattr(train_cell, "fit_linear_probe", lambda *given: used.append(given[-1]) or 0.5)
    comparison(recipe_file, tmp_path / "out", "seeds=[0]").run()
    assert used == [Run().fabric.device] * 2


def test_trained_features_give_higher_accuracy(ancestor, make_network, pico):
    # the probe is fitted to and scored on the ancestor's training images
    trained, fresh = (fit_linear_probe(network, pico.train, pico.train) for network in (ancestor, make_network()))
    assert trained > fresh + 0.1
