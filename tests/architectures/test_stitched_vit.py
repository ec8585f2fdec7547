"""The stitched architecture: two plain ViTs and a linear layer, with the sizes of a pool's paths."""

from itertools import pairwise

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from germline.architectures import (
    STITCHED,
    VIT,
    Size,
    StitchedSpec,
    VitSpec,
    count_elements,
    extract_features,
)
from germline.errors import SettingError
from germline.ledger import Ledger
from germline.registry import architecture_of
from germline.timm import StitchedBlock, StitchedViT
from helpers import architecture_cases as cases
from helpers.architecture_cases import count_parameters

VARIANTS = {
    "plain": {},
    "class token": {"class_token": True, "global_pool": "token"},
    "registers": {"class_token": True, "reg_tokens": 4, "no_embed_class": True},
    "LayerScale": {"init_values": 1e-5},
    "no qkv bias": {"qkv_bias": False},
    "qk norm": {"qk_norm": True},
    "pool first": {"norm_first": False},
    "uneven mlp": {"mlp_ratio": 3.3},
    "colour": {"channels": 3},
    "three segments": {"depths": (1, 1, 2), "widths": (8, 16, 12), "heads": (2, 4, 3)},
    "one width": {"widths": (16, 16), "heads": (4, 4)},
}
ALL = pytest.mark.parametrize("changes", VARIANTS.values(), ids=VARIANTS)
# Millions of parameters of all stitched paths through six blocks of DeiT-Ti and DeiT-B, by the blocks of each.
PATHS = ((0, 0), (0, 1), (1, 0), (1, 1), (1, 2), (2, 1), (2, 2), (2, 3), (3, 2), (3, 3), (3, 4), (4, 3), (4, 4))
PATHS += ((4, 5), (5, 4), (5, 5))
MILLIONS = (44.08, 36.99, 44.52, 37.43, 30.35, 37.88, 30.79, 23.70, 31.24, 24.15, 17.06, 24.59, 17.50, 10.42, 17.95)
MILLIONS += (10.86,)


def make_spec(**changes):
    fields = {"image_size": 32, "channels": 1, "classes": 5, "patch_size": 8}
    size = {"depths": (2, 3), "widths": (8, 12), "heads": (2, 4)}
    return StitchedSpec(**{**fields, **size, **changes})


@pytest.mark.parametrize(("path", "millions"), zip(PATHS, MILLIONS, strict=True))
def test_paths_through_six_blocks_have_the_published_parameters(path, millions):
    (j, k), token = path, {"class_token": True, "global_pool": "token"}
    size = {"depths": (j + 1, 6 - k), "widths": (192, 768), "heads": (3, 12), "patch_size": 16}
    found = count_parameters(STITCHED, make_spec(image_size=224, channels=3, classes=1000, **size, **token))
    blocks = (j + 1) * 444_864 + (6 - k) * 7_087_872
    assert found == 769 * 192 + 198 * 192 + blocks + 192 * 768 + 768 + 2 * 768 + 769 * 1000
    assert round(found / 1e6, 2) == millions


@ALL
def test_describe_gives_back_the_spec(changes):
    spec = make_spec(**changes)
    assert STITCHED.describe(STITCHED.build(spec)) == spec
    assert architecture_of(spec) is STITCHED


@ALL
def test_parts_name_every_tensor_once(changes):
    spec = make_spec(**changes)
    parts, state = STITCHED.parts(spec), STITCHED.build(spec).state_dict()
    names = [*parts.stem, *parts.norm, *parts.head, *(full for block in parts.blocks for full in block.values())]
    assert sorted(names) == sorted(count_elements(STITCHED.build(spec)))
    assert parts.stages == (len(parts.blocks),) == (sum(spec.depths),)
    assert parts.image_kernels == ("patch_embed.proj.weight",)
    stitched = [index for index, block in enumerate(parts.blocks) if "stitch.weight" in block]
    assert stitched == list(spec.segment_starts[1:])
    for index, block in enumerate(parts.blocks):
        own = STITCHED.block(spec, index).state_dict()
        assert {name: value.shape for name, value in own.items()} == {n: state[f].shape for n, f in block.items()}
    frame = STITCHED.frame(spec).state_dict()
    outer = (*parts.stem, *parts.norm, *parts.head)
    assert {name: value.shape for name, value in frame.items()} == {name: state[name].shape for name in outer}


@ALL
def test_reordered_channel_groups_compute_the_same(changes):
    cases.check_reordered_groups_compute_the_same(STITCHED, make_spec(**changes))


def test_groups_cover_every_channel_once():
    spec = make_spec(class_token=True)
    state, groups = STITCHED.build(spec).state_dict(), STITCHED.groups(spec)
    assert [(group.name, group.width) for group in groups[:4]] == [
        ("streams.0", 8),
        ("streams.1", 12),
        ("blocks.0.heads", 2),
        ("blocks.0.hidden", 32),
    ]
    seen = [(member.tensor, member.dim) for group in groups for member in group.members]
    tables = [name for name, value in state.items() if value.ndim == 3]
    expected = {(name, 2) for name in tables} | {(n, 1) for n, value in state.items() if value.ndim == 2}
    expected |= {(name, 0) for name in state if name not in tables and not name.startswith("head.")}
    assert sorted(seen) == sorted(expected)
    for group in groups:
        for member in group.members:
            assert state[member.tensor].shape[member.dim] == member.outer * group.width * member.inner
    roles = {(g.name, m.role) for g in groups for m in g.members if m.tensor == "blocks.2.stitch.weight"}
    assert roles == {("streams.0", "read"), ("streams.1", "written")}


@pytest.mark.parametrize("changes", [{}, {"class_token": True, "global_pool": "token"}, {"norm_first": False}])
def test_forward_is_the_composition_of_its_parts(changes):
    spec = make_spec(**changes)
    model, images = cases.build_random(STITCHED, spec), cases.make_images(spec)
    front, end = (cases.build_random(VIT, spec.segment(index), seed=index + 1) for index in (0, 1))
    stitch, parts = nn.Linear(8, 12), STITCHED.parts(spec)
    first, last = front.state_dict(), end.state_dict()
    own = {name: first[name] for name in parts.stem} | {name: last[name] for name in parts.norm + parts.head}
    own |= {name: value for name, value in first.items() if name.startswith("blocks.")}
    for names, plain in zip(parts.blocks[2:], VIT.parts(spec.segment(1)).blocks, strict=True):
        own |= {names[name]: last[full] for name, full in plain.items()}
    own |= {f"blocks.2.stitch.{name}": value for name, value in stitch.state_dict().items()}
    model.load_state_dict(own)
    with torch.no_grad():
        tokens = front.blocks(front._pos_embed(front.patch_embed(images)))
        expected = end.forward_head(end.norm(end.blocks(stitch(tokens))))
        assert torch.equal(model(images), expected)


@ALL
def test_flops_are_what_torch_counts(changes):
    spec = make_spec(**changes)
    model = STITCHED.build(spec).eval()
    for block in model.blocks:
        block.attn.fused_attn = False
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(cases.make_images(spec, 1))
    assert counter.get_total_flops() == STITCHED.flops(spec)


def test_features_are_the_outputs_of_blocks_and_attention():
    spec = make_spec(class_token=True)
    model, images = cases.build_random(STITCHED, spec), cases.make_images(spec)
    blocks, attentions = STITCHED.feature_names(spec), STITCHED.attention_names(spec)
    with torch.no_grad():
        logits, found = extract_features(model, (*blocks, *attentions), images)
        assert torch.equal(logits, model(images))
        shapes = [(3, 17, 8)] * 2 + [(3, 17, 12)] * 3
        assert [tuple(found[name].shape) for name in blocks] == shapes
        assert [tuple(found[name].shape) for name in attentions] == shapes
        for index, (before, after) in enumerate(pairwise(found[name] for name in blocks), 1):
            block = model.blocks[index]
            added = (block.stitch(before) if index == 2 else before) + found[attentions[index]]
            assert torch.equal(added + block.mlp(block.norm2(added)), after)


def test_attention_features_of_a_plain_vit_are_its_attention_outputs():
    spec = make_spec().segment(1)
    model, images = cases.build_random(VIT, spec), cases.make_images(spec)
    with torch.no_grad():
        _, found = extract_features(model, VIT.attention_names(spec), images)
        stem = model._pos_embed(model.patch_embed(images))
        assert torch.equal(found["blocks.0.attn"], model.blocks[0].attn(model.blocks[0].norm1(stem)))
    assert list(found) == ["blocks.0.attn", "blocks.1.attn", "blocks.2.attn"]


def test_segments_are_plain_vits():
    spec = make_spec(class_token=True, drop_path=0.1)
    shared = {"image_size": 32, "channels": 1, "classes": 5, "patch_size": 8, "class_token": True, "drop_path": 0.1}
    assert spec.segments == (
        VitSpec(depth=2, width=8, heads=2, **shared),
        VitSpec(depth=3, width=12, heads=4, **shared),
    )
    assert (spec.segment_starts, spec.tokens) == ((0, 2), 17)
    assert StitchedSpec.model_validate_json(spec.model_dump_json()) == spec


def test_text_of_a_plain_spec_is_stable():
    # Saved parts are found by this text.
    assert repr(make_spec().segment(0)) == (
        "VitSpec(image_size=32, channels=1, classes=5, depth=2, width=8, heads=2, patch_size=8, mlp_ratio=4.0, "
        "qkv_bias=True, qk_norm=False, class_token=False, reg_tokens=0, no_embed_class=False, global_pool='avg', "
        "init_values=None, norm_first=True, drop_path=0.0)"
    )


def test_resize_changes_one_segment_and_checks_it():
    assert STITCHED.resize(make_spec(), Size(depth1=1, width2=16, heads2=2)) == make_spec(
        depths=(1, 3), widths=(8, 16), heads=(2, 2)
    )
    for key in ("depth", "width3", "path"):
        with pytest.raises(SettingError, match=f"Size key '{key}'.*Use depth1 to depth2, width1 to width2, heads1"):
            STITCHED.resize(make_spec(), Size(**{key: 3}))
    with pytest.raises(SettingError, match=r"width2=13 with heads2=4.*Use for example width2=12"):
        STITCHED.resize(make_spec(), Size(width2=13))
    assert STITCHED.resize(make_spec(), Size(width2=15)) == make_spec(widths=(8, 15), heads=(make_spec().heads[0], 5))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"depths": (3,), "widths": (8,), "heads": (2,)}, "two segments or more"),
        ({"depths": (3, 1, 1)}, "each of one depth, one width and one number of heads"),
        ({"heads": (2,)}, "each of one depth, one width and one number of heads"),
        ({"depths": (2, 0)}, "depth2=0. A depth is between 1 and 1000"),
        ({"depths": (1001, 1)}, "depth1=1001"),
        ({"heads": (2, 0)}, "width2=12, heads2=0. Both are at least 1"),
        (
            {"heads": (3, 4)},
            "width1=8 with heads1=3. The width is not divisible by the number of heads. Use for example width1=9",
        ),
        ({"image_size": 28}, "multiple of the patch size. Use image_size=32"),
        ({"global_pool": "token"}, "global_pool=token without a class token"),
    ],
)
def test_invalid_specs_are_refused(changes, message):
    with pytest.raises(SettingError, match=message):
        make_spec(**changes)


def remove_stitch(model):
    model.blocks[2] = VIT.block(make_spec().segment(1))


def add_stitch_to_the_first_block(model):
    model.blocks[0] = StitchedBlock(8, 8, 2, qkv_bias=True)


def change_heads(model):
    model.blocks[1].attn.num_heads = 4


def change_stitch(model):
    model.blocks[2].stitch = nn.Sequential(nn.Linear(8, 12))


def narrow_stitch(model):
    model.blocks[2].stitch = nn.Linear(7, 12)


@pytest.mark.parametrize(
    "change", [remove_stitch, add_stitch_to_the_first_block, change_heads, change_stitch, narrow_stitch]
)
def test_changed_network_is_refused(change):
    model = STITCHED.build(make_spec())
    change(model)
    cases.check_describe_refuses(STITCHED, model, "parts that the stitched architecture does not rebuild")


def test_other_networks_are_refused():
    cases.check_describe_refuses(STITCHED, VIT.build(make_spec().segment(0)), "is not germline.s StitchedViT")
    cases.check_describe_refuses(VIT, STITCHED.build(make_spec()), "A StitchedViT is not timm.s VisionTransformer")
    other = StitchedViT((1, 1), (8, 8), (2, 2), 5, img_size=32, act_layer=nn.ReLU)
    cases.check_describe_refuses(STITCHED, other, "mlp.act ReLU")


def test_adapt_changes_the_stem():
    source, target = make_spec(class_token=True), make_spec(class_token=True, channels=3, image_size=64)
    frame = {name: value.detach() for name, value in STITCHED.frame(source).named_parameters()}
    ledger = Ledger()
    adapted = STITCHED.adapt({n: frame[n] for n in STITCHED.parts(source).stem}, source, target, ledger)
    expected = STITCHED.frame(target).state_dict()
    assert {name: value.shape for name, value in adapted.items()} == {name: expected[name].shape for name in adapted}
    assert ledger.entries["pos_embed"] == {"resized": 65 * 8}
    assert ledger.entries["patch_embed.proj.weight"] == {"adapted": 8 * 3 * 64}
