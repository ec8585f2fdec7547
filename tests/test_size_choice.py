"""Caps choose the largest allowed size of a gene, by one rule for all methods."""

from dataclasses import replace
from functools import partial

import pytest

from germline.architectures import Preprocess, ResNetSpec, Size, VitSpec
from germline.cli.suggested_sizes import suggest_sizes
from germline.errors import SettingError
from germline.methods.base import empty_gene, find_method
from germline.size_choice import LARGEST_GROWTH, choose_size, find_size_beyond, list_size_lines, measure_spec

SPEC = VitSpec(image_size=32, channels=3, classes=10, patch_size=8, depth=8, width=96, heads=3)
HUGE = 10**12


def make_gene(method, network):
    return replace(empty_gene(find_method(method)(), network.spec, network.preprocess), classes=network.classes)


def build_any(spec, size):
    return spec.model_copy(update=dict(size))


def allow_only(is_allowed):
    """A function that grows the sizes of SPEC for which `is_allowed` is true."""

    def build(size):
        if not is_allowed(found := build_any(SPEC, size)):
            raise SettingError("no")
        return found

    return build


def test_size_lines_rise_and_contain_the_own_size():
    for line in list_size_lines(SPEC):
        costs = [measure_spec(build_any(SPEC, size)) for size in line]
        assert costs == sorted(set(costs))
        assert SPEC in [build_any(SPEC, size) for size in line]
    both, depth, width = list_size_lines(SPEC)
    assert [len(depth), len(width)] == [8 * LARGEST_GROWTH, 3 * LARGEST_GROWTH]
    assert Size(depth=5, width=64, heads=2) in both
    assert all(size["width"] == 32 * size["heads"] for size in both)
    assert both[-1] == Size(depth=32, width=384, heads=12)


@pytest.mark.parametrize("key", ["max_params", "max_flops"])
def test_largest_size_of_the_same_shape_is_chosen(key):
    both, _, _ = list_size_lines(SPEC)
    costs = [measure_spec(build_any(SPEC, size))[key == "max_flops"] for size in both]
    for index, cost in enumerate(costs):
        for cap, chosen in ((cost, index), (cost - 1, index - 1)):
            if chosen >= 0 and build_any(SPEC, both[chosen]) != SPEC:
                assert choose_size(SPEC, Size(**{key: cap}), partial(build_any, SPEC)) == both[chosen]
    caps = Size(**{"max_params": HUGE, "max_flops": HUGE, key: costs[0]})
    assert choose_size(SPEC, caps, partial(build_any, SPEC)) == both[0]
    assert choose_size(SPEC, Size(**{key: HUGE}), partial(build_any, SPEC)) == both[-1]


def test_a_size_beyond_the_largest_is_found_if_it_is_under_the_cap():
    both, depth, _ = list_size_lines(SPEC)
    build, huge = partial(build_any, SPEC), Size(max_params=HUGE)
    assert find_size_beyond(SPEC, both[-1], huge, build) == Size(depth=33, width=384, heads=12)
    assert find_size_beyond(SPEC, depth[-1], huge, build) == Size(depth=33)
    assert find_size_beyond(SPEC, both[-2], huge, build) is None
    last = Size(max_params=measure_spec(build(both[-1])).parameters)
    assert find_size_beyond(SPEC, both[-1], last, build) is None
    assert find_size_beyond(SPEC, both[-1], huge, allow_only(lambda spec: spec.depth <= 32)) is None


def test_depth_alone_then_width_alone_are_tried():
    own = measure_spec(SPEC).parameters
    deep = allow_only(lambda spec: spec.width == 96)
    wide = allow_only(lambda spec: spec.depth == 8)
    assert choose_size(SPEC, Size(max_params=own // 2), deep) == Size(depth=3)
    assert choose_size(SPEC, Size(max_params=HUGE), deep) == Size(depth=32)
    assert choose_size(SPEC, Size(max_params=own // 2), wide) == Size(width=64, heads=2)


def test_the_own_size_is_the_last_resort():
    own = measure_spec(SPEC)
    only = allow_only(lambda spec: spec == SPEC)
    assert choose_size(SPEC, Size(max_params=own.parameters), only) == Size()
    # Some methods grow by integer factors only. Depth alone grows where width would become too large.
    factors = allow_only(lambda spec: spec.depth % 8 == 0 and spec.width % 96 == 0)
    assert choose_size(SPEC, Size(max_params=3 * own.parameters), factors) == Size(depth=24)
    with pytest.raises(SettingError, match=rf"smallest size, .*, has {own.parameters:,} parameters .*Set a higher cap"):
        choose_size(SPEC, Size(max_params=own.parameters - 1), only)


@pytest.mark.parametrize("architecture", ["resnet12", "stitched"])
def test_every_architecture_has_a_smaller_size(architecture, ancestors):
    network = ancestors[architecture]
    gene = make_gene("layers" if architecture == "stitched" else "weight-selection", network)
    own = measure_spec(network.spec).parameters
    target = gene.target(Size(max_params=own - 1))
    assert measure_spec(target.spec).parameters < own
    assert target.size == gene.target(target.size).size
    with pytest.raises(SettingError, match=r"parameters and takes .* operations per image. Set a higher cap"):
        gene.target(Size(max_params=1))


def test_first_stage_keeps_the_width_of_a_plain_stem():
    spec = ResNetSpec(image_size=32, channels=3, classes=4, depths=(2, 2, 2, 2), widths=(64, 128, 256, 512))
    preprocess = Preprocess(channels=3, image_size=32, mean=(0.5,) * 3, std=(0.5,) * 3)
    gene = empty_gene(find_method("weight-selection")(), spec, preprocess)
    target = gene.target(Size(max_params=3_000_000), 4)
    assert (target.spec.depths, target.spec.widths) == ((1, 1, 1, 1), (64, 80, 160, 320))
    assert measure_spec(target.spec).parameters == 1_988_964
    assert suggest_sizes(spec)[2:] == [
        "width2=64,width3=128,width4=256",
        "width2=192,width3=384,width4=768",
        "width2=256,width3=512,width4=1024",
    ]
    for size in suggest_sizes(spec)[2:4]:
        assert gene.target(Size.parse(size), 4).spec.widths[0] == 64


def test_cap_counts_the_descendant_s_own_head(gene):
    caps = Size(max_params=measure_spec(gene.target(Size(depth=3), 2).spec).parameters)
    assert [gene.target(caps, classes).size for classes in (2, 50)] == [Size(depth=3), Size(depth=2)]
    with pytest.raises(SettingError, match=r"chooses the whole size\. Remove depth"):
        gene.target(Size(max_params=9000, depth=2))
