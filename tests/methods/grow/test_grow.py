"""Exact growth: what a larger network computes, and where each of its elements comes from."""

import re

import pytest
import torch
from torch.nn.functional import cross_entropy

from germline.architectures import (
    RESNET,
    RESNET12,
    VGG,
    VIT,
    Preprocess,
    ResNet12Spec,
    ResNetSpec,
    Size,
    VggSpec,
    VitSpec,
)
from germline.errors import SettingError
from germline.methods.grow import Grow
from germline.network import Network
from germline.training import Run
from helpers.architecture_cases import build_random

RUN = Run(device="cpu", quiet=True)
VITS = {
    "plain": {},
    "layer-scale": {"init_values": 0.1},
    "class-token": {"class_token": True, "global_pool": "token"},
    "all": {"init_values": 0.1, "class_token": True, "reg_tokens": 2, "qk_norm": True, "norm_first": False},
    "bare": {"qkv_bias": False, "mlp_ratio": 2.5, "no_embed_class": True, "class_token": True},
}


@pytest.fixture(scope="module")
def make_gene(pico):
    """Build a network whose tensors all differ from their initial values, and its gene."""

    def make(architecture, spec, **settings):
        network = Network(
            build_random(architecture, spec), Preprocess.from_images(pico.train.images), pico.classes, spec=spec
        )
        return network, Grow(**settings).condense(network, pico, RUN)

    return make


@pytest.fixture(scope="module")
def make_vit(make_gene):
    def make(kind="plain", **settings):
        size = {"depth": 2, "width": 16, "heads": 2, "patch_size": 8, **VITS[kind]}
        return make_gene(VIT, VitSpec(image_size=32, channels=1, classes=10, **size), **settings)

    return make


def max_difference(child, ancestor, pixels):
    with torch.no_grad():
        expected = ancestor.logits(pixels)
        assert float(expected.std()) > 0.1
        return float((child.network.logits(pixels) - expected).abs().max())


@pytest.mark.parametrize("kind", VITS)
def test_wider_and_deeper_vits_compute_the_same(kind, make_vit, pixels):
    network, gene = make_vit(kind)
    for size in (
        Size(width=32),
        Size(width=48, heads=6),
        Size(depth=3),
        Size(depth=5),
        Size(width=32, heads=4, depth=4),
    ):
        child = gene.inherit(size=size)
        assert child.network.spec.heads == child.network.spec.width // 8
        assert max_difference(child, network, pixels) < 1e-5


def test_larger_convolutional_networks_compute_the_same(make_gene, pixels):
    images = {"image_size": 32, "channels": 1, "classes": 10}
    cases = (
        (VGG, VggSpec(widths=((4, 6), (8,)), hidden=(5,), **images), [Size(width=8), Size(width1=24, width2=8)]),
        (RESNET12, ResNet12Spec(depths=(1, 2), widths=(4, 6), **images), [Size(width=8), Size(width2=18)]),
        (
            RESNET,
            ResNetSpec(depths=(2, 1, 2, 1), widths=(4, 4, 6, 8), stem_type="small", stem_width=4, **images),
            [Size(width=8), Size(depth1=4, depth3=3), Size(width=12, depth3=3), Size(width4=24)],
        ),
        (
            RESNET,
            ResNetSpec(depths=(1, 1, 1, 1), widths=(4, 4, 6, 8), stem_type="deep", stem_width=4, **images),
            [Size(width=8), Size(width2=12)],
        ),
    )
    for architecture, spec, sizes in cases:
        network, gene = make_gene(architecture, spec)
        for size in sizes:
            child = gene.inherit(size=size)
            assert max_difference(child, network, pixels) < 1e-5, (spec, size)
            # Repeated channels have the statistics of their sources, so training starts with the same function.
            child.model.train()
            network.model.train()
            state = {name: value.clone() for name, value in network.model.state_dict().items()}
            assert max_difference(child, network, pixels) < 1e-4, (spec, size)
            network.model.load_state_dict(state)
            network.model.eval()


def test_matrices_are_repeated_and_divided(make_vit):
    network, gene = make_vit("layer-scale")
    child = gene.inherit(size=Size(width=32))
    block, source = child.model.blocks[1], network.model.blocks[1]
    for matrix, original in zip(block.attn.qkv.weight.chunk(3), source.attn.qkv.weight.chunk(3), strict=True):
        assert torch.equal(matrix, original.repeat(2, 2) / 2)
    assert torch.equal(block.mlp.fc2.weight, source.mlp.fc2.weight.repeat(2, 2) / 2)
    assert torch.equal(block.ls1.gamma, source.ls1.gamma.repeat(2))
    assert torch.equal(child.model.pos_embed, network.model.pos_embed.repeat(1, 1, 2))
    assert torch.equal(child.model.patch_embed.proj.weight, network.model.patch_embed.proj.weight.repeat(2, 1, 1, 1))
    assert torch.equal(child.model.head.weight, network.model.head.weight.repeat(1, 2) / 2)


def test_ledger_has_repeated_and_divided_elements(make_vit):
    entries = make_vit()[1].inherit(size=Size(width=32)).ledger.entries
    assert entries["blocks.0.attn.qkv.weight"] == {"divided": 96 * 32}
    assert entries["blocks.0.norm1.weight"] == entries["norm.bias"] == {"copied": 16, "repeated": 16}
    assert entries["patch_embed.proj.weight"] == {"copied": 16 * 64, "repeated": 16 * 64}
    assert (entries["head.weight"], entries["head.bias"]) == ({"divided": 320}, {"copied": 10})
    deeper = make_vit("layer-scale")[1].inherit(size=Size(depth=3)).ledger.entries
    assert deeper["blocks.0.mlp.fc2.weight"] == deeper["blocks.2.mlp.fc2.weight"] == {"copied": 1024}
    assert deeper["blocks.1.mlp.fc2.weight"] == {"repeated": 1024}
    assert deeper["blocks.1.ls2.gamma"] == {"zero-filled": 16}
    plain = make_vit()[1].inherit(size=Size(depth=3)).ledger.entries
    assert plain["blocks.1.attn.proj.weight"] == {"zero-filled": 256}


def test_added_block_has_nonzero_gradients(make_vit, pixels):
    for kind in ("plain", "layer-scale"):
        model = make_vit(kind)[1].inherit(size=Size(depth=3)).model
        model(pixels).pow(2).sum().backward()
        gate = model.blocks[1].attn.proj.weight if kind == "plain" else model.blocks[1].ls1.gamma
        assert not gate.any()
        assert gate.grad.any()


def test_depth_repeat_repeats_all_blocks_in_order(make_vit, pixels):
    network, gene = make_vit(depth="repeat")
    child = gene.inherit(size=Size(depth=5))
    for index, block in enumerate(child.model.blocks):
        own = network.model.blocks[index % 2].state_dict()
        assert all(torch.equal(value, own[name]) for name, value in block.state_dict().items())
    assert "zero-filled" not in child.ledger.totals()
    assert max_difference(child, network, pixels) > 1e-2


def compare_gradients_of_copies(model, name):
    """Largest relative difference between the gradients of the first rows and of the rows that repeat them."""
    gradient = model.blocks[1].get_parameter(name).grad
    first, repeated = gradient.chunk(2)
    return float((first - repeated).abs().max() / gradient.abs().max())


def test_copies_have_equal_gradients_unless_head_or_noise_differs(make_vit, pixels):
    size = Size(width=32)
    equal = make_vit()[1].inherit(size=size)
    fresh = make_vit()[1].inherit(size=size, classes=3)
    noisy = make_vit(noise=0.01)[1].inherit(size=size)
    for child in (equal, fresh, noisy):
        cross_entropy(child.network.logits(pixels), torch.arange(8) % 3).backward()
    stream, hidden = "mlp.fc2.weight", "mlp.fc1.weight"
    assert max(compare_gradients_of_copies(equal.model, name) for name in (stream, hidden)) < 1e-4
    # A fresh head has different weights for copies of a stream channel. Copies of a hidden channel stay symmetric.
    assert compare_gradients_of_copies(fresh.model, stream) > 1e-2
    assert compare_gradients_of_copies(fresh.model, hidden) < 1e-4
    assert compare_gradients_of_copies(noisy.model, hidden) > 1e-4


def test_noise_changes_only_repeated_channels(make_vit, pixels):
    network, gene = make_vit(noise=0.01)
    child, plain = gene.inherit(size=Size(width=32)).model, make_vit()[1].inherit(size=Size(width=32)).model
    noisy, exact = (one.blocks[0].mlp.fc1.weight.detach() for one in (child, plain))
    assert torch.equal(noisy[:64], exact[:64])
    assert float((noisy[64:] - exact[64:]).std() / exact.std()) == pytest.approx(0.01, rel=0.1)
    assert max_difference(gene.inherit(), network, pixels) == 0
    other, again = (gene.inherit(size=Size(width=32), seed=seed).model.blocks[0].mlp.fc1.weight for seed in (1, 0))
    assert torch.equal(again, noisy)
    assert not torch.equal(other, noisy)


@pytest.mark.parametrize(
    ("size", "message"),
    [
        ({"width": 24}, "cannot grow width=24. It repeats all 16 channels.*Use width=16 or width=32"),
        ({"width": 8}, "cannot grow width=8.*Use width=16.$"),
        ({"width": 32, "heads": 2}, "cannot grow width=32,heads=2.*length of 8, and these have 16.*width=32,heads=4"),
        ({"heads": 4}, "cannot grow width=16,heads=4.*Use width=16,heads=2"),
        ({"depth": 1}, "cannot grow depth=1. It takes every block of the ancestor, which has 2. Use depth=2 or more"),
    ],
)
def test_other_sizes_of_a_vit_are_refused(make_vit, size, message):
    gene = make_vit()[1]
    assert gene.describe_sizes() == "whole multiples of width=16,heads=2, with 2 blocks or more"
    with pytest.raises(SettingError, match=message):
        gene.inherit(size=Size(**size))


@pytest.mark.parametrize(
    ("size", "message"),
    [
        (
            {"heads": 1},
            "cannot grow width=16,heads=1. Attention heads keep.*length of 8, and these have 16",
        ),
        ({"width": 48, "heads": 4}, "cannot grow width=48,heads=4.*length of 8, and these have 12"),
        ({"width": 32, "heads": 32}, "cannot grow width=32,heads=32.*length of 8, and these have 1"),
        ({"width": 24, "heads": 2}, "cannot grow width=24. It repeats all 16 channels.*without heads in the size"),
        ({"width": 20}, "cannot grow width=20. It repeats all 16 channels.*without heads in the size"),
    ],
)
def test_suggested_heads_are_accepted(make_vit, size, message):
    gene = make_vit()[1]
    with pytest.raises(SettingError, match=message) as caught:
        gene.inherit(size=Size(**size))
    advice = re.findall(r"width=\d+(?:,heads=\d+)?", caught.value.fix)
    assert advice
    for text in advice:
        spec = gene.inherit(size=Size.parse(text)).network.spec
        assert spec.heads * 8 == spec.width


@pytest.mark.parametrize(
    ("size", "message"),
    [
        ({"width1": 9}, "cannot grow width1=9. It repeats all 4 channels.*Use width1=8 or width1=12"),
        ({"depth2": 4}, "cannot grow depth2=4. A block of a vgg changes its input.*depth2=3, or set depth=repeat"),
        ({"depth1": 1}, "cannot grow depth1=1.*which has 2. Use depth1=2.$"),
    ],
)
def test_other_sizes_of_convolutions_are_refused(make_gene, size, message):
    spec = VggSpec(widths=((4, 4), (8, 8, 8)), image_size=32, channels=1, classes=10)
    gene = make_gene(VGG, spec)[1]
    assert gene.describe_sizes() == "whole multiples of the ancestor's widths, with 2 + 3 blocks"
    with pytest.raises(SettingError, match=message):
        gene.inherit(size=Size(**size))
    small = {"depths": (1, 1, 1, 1), "widths": (4, 8, 8, 8), "stem_type": "small", "stem_width": 4}
    residual = make_gene(RESNET, ResNetSpec(image_size=32, channels=1, classes=10, **small))[1]
    with pytest.raises(SettingError, match=r"cannot grow width1=5. It repeats all 4 .*Use width1=4 or width1=8"):
        residual.inherit(size=Size(width1=5))
    deeper = make_gene(VGG, spec, depth="repeat")[1].inherit(size=Size(depth2=6)).model.stages[1].blocks
    assert torch.equal(deeper[5].conv.weight, deeper[1].conv.weight)


def test_message_names_the_depth_of_a_single_stage(make_gene):
    gene = make_gene(VGG, VggSpec(widths=((4, 4),), image_size=32, channels=1, classes=10))[1]
    with pytest.raises(SettingError, match=r"cannot grow depth1=1.*Use depth1=2"):
        gene.inherit(size=Size(depth1=1))


def test_stitched_ancestor_is_refused(ancestors, pico):
    with pytest.raises(SettingError, match="'grow' cannot condense a stitched"):
        Grow().condense(ancestors["stitched"], pico, RUN)
