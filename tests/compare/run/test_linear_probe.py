"""The linear probe: 1.0 where a line tells classes apart, the same each time, and the network as it was."""

import pytest
import torch
from torch import nn

from germline.architectures import Preprocess
from germline.compare.run.linear_probe import fit_linear_probe, pooled_features
from germline.data import load_data
from germline.network import Network


class Raw(nn.Module):
    """Its features are the pixels, in four patches' means."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(4, 2)

    def forward_features(self, pixels):
        return nn.functional.adaptive_avg_pool2d(pixels, 2)

    def forward_head(self, found, pre_logits=False):
        flat = found.flatten(1)
        return flat if pre_logits else self.head(flat)


def make_images(kind, count=40, seed=0):
    """Two classes: told apart by which half is bright, or not at all."""
    draw = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 2
    images = torch.randint(0, 120, (count, 1, 8, 8), generator=draw, dtype=torch.uint8)
    if kind == "halves":
        images[labels == 0, :, :4] += 130
        images[labels == 1, :, 4:] += 130
    return images, labels


def split(kind, seed):
    images, labels = make_images(kind, 40, seed)
    return load_data((images, labels), val=(images, labels), classes=("up", "down")).train


@pytest.fixture
def network():
    images, _ = make_images("halves")
    return Network(Raw(), Preprocess.from_images(images), ("up", "down"))


def test_separable_features_give_all(network):
    assert fit_linear_probe(network, split("halves", 0), split("halves", 1)) == 1.0


def test_noise_gives_chance(network):
    assert 0.2 <= fit_linear_probe(network, split("noise", 0), split("noise", 1)) <= 0.8


def test_a_feature_without_spread_does_no_harm(network):
    train = split("halves", 0)
    train.images[:, :, :4, :4] = 0
    assert fit_linear_probe(network, train, train) == 1.0


@pytest.mark.parametrize("architecture", ["vit", "stitched", "vgg", "resnet12", "resnet"])
def test_a_network_is_left_as_it_is_and_probed_the_same_again(ancestors, pico, architecture):
    network = ancestors[architecture]
    before = {name: tensor.clone() for name, tensor in network.model.state_dict().items()}
    torch.manual_seed(5)
    drawn = torch.get_rng_state()
    first = fit_linear_probe(network, pico.train, pico.val)
    assert torch.get_rng_state().equal(drawn)
    assert fit_linear_probe(network, pico.train, pico.val) == first
    after = network.model.state_dict()
    assert all(after[name].equal(before[name]) for name in before)
    assert all(parameter.grad is None for parameter in network.model.parameters())
    assert 0 <= first <= 1


def test_features_are_those_before_the_head(ancestor, pico):
    found, labels = pooled_features(ancestor, pico.val)
    assert found.shape == (len(pico.val), 16)
    assert labels.equal(pico.val.labels)
    with torch.no_grad():
        logits = ancestor.model(ancestor.preprocess(pico.val.images.float() / 255))
        assert torch.allclose(ancestor.model.head(found), logits, atol=1e-5)


def test_trained_features_are_told_apart_more_easily(ancestor, make_network, pico):
    # on the pictures that it was trained on and fitted to
    trained, fresh = (fit_linear_probe(network, pico.train, pico.train) for network in (ancestor, make_network()))
    assert trained > fresh + 0.1
