"""Scratch with weights drawn to fit their width."""

import pytest
import torch

from germline.architectures import Preprocess, Target, VitSpec
from germline.baselines.scratch import Scratch, Xavier

SPEC = VitSpec(image_size=32, channels=1, classes=3, depth=2, width=64, heads=2, patch_size=8)
TARGET = Target("vit", SPEC, ("a", "b", "c"), Preprocess(channels=1, image_size=32, mean=(0.5,), std=(0.5,)))


def grown(method, seed=0):
    return method.inherit(None, TARGET, torch.Generator().manual_seed(seed))


def test_matrices_of_blocks_have_glorots_scale_and_all_else_is_scratchs():
    ours, plain = grown(Xavier()).model.state_dict(), grown(Scratch()).model.state_dict()
    for name, tensor in ours.items():
        if name.startswith("blocks") and tensor.ndim == 2:
            wanted = (2 / sum(tensor.shape)) ** 0.5
            assert float(tensor.std()) == pytest.approx(wanted, rel=0.05)
            assert float(tensor.abs().max()) <= 3**0.5 * wanted
            assert float(plain[name].std()) == pytest.approx(0.02, rel=0.15)
        else:
            assert torch.equal(tensor, plain[name]), name


def test_the_draw_follows_the_generator_and_the_ledger_says_fresh():
    one, same, other = (grown(Xavier(), seed) for seed in (0, 0, 1))
    weight = "blocks.0.mlp.fc1.weight"
    assert torch.equal(one.model.state_dict()[weight], same.model.state_dict()[weight])
    assert not torch.equal(one.model.state_dict()[weight], other.model.state_dict()[weight])
    assert list(one.ledger.totals()) == ["fresh"]
