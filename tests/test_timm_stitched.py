"""The stitched ViT in timm's interface: initialisation, backbone, compilation and head."""

import pytest
import timm
import torch
from timm.models import group_parameters

from germline.timm import StitchedBlock, StitchedViT

SIZE = {"depths": (2, 3), "widths": (16, 32), "heads": (2, 4), "img_size": 32, "patch_size": 8}


def create(**changes):
    torch.manual_seed(0)
    return timm.create_model("germline_stitched_vit", **{**SIZE, **changes}).eval()


@pytest.fixture
def images():
    return torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def test_blocks_form_one_sequence():
    model = create()
    assert [type(block) is StitchedBlock for block in model.blocks] == [False, False, True, False, False]
    assert model.blocks[2].stitch.weight.shape == (32, 16)
    assert [block.attn.num_heads for block in model.blocks] == [2, 2, 4, 4, 4]
    assert (model.pos_embed.shape[2], model.num_features, model.embed_dim, model.head_hidden_size) == (16, 32, 32, 32)
    assert (model.default_cfg["classifier"], model.default_cfg["first_conv"]) == ("head", "patch_embed.proj")


def test_initial_weights_follow_timms_vit():
    model = create(widths=(64, 128), num_classes=50, init_values=0.1)
    plain = timm.create_model("vit_tiny_patch16_224", embed_dim=128, num_heads=4, depth=2, num_classes=50)
    for name, value in model.named_parameters():
        if name.endswith("bias") or "norm" in name or "gamma" in name:
            start = 0.1 if "gamma" in name else float(name.endswith("weight"))
            assert torch.equal(value, torch.full_like(value, start)) or name == "patch_embed.proj.bias", name
        elif value.ndim == 2:
            assert value.std().item() == pytest.approx(0.02, rel=0.05), name
    assert model.head.weight.std().item() == pytest.approx(plain.head.weight.std().item(), rel=0.05)
    assert model.weight_init_mode == plain.weight_init_mode


def test_drop_path_rises_over_all_blocks():
    model = create(drop_path_rate=0.4)
    plain = timm.create_model("vit_tiny_patch16_224", depth=5, drop_path_rate=0.4)
    assert [getattr(b.drop_path2, "drop_prob", 0.0) for b in model.blocks] == [
        getattr(b.drop_path2, "drop_prob", 0.0) for b in plain.blocks
    ]
    images = torch.rand(8, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(model(images), model(images))
        model.train()
        assert not torch.equal(model(images), model(images))


def test_head_follows_timms_interface(images):
    model = create(num_classes=4)
    with torch.no_grad():
        tokens = model.forward_features(images)
        assert tokens.shape == (2, 17, 32)
        pooled = model.forward_head(tokens, pre_logits=True)
        assert torch.equal(pooled, tokens[:, 0])
        assert torch.equal(model.get_classifier()(pooled), model(images))
        model.reset_classifier(7, "avg")
        assert model(images).shape == (2, model.num_classes) == (2, 7)
        model.reset_classifier(0)
        assert torch.equal(model(images), tokens[:, 1:].mean(dim=1))


def test_intermediates_are_the_blocks(images):
    model = create()
    with torch.no_grad():
        last, found = model.forward_intermediates(images, output_fmt="NLC")
        assert torch.equal(last, model.forward_features(images))
        assert [tuple(tokens.shape) for tokens in found] == [(2, 16, 16)] * 2 + [(2, 16, 32)] * 3
        maps = model.forward_intermediates(images, [1, -1], intermediates_only=True)
        assert [tuple(value.shape) for value in maps] == [(2, 16, 4, 4), (2, 32, 4, 4)]
        assert torch.equal(maps[0].flatten(2).transpose(1, 2), found[1])
        _, normed = model.forward_intermediates(images, 3, norm=True, output_fmt="NLC")
        assert torch.equal(normed[-1], last[:, 1:])
        for indices in (None, 4, [1, 4]):
            with pytest.raises(ValueError, match="norm=True: the final norm has width 32"):
                model.forward_intermediates(images, indices, norm=True)


def test_backbone_gives_maps_of_the_widths(images):
    model = create(features_only=True, out_indices=(0, 3))
    assert (model.feature_info.channels(), model.feature_info.reduction()) == ([16, 32], [8, 8])
    assert len(model.model.blocks) == 4
    with torch.no_grad():
        assert [tuple(value.shape) for value in model(images)] == [(2, 16, 4, 4), (2, 32, 4, 4)]
    assert create(depths=(1, 1), features_only=True).feature_info.channels() == [16, 32]


def test_compiled_network_equals_the_plain_one(images):
    model = create(num_classes=3, depths=(1, 1))
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    found = compiled(images)
    assert torch.allclose(found, model(images), atol=1e-6)
    found.sum().backward()
    assert all(bool(value.grad.any()) for value in model.blocks[1].stitch.parameters())


def test_checkpointing_changes_no_gradient(images):
    gradients = []
    for enable in (False, True):
        model = create(num_classes=3).train()
        model.set_grad_checkpointing(enable)
        model(images).square().sum().backward()
        gradients.append([value.grad for value in model.parameters()])
    assert all(torch.equal(*pair) for pair in zip(*gradients, strict=True))


def test_stitch_is_grouped_with_its_block():
    model = create()
    groups = group_parameters(model, model.group_matcher())
    # The stem, five blocks, and head with norm.
    assert len(groups) == 7
    assert {"blocks.2.stitch.weight", "blocks.2.norm1.weight"} <= set(groups[3])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"depths": (2,)}, "two segments or more"),
        ({"widths": (16,)}, "shorter"),
        ({"global_pool": "map"}, "pools by mean, maximum or class token"),
    ],
)
def test_impossible_networks_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        StitchedViT(**{**SIZE, **changes})
