"""The resnet12 architecture: counts, names, channel groups, sizes, and what is refused."""

import pytest
import torch
from torch import nn

from germline.architectures import RESNET12, ResNet12Spec, Size
from germline.errors import SettingError
from germline.ledger import Ledger
from germline.registry import model_spec
from helpers import architecture_cases as cases
from helpers.architecture_cases import count_parameters


def make_spec(**changes):
    fields = {"image_size": 32, "channels": 1, "classes": 5, "depths": (2, 1, 3), "widths": (4, 6, 5)}
    return ResNet12Spec(**{**fields, **changes})


@pytest.mark.parametrize(("name", "convolutions"), [("resnet12", 7_989_120), ("resnet12_wide", 12_414_848)])
def test_numbers_of_parameters_are_the_published_ones(name, convolutions):
    spec = model_spec(name, image_size=84, channels=3, classes=5)
    with torch.device("meta"):
        found = sum(value.numel() for value in RESNET12.build(spec).parameters() if value.ndim == 4)
    assert found == convolutions
    last = spec.widths[-1]
    assert count_parameters(RESNET12, spec) == convolutions + 8 * sum(spec.widths) + last * 5 + 5


@pytest.mark.parametrize("changes", [{}, {"channels": 3}, {"classes": 0}, {"depths": (1,), "widths": (2,)}])
def test_describe_gives_back_the_spec(changes):
    assert RESNET12.describe(RESNET12.build(make_spec(**changes))) == make_spec(**changes)


@pytest.mark.parametrize("side", [28, 32, 84])
def test_images_of_many_sizes_give_finite_logits(side):
    spec = make_spec(image_size=side, depths=(1, 1, 1, 1), widths=(4, 4, 4, 4))
    with torch.no_grad():
        logits = RESNET12.build(spec).eval()(cases.make_images(spec))
    assert logits.shape == (3, 5)
    assert bool(torch.isfinite(logits).all())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_size": 7}, "image_size=7 with 3 stages.*Use image_size=8 or more"),
        ({"depths": (1, 0, 1)}, "Stages of 1, 0, 1 blocks"),
        ({"widths": (4, 6)}, "There are 3 stages"),
        ({"widths": (4, 6, 0)}, "at least one channel"),
    ],
)
def test_invalid_specs_are_refused(changes, message):
    with pytest.raises(SettingError, match=message):
        make_spec(**changes)


def test_block_computes_what_the_paper_describes():
    spec = make_spec(depths=(2,), widths=(3,), image_size=4)
    model = cases.build_random(RESNET12, spec)
    first, second = model.stages[0].blocks
    images = cases.make_images(spec)
    act = nn.LeakyReLU(0.1)
    with torch.no_grad():
        maps = images
        for block in (first, second):
            inner = act(block.units[1](act(block.units[0](maps))))
            shortcut = block.shortcut.norm(block.shortcut.conv(maps)) if block is first else maps
            maps = act(block.units[2](inner) + shortcut)
        pooled = nn.functional.max_pool2d(maps, 2).mean(dim=(2, 3))
        assert torch.allclose(model(images), model.head.fc(pooled), atol=1e-6)


def test_parts_are_the_residual_blocks():
    cases.check_parts_name_every_tensor_once(RESNET12, make_spec())
    assert len(RESNET12.parts(make_spec()).image_kernels) == 2


def test_groups_tie_channels_that_are_added():
    groups = {group.name: group for group in RESNET12.groups(make_spec())}
    assert [groups[f"stages.{index}"].width for index in range(3)] == [4, 6, 5]
    written = {m.tensor for m in groups["stages.0"].members if m.role == "written" and m.tensor.endswith("conv.weight")}
    prefix = "stages.0.blocks"
    assert written == {
        f"{prefix}.0.units.2.conv.weight",
        f"{prefix}.0.shortcut.conv.weight",
        f"{prefix}.1.units.2.conv.weight",
    }
    read = {member.tensor for member in groups["stages.0"].members if member.role == "read"}
    later = {f"stages.1.blocks.0.{place}.conv.weight" for place in ("units.0", "shortcut")}
    assert read == {f"{prefix}.1.units.0.conv.weight", *later}
    assert len(groups) == 3 + 2 * 6
    cases.check_groups_cover_every_channel_once(RESNET12, make_spec())
    cases.check_reordered_groups_compute_the_same(RESNET12, make_spec())


def test_features_are_the_outputs_of_each_block():
    shapes = [(4, 32, 32)] * 2 + [(6, 16, 16)] + [(5, 8, 8)] * 3
    cases.check_features_are_the_blocks_outputs(RESNET12, make_spec(), shapes)


@pytest.mark.parametrize("side", [32, 84])
def test_flops_equal_counted_products(side):
    cases.check_flops_equal_counted_products(RESNET12, make_spec(image_size=side))


@pytest.mark.parametrize(
    ("size", "depths", "widths"),
    [
        (Size(), (2, 1, 3), (4, 6, 5)),
        (Size(depth2=4), (2, 4, 3), (4, 6, 5)),
        (Size(width=8), (2, 1, 3), (8, 12, 10)),
        (Size(width=8, width3=7, depth1=1), (1, 1, 3), (8, 12, 7)),
    ],
)
def test_resize_sets_depths_and_widths(size, depths, widths):
    assert RESNET12.resize(make_spec(), size) == make_spec(depths=depths, widths=widths)


@pytest.mark.parametrize("size", [Size(depth=12), Size(width4=2), Size(depth1=2000)])
def test_unsuitable_sizes_are_refused(size):
    with pytest.raises(SettingError, match=r"Use (for example )?depth1"):
        RESNET12.resize(make_spec(), size)


def test_both_readers_of_the_image_are_adapted():
    tensors, ledger = RESNET12.build(make_spec()).state_dict(), Ledger()
    adapted = RESNET12.adapt(tensors, make_spec(), make_spec(channels=3), ledger)
    changed = {name for name, counts in ledger.entries.items() if counts["adapted"]}
    assert changed == set(RESNET12.parts(make_spec()).image_kernels)
    assert all(adapted[name].shape[1] == 3 for name in changed)
    assert all(torch.equal(adapted[name], tensors[name]) for name in tensors.keys() - changed)
    back = RESNET12.adapt(adapted, make_spec(channels=3), make_spec(), Ledger())
    assert all(torch.allclose(back[name], tensors[name], atol=1e-7) for name in tensors)


def test_other_and_changed_networks_are_refused():
    cases.check_describe_refuses(RESNET12, nn.Linear(2, 2), "A Linear is not germline's ResNet12")
    model = RESNET12.build(make_spec())
    model.set_submodule("stages.0.blocks.0.shortcut", nn.Identity())
    cases.check_describe_refuses(RESNET12, model, "does not rebuild. The first are stages.0.blocks.0.shortcut")
