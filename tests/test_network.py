"""Model folders load in timm without germline, and damaged ones are refused."""

import json
import os
import subprocess
import sys

import pytest
import timm
import torch
from torch import nn

from germline.architectures import Preprocess, Size
from germline.errors import ArtefactError, OutputError, SettingError, UnknownNameError
from germline.files import write_tensors
from germline.loading import load_network, wrap_module
from germline.network import CONFIG, WEIGHTS, Network, load_strict
from germline.registry import model_spec

PROGRAM = """
import sys
import timm, torch
folder, images, out = sys.argv[1:]
torch.set_num_threads(1)
model = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
with torch.no_grad():
    logits = model(torch.load(images, weights_only=True))
assert "germline" not in sys.modules
torch.save({"logits": logits, "size": list(model.pretrained_cfg["input_size"])}, out)
"""


@pytest.fixture
def folder(ancestor, tmp_path):
    ancestor.save(tmp_path / "model")
    return tmp_path / "model"


def check_refusal(place, *words, kind=ArtefactError, model=None):
    with pytest.raises(kind) as caught:
        load_network(place, model)
    assert all(word in str(caught.value) for word in words)


def test_timm_computes_the_same_in_a_process_without_germline(gene, pixels, tmp_path):
    child = gene.inherit(size=Size(depth=6), classes=("a", "b", "c"), channels=3).network
    child.save(tmp_path / "child")
    images = child.preprocess(pixels)
    torch.save(images, tmp_path / "images.pt")
    command = [sys.executable, "-I", "-c", PROGRAM, str(tmp_path / "child"), str(tmp_path / "images.pt")]
    done = subprocess.run([*command, str(tmp_path / "out.pt")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = torch.load(tmp_path / "out.pt", weights_only=True)
    with torch.no_grad():
        assert torch.equal(found["logits"], child.model(images))
    assert found["size"] == [3, 32, 32]


def test_folder_has_the_facts_of_its_network(ancestor, folder):
    config = json.loads((folder / CONFIG).read_text())
    data = config["pretrained_cfg"]
    assert (config["num_classes"], data["num_classes"]) == (10, 10)
    assert config["label_names"] == list(ancestor.classes)
    assert data["input_size"] == [1, 32, 32]
    assert (data["mean"], data["std"]) == (list(ancestor.preprocess.mean), list(ancestor.preprocess.std))
    assert (data["tag"], data["license"]) == ("", "mit")
    assert (config["model_args"]["depth"], config["model_args"]["embed_dim"]) == (2, 16)
    text = json.dumps(config)
    assert not [word for word in ("imagenet", "augreg", "hf_hub_id", "in21k", "apache") if word in text.lower()]
    model = timm.create_model(f"local-dir:{folder}", pretrained=True)
    assert model.pretrained_cfg["tag"] == ""
    assert tuple(model.pretrained_cfg["input_size"]) == (1, 32, 32)
    assert tuple(model.pretrained_cfg["mean"]) == ancestor.preprocess.mean
    assert model.num_classes == 10


def test_saved_folder_loads_as_an_equal_network(ancestor, folder, pixels):
    for name in (folder, str(folder), f"local-dir:{folder}"):
        found = load_network(name)
        assert (found.spec, found.classes, found.licence) == (ancestor.spec, ancestor.classes, "mit")
        assert found.preprocess == ancestor.preprocess
        with torch.no_grad():
            assert torch.equal(found.logits(pixels), ancestor.logits(pixels))


@pytest.mark.parametrize(
    "changes",
    [
        {"class_token": True, "global_pool": "token"},
        {"reg_tokens": 2, "class_token": True, "no_embed_class": True},
        {"init_values": 1e-5},
        {"qkv_bias": False, "qk_norm": True, "mlp_ratio": 3.0},
        {"norm_first": False, "channels": 3},
    ],
)
def test_every_vit_form_loads_from_its_folder(make_network, pixels, tmp_path, changes):
    network = make_network(**changes)
    network.save(tmp_path / "model")
    found = load_network(tmp_path / "model")
    assert found.spec == network.spec
    with torch.no_grad():
        assert torch.equal(found.logits(pixels), network.logits(pixels))


@pytest.mark.parametrize("name", ["network", "descendant", "gene"])
def test_save_into_the_working_folder_is_refused(ancestor, gene, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    saved = {"network": ancestor, "descendant": gene.inherit(Size(depth=2)), "gene": gene}[name]
    with pytest.raises(OutputError, match=r"'\.' cannot be an output folder"):
        saved.save(".")
    assert list(tmp_path.iterdir()) == []


def test_saving_over_a_folder_needs_overwrite(make_network, folder, ancestor):
    before = (folder / WEIGHTS).read_bytes()
    with pytest.raises(OutputError, match="is not empty"):
        make_network().save(folder)
    assert (folder / WEIGHTS).read_bytes() == before
    load_network(folder).save(folder, overwrite=True)
    assert (folder / WEIGHTS).read_bytes() == before


def test_network_without_a_spec_computes_but_is_not_saved(tmp_path):
    network = Network(nn.Flatten(), Preprocess(channels=1, image_size=4, mean=(0.0,), std=(1.0,)), ("a",))
    assert network.logits(torch.rand(2, 1, 4, 4)).shape == (2, 16)
    with pytest.raises(ArtefactError, match="No architecture of germline can rebuild it"):
        network.save(tmp_path / "model")
    assert [path.name for path in tmp_path.iterdir()] == []


def test_changed_module_is_not_saved_under_its_old_facts(make_network, gene, tmp_path):
    child = gene.inherit()
    child.model.reset_classifier(3)
    for save in (child.save, child.network.save):
        with pytest.raises(ArtefactError, match=r"tensor \"head.bias \(3,\)\" is missing, unknown"):
            save(tmp_path / "model")
    network = make_network()
    fewer = Network(network.model, network.preprocess, network.classes[:2], spec=network.spec)
    with pytest.raises(ArtefactError, match="It has 10 outputs and 2 class names"):
        fewer.save(tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def test_module_that_is_given_without_a_spec_is_saved(gene, pixels, tmp_path):
    child = gene.inherit()
    child.model.reset_classifier(3)
    network = Network(child.model, child.network.preprocess, ("a", "b", "c"))
    network.save(tmp_path / "model")
    found = load_network(tmp_path / "model")
    assert (found.classes, found.spec.classes) == (("a", "b", "c"), 3)
    with torch.no_grad():
        assert torch.equal(found.logits(pixels), network.logits(pixels))


def test_damaged_folders_are_refused_by_name(folder):
    weights = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(weights[:-10])
    check_refusal(folder, WEIGHTS, "damaged")
    torch.save({}, folder / WEIGHTS)
    check_refusal(folder, WEIGHTS, "is a pickle")
    (folder / WEIGHTS).unlink()
    check_refusal(folder, WEIGHTS, "Cannot read")
    (folder / WEIGHTS).write_bytes(weights)
    config = json.loads((folder / CONFIG).read_text())
    for text in (
        "{",
        "[]",
        "{}",
        json.dumps({**config, "model_args": {"no_such": 1}}),
        json.dumps({**config, "pretrained_cfg": {}}),
    ):
        (folder / CONFIG).write_text(text)
        check_refusal(folder, CONFIG)
    (folder / CONFIG).write_text(json.dumps({**config, "model_args": {**config["model_args"], "num_heads": 3}}))
    check_refusal(folder)
    (folder / CONFIG).write_text(json.dumps({**config, "architecture": "vit_bose"}))
    check_refusal(folder, "vit_bose", kind=UnknownNameError)
    (folder / CONFIG).write_text(json.dumps({**config, "num_classes": 4, "label_names": None}))
    check_refusal(folder, WEIGHTS, "head.")


def test_unknown_names_and_paths_are_refused(tmp_path):
    check_refusal(tmp_path / "nowhere", "No network at", "--model")
    check_refusal("timm:vit_no_such_thing", "vit_no_such_thing", kind=UnknownNameError)
    check_refusal(tmp_path, CONFIG)


@pytest.fixture
def resnet():
    torch.manual_seed(0)
    return timm.create_model("resnet10t", num_classes=4).eval()


def test_weight_files_need_the_name_of_their_model(resnet, tmp_path, pixels):
    torch.save(resnet.state_dict(), tmp_path / "plain.pth")
    torch.save({"model": resnet.state_dict(), "epoch": 3}, tmp_path / "nested.pth")
    write_tensors(tmp_path / "safe.safetensors", resnet.state_dict())
    for name in ("plain.pth", "nested.pth", "safe.safetensors"):
        found = load_network(tmp_path / name, "resnet10t")
        assert found.spec is None
        assert found.classes == ("0", "1", "2", "3")
        with torch.no_grad():
            assert torch.equal(found.logits(pixels), resnet(found.preprocess(pixels)))
        check_refusal(tmp_path / name, "Its architecture is unknown", "--model", kind=SettingError)
        check_refusal(tmp_path / name, name, "does not fit the network", model="resnet18")


def test_timm_resnet_has_a_spec_by_name_and_by_file(tmp_path):
    named = load_network("timm:resnet18", weights=False)
    assert named.spec == model_spec("resnet18", image_size=224, channels=3, classes=1000)
    model = timm.create_model("resnet18", num_classes=3, layers=(1, 1, 1, 1), channels=(4, 4, 4, 4))
    wrap_module(model, named.preprocess, ("a", "b", "c")).save(tmp_path / "net")
    again = load_network(tmp_path / "net")
    assert (again.spec.depths, again.spec.widths, again.spec.image_size) == ((1, 1, 1, 1), (4, 4, 4, 4), 224)
    assert all(torch.equal(tensor, model.state_dict()[name]) for name, tensor in again.model.state_dict().items())
    del model.pretrained_cfg
    small = Preprocess(channels=3, image_size=32, mean=(0.5,) * 3, std=(0.5,) * 3)
    assert wrap_module(model, small, ("a", "b", "c")).spec.image_size == 32


def test_malicious_pth_is_refused_and_not_run(tmp_path):
    class Trap:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "sprung"),))

    torch.save({"model": Trap()}, tmp_path / "trap.pth")
    check_refusal(tmp_path / "trap.pth", "trap.pth", "weights_only=True", model="resnet10t")
    assert not (tmp_path / "sprung").exists()


def test_pth_without_weights_is_refused(resnet, tmp_path):
    torch.save({"epoch": 3}, tmp_path / "none.pth")
    check_refusal(tmp_path / "none.pth", "none.pth", "holds no state dict", model="resnet10t")
    torch.save(resnet.state_dict(), tmp_path / "cut.pth")
    content = (tmp_path / "cut.pth").read_bytes()
    (tmp_path / "cut.pth").write_bytes(content[: len(content) // 2])
    check_refusal(tmp_path / "cut.pth", "cut.pth", model="resnet10t")


def test_strict_loading_names_the_first_wrong_tensor():
    model = nn.Linear(2, 3)
    good = dict(model.state_dict())
    for wrong, name in (
        ({"weight": good["weight"]}, "bias"),
        ({**good, "more": torch.zeros(1)}, "more"),
        ({**good, "weight": torch.zeros(2, 3)}, "weight (2, 3)"),
    ):
        with pytest.raises(ArtefactError) as caught:
            load_strict(model, wrong, "here")
        assert name in str(caught.value)
        assert "'here'" in str(caught.value)
    assert torch.equal(model.weight, good["weight"])
