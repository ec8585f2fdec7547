"""Checkpoints of training scripts: each form is read correctly, or refused with its content in the message."""

import argparse
import collections
import pathlib

import pytest
import timm
import torch
from torch import nn
from torchvision.models import VisionTransformer as TorchvisionVit
from torchvision.models import resnet18 as torchvision_resnet18

from germline.errors import ArtefactError, GermlineError, SettingError, UnknownNameError
from germline.files import write_tensors
from germline.loading import load_network
from germline.loading.tensor_names import rename_tensors
from helpers.plain_resnet import PlainResNet

SMALL = {"img_size": 32, "patch_size": 8, "embed_dim": 16, "depth": 2, "num_heads": 2, "num_classes": 3}
TIMM = "vit_tiny_patch16_224,img_size=32,patch_size=8,width=16,depth=2,heads=2"


@pytest.fixture(scope="module")
def vit():
    torch.manual_seed(0)
    return timm.create_model("vit_tiny_patch16_224", **SMALL).eval()


@pytest.fixture(scope="module")
def images():
    torch.manual_seed(1)
    return torch.rand(2, 3, 32, 32)


def add_prefix(prefix, state):
    return {prefix + name: tensor for name, tensor in state.items()}


def change_values(state):
    return {name: tensor + 1 for name, tensor in state.items()}


# Forms of one ViT's state dict, and a part of the note about each.
FORMS = {
    "plain": (lambda s: s, ""),
    "ordered": (lambda s: collections.OrderedDict(s), ""),
    "parameters": (lambda s: {name: nn.Parameter(tensor) for name, tensor in s.items()}, ""),
    "ddp": (lambda s: add_prefix("module.", s), "'module.'"),
    "compiled": (lambda s: add_prefix("_orig_mod.", s), "'_orig_mod.'"),
    "compiled-ddp": (lambda s: add_prefix("module._orig_mod.", s), "'module._orig_mod.'"),
    "compiled-ddp-turned": (lambda s: add_prefix("_orig_mod.module.", s), "'_orig_mod.module.'"),
    "lightning": (lambda s: {"state_dict": add_prefix("model.", s), "epoch": 3, "loops": {}}, "'model.'"),
    "lightning-net": (lambda s: {"state_dict": add_prefix("net.", s), "hyper_parameters": {"lr": 1}}, "'net.'"),
    "lightning-criterion": (
        lambda s: {"state_dict": {**add_prefix("model.", s), "criterion.weight": torch.ones(3)}},
        "left out, first 'criterion.weight'",
    ),
    "network": (lambda s: {"network": s}, "'network'"),
    "net": (lambda s: {"net": s, "acc": 91.2, "epoch": 7}, "'net'"),
    "model": (lambda s: {"model": s, "optimizer": {"state": {}, "param_groups": []}}, "'model'"),
    "model_state": (lambda s: {"model_state": s, "opt": 1}, "'model_state'"),
    "model_state_dict": (lambda s: {"model_state_dict": s, "optimizer_state_dict": {}}, "'model_state_dict'"),
    "optimizer-moments": (
        lambda s: {"model": s, "optimizer": {"state": {0: {"exp_avg": torch.ones(3, 3)}}}},
        "'model'",
    ),
    "optimizer-by-name": (lambda s: {"model": s, "optimizer": {"exp_avg": change_values(s)}}, "'model'"),
    "ema-alone": (lambda s: {"model_ema": s}, "'model_ema'"),
    "state-dict-ema-alone": (lambda s: {"state_dict_ema": s}, "'state_dict_ema'"),
    "model-and-ema": (lambda s: {"model": s, "model_ema": change_values(s)}, "'model', and not from 'model_ema'"),
    "state-dict-and-ema": (
        lambda s: {"state_dict": s, "state_dict_ema": change_values(s), "arch": "vit"},
        "'state_dict', and not from 'state_dict_ema'",
    ),
    "teacher": (lambda s: {"teacher": add_prefix("module.backbone.", s)}, "'module.backbone.'"),
    "student-backbone": (lambda s: {"student": add_prefix("backbone.", s), "epoch": 1}, "'backbone.'"),
    "encoder": (lambda s: add_prefix("encoder.", s), "'encoder.'"),
    "trunk": (lambda s: add_prefix("visual.trunk.", s), "'visual.trunk.'"),
    "deep": (lambda s: {"state": {"model": {"module": s}}, "step": 2}, "'state.model.module'"),
    "flat-with-numbers": (lambda s: {**s, "epoch": 3, "best": 0.5}, ""),
    "matrix-beside": (
        lambda s: {"state_dict": s, "confusion_matrix": torch.ones(3, 3), "epoch": 3},
        "1 tensors beside 'state_dict' are left out, first 'confusion_matrix'",
    ),
    "half": (lambda s: {name: tensor.half() for name, tensor in s.items()}, "float16 are cast to float32"),
    "bfloat16": (lambda s: {name: tensor.bfloat16() for name, tensor in s.items()}, "bfloat16 are cast"),
    "double": (lambda s: {name: tensor.double() for name, tensor in s.items()}, "float64 are cast"),
    "mask-token": (lambda s: {**s, "mask_token": torch.ones(1, 1, 16)}, "left out, first 'mask_token'"),
    "mae-decoder": (lambda s: {**s, "decoder_embed.weight": torch.ones(8, 16)}, "first 'decoder_embed.weight'"),
}


@pytest.mark.parametrize("model", ["vit,heads=2", TIMM], ids=["vit", "timm"])
@pytest.mark.parametrize("form", FORMS)
def test_checkpoint_form_is_read(form, model, vit, images, tmp_path):
    make, message = FORMS[form]
    torch.save(make(vit.state_dict()), tmp_path / "w.pth")
    network = load_network(tmp_path / "w.pth", model)
    tolerance = {"half": 2e-2, "bfloat16": 2e-1}.get(form, 0)
    with torch.no_grad():
        assert (network.model(images) - vit(images)).abs().max() <= tolerance
    assert message in " ".join(network.notes)
    assert network.spec.heads == 2
    assert network.classes == ("0", "1", "2")


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".bin", ".ckpt", ".pth.tar", ".safetensors"])
def test_suffix_is_read(suffix, vit, images, tmp_path):
    path = tmp_path / f"w{suffix}"
    (write_tensors(path, vit.state_dict()) if suffix == ".safetensors" else torch.save(vit.state_dict(), path))
    with torch.no_grad():
        assert torch.equal(load_network(path, "vit,heads=2").model(images), vit(images))


def test_named_entry_is_read(vit, tmp_path):
    states = {"student": change_values(vit.state_dict()), "teacher": vit.state_dict()}
    torch.save(states, tmp_path / "nested.pth")
    flat = {**add_prefix("student.", states["student"]), **add_prefix("teacher.", states["teacher"])}
    torch.save(flat, tmp_path / "flat.pth")
    for name in ("nested.pth", "flat.pth"):
        found = load_network(tmp_path / name, "vit,heads=2,entry=teacher").model.state_dict()
        assert torch.equal(found["head.bias"], vit.state_dict()["head.bias"])
        with pytest.raises(SettingError, match=r"student.*teacher.*entry=student"):
            load_network(tmp_path / name, "vit,heads=2")
        with pytest.raises(SettingError, match="entry"):
            load_network(tmp_path / name, "vit,heads=2,entry=nothing")


def test_classifier_beside_its_backbone_is_found(vit, images, tmp_path):
    state = vit.state_dict()
    beside = add_prefix("backbone.", {name: t for name, t in state.items() if not name.startswith("head.")})
    torch.save({**beside, "fc.weight": state["head.weight"], "fc.bias": state["head.bias"]}, tmp_path / "w.pth")
    network = load_network(tmp_path / "w.pth", "vit,heads=2")
    assert "the classifier is 'fc'" in network.notes
    with torch.no_grad():
        assert torch.equal(network.model(images), vit(images))


@pytest.mark.parametrize("model", ["vit,heads=2", TIMM], ids=["vit", "timm"])
def test_weights_without_a_head_have_no_classes(model, vit, images, tmp_path):
    torch.save({name: t for name, t in vit.state_dict().items() if not name.startswith("head.")}, tmp_path / "w.pth")
    network = load_network(tmp_path / "w.pth", model)
    assert (network.classes, network.spec.classes) == ((), 0)
    with torch.no_grad():
        assert torch.equal(network.model(images), vit.forward_head(vit.forward_features(images), pre_logits=True))


@pytest.mark.parametrize(
    "changes",
    [
        {"class_token": False, "global_pool": "avg"},
        {"in_chans": 1},
        {"img_size": 48},
        {"patch_size": 4},
        {"reg_tokens": 2},
        {"reg_tokens": 4, "no_embed_class": True},
        {"init_values": 1e-5},
        {"qkv_bias": False},
        {"mlp_ratio": 2.0},
        {"embed_dim": 88, "num_heads": 2, "mlp_ratio": 120.5 / 88},  # 88 x (120 / 88) is just below 120
        {"num_classes": 7},
        {"depth": 5},
        {"embed_dim": 24, "num_heads": 3},
        {"qk_norm": True},
    ],
    ids=str,
)
def test_vit_size_is_read_from_its_tensors(changes, tmp_path):
    arguments = {**SMALL, **changes}
    model = timm.create_model("vit_tiny_patch16_224", **arguments).eval()
    torch.save(model.state_dict(), tmp_path / "w.pth")
    heads = "" if changes.get("qk_norm") else f",heads={arguments['num_heads']}"
    network = load_network(tmp_path / "w.pth", f"vit{heads}")
    size = arguments["img_size"]
    assert network.preprocess.image_size == size
    images = torch.rand(1, arguments.get("in_chans", 3), size, size)
    with torch.no_grad():
        assert torch.equal(network.model(images), model(images))


@pytest.mark.parametrize("stem", [3, 7])
@pytest.mark.parametrize("names", [("downsample", "fc"), ("shortcut", "linear")], ids=str)
@pytest.mark.parametrize(("depths", "model"), [((2, 2, 2, 2), "resnet18"), ((1, 2, 1, 1), "resnet")], ids=str)
def test_plain_resnet_is_read_from_its_tensors(stem, names, depths, model, images, tmp_path):
    torch.manual_seed(0)
    width = 64 if model == "resnet18" else 8
    plain = PlainResNet(5, depths, width, stem, shortcut=names[0], head=names[1])
    plain.train()(torch.rand(8, 3, 32, 32))
    torch.save({"net": add_prefix("module.", plain.eval().state_dict())}, tmp_path / "w.pth")
    network = load_network(tmp_path / "w.pth", model, image_size=32, mean=(0, 0, 0), std=(1, 1, 1))
    assert network.spec.depths == depths
    assert network.spec.stem_type == ("small" if stem == 3 else "")
    with torch.no_grad():
        assert torch.allclose(network.logits(images), plain(images), atol=1e-5)


def test_torchvisions_networks_are_read(images, tmp_path):
    torch.manual_seed(0)
    resnet = torchvision_resnet18(num_classes=4).eval()
    torch.save(resnet.state_dict(), tmp_path / "r.pth")
    vit = TorchvisionVit(32, 8, 2, 2, 16, 32, num_classes=4).eval()
    torch.nn.init.normal_(vit.heads.head.weight)
    torch.save(vit.state_dict(), tmp_path / "v.pth")
    for name, model, theirs in (("r.pth", "resnet18", resnet), ("v.pth", "vit,heads=2", vit)):
        with torch.no_grad():
            assert torch.allclose(load_network(tmp_path / name, model).model(images), theirs(images), atol=1e-5)


@pytest.mark.parametrize("name", ["hrnet_w18_small", "densenet121"])
def test_prefix_is_stripped_where_parts_have_kernels_of_one_name(name):
    with torch.device("meta"):
        state = timm.create_model(name).state_dict()
    first = next(iter(state))
    named = rename_tensors(add_prefix("module.", state), pathlib.Path("w.pth"), anchors=(first,))
    assert named.tensors.keys() == state.keys()


def test_class_names_beside_the_weights_are_read(vit, tmp_path):
    for facts in (
        {"classes": ["cat", "dog", "owl"]},
        {"class_to_idx": {"owl": 2, "cat": 0, "dog": 1}},
        {"idx_to_class": {0: "cat", 1: "dog", 2: "owl"}},
    ):
        torch.save({"model": vit.state_dict(), **facts}, tmp_path / "w.pth")
        assert load_network(tmp_path / "w.pth", "vit,heads=2").classes == ("cat", "dog", "owl")
    for facts in ({"classes": ["cat", "dog"]}, {"classes": [1, 2, 3]}, {"classes": ["a", "a", "b"]}, {"classes": 3}):
        torch.save({"model": vit.state_dict(), **facts}, tmp_path / "w.pth")
        network = load_network(tmp_path / "w.pth", "vit,heads=2")
        assert network.classes == ("0", "1", "2")
        assert "classes" in network.assumed


def test_old_checkpoints_without_norm_counters_are_read(images, tmp_path):
    model = timm.create_model("resnet10t", num_classes=2).eval()
    old = {name: tensor for name, tensor in model.state_dict().items() if not name.endswith("num_batches_tracked")}
    torch.save(old, tmp_path / "w.pth")
    with torch.no_grad():
        assert torch.equal(load_network(tmp_path / "w.pth", "resnet10t").model(images), model(images))


class Holder(nn.Module):
    """A module that is pickled as an object."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3)


def drop(state, name):
    return {key: tensor for key, tensor in state.items() if key != name}


# The saved object, the name of the model, and a part of the error message.
BAD = {
    "namespace": (lambda s: {"model": s, "args": argparse.Namespace(lr=1)}, "vit,heads=2", "argparse.Namespace"),
    "namespace-line": (
        lambda s: {"model": s, "args": argparse.Namespace(lr=1)},
        "vit,heads=2",
        r"torch.save\(torch.load\(\"w.pth\", weights_only=False\)\['model'\], \"weights.pth\"\)",
    ),
    "path-object": (lambda s: {"state_dict": s, "dir": pathlib.PurePosixPath("/x")}, "vit,heads=2", "pathlib"),
    "whole-module": (lambda s: Holder(), "vit,heads=2", r"Holder.*\.state_dict\(\), \"weights.pth\""),
    "whole-module-with-an-entry": (
        lambda s: nn.Sequential(collections.OrderedDict(model=Holder())),
        "vit,heads=2",
        r"weights_only=False\)\.state_dict\(\), \"weights.pth\"",
    ),
    "no-weights": (lambda s: {"epoch": 3}, "vit,heads=2", "holds no state dict.*'epoch'"),
    "nothing": (lambda s: {}, "vit,heads=2", "holds no state dict.*nothing"),
    "list": (lambda s: list(s.values()), "vit,heads=2", "holds no state dict.*a list"),
    "one-tensor": (lambda s: s["head.weight"], "vit,heads=2", "holds no state dict.*a Tensor"),
    "number": (lambda s: 3, "vit,heads=2", "holds no state dict.*int"),
    "optimizer-alone": (
        lambda s: {"optimizer": {"state": {0: {"a": torch.ones(2, 2)}}}},
        "vit,heads=2",
        "no state dict",
    ),
    "numbers-as-names": (lambda s: dict(enumerate(s.values())), "vit,heads=2", "holds no state dict"),
    "two-teachers": (lambda s: {"ema_a": s, "ema_b": s}, "vit,heads=2", "'ema_a', 'ema_b'.*entry=ema_a"),
    "no-heads": (lambda s: s, "vit", "number of attention heads.*heads="),
    "odd-heads": (lambda s: s, "vit,heads=3", "width=16 with heads=3"),
    "no-such-field": (lambda s: s, "vit,heads=2,colour=3", "'vit,colour'.*no such field"),
    "other-depth": (lambda s: s, "vit,heads=2,depth=3", "depth=3 is expected.*depth=2"),
    "other-width": (lambda s: s, "vit,heads=2,width=32", "width=32 is expected.*width=16"),
    "preset-of-other-size": (lambda s: s, "vit_pico", "depth=6 is expected.*depth=2"),
    "other-family": (lambda s: s, "resnet18", r"layer1 to layer4.*cls_token \[1, 1, 16\]"),
    "timm-of-other-size": (lambda s: s, "vit_tiny_patch16_224", r"blocks.2.norm1.weight \[192\]"),
    "unknown-model": (lambda s: s, "vitt", "Unknown model 'vitt'"),
    "stitched": (lambda s: s, "stitched", "stitched"),
    "missing": (
        lambda s: drop(s, "blocks.1.mlp.fc2.bias"),
        "vit,heads=2",
        r"1 tensors are missing, blocks.1.mlp.fc2.bias \[16\]",
    ),
    "missing-block": (
        lambda s: {n: t for n, t in s.items() if "blocks.0" not in n},
        "vit,heads=2",
        "A ViT has blocks.0",
    ),
    "missing-positions": (lambda s: drop(s, "pos_embed"), "vit,heads=2", "A ViT has pos_embed"),
    "missing-kernel": (
        lambda s: drop(s, "patch_embed.proj.weight"),
        "vit,heads=2",
        "A ViT has patch_embed.proj.weight",
    ),
    "unknown": (
        lambda s: {**s, "more.weight": torch.ones(2)},
        "vit,heads=2",
        r"1 tensors are unknown, more.weight \[2\]",
    ),
    "distilled": (lambda s: {**s, "dist_token": torch.ones(1, 1, 16)}, "vit,heads=2", "dist_token"),
    "pruned": (
        lambda s: {**s, "blocks.1.mlp.fc1.weight": torch.ones(48, 16)},
        "vit,heads=2",
        r"blocks.1.mlp.fc1.weight \[48, 16\] where \[64, 16\] is expected",
    ),
    "odd-positions": (lambda s: {**s, "pos_embed": torch.ones(1, 19, 16)}, "vit,heads=2", "19 positions.*no square"),
    "long-patches": (
        lambda s: {**s, "patch_embed.proj.weight": torch.ones(16, 3, 8, 4)},
        "vit,heads=2",
        "patches are 8 x 4 pixels",
    ),
    "nan": (lambda s: {**s, "head.bias": torch.full((3,), float("nan"))}, "vit,heads=2", "'head.bias'.*not finite"),
    "infinite": (
        lambda s: {**s, "norm.bias": torch.full((16,), float("inf"))},
        "vit,heads=2",
        "'norm.bias'.*not finite",
    ),
    "model-with-odd-part": (lambda s: s, "vit,heads", "'heads' is not key=value"),
    "model-twice": (lambda s: s, "vit,heads=2,heads=3", "'heads' is given twice"),
    "entry-typo": (lambda s: {"model": s}, "vit,heads=2,entry=modle", "no entry 'modle'.*'model'.*entry=model"),
    "entry-of-plain": (lambda s: s, "vit,heads=2,entry=teacher", "no entry 'teacher'.*one set of weights"),
    "model-empty": (lambda s: s, ",heads=2", "no name"),
    "model-odd-value": (lambda s: s, "vit,heads=two", "heads"),
    "timm-odd-argument": (lambda s: s, "vit_tiny_patch16_224,colour=3", "colour"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_checkpoint_is_refused_with_its_content(case, vit, tmp_path):
    make, model, message = BAD[case]
    torch.save(make(vit.state_dict()), tmp_path / "w.pth")
    with pytest.raises(GermlineError, match=message):
        load_network(tmp_path / "w.pth", model)
    assert [path.name for path in tmp_path.iterdir()] == ["w.pth"]


RESNETS = {
    "bottleneck": (lambda s: {**s, "layer1.0.conv3.weight": torch.ones(2, 2, 1, 1)}, "Bottleneck"),
    "three-stages": (lambda s: {n: t for n, t in s.items() if "layer4" not in n}, "layer1 to layer4"),
    "kernel-of-5": (lambda s: {**s, "conv1.weight": torch.ones(8, 3, 5, 5)}, "5 x 5 pixels"),
    "wide-7x7": (lambda s: {**s, "conv1.weight": torch.ones(8, 3, 7, 7)}, "8 channels, and timm's has 64"),
    "averaging": (lambda s: {**s, "layer2.0.downsample.1.weight": torch.ones(2, 2, 1, 1)}, "average"),
    "attention": (lambda s: {**s, "layer1.0.se.fc1.weight": torch.ones(2, 2, 1, 1)}, "layer1.0.se.fc1.weight"),
    "other-blocks": (lambda s: {n.replace("conv2", "left.3"): t for n, t in s.items()}, "no conv2.weight"),
    "no-stem": (lambda s: drop(s, "conv1.weight"), "conv1"),
    "no-norm": (lambda s: drop(s, "layer1.0.bn1.running_mean"), "layer1.0.bn1.running_mean"),
}


@pytest.mark.parametrize("case", RESNETS)
def test_resnet_of_another_form_is_refused(case, tmp_path):
    make, message = RESNETS[case]
    torch.save(make(PlainResNet(5, (1, 1, 1, 1)).state_dict()), tmp_path / "w.pth")
    with pytest.raises(ArtefactError, match=message):
        load_network(tmp_path / "w.pth", "resnet")


def write_damaged(kind, vit, path):
    if kind == "script":
        torch.jit.save(torch.jit.trace(nn.Linear(2, 2), torch.ones(1, 2)), path)
        return
    torch.save(vit.state_dict(), path)
    content = path.read_bytes()
    contents = {"empty": b"", "cut": content[: len(content) // 2], "text": b"weights", "html": b"<html>404</html>"}
    contents |= {"json": b'{"a": 1}', "lfs": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n"}
    path.write_bytes(contents[kind])


@pytest.mark.parametrize("kind", ["empty", "cut", "text", "html", "json", "lfs", "script"])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_damaged_file_is_refused_by_name(kind, suffix, vit, tmp_path):
    write_damaged(kind, vit, tmp_path / f"w{suffix}")
    with pytest.raises(ArtefactError, match=f"w{suffix}"):
        load_network(tmp_path / f"w{suffix}", "vit,heads=2")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"image_size": 0}, "image_size=0"),
        ({"image_size": -3}, "image_size=-3"),
        ({"image_size": 100_000}, "1 to 4096"),
        ({"image_size": 64}, "for images of 32 pixels"),
        ({"mean": (0.5,) * 3}, "Mean without std"),
        ({"std": (0.5,) * 3}, "Std without mean"),
        ({"mean": (0.5,) * 2, "std": (0.5,) * 2}, "one number for grey or three"),
        ({"mean": (), "std": ()}, "one number for grey or three"),
        ({"mean": (124, 116, 104), "std": (58, 57, 57)}, "above 0|units of"),
        ({"mean": (0.5,) * 3, "std": (0.5,)}, "3 means and 1 deviations"),
        ({"mean": (0.5,) * 3, "std": (0.0,) * 3}, "above 0"),
        ({"mean": (0.5,) * 3, "std": (-0.5,) * 3}, "above 0"),
        ({"mean": (float("nan"),) * 3, "std": (0.5,) * 3}, "mean=nan"),
        ({"mean": (200.0,) * 3, "std": (0.5,) * 3}, "Divide them by 255"),
    ],
    ids=str,
)
def test_wrong_preprocessing_is_refused(given, message, vit, tmp_path):
    torch.save(vit.state_dict(), tmp_path / "w.pth")
    with pytest.raises(SettingError, match=message):
        load_network(tmp_path / "w.pth", "vit,heads=2", **given)


def test_given_preprocessing_is_used_without_assumptions(vit, tmp_path):
    torch.save(vit.state_dict(), tmp_path / "w.pth")
    network = load_network(tmp_path / "w.pth", "vit,heads=2", image_size=32, mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7))
    assert (network.preprocess.mean, network.preprocess.std) == ((0.1, 0.2, 0.3), (0.5, 0.6, 0.7))
    assert network.assumed == {"classes"}
    assert not [note for note in network.notes if "preprocessing" in note]


def test_other_sources_refuse_a_model_or_preprocessing(vit, ancestor, tmp_path):
    ancestor.save(tmp_path / "model")
    with pytest.raises(SettingError, match="The folder itself says them"):
        load_network(tmp_path / "model", image_size=32)
    with pytest.raises(SettingError, match="That is no file of weights"):
        load_network(tmp_path / "model", "vit_pico")
    with pytest.raises(SettingError, match="That is no file of weights"):
        load_network("timm:resnet10t", "resnet10t", weights=False)
    with pytest.raises(UnknownNameError):
        load_network("timm:no_such@32", weights=False)
