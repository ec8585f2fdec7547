"""The resnet architecture: exact copies of timm's networks, names, channel groups, sizes, and what is refused."""

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
from helpers import architecture_cases as cases
from helpers.architecture_cases import count_parameters


def make_spec(**changes):
    fields = {"image_size": 32, "channels": 1, "classes": 5, "depths": (2, 1, 1, 2), "widths": (4, 6, 5, 7)}
    return ResNetSpec(**{**fields, **changes})


DEEP = {"stem_type": "deep", "stem_width": 3}
TIED = {"stem_type": "deep", "stem_width": 2}  # the stem has as many channels as the first stage
SMALL = {"stem_type": "small", "stem_width": 6}
SMALL_TIED = {"stem_type": "small", "stem_width": 4}
STEMS = pytest.mark.parametrize(
    "changes", [{}, DEEP, TIED, SMALL, SMALL_TIED], ids=["plain", "deep", "tied", "small", "small-tied"]
)


@pytest.mark.parametrize(("name", "count"), [("resnet18", 11_689_512), ("resnet34", 21_797_672)])
def test_numbers_of_parameters_are_the_published_ones(name, count):
    assert count_parameters(RESNET, model_spec(name, image_size=224, channels=3, classes=1000)) == count


@pytest.mark.parametrize("changes", [{}, DEEP, SMALL, {"channels": 3}, {"classes": 0}, {"image_size": 28}])
def test_describe_gives_back_the_spec(changes):
    assert RESNET.describe(RESNET.build(make_spec(**changes))) == make_spec(**changes)


@pytest.mark.parametrize("arguments", [{}, {"drop_rate": 0.1, "drop_path_rate": 0.1}])
def test_networks_of_timm_are_rebuilt_exactly(arguments):
    torch.manual_seed(0)
    model = timm.create_model("resnet18", num_classes=3, **arguments).eval()
    spec = RESNET.describe(model)
    assert spec == model_spec("resnet18", image_size=224, channels=3, classes=3)
    rebuilt = RESNET.build(spec).eval()
    rebuilt.load_state_dict(model.state_dict())
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(rebuilt(images), model(images))


def test_image_size_is_that_of_the_timm_configuration():
    model = timm.create_model("resnet18", pretrained_cfg_overlay={"input_size": (3, 160, 160)})
    assert RESNET.describe(model).image_size == 160
    del model.pretrained_cfg
    assert RESNET.describe(model).image_size == 224


@pytest.mark.parametrize("side", [1, 28, 40])
def test_images_of_many_sizes_give_finite_logits(side):
    spec = make_spec(image_size=side)
    with torch.no_grad():
        logits = cases.build_random(RESNET, spec)(cases.make_images(spec))
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
def test_invalid_specs_are_refused(changes, message):
    with pytest.raises(SettingError, match=message):
        make_spec(**changes)


@STEMS
def test_parts_are_stem_basic_blocks_and_head(changes):
    cases.check_parts_name_every_tensor_once(RESNET, make_spec(**changes))
    parts = RESNET.parts(make_spec(**changes))
    assert (parts.norm, parts.head) == ((), ("fc.weight", "fc.bias"))
    assert (
        parts.stem[0]
        == parts.image_kernels[0]
        == ("conv1.0.weight" if changes.get("stem_type") == "deep" else "conv1.weight")
    )


def test_single_block_has_the_initial_values_of_the_network():
    network = RESNET.build(make_spec())
    for index, tap in enumerate(RESNET.feature_names(make_spec())):
        own, inside = RESNET.block(make_spec(), index), network.get_submodule(tap)
        assert not own.bn2.weight.any()
        assert own.conv2.weight.std().item() == pytest.approx(inside.conv2.weight.std().item(), rel=0.3)
        assert repr(own) == repr(inside)


def test_groups_tie_channels_that_are_added():
    groups = {group.name: group for group in RESNET.groups(make_spec())}
    assert (groups["stem"].width, [groups[f"stages.{index}"].width for index in range(4)]) == (64, [4, 6, 5, 7])
    written = {m.tensor for m in groups["stages.0"].members if m.role == "written" and "conv2" in m.tensor}
    assert written == {"layer1.0.conv2.weight", "layer1.1.conv2.weight"}
    read = {member.tensor for member in groups["stages.0"].members if member.role == "read"}
    assert read == {"layer1.1.conv1.weight", "layer2.0.conv1.weight", "layer2.0.downsample.0.weight"}
    tied = {group.name: group for group in RESNET.groups(make_spec(**TIED))}
    assert "stem" not in tied
    names = {member.tensor for member in tied["stages.0"].members}
    assert {"conv1.6.weight", "bn1.bias", "layer1.0.conv1.weight"} < names
    assert len(groups) == 4 + 1 + 6
    assert len(tied) == 4 + 2 + 6


@STEMS
def test_groups_are_complete_and_can_be_reordered(changes):
    cases.check_groups_cover_every_channel_once(RESNET, make_spec(**changes))
    cases.check_reordered_groups_compute_the_same(RESNET, make_spec(**changes))


def test_features_are_the_outputs_of_each_block():
    shapes = [(4, 8, 8)] * 2 + [(6, 4, 4), (5, 2, 2)] + [(7, 1, 1)] * 2
    cases.check_features_are_the_blocks_outputs(RESNET, make_spec(), shapes)


@STEMS
@pytest.mark.parametrize("side", [28, 32, 45])
def test_flops_equal_counted_products(side, changes):
    cases.check_flops_equal_counted_products(RESNET, make_spec(image_size=side, **changes))


@pytest.mark.parametrize(
    ("size", "depths", "widths"),
    [
        (Size(), (2, 1, 1, 2), (4, 6, 5, 7)),
        (Size(depth2=4), (2, 4, 1, 2), (4, 6, 5, 7)),
        (Size(width=8), (2, 1, 1, 2), (8, 12, 10, 14)),
        (Size(width=8, width3=7, depth1=1), (1, 1, 1, 2), (8, 12, 7, 14)),
    ],
)
def test_resize_sets_depths_and_widths(size, depths, widths):
    assert RESNET.resize(make_spec(), size) == make_spec(depths=depths, widths=widths)


def test_tied_stem_is_scaled_with_the_width():
    assert RESNET.resize(make_spec(**TIED), Size(width=8)).stem_width == 4
    assert RESNET.resize(make_spec(**TIED), Size(width1=8)).stem_width == 2
    assert RESNET.resize(make_spec(**SMALL_TIED), Size(width=3)).stem_width == 4
    assert RESNET.resize(make_spec(**SMALL_TIED), Size(width=8)).stem_width == 8


@pytest.mark.parametrize("size", [Size(depth=18), Size(width5=2), Size(depth1=2000)])
def test_unsuitable_sizes_are_refused(size):
    with pytest.raises(SettingError, match=r"Use (for example )?depth1"):
        RESNET.resize(make_spec(), size)


@pytest.mark.parametrize("changes", [{}, DEEP, SMALL])
def test_kernel_that_reads_the_image_is_adapted(changes):
    tensors, ledger = RESNET.frame(make_spec(**changes)).state_dict(), Ledger()
    adapted = RESNET.adapt(tensors, make_spec(**changes), make_spec(channels=3, **changes), ledger)
    (name,) = RESNET.parts(make_spec(**changes)).image_kernels
    assert {key for key, counts in ledger.entries.items() if counts["adapted"]} == {name}
    assert torch.allclose(adapted[name].sum(dim=1, keepdim=True), tensors[name], atol=1e-6)
    assert all(torch.equal(adapted[key], tensors[key]) for key in tensors.keys() - {name})


class OtherBlock(BasicBlock):
    """A block with the tensors of a basic block."""


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"block": Bottleneck}, "does not rebuild. It has blocks of Bottleneck"),
        ({"block": OtherBlock}, "It has blocks of OtherBlock"),
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
def test_networks_that_cannot_be_rebuilt_are_refused(changes, match):
    model = ResNet(**{"block": BasicBlock, "layers": (1,) * 4, "channels": (4,) * 4, **changes})
    cases.check_describe_refuses(RESNET, model, match)


def test_other_networks_are_refused():
    cases.check_describe_refuses(RESNET, nn.Linear(2, 2), "A Linear is not timm's ResNet")


def test_saved_network_is_a_plain_timm_folder(ancestors, pixels, tmp_path):
    network = ancestors["resnet"]
    network.save(tmp_path / "net")
    back = load_network(tmp_path / "net")
    assert back.spec == network.spec
    assert back.spec.image_size == 32
    with torch.no_grad():
        assert torch.equal(back.logits(pixels), network.logits(pixels))
    backbone = timm.create_model(f"local-dir:{tmp_path / 'net'}", pretrained=True, features_only=True).eval()
    assert backbone.feature_info.channels() == [network.spec.stem, *network.spec.widths]


def test_small_stem_keeps_the_image_size():
    spec = model_spec("resnet18_small", image_size=32, channels=3, classes=10)
    model = RESNET.build(spec).eval()
    with torch.no_grad():
        _, found = extract_features(model, RESNET.feature_names(spec), torch.rand(1, 3, 32, 32))
    sides = [maps.shape[-1] for maps in found.values()]
    assert sides == [32, 32, 16, 16, 8, 8, 4, 4]
    # This is the number of parameters of the usual ResNet18 for CIFAR.
    assert count_parameters(RESNET, spec) == 11_173_962


def test_network_with_a_small_stem_is_a_timm_folder(pixels, tmp_path):
    spec = make_spec(channels=pixels.shape[1], **SMALL)
    network = Network(
        cases.build_random(RESNET, spec),
        Preprocess.from_images(torch.randint(0, 255, (4, spec.channels, 32, 32), dtype=torch.uint8)),
        tuple("abcde"),
        spec=spec,
    )
    network.save(tmp_path / "net")
    back = load_network(tmp_path / "net")
    assert back.spec == spec
    with torch.no_grad():
        assert torch.equal(back.logits(pixels), network.logits(pixels))
    assert "After `import germline.timm`" in (tmp_path / "net" / "README.md").read_text()
    backbone = timm.create_model(f"local-dir:{tmp_path / 'net'}", pretrained=True, features_only=True).eval()
    assert backbone.feature_info.channels() == [6, *spec.widths]
    assert backbone.feature_info.reduction() == [1, 1, 2, 4, 8]
