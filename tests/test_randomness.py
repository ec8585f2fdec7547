"""Draws are keyed by their purpose and leave the global generator alone."""

import pytest
import torch

from germline.randomness import derive, generator, seed_device, use_generator


def test_seeds_differ_by_every_key_and_repeat():
    seeds = {derive(seed, purpose, step) for seed in range(3) for purpose in "ab" for step in range(4)}
    assert len(seeds) == 24
    # A fixed number, so that later releases draw the same.
    assert derive(0, "order", 0) == derive(0, "order", 0) == 3955691223199900983
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_use_generator_draws_and_restores_the_global_state():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    with use_generator(generator(1, "x")):
        first = torch.rand(3)
    after = torch.rand(3)
    with use_generator(generator(1, "x")):
        again = torch.rand(3)
    assert torch.equal(first, again)
    assert torch.equal(after, expected)
    assert not torch.equal(first, expected)


def test_seed_device_equals_manual_seed():
    for seed in (0, derive(0, "order", 0)):
        torch.manual_seed(seed)
        expected = torch.rand(3), torch.randperm(5)
        seed_device(seed, torch.device("cpu"))
        assert torch.equal(torch.rand(3), expected[0])
        assert torch.equal(torch.randperm(5), expected[1])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_seed_device_equals_manual_seed_on_a_gpu():
    torch.manual_seed(7)
    expected = torch.rand(3), torch.rand(3, device="cuda")
    seed_device(7, torch.device("cuda", 0))
    assert torch.equal(torch.rand(3), expected[0])
    assert torch.equal(torch.rand(3, device="cuda"), expected[1])
