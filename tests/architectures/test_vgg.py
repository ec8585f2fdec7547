"""The vgg architecture: counts, names, channel groups, sizes, and what is refused."""

import pytest
import torch
from torch import nn

from germline.architectures import VGG, Size, VggSpec
from germline.errors import SettingError
from germline.ledger import Ledger
from germline.registry import model_spec
from helpers import architecture_cases as cases
from helpers.architecture_cases import count_parameters

UNEVEN = ((4,), (5, 3), (6,), (7, 8))


def make_spec(widths=UNEVEN, **changes):
    return VggSpec(**{"image_size": 32, "channels": 1, "classes": 5, "widths": widths, **changes})


@pytest.mark.parametrize(
    ("name", "convolutions", "norms"),
    [("vgg11", 9_217_728, 5_504), ("vgg13", 9_402_048, 5_888), ("vgg16", 14_710_464, 8_448)],
)
def test_numbers_of_parameters_are_the_published_ones(name, convolutions, norms):
    spec = model_spec(name, image_size=32, channels=3, classes=10)
    with torch.device("meta"):
        named = list(VGG.build(spec).named_parameters())
    assert sum(value.numel() for _, value in named if value.ndim == 4) == convolutions
    assert sum(value.numel() for key, value in named if ".norm." in key) == norms
    assert count_parameters(VGG, spec) == convolutions + norms + 512 * 10 + 10


@pytest.mark.parametrize("changes", [{}, {"channels": 3}, {"classes": 0}, {"image_size": 84}, {"widths": ((2,),)}])
def test_describe_gives_back_the_spec(changes):
    assert VGG.describe(VGG.build(make_spec(**changes))) == make_spec(**changes)


@pytest.mark.parametrize(("widths", "side"), [(UNEVEN, 28), (UNEVEN, 32), ((*UNEVEN, (4,)), 32), (UNEVEN, 84)])
def test_images_of_many_sizes_give_finite_logits(widths, side):
    spec = make_spec(widths, image_size=side)
    with torch.no_grad():
        logits = VGG.build(spec).eval()(cases.make_images(spec))
    assert logits.shape == (3, 5)
    assert bool(torch.isfinite(logits).all())


def test_image_size_that_is_too_small_is_refused():
    with pytest.raises(SettingError, match=r"image_size=28 with 5 stages.*Use image_size=32 or more"):
        model_spec("vgg11", image_size=28, channels=1, classes=2)
    with pytest.raises(SettingError, match="Use image_size=16 or more"):
        make_spec(image_size=15)


@pytest.mark.parametrize("widths", [(), ((),), ((4,), (0,)), ((1,) * 1001,)])
def test_invalid_stages_are_refused(widths):
    with pytest.raises(SettingError, match=r"a stage has between 1 and 1000|at least one channel"):
        make_spec(widths)


def test_parts_are_the_conv_units():
    cases.check_parts_name_every_tensor_once(VGG, make_spec())
    assert VGG.parts(make_spec()).blocks[2]["norm.running_var"] == "stages.1.blocks.1.norm.running_var"


def test_each_unit_has_one_group():
    assert [group.width for group in VGG.groups(make_spec())] == [4, 5, 3, 6, 7, 8]
    cases.check_groups_cover_every_channel_once(VGG, make_spec())
    cases.check_reordered_groups_compute_the_same(VGG, make_spec())


def test_features_are_the_outputs_of_each_unit():
    shapes = [(4, 32, 32), (5, 16, 16), (3, 16, 16), (6, 8, 8), (7, 4, 4), (8, 4, 4)]
    cases.check_features_are_the_blocks_outputs(VGG, make_spec(), shapes)


@pytest.mark.parametrize("side", [32, 84])
def test_flops_equal_counted_products(side):
    cases.check_flops_equal_counted_products(VGG, make_spec(image_size=side))


@pytest.mark.parametrize(
    ("size", "widths"),
    [
        (Size(), UNEVEN),
        (Size(depth2=3), ((4,), (5, 3, 3), (6,), (7, 8))),
        (Size(depth4=1), ((4,), (5, 3), (6,), (7,))),
        (Size(width=8), ((8,), (10, 6), (12,), (14, 16))),
        (Size(width=1), ((1,), (1, 1), (2,), (2, 2))),
        (Size(width2=9), ((4,), (9, 9), (6,), (7, 8))),
        (Size(width=2, depth1=2, width4=3), ((2, 2), (2, 2), (3,), (3, 3))),
    ],
)
def test_resize_sets_depths_and_widths(size, widths):
    assert VGG.resize(make_spec(), size) == make_spec(widths)


def test_published_depths_are_sizes():
    images = {"image_size": 32, "channels": 1, "classes": 5}
    for depth in (11, 13, 16, 19):
        grown = VGG.resize(model_spec("vgg11_x025", **images), Size(depth=depth, width=64))
        assert grown == model_spec(f"vgg{depth}", **images)


@pytest.mark.parametrize(
    ("size", "message"),
    [
        (Size(heads=2), "Size key 'heads'. The vgg architecture has no such key.*depth1 to depth4"),
        (Size(depth5=2), "Size key 'depth5'"),
        (Size(depth=11), "depth=11. A VGG of five stages has 11, 13, 16 or 19"),
        (Size(depth2=100_000_000), "depth2=100000000. A stage has at most 1000"),
    ],
)
def test_unsuitable_sizes_are_refused(size, message):
    with pytest.raises(SettingError, match=message):
        VGG.resize(make_spec(), size)


def test_image_channels_are_adapted_and_entered_in_the_ledger():
    tensors, colour = VGG.build(make_spec()).state_dict(), make_spec(channels=3)
    ledger = Ledger()
    adapted = VGG.adapt(tensors, make_spec(), colour, ledger)
    first = "stages.0.blocks.0.conv.weight"
    assert torch.equal(adapted[first], tensors[first].repeat(1, 3, 1, 1) / 3)
    assert {name for name, counts in ledger.entries.items() if counts["adapted"]} == {first}
    back = VGG.adapt(adapted, colour, make_spec(), Ledger())
    assert all(torch.allclose(back[name], tensors[name], atol=1e-7) for name in tensors)
    grey, coloured = VGG.build(make_spec()).eval(), VGG.build(colour).eval()
    grey.load_state_dict(tensors)
    coloured.load_state_dict(adapted)
    images = cases.make_images(make_spec())
    with torch.no_grad():
        assert torch.allclose(coloured(images.expand(-1, 3, -1, -1)), grey(images), atol=1e-6)


def test_other_and_changed_networks_are_refused():
    cases.check_describe_refuses(VGG, nn.Linear(2, 2), "A Linear is not germline's VGG")
    for name, part in (("head.fc", nn.Linear(8, 5, bias=False)), ("stages.1.pool", nn.AvgPool2d(2))):
        model = VGG.build(make_spec())
        model.set_submodule(name, part)
        cases.check_describe_refuses(VGG, model, f"the vgg architecture does not rebuild. The first are {name}")
    model = VGG.build(make_spec())
    model.set_submodule("stages.0.blocks.0", nn.Conv2d(1, 4, 3))
    cases.check_describe_refuses(VGG, model, "does not rebuild")


HIDDEN = ((4,), (5, 3), (6,))


@pytest.mark.parametrize("changes", [{}, {"classes": 0}, {"image_size": 84}])
def test_hidden_layers_are_part_of_the_spec(changes):
    spec = make_spec(HIDDEN, hidden=(7, 6), **changes)
    model = VGG.build(spec)
    assert VGG.describe(model) == spec
    with torch.no_grad():
        assert model.eval()(cases.make_images(spec)).shape == (3, spec.classes or 6)
        # Images of other sizes are pooled to the size that the first hidden layer reads.
        assert model(torch.rand(2, 1, 40, 40)).shape[0] == 2


def test_networks_with_hidden_layers_pass_the_checks():
    spec = make_spec(HIDDEN, hidden=(7, 6), image_size=16)
    cases.check_parts_name_every_tensor_once(VGG, spec)
    cases.check_reordered_groups_compute_the_same(VGG, spec)
    cases.check_flops_equal_counted_products(VGG, spec)
    group = VGG.groups(spec)[-1]
    assert (
        VGG.build(spec).state_dict()["head.dense.0.weight"].shape[1] == 6 * 4 == group.width * group.members[-1].inner
    )
    assert VGG.resize(spec, Size(width=8)).hidden == (14, 12)


def test_hidden_layer_without_units_is_refused():
    with pytest.raises(SettingError, match="at least one unit"):
        make_spec(HIDDEN, hidden=(0,))
