"""Names in timm at another image size, and with another mean and std."""

import pytest
import torch

from germline.errors import ArtefactError, GermlineError, SettingError, UnknownNameError
from germline.loading import load_network

VIT, CNN = "timm:vit_tiny_patch16_224", "timm:resnet10t"


@pytest.mark.parametrize(("name", "side"), [(VIT, 32), (VIT, 96), (VIT, 224), (CNN, 33), (CNN, 64)], ids=str)
def test_name_with_a_size_builds_that_size(name, side):
    network = load_network(f"{name}@{side}", weights=False)
    assert network.preprocess.image_size == side
    assert network.source.endswith(f"at {side} pixels")
    with torch.no_grad():
        assert network.logits(torch.rand(1, 3, 40, 40)).shape == (1, 1000)
    if network.spec is not None:
        assert network.spec.image_size == side


def test_position_table_of_a_file_is_unchanged(tmp_path):
    import timm

    small = {"depth": 1, "embed_dim": 16, "num_heads": 2, "num_classes": 3}
    model = timm.create_model("vit_tiny_patch16_224", **small).eval()
    torch.save(model.state_dict(), tmp_path / "w.pth")
    network = load_network(tmp_path / "w.pth", "vit,heads=2")
    assert network.preprocess.image_size == 224
    assert torch.equal(network.model.pos_embed, model.pos_embed)


def test_size_mean_and_std_can_be_given():
    network = load_network(VIT, weights=False, image_size=64, mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6))
    assert (network.preprocess.image_size, network.preprocess.mean) == (64, (0.1, 0.2, 0.3))
    assert network.spec.image_size == 64


@pytest.mark.parametrize(
    ("name", "given", "kind", "message"),
    [
        (f"{VIT}@100", {}, SettingError, "16 pixels.*@96"),
        (f"{VIT}@7", {}, GermlineError, "@16|cannot build"),
        (f"{VIT}@0", {}, SettingError, "@0|image_size=0"),
        (f"{VIT}@32", {"image_size": 64}, SettingError, "the name has another size|The name has another size"),
        (f"{VIT}@x", {}, ArtefactError, "@x|cannot"),
        ("timm:vit_no_such@32", {}, UnknownNameError, "vit_no_such"),
        ("timm:", {}, UnknownNameError, "Unknown model ''"),
        (VIT, {"mean": (0.5,)}, SettingError, "Mean without std"),
    ],
    ids=str,
)
def test_wrong_name_or_size_is_refused(name, given, kind, message):
    with pytest.raises(GermlineError, match=message) as caught:
        load_network(name, weights=False, **given)
    assert isinstance(caught.value, (kind, UnknownNameError))
