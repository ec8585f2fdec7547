"""The stitched architecture: its parts are those of two plain ViTs and a linear layer, its sizes a pool's paths."""

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
from helpers import architecture_cases as hold
from helpers.architecture_cases import count_parameters

EVERYTHING = {
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
    "of one width": {"widths": (16, 16), "heads": (4, 4)},
}
ALL = pytest.mark.parametrize("changes", EVERYTHING.values(), ids=EVERYTHING)
# Millions of parameters of all stitched paths through six blocks of DeiT-Ti and DeiT-B, by the blocks of each.
PATHS = ((0, 0), (0, 1), (1, 0), (1, 1), (1, 2), (2, 1), (2, 2), (2, 3), (3, 2), (3, 3), (3, 4), (4, 3), (4, 4))
PATHS += ((4, 5), (5, 4), (5, 5))
MILLIONS = (44.08, 36.99, 44.52, 37.43, 30.35, 37.88, 30.79, 23.70, 31.24, 24.15, 17.06, 24.59, 17.50, 10.42, 17.95)
MILLIONS += (10.86,)


def spec(**changes):
    fields = {"image_size": 32, "channels": 1, "classes": 5, "patch_size": 8}
    size = {"depths": (2, 3), "widths": (8, 12), "heads": (2, 4)}
    return StitchedSpec(**{**fields, **size, **changes})


@pytest.mark.parametrize(("path", "millions"), zip(PATHS, MILLIONS, strict=True))
def test_parameters_of_the_paths_through_six_blocks(path, millions):
    (j, k), token = path, {"class_token": True, "global_pool": "token"}
    size = {"depths": (j + 1, 6 - k), "widths": (192, 768), "heads": (3, 12), "patch_size": 16}
    found = count_parameters(STITCHED, spec(image_size=224, channels=3, classes=1000, **size, **token))
    blocks = (j + 1) * 444_864 + (6 - k) * 7_087_872
    assert found == 769 * 192 + 198 * 192 + blocks + 192 * 768 + 768 + 2 * 768 + 769 * 1000
    assert round(found / 1e6, 2) == millions


@ALL
def test_describe_gives_back_the_spec(changes):
    wanted = spec(**changes)
    assert STITCHED.describe(STITCHED.build(wanted)) == wanted
    assert architecture_of(wanted) is STITCHED


@ALL
def test_parts_name_every_tensor_once(changes):
    form = spec(**changes)
    parts, state = STITCHED.parts(form), STITCHED.build(form).state_dict()
    names = [*parts.stem, *parts.norm, *parts.head, *(full for block in parts.blocks for full in block.values())]
    assert sorted(names) == sorted(count_elements(STITCHED.build(form)))
    assert parts.stages == (len(parts.blocks),) == (sum(form.depths),)
    assert parts.image_kernels == ("patch_embed.proj.weight",)
    stitched = [index for index, block in enumerate(parts.blocks) if "stitch.weight" in block]
    assert stitched == list(form.segment_starts[1:])
    for index, block in enumerate(parts.blocks):
        own = STITCHED.block(form, index).state_dict()
        assert {name: value.shape for name, value in own.items()} == {n: state[f].shape for n, f in block.items()}
    frame = STITCHED.frame(form).state_dict()
    outer = (*parts.stem, *parts.norm, *parts.head)
    assert {name: value.shape for name, value in frame.items()} == {name: state[name].shape for name in outer}


@ALL
def test_reordered_channel_groups_compute_the_same(changes):
    hold.reordered_groups_compute_the_same(STITCHED, spec(**changes))


def test_groups_hold_every_channel_once():
    form = spec(class_token=True)
    state, groups = STITCHED.build(form).state_dict(), STITCHED.groups(form)
    assert [(group.name, group.width) for group in groups[:4]] == [
        ("streams.0", 8),
        ("streams.1", 12),
        ("blocks.0.heads", 2),
        ("blocks.0.hidden", 32),
    ]
    seen = [(member.tensor, member.dim) for group in groups for member in group.members]
    tables = [name for name, value in state.items() if value.ndim == 3]
    wanted = {(name, 2) for name in tables} | {(n, 1) for n, value in state.items() if value.ndim == 2}
    wanted |= {(name, 0) for name in state if name not in tables and not name.startswith("head.")}
    assert sorted(seen) == sorted(wanted)
    for group in groups:
        for member in group.members:
            assert state[member.tensor].shape[member.dim] == member.outer * group.width * member.inner
    roles = {(g.name, m.role) for g in groups for m in g.members if m.tensor == "blocks.2.stitch.weight"}
    assert roles == {("streams.0", "read"), ("streams.1", "written")}


@pytest.mark.parametrize("changes", [{}, {"class_token": True, "global_pool": "token"}, {"norm_first": False}])
def test_a_forward_is_that_of_its_parts(changes):
    form = spec(**changes)
    model, images = hold.awake(STITCHED, form), hold.make_images(form)
    front, end = (hold.awake(VIT, form.segment(index), seed=index + 1) for index in (0, 1))
    stitch, parts = nn.Linear(8, 12), STITCHED.parts(form)
    first, last = front.state_dict(), end.state_dict()
    own = {name: first[name] for name in parts.stem} | {name: last[name] for name in parts.norm + parts.head}
    own |= {name: value for name, value in first.items() if name.startswith("blocks.")}
    for names, plain in zip(parts.blocks[2:], VIT.parts(form.segment(1)).blocks, strict=True):
        own |= {names[name]: last[full] for name, full in plain.items()}
    own |= {f"blocks.2.stitch.{name}": value for name, value in stitch.state_dict().items()}
    model.load_state_dict(own)
    with torch.no_grad():
        tokens = front.blocks(front._pos_embed(front.patch_embed(images)))
        wanted = end.forward_head(end.norm(end.blocks(stitch(tokens))))
        assert torch.equal(model(images), wanted)


@ALL
def test_flops_are_what_torch_counts(changes):
    form = spec(**changes)
    model = STITCHED.build(form).eval()
    for block in model.blocks:
        block.attn.fused_attn = False
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(hold.make_images(form, 1))
    assert counter.get_total_flops() == STITCHED.flops(form)


def test_taps_are_the_blocks_and_their_attention():
    form = spec(class_token=True)
    model, images = hold.awake(STITCHED, form), hold.make_images(form)
    blocks, attentions = STITCHED.feature_names(form), STITCHED.attention_names(form)
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


def test_attention_names_of_a_plain_vit():
    form = spec().segment(1)
    model, images = hold.awake(VIT, form), hold.make_images(form)
    with torch.no_grad():
        _, found = extract_features(model, VIT.attention_names(form), images)
        stem = model._pos_embed(model.patch_embed(images))
        assert torch.equal(found["blocks.0.attn"], model.blocks[0].attn(model.blocks[0].norm1(stem)))
    assert list(found) == ["blocks.0.attn", "blocks.1.attn", "blocks.2.attn"]


def test_segments_are_plain_vits():
    form = spec(class_token=True, drop_path=0.1)
    shared = {"image_size": 32, "channels": 1, "classes": 5, "patch_size": 8, "class_token": True, "drop_path": 0.1}
    assert form.segments == (
        VitSpec(depth=2, width=8, heads=2, **shared),
        VitSpec(depth=3, width=12, heads=4, **shared),
    )
    assert (form.segment_starts, form.tokens) == ((0, 2), 17)
    assert StitchedSpec.model_validate_json(form.model_dump_json()) == form


def test_the_text_of_a_plain_spec_stays():
    # Stored parts are found by it.
    assert repr(spec().segment(0)) == (
        "VitSpec(image_size=32, channels=1, classes=5, depth=2, width=8, heads=2, patch_size=8, mlp_ratio=4.0, "
        "qkv_bias=True, qk_norm=False, class_token=False, reg_tokens=0, no_embed_class=False, global_pool='avg', "
        "init_values=None, norm_first=True, drop_path=0.0)"
    )


def test_resize_changes_one_segment_and_checks_it():
    assert STITCHED.resize(spec(), Size(depth1=1, width2=16, heads2=2)) == spec(
        depths=(1, 3), widths=(8, 16), heads=(2, 2)
    )
    for key in ("depth", "width3", "path"):
        with pytest.raises(SettingError, match=f"Size key '{key}'.*Use depth1 to depth2, width1 to width2, heads1"):
            STITCHED.resize(spec(), Size(**{key: 3}))
    with pytest.raises(SettingError, match=r"width2=13 with heads2=4.*Use for example width2=12"):
        STITCHED.resize(spec(), Size(width2=13))
    assert STITCHED.resize(spec(), Size(width2=15)) == spec(widths=(8, 15), heads=(spec().heads[0], 5))


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
def test_what_cannot_be_built_is_refused(changes, message):
    with pytest.raises(SettingError, match=message):
        spec(**changes)


def without_stitch(model):
    model.blocks[2] = VIT.block(spec().segment(1))


def stitched_first(model):
    model.blocks[0] = StitchedBlock(8, 8, 2, qkv_bias=True)


def other_heads(model):
    model.blocks[1].attn.num_heads = 4


def other_stitch(model):
    model.blocks[2].stitch = nn.Sequential(nn.Linear(8, 12))


def narrow_stitch(model):
    model.blocks[2].stitch = nn.Linear(7, 12)


@pytest.mark.parametrize("change", [without_stitch, stitched_first, other_heads, other_stitch, narrow_stitch])
def test_a_network_changed_by_hand_is_refused(change):
    model = STITCHED.build(spec())
    change(model)
    hold.other_form_is_refused(STITCHED, model, "parts that the stitched architecture does not rebuild")


def test_other_networks_are_refused():
    hold.other_form_is_refused(STITCHED, VIT.build(spec().segment(0)), "is not germline.s StitchedViT")
    hold.other_form_is_refused(VIT, STITCHED.build(spec()), "A StitchedViT is not timm.s VisionTransformer")
    odd = StitchedViT((1, 1), (8, 8), (2, 2), 5, img_size=32, act_layer=nn.ReLU)
    hold.other_form_is_refused(STITCHED, odd, "mlp.act ReLU")


def test_adapt_changes_the_stem():
    source, target = spec(class_token=True), spec(class_token=True, channels=3, image_size=64)
    frame = {name: value.detach() for name, value in STITCHED.frame(source).named_parameters()}
    ledger = Ledger()
    adapted = STITCHED.adapt({n: frame[n] for n in STITCHED.parts(source).stem}, source, target, ledger)
    wanted = STITCHED.frame(target).state_dict()
    assert {name: value.shape for name, value in adapted.items()} == {name: wanted[name].shape for name in adapted}
    assert ledger.entries["pos_embed"] == {"resized": 65 * 8}
    assert ledger.entries["patch_embed.proj.weight"] == {"adapted": 8 * 3 * 64}
