"""Last layers: how many blocks are copied, that they keep their places, and that the rest is fresh."""

import pytest
import torch

from germline.architectures import ResNet12Spec, Size, VggSpec, count_elements
from germline.baselines.last_layers import LastLayers
from germline.errors import SettingError
from germline.learngene import Learngene
from germline.registry import model_spec
from germline.training import Run

RUN = Run(device="cpu", quiet=True)


@pytest.fixture(scope="module")
def networks(make_network, make_convolutional):
    return {
        "vit": make_network(depth=6),
        "vgg": make_convolutional(VggSpec, widths=((8, 8), (8, 8, 8))),
        "resnet12": make_convolutional(ResNet12Spec, depths=(2, 3), widths=(4, 4)),
    }


# One block of the ViT is 15.6 % of the backbone. One of the last stage of the VGG is 24.1 %.
# Each of the last two blocks of the ResNet12 is 20.7 %.
@pytest.mark.parametrize(
    ("family", "share", "kept"),
    [
        ("vit", 0.2, ("blocks.5.",)),
        ("vit", 0.25, ("blocks.4.", "blocks.5.")),
        ("vit", 1e-9, ("blocks.5.",)),
        ("vgg", 0.2, ("stages.1.blocks.2.",)),
        ("vgg", 0.4, ("stages.1.blocks.1.", "stages.1.blocks.2.")),
        ("resnet12", 0.2, ("stages.1.blocks.2.",)),
        ("resnet12", 0.35, ("stages.1.blocks.1.", "stages.1.blocks.2.")),
        ("vgg", 1.0, ("stages.",)),
    ],
)
def test_last_blocks_are_copied_and_the_rest_is_fresh(networks, pico, tmp_path, family, share, kept):
    ancestor = networks[family]
    made = LastLayers(share=share).condense(ancestor, pico, RUN)
    made.save(tmp_path / "gene")
    gene = Learngene.load(tmp_path / "gene")
    own = ancestor.model.state_dict()
    assert gene.tensors.keys() == {name for name in own if name.startswith(kept)}
    assert gene.bound_method().cost(gene.spec, 0, 0).stored == {
        name: value.numel() for name, value in gene.tensors.items()
    }
    child, other = gene.inherit(classes=ancestor.classes), gene.inherit(classes=ancestor.classes, seed=1)
    sizes, another = count_elements(child.model), other.model.state_dict()
    for name, tensor in child.model.state_dict().items():
        if name.startswith(kept):
            assert torch.equal(tensor, own[name])
            assert child.ledger.entries[name] == {"copied": sizes[name]}
        else:
            assert child.ledger.entries[name] == {"fresh": sizes[name]}
            assert tensor.ndim < 2 or not torch.equal(tensor, another[name])
    assert child.ledger.totals()["fresh"] + sum(gene.bound_method().cost(gene.spec, 0, 0).stored.values()) == sum(
        sizes.values()
    )


@pytest.mark.parametrize(("model", "share"), [("vgg11", 0.256), ("vgg16", 0.160), ("resnet12", 0.754)])
def test_last_blocks_have_this_share_of_published_networks(model, share):
    """The last block of a ResNet12 is three quarters of it, so whole blocks cannot make a share of 20 %."""
    spec = model_spec(model, image_size=32, channels=3, classes=5)
    all_blocks = LastLayers(share=1.0).cost(spec, 0, 0).stored
    last_blocks = LastLayers().cost(spec, 0, 0).stored
    assert sum(last_blocks.values()) / sum(all_blocks.values()) == pytest.approx(share, abs=5e-4)


def test_gene_of_all_blocks_adapts_to_other_images(networks, pico):
    gene = LastLayers(share=1.0).condense(networks["resnet12"], pico, RUN)
    child = gene.inherit(classes=2, channels=3, image_size=64)
    assert child.ledger.totals()["adapted"] == 3 * (4 * 9 + 4)
    assert gene.tensors["stages.0.blocks.0.shortcut.conv.weight"].shape[1] == 1


def test_descendant_owns_its_tensors(networks, pico):
    gene = LastLayers().condense(networks["vgg"], pico, RUN)
    with torch.no_grad():
        for parameter in gene.inherit(classes=2).model.parameters():
            parameter.zero_()
    own = networks["vgg"].model.state_dict()
    assert all(torch.equal(tensor, own[name]) for name, tensor in gene.tensors.items())


@pytest.mark.parametrize(
    ("family", "size", "words"),
    [
        ("vit", {"depth": 7}, "'last-layers' cannot grow depth=7.*It keeps the ancestor.s depth=6"),
        ("vgg", {"width": 4}, "'last-layers' cannot grow widths="),
        ("resnet12", {"depth2": 2}, "'last-layers' cannot grow depths="),
    ],
)
def test_other_sizes_are_refused(networks, pico, family, size, words):
    gene = LastLayers().condense(networks[family], pico, RUN)
    assert gene.describe_sizes() == "the ancestor's own size"
    with pytest.raises(SettingError, match=words):
        gene.inherit(Size(**size), classes=2)


def test_bad_settings_another_model_and_no_ancestor_are_refused(networks, pico):
    for share in (0, 1.5):
        with pytest.raises(SettingError):
            LastLayers(share=share)
    with pytest.raises(SettingError, match="'last-layers' needs an ancestor"):
        LastLayers().condense_spec(None, pico)
    with pytest.raises(SettingError, match="The method last-layers cannot grow model=vgg11"):
        LastLayers().condense(networks["vgg"], pico, RUN).inherit(classes=2, model="vgg11")
