"""Scratch with Xavier initialisation."""

import pytest
import torch

from germline.architectures import Preprocess, Target, VitSpec
from germline.baselines.scratch import Scratch, Xavier

SPEC = VitSpec(image_size=32, channels=1, classes=3, depth=2, width=64, heads=2, patch_size=8)
TARGET = Target("vit", SPEC, ("a", "b", "c"), Preprocess(channels=1, image_size=32, mean=(0.5,), std=(0.5,)))


def grow(method, seed=0):
    return method.inherit(None, TARGET, torch.Generator().manual_seed(seed))


def test_block_matrices_have_glorot_scale_and_the_rest_equals_scratch():
    xavier, scratch = grow(Xavier()).model.state_dict(), grow(Scratch()).model.state_dict()
    for name, tensor in xavier.items():
        if name.startswith("blocks") and tensor.ndim == 2:
            expected = (2 / sum(tensor.shape)) ** 0.5
            assert float(tensor.std()) == pytest.approx(expected, rel=0.05)
            assert float(tensor.abs().max()) <= 3**0.5 * expected
            assert float(scratch[name].std()) == pytest.approx(0.02, rel=0.15)
        else:
            assert torch.equal(tensor, scratch[name]), name


def test_weights_depend_on_the_generator_and_are_fresh():
    one, same, other = (grow(Xavier(), seed) for seed in (0, 0, 1))
    weight = "blocks.0.mlp.fc1.weight"
    assert torch.equal(one.model.state_dict()[weight], same.model.state_dict()[weight])
    assert not torch.equal(one.model.state_dict()[weight], other.model.state_dict()[weight])
    assert list(one.ledger.totals()) == ["fresh"]
