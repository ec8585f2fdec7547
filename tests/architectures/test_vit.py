"""The vit architecture: numbers of parameters, names of parts, and what it refuses to rebuild."""

from functools import partial

import pytest
import timm
import torch
from timm.models import vision_transformer
from torch import nn

from germline.architectures import VIT, Size, VitSpec, count_elements, extract_features
from germline.errors import ArtefactError, SettingError
from germline.ledger import Ledger
from helpers import architecture_cases as cases
from helpers.architecture_cases import count_parameters

FAMILY = {"Ti": (192, 3), "S": (384, 6), "B": (768, 12)}
# Millions of parameters at 224 pixels, patch 16, 1000 classes, no class token, mean pooling.
COUNTS = {
    "Ti": {3: 1.71, 6: 3.05, 9: 4.38, 12: 5.72},
    "S": dict(zip(range(3, 13), (6.08, 7.85, 9.63, 11.40, 13.18, 14.95, 16.73, 18.50, 20.28, 22.05), strict=True)),
    "B": dict(zip(range(3, 13), (22.78, 29.86, 36.95, 44.04, 51.13, 58.21, 65.30, 72.39, 79.48, 86.57), strict=True)),
}
VARIANTS = {
    "plain": {},
    "class token": {"class_token": True, "global_pool": "token"},
    "registers": {"class_token": True, "reg_tokens": 4, "no_embed_class": True},
    "registers alone": {"reg_tokens": 2},
    "LayerScale": {"init_values": 1e-5},
    "no qkv bias": {"qkv_bias": False},
    "qk norm": {"qk_norm": True},
    "pool first": {"norm_first": False},
    "wide mlp": {"mlp_ratio": 3.0},
    "colour": {"channels": 3},
}


def make_spec(**changes):
    fields = {"image_size": 32, "channels": 1, "classes": 5, "depth": 3, "width": 16, "heads": 2, "patch_size": 8}
    return VitSpec(**{**fields, **changes})


def make_family_spec(name, depth):
    width, heads = FAMILY[name]
    return make_spec(image_size=224, channels=3, classes=1000, depth=depth, width=width, heads=heads, patch_size=16)


@pytest.mark.parametrize(("name", "depth"), [(name, depth) for name, row in COUNTS.items() for depth in row])
def test_numbers_of_parameters_are_the_published_ones(name, depth):
    width, patches = FAMILY[name][0], 196
    block, frame = 12 * width**2 + 13 * width, (768 + 1 + patches + 2 + 1000) * width + 1000
    found = count_parameters(VIT, make_family_spec(name, depth))
    assert found == depth * block + frame
    assert round(found / 1e6, 2) == COUNTS[name][depth]


@pytest.mark.parametrize("changes", VARIANTS.values(), ids=VARIANTS)
def test_describe_gives_back_the_spec(changes):
    spec = make_spec(**changes)
    assert VIT.describe(VIT.build(spec)) == spec


def test_mlp_ratio_is_that_of_any_hidden_width():
    """88 x (120 / 88) is just below 120, and timm rounds down."""
    for hidden in (119, 120, 240, 392):
        model = vision_transformer.VisionTransformer(
            img_size=8, patch_size=4, embed_dim=88, depth=1, num_heads=2, mlp_ratio=(hidden + 0.5) / 88
        )
        rebuilt = VIT.build(VIT.describe(model))
        assert rebuilt.blocks[0].mlp.fc1.out_features == model.blocks[0].mlp.fc1.out_features == hidden
    assert VIT.describe(VIT.build(make_spec(mlp_ratio=2.5))).mlp_ratio == 2.5


@pytest.mark.parametrize("changes", VARIANTS.values(), ids=VARIANTS)
def test_parts_name_every_tensor_once(changes):
    parts = VIT.parts(make_spec(**changes))
    names = [*parts.stem, *parts.norm, *parts.head, *(full for block in parts.blocks for full in block.values())]
    assert sorted(names) == sorted(count_elements(VIT.build(make_spec(**changes))))
    assert len(parts.blocks) == 3
    assert parts.head == ("head.weight", "head.bias")
    assert (parts.stages, parts.image_kernels) == ((3,), ("patch_embed.proj.weight",))


def test_frame_and_blocks_have_all_tensors_of_the_network():
    network, frame = VIT.build(make_spec()).state_dict(), VIT.frame(make_spec()).state_dict()
    block = VIT.block(make_spec()).state_dict()
    assert {f"blocks.2.{name}": value.shape for name, value in block.items()}.items() <= {
        name: value.shape for name, value in network.items()
    }.items()
    assert set(frame) == {name for name in network if not name.startswith("blocks.")}


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "deit_small_patch16_224"])
def test_timm_names_are_rebuilt_exactly(name):
    torch.manual_seed(0)
    model = timm.create_model(name, img_size=32, num_classes=3).eval()
    rebuilt = VIT.build(VIT.describe(model)).eval()
    rebuilt.load_state_dict(model.state_dict())
    images = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(rebuilt(images), model(images))


UNSUPPORTED = {
    "another norm": {"norm_layer": timm.layers.RmsNorm},
    "norm eps": {"norm_layer": partial(timm.layers.LayerNorm, eps=1e-5)},
    "pre-norm": {"pre_norm": True},
    "another activation": {"act_layer": nn.ReLU},
    "approximate activation": {"act_layer": partial(nn.GELU, approximate="tanh")},
    "parallel blocks": {"block_fn": vision_transformer.ParallelThingsBlock},
    "residual norm": {"block_fn": vision_transformer.ResPostBlock},
    "attention pooling": {"global_pool": "map"},
    "max pooling": {"global_pool": "max"},
    "no positions": {"pos_embed": "none"},
    "gated mlp": {"mlp_layer": timm.layers.SwiGLU},
    "scaled attention norm": {"scale_attn_norm": True},
    "no final norm": {"final_norm": False},
}


@pytest.mark.parametrize("changes", UNSUPPORTED.values(), ids=UNSUPPORTED)
def test_vit_with_unsupported_parts_is_refused(changes):
    fields = {"img_size": 32, "patch_size": 8, "embed_dim": 16, "depth": 2, "num_heads": 2, "num_classes": 3}
    model = vision_transformer.VisionTransformer(**fields, **changes)
    with pytest.raises(ArtefactError, match="only as a teacher"):
        VIT.describe(model)


def test_mean_over_prefix_tokens_is_refused():
    """Without prefix tokens the mean is that of every vit."""
    model = VIT.build(make_spec(class_token=True))
    model.pool_include_prefix = True
    with pytest.raises(ArtefactError, match="pooling 'avg' over prefix tokens too"):
        VIT.describe(model)
    plain = VIT.build(make_spec())
    plain.pool_include_prefix = True
    assert VIT.describe(plain) == make_spec()


def test_other_architectures_are_refused():
    with pytest.raises(ArtefactError, match=r"A Linear is not timm.s VisionTransformer"):
        VIT.describe(nn.Linear(2, 2))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"depth": 0}, "depth=0. A depth is between 1 and 1000"),
        ({"depth": 1001}, "depth=1001"),
        ({"width": 50, "heads": 3}, "not divisible by the number of heads. Use for example width=51"),
        ({"image_size": 28}, "multiple of the patch size. Use image_size=32"),
        ({"image_size": 4}, "multiple of the patch size"),
        ({"global_pool": "token"}, "global_pool=token without a class token"),
        ({"heads": 0}, "Both are at least 1"),
    ],
)
def test_invalid_specs_are_refused(changes, message):
    with pytest.raises(SettingError, match=message):
        make_spec(**changes)


def test_resize_changes_and_checks_the_given_keys():
    assert VIT.resize(make_spec(), Size(depth=7)) == make_spec(depth=7)
    with pytest.raises(SettingError, match="Size key 'stages'"):
        VIT.resize(make_spec(), Size(stages=3))
    with pytest.raises(SettingError, match="not divisible"):
        VIT.resize(make_spec(), Size(width=17))


def test_width_without_heads_keeps_the_number_of_heads_or_their_length():
    source = make_spec(width=96, heads=3)
    for width, heads in ((48, 3), (192, 3), (64, 2), (32, 1), (128, 4), (160, 5)):
        assert VIT.resize(source, Size(width=width)) == make_spec(width=width, heads=heads)
        assert VIT.resize(source, Size(width=width, heads=1)) == make_spec(width=width, heads=1)
    with pytest.raises(SettingError, match=r"length, 32\. Use for example width=96 or width=128, or pass heads too"):
        VIT.resize(source, Size(width=100))
    with pytest.raises(SettingError, match="Use for example width=32, or pass"):
        VIT.resize(source, Size(width=20))


def test_adapt_changes_the_stem_and_enters_it_in_the_ledger():
    source, target = make_spec(), make_spec(channels=3, image_size=64)
    frame = {name: value.detach() for name, value in VIT.frame(source).named_parameters()}
    ledger = Ledger()
    adapted = VIT.adapt({name: frame[name] for name in VIT.parts(source).stem}, source, target, ledger)
    kernel = frame["patch_embed.proj.weight"]
    assert torch.equal(adapted["patch_embed.proj.weight"], kernel.repeat(1, 3, 1, 1) / 3)
    assert adapted["pos_embed"].shape == (1, 64, 16)
    assert ledger.entries == {
        "pos_embed": {"resized": 64 * 16},
        "patch_embed.proj.weight": {"adapted": 16 * 3 * 64},
        "patch_embed.proj.bias": {"copied": 16},
    }
    back = VIT.adapt({"patch_embed.proj.weight": adapted["patch_embed.proj.weight"]}, target, source, Ledger())
    assert torch.allclose(back["patch_embed.proj.weight"], kernel, atol=1e-7)


@pytest.mark.parametrize("changes", [{}, {"class_token": True}, {"class_token": True, "reg_tokens": 2}])
def test_resizing_keeps_constant_positions_and_prefix_tokens(changes):
    source, target = make_spec(**changes), make_spec(image_size=48, **changes)
    prefix = source.tokens - 16
    table = torch.full((1, 16 + prefix, 16), 0.5)
    table[:, :prefix] = torch.rand(1, prefix, 16)
    resized = VIT.adapt({"pos_embed": table}, source, target, Ledger())["pos_embed"]
    assert resized.shape == (1, 36 + prefix, 16)
    assert torch.equal(resized[:, :prefix], table[:, :prefix])
    assert torch.allclose(resized[:, prefix:], torch.tensor(0.5), atol=1e-6)


def test_flops_of_deit_base_equal_hand_calculation():
    # DeiT-B at 224 has 17.6 G published multiply-adds with a class token. Here it has 196 tokens without one.
    assert VIT.flops(make_family_spec("B", 12)) == 2 * (
        12 * (196 * 12 * 768**2 + 2 * 196**2 * 768) + 196 * 768 * 768 + 768 * 1000
    )
    assert VIT.flops(make_family_spec("B", 12)) / 2e9 == pytest.approx(17.5, abs=0.1)


@pytest.mark.parametrize("changes", VARIANTS.values(), ids=VARIANTS)
def test_reordered_channel_groups_compute_the_same(changes):
    spec = make_spec(**changes)
    cases.check_reordered_groups_compute_the_same(VIT, spec)


def test_features_are_the_outputs_of_the_blocks():
    model, images = VIT.build(make_spec()).eval(), torch.rand(2, 1, 32, 32)
    with torch.no_grad():
        logits, found = extract_features(model, VIT.feature_names(make_spec()), images)
        assert torch.equal(logits, model(images))
    assert [tuple(value.shape) for value in found.values()] == [(2, 16, 16)] * 3


def test_tokens_become_maps_without_class_and_register_tokens():
    spec = VitSpec(image_size=16, channels=1, classes=3, patch_size=8, depth=1, width=8, heads=2, class_token=True)
    spec = spec.model_copy(update={"reg_tokens": 2})
    tokens = torch.arange(2 * 7 * 3).view(2, 7, 3)
    maps = VIT.as_maps(spec, tokens)
    assert maps.shape == (2, 3, 2, 2)
    assert torch.equal(maps[1, :, 1, 0], tokens[1, 5])
