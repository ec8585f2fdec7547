"""Specs that no machine can build are refused before memory is allocated."""

import re

import pytest

from germline.architectures import ResNetSpec, Size, StitchedSpec, VggSpec, VitSpec
from germline.architectures.presets import MODELS
from germline.architectures.resnet12 import ResNet12Spec
from germline.errors import SettingError
from germline.registry import architecture_of, model_spec

IMAGES = {"image_size": 32, "channels": 1, "classes": 10}
KINDS = {
    "vit": (VitSpec, {"depth": 2, "width": 16, "heads": 2, "patch_size": 8}),
    "stitched": (StitchedSpec, {"depths": (1, 1), "widths": (8, 16), "heads": (1, 1), "patch_size": 8}),
    "vgg": (VggSpec, {"widths": ((4,), (8, 8))}),
    "resnet12": (ResNet12Spec, {"depths": (1, 1, 1, 1), "widths": (4, 8, 8, 8)}),
    "resnet": (ResNetSpec, {"depths": (1, 1, 1, 1), "widths": (4, 8, 8, 8)}),
}
SHARED = [
    {"image_size": 10**6},
    {"image_size": 4104},
    {"image_size": -8},
    {"channels": 10**6},
    {"channels": 0},
    {"channels": -1},
    {"classes": 10**9},
    {"classes": -1},
]
TRANSFORMER = [
    {"patch_size": 0},
    {"patch_size": -8},
    {"mlp_ratio": float("nan")},
    {"mlp_ratio": float("inf")},
    {"mlp_ratio": 0},
    {"mlp_ratio": -4},
    {"mlp_ratio": 1e9},
    {"reg_tokens": -1},
    {"reg_tokens": 10**8},
    {"drop_path": 1.0},
    {"drop_path": -0.1},
    {"drop_path": float("nan")},
    {"init_values": float("nan")},
]
OWN = {
    "vit": [{"width": 10**8}, {"depth": 10**6}, {"depth": 10**18}, {"width": 60_000, "depth": 1000}, {"heads": 0}],
    "stitched": [{"widths": (8, 10**8)}, {"depths": (1, 10**6)}, {"widths": (60_000,) * 2, "depths": (1000,) * 2}],
    "vgg": [
        {"widths": ((10**8,),)},
        {"widths": ((4,) * 10**5,)},
        {"widths": ((1,),) * 10_000},
        {"widths": ((60_000,) * 900,)},
        {"widths": ()},
        {"widths": ((),)},
        {"hidden": (10**9,)},
        {"hidden": (60_000,) * 10},
    ],
    "resnet12": [{"widths": (10**8,) * 4}, {"depths": (1, 1, 1, 10**6)}, {"widths": (), "depths": ()}],
    "resnet": [
        {"widths": (10**8,) * 4},
        {"depths": (1, 1, 1, 10**6)},
        {"stem_type": "deep", "stem_width": 10**8},
        {"widths": (60_000,) * 4, "depths": (900,) * 4},
    ],
}
CASES = [
    (kind, change)
    for kind in KINDS
    for change in [*SHARED, *(TRANSFORMER if kind in ("vit", "stitched") else []), *OWN[kind]]
]


@pytest.mark.parametrize(("kind", "change"), CASES, ids=lambda value: str(value)[:40])
def test_spec_outside_its_bounds_is_refused(kind, change):
    spec, fields = KINDS[kind]
    with pytest.raises(SettingError) as caught:
        spec(**{**IMAGES, **fields, **change})
    assert caught.value.fix
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("kind", KINDS)
def test_plain_spec_is_allowed(kind):
    spec, fields = KINDS[kind]
    assert spec(**IMAGES, **fields).classes == 10


@pytest.mark.parametrize("name", MODELS)
def test_every_preset_is_allowed(name):
    assert model_spec(name, image_size=224, channels=3, classes=1000).classes == 1000


def test_largest_published_vit_is_allowed():
    giant = VitSpec(image_size=518, channels=3, classes=1000, depth=40, width=1536, heads=24, patch_size=14)
    assert giant.tokens == 37**2


@pytest.mark.parametrize(
    ("kind", "size"),
    [
        *(("vit", {"width": width}) for width in (4, 50_000, 65_536, 65_537, 99_999_999, 10**8 + 1)),
        *(("vit", {"heads": heads}) for heads in (4, 4001)),
        ("vit", {"depth": 10**6, "width": 4095}),
        ("vit", {"depth": 900, "width": 99_999_999}),
        *(("stitched", {"width2": width}) for width in (9_999, 65_537, 10**8 + 1)),
        ("stitched", {"depth1": 10**6, "width1": 4095}),
    ],
)
def test_suggested_size_is_accepted(kind, size):
    spec_type, fields = KINDS[kind]
    spec = spec_type(**IMAGES, **{**fields, **({"widths": (6, 16), "heads": (3, 2)} if kind == "stitched" else {})})
    architecture = architecture_of(spec)
    if kind == "vit":
        spec = architecture.resize(spec, Size(width=15, heads=3))
    with pytest.raises(SettingError) as refused:
        architecture.resize(spec, Size(**size))
    suggested = re.findall(r"((?:width|depth)\d?)=(\d+)", refused.value.fix)
    assert suggested
    for key, value in suggested:
        architecture.resize(spec, Size(**{**size, key: int(value)}))


@pytest.mark.parametrize("width", [65_536, 99_999_999])
def test_width_that_scales_a_stage_beyond_the_limit_is_refused(width):
    spec_type, fields = KINDS["resnet12"]
    spec = spec_type(**IMAGES, **fields)
    with pytest.raises(SettingError, match=rf"A layer of {2 * width} channels.*at most 65,536.*Use a smaller width"):
        architecture_of(spec).resize(spec, Size(width=width))
