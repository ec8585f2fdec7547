"""The resnet architecture: timm's own networks to the bit, names, channel groups, sizes, and what is refused."""

import pytest
import timm
import torch
from timm.models.resnet import BasicBlock, Bottleneck, ResNet
from torch import nn

from germline.architectures import RESNET, Preprocess, ResNetSpec, Size, extract_features
from germline.errors import SettingError
from germline.ledger import Ledger
from germline.loading import load_network
from germline.network import Network
from germline.registry import model_spec
from helpers import architecture_cases as hold
from helpers.architecture_cases import count_parameters


def spec(**changes):
    fields = {"image_size": 32, "channels": 1, "classes": 5, "depths": (2, 1, 1, 2), "widths": (4, 6, 5, 7)}
    return ResNetSpec(**{**fields, **changes})


DEEP = {"stem_type": "deep", "stem_width": 3}
TIED = {"stem_type": "deep", "stem_width": 2}  # the stem has as many channels as the first stage
SMALL = {"stem_type": "small", "stem_width": 6}
SMALL_TIED = {"stem_type": "small", "stem_width": 4}
FORMS = pytest.mark.parametrize(
    "changes", [{}, DEEP, TIED, SMALL, SMALL_TIED], ids=["plain", "deep", "tied", "small", "small-tied"]
)


@pytest.mark.parametrize(("name", "count"), [("resnet18", 11_689_512), ("resnet34", 21_797_672)])
def test_parameters_of_the_known_forms(name, count):
    assert count_parameters(RESNET, model_spec(name, image_size=224, channels=3, classes=1000)) == count


@pytest.mark.parametrize("changes", [{}, DEEP, SMALL, {"channels": 3}, {"classes": 0}, {"image_size": 28}])
def test_describe_gives_back_the_spec(changes):
    assert RESNET.describe(RESNET.build(spec(**changes))) == spec(**changes)


@pytest.mark.parametrize("arguments", [{}, {"drop_rate": 0.1, "drop_path_rate": 0.1}])
def test_timm_s_own_is_rebuilt_exactly(arguments):
    torch.manual_seed(0)
    model = timm.create_model("resnet18", num_classes=3, **arguments).eval()
    form = RESNET.describe(model)
    assert form == model_spec("resnet18", image_size=224, channels=3, classes=3)
    rebuilt = RESNET.build(form).eval()
    rebuilt.load_state_dict(model.state_dict())
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(rebuilt(images), model(images))


def test_images_have_the_size_that_timm_tells():
    model = timm.create_model("resnet18", pretrained_cfg_overlay={"input_size": (3, 160, 160)})
    assert RESNET.describe(model).image_size == 160
    del model.pretrained_cfg
    assert RESNET.describe(model).image_size == 224


@pytest.mark.parametrize("side", [1, 28, 40])
def test_images_of_many_sizes_give_finite_logits(side):
    form = spec(image_size=side)
    with torch.no_grad():
        logits = hold.awake(RESNET, form)(hold.make_images(form))
    assert logits.shape == (3, 5)
    assert bool(torch.isfinite(logits).all())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_size": 0}, "image_size=0 with 4 stages.*Use image_size=1 or more"),
        ({"depths": (1, 0, 1, 1)}, "Stages of 1, 0, 1, 1 blocks"),
        ({"depths": (1, 1, 1)}, "3 depths and 4 widths.*has 4 stages"),
        ({"widths": (4, 6, 0, 2)}, "at least one channel"),
        ({"stem_width": 8}, "stem_width=8.*plain stem has 64 channels.*stem_type=deep"),
        ({"stem_type": "small", "stem_width": 5}, "even number of channels. Use stem_width=6"),
    ],
)
def test_what_cannot_be_built_is_refused(changes, message):
    with pytest.raises(SettingError, match=message):
        spec(**changes)


@FORMS
def test_parts_are_stem_basic_blocks_and_head(changes):
    hold.parts_name_every_tensor_once(RESNET, spec(**changes))
    parts = RESNET.parts(spec(**changes))
    assert (parts.norm, parts.head) == ((), ("fc.weight", "fc.bias"))
    assert (
        parts.stem[0]
        == parts.image_kernels[0]
        == ("conv1.0.weight" if changes.get("stem_type") == "deep" else "conv1.weight")
    )


def test_a_block_begins_as_in_the_whole_network():
    whole = RESNET.build(spec())
    for index, tap in enumerate(RESNET.feature_names(spec())):
        own, inside = RESNET.block(spec(), index), whole.get_submodule(tap)
        assert not own.bn2.weight.any()
        assert own.conv2.weight.std().item() == pytest.approx(inside.conv2.weight.std().item(), rel=0.3)
        assert repr(own) == repr(inside)


def test_groups_tie_what_is_added():
    groups = {group.name: group for group in RESNET.groups(spec())}
    assert (groups["stem"].width, [groups[f"stages.{index}"].width for index in range(4)]) == (64, [4, 6, 5, 7])
    made = {m.tensor for m in groups["stages.0"].members if m.role == "written" and "conv2" in m.tensor}
    assert made == {"layer1.0.conv2.weight", "layer1.1.conv2.weight"}
    taken = {member.tensor for member in groups["stages.0"].members if member.role == "read"}
    assert taken == {"layer1.1.conv1.weight", "layer2.0.conv1.weight", "layer2.0.downsample.0.weight"}
    tied = {group.name: group for group in RESNET.groups(spec(**TIED))}
    assert "stem" not in tied
    names = {member.tensor for member in tied["stages.0"].members}
    assert {"conv1.6.weight", "bn1.bias", "layer1.0.conv1.weight"} < names
    assert len(groups) == 4 + 1 + 6
    assert len(tied) == 4 + 2 + 6


@FORMS
def test_groups_are_whole_and_can_be_reordered(changes):
    hold.groups_cover_every_channel_once(RESNET, spec(**changes))
    hold.reordered_groups_compute_the_same(RESNET, spec(**changes))


def test_taps_stand_after_each_block():
    shapes = [(4, 8, 8)] * 2 + [(6, 4, 4), (5, 2, 2)] + [(7, 1, 1)] * 2
    hold.blocks_give_the_features(RESNET, spec(), shapes)


@FORMS
@pytest.mark.parametrize("side", [28, 32, 45])
def test_flops(side, changes):
    hold.flops_are_what_is_multiplied(RESNET, spec(image_size=side, **changes))


@pytest.mark.parametrize(
    ("size", "depths", "widths"),
    [
        (Size(), (2, 1, 1, 2), (4, 6, 5, 7)),
        (Size(depth2=4), (2, 4, 1, 2), (4, 6, 5, 7)),
        (Size(width=8), (2, 1, 1, 2), (8, 12, 10, 14)),
        (Size(width=8, width3=7, depth1=1), (1, 1, 1, 2), (8, 12, 7, 14)),
    ],
)
def test_sizes(size, depths, widths):
    assert RESNET.resize(spec(), size) == spec(depths=depths, widths=widths)


def test_a_deep_stem_is_scaled_along():
    assert RESNET.resize(spec(**TIED), Size(width=8)).stem_width == 4
    assert RESNET.resize(spec(**TIED), Size(width1=8)).stem_width == 2
    assert RESNET.resize(spec(**SMALL_TIED), Size(width=3)).stem_width == 4
    assert RESNET.resize(spec(**SMALL_TIED), Size(width=8)).stem_width == 8


@pytest.mark.parametrize("size", [Size(depth=18), Size(width5=2), Size(depth1=2000)])
def test_sizes_that_are_refused(size):
    with pytest.raises(SettingError, match=r"Use (for example )?depth1"):
        RESNET.resize(spec(), size)


@pytest.mark.parametrize("changes", [{}, DEEP, SMALL])
def test_the_reader_of_the_image_is_adapted(changes):
    tensors, ledger = RESNET.frame(spec(**changes)).state_dict(), Ledger()
    adapted = RESNET.adapt(tensors, spec(**changes), spec(channels=3, **changes), ledger)
    (name,) = RESNET.parts(spec(**changes)).image_kernels
    assert {key for key, counts in ledger.entries.items() if counts["adapted"]} == {name}
    assert torch.allclose(adapted[name].sum(dim=1, keepdim=True), tensors[name], atol=1e-6)
    assert all(torch.equal(adapted[key], tensors[key]) for key in tensors.keys() - {name})


class Odd(BasicBlock):
    """A block whose tensors are a basic block's."""


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"block": Bottleneck}, "does not rebuild. It has blocks of Bottleneck"),
        ({"block": Odd}, "It has blocks of Odd"),
        ({"stem_type": "deep_tiered"}, "does not rebuild.*conv1.3"),
        ({"replace_stem_pool": True}, "maxpool"),
        ({"avg_down": True}, "layer2.0.downsample"),
        ({"output_stride": 8}, "layer3.0.conv2"),
        ({"block_args": {"attn_layer": "se"}}, "layer1.0.se"),
        ({"global_pool": "max"}, "global_pool.pool"),
        ({"act_layer": nn.LeakyReLU}, "act1"),
        ({"layers": (1, 1, 1, 0)}, "does not rebuild"),
        ({"layers": (1,) * 3, "channels": (4,) * 3}, "does not rebuild"),
    ],
)
def test_what_it_would_not_rebuild_is_refused(changes, match):
    model = ResNet(**{"block": BasicBlock, "layers": (1,) * 4, "channels": (4,) * 4, **changes})
    hold.other_form_is_refused(RESNET, model, match)


def test_other_networks_are_refused():
    hold.other_form_is_refused(RESNET, nn.Linear(2, 2), "A Linear is not timm's ResNet")


def test_it_is_a_plain_timm_folder(ancestors, pixels, tmp_path):
    network = ancestors["resnet"]
    network.save(tmp_path / "net")
    back = load_network(tmp_path / "net")
    assert back.spec == network.spec
    assert back.spec.image_size == 32
    with torch.no_grad():
        assert torch.equal(back.logits(pixels), network.logits(pixels))
    backbone = timm.create_model(f"local-dir:{tmp_path / 'net'}", pretrained=True, features_only=True).eval()
    assert backbone.feature_info.channels() == [network.spec.stem, *network.spec.widths]


def test_a_small_stem_keeps_the_image_size():
    form = model_spec("resnet18_small", image_size=32, channels=3, classes=10)
    model = RESNET.build(form).eval()
    with torch.no_grad():
        _, found = extract_features(model, RESNET.feature_names(form), torch.rand(1, 3, 32, 32))
    sides = [maps.shape[-1] for maps in found.values()]
    assert sides == [32, 32, 16, 16, 8, 8, 4, 4]
    # The usual ResNet18 for CIFAR.
    assert count_parameters(RESNET, form) == 11_173_962


def test_a_network_with_a_small_stem_is_a_timm_folder(pixels, tmp_path):
    form = spec(channels=pixels.shape[1], **SMALL)
    network = Network(
        hold.awake(RESNET, form),
        Preprocess.from_images(torch.randint(0, 255, (4, form.channels, 32, 32), dtype=torch.uint8)),
        tuple("abcde"),
        spec=form,
    )
    network.save(tmp_path / "net")
    back = load_network(tmp_path / "net")
    assert back.spec == form
    with torch.no_grad():
        assert torch.equal(back.logits(pixels), network.logits(pixels))
    assert "After `import germline.timm`" in (tmp_path / "net" / "README.md").read_text()
    backbone = timm.create_model(f"local-dir:{tmp_path / 'net'}", pretrained=True, features_only=True).eval()
    assert backbone.feature_info.channels() == [6, *form.widths]
    assert backbone.feature_info.reduction() == [1, 1, 2, 4, 8]
