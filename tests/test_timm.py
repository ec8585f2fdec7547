"""Our networks have timm's interface: they are registered by one import, loaded exactly, and used as backbones."""

import json
import subprocess
import sys

import pytest
import timm
import torch

import germline.timm  # noqa: F401 - registers them
from germline.architectures import Size, count_elements
from germline.baselines.finetune import Finetune
from germline.loading import load_network
from germline.network import CONFIG
from germline.training import CrossEntropy, Run, TrainSettings, score_model

NAMES = {"vgg": "germline_vgg", "resnet12": "germline_resnet12"}
OURS = {**NAMES, "stitched": "germline_stitched_vit"}
PROGRAM = """
import sys
import torch
import germline.timm  # noqa: F401 - registers them
import timm
torch.set_num_threads(1)
folder, images, out = sys.argv[1:]
model = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
with torch.no_grad():
    logits = model(torch.load(images, weights_only=True))
ours = sorted(name for name in sys.modules if name.startswith("germline"))
assert ours == ["germline", "germline.timm", *(f"germline.timm.{name}" for name in ("resnet", "staged", "stitched"))]
torch.save(logits, out)
"""


@pytest.fixture(params=OURS)
def network(request, ancestors):
    return ancestors[request.param]


@pytest.fixture(params=NAMES)
def staged(request, ancestors):
    return ancestors[request.param]


def test_timm_computes_the_same_in_a_process_with_one_import(ancestors, pixels, tmp_path):
    # All run in one process, because a process takes seconds to start.
    runs = []
    for name in OURS:
        ancestors[name].save(tmp_path / name)
        torch.save(ancestors[name].preprocess(pixels), tmp_path / f"{name}.images")
        runs += [f"sys.argv[1:] = {[str(tmp_path / f'{name}{end}') for end in ('', '.images', '.logits')]}\n{PROGRAM}"]
    code = "import sys\n" + "\n".join(runs)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for name in OURS:
        with torch.no_grad():
            found = torch.load(tmp_path / f"{name}.logits", weights_only=True)
            assert torch.equal(found, ancestors[name].logits(pixels))


def test_folder_describes_the_network(network, tmp_path):
    network.save(tmp_path / "model")
    config = json.loads((tmp_path / "model" / CONFIG).read_text())
    assert config["architecture"] in OURS.values()
    data = config["pretrained_cfg"]
    form = ("head", True) if config["architecture"] == OURS["stitched"] else ("head.fc", False)
    assert (data["classifier"], data["fixed_input_size"], data["input_size"]) == (*form, [1, 32, 32])
    first = [data["first_conv"]] if isinstance(data["first_conv"], str) else data["first_conv"]
    assert {f"{name}.weight" for name in first} == {
        name for name, value in network.model.state_dict().items() if value.ndim == 4 and value.shape[1] == 1
    }
    assert "import germline.timm" in (tmp_path / "model" / "README.md").read_text()
    found = load_network(tmp_path / "model")
    assert (found.spec, found.classes, found.preprocess) == (network.spec, network.classes, network.preprocess)


def test_timm_changes_head_and_channels_of_a_folder(network, pixels, tmp_path):
    network.save(tmp_path / "model")
    place = f"local-dir:{tmp_path / 'model'}"
    other = timm.create_model(place, pretrained=True, num_classes=3).eval()
    with torch.no_grad():
        assert other(network.preprocess(pixels)).shape == (8, 3)
    own = network.model.state_dict()
    kept = [name for name, value in other.state_dict().items() if not name.startswith("head.")]
    assert kept
    assert all(torch.equal(other.state_dict()[name], own[name]) for name in kept)


@pytest.mark.parametrize("name", NAMES.values())
def test_networks_have_timms_interface(name):
    model = timm.create_model(name, num_classes=4, in_chans=1).eval()
    images = torch.rand(2, 1, 48, 48)
    with torch.no_grad():
        maps = model.forward_features(images)
        assert maps.shape[:2] == (2, model.num_features)
        pooled = model.forward_head(maps, pre_logits=True)
        assert torch.allclose(pooled, maps.mean(dim=(2, 3)))
        assert torch.equal(model.get_classifier()(pooled), model(images))
        model.reset_classifier(0)
        assert torch.equal(model(images), pooled)
        model.reset_classifier(0, "")
        assert torch.equal(model(images), maps)
        model.reset_classifier(7, "avg")
        assert model(images).shape == (2, model.num_classes) == (2, 7)
    assert model.pretrained_cfg["classifier"] == model.default_cfg["classifier"] == "head.fc"
    model.set_grad_checkpointing()
    assert all(stage.grad_checkpointing for stage in model.stages)


@pytest.mark.parametrize("name", NAMES.values())
def test_backbones_give_the_stages(name):
    model = timm.create_model(name, features_only=True, out_indices=(1, -1)).eval()
    last = len(timm.create_model(name).stages) - 1
    assert model.feature_info.channels() == [128, 512]
    assert model.feature_info.reduction() == [2, 2**last]
    with torch.no_grad():
        assert [tuple(f.shape[1:]) for f in model(torch.rand(1, 3, 32, 32))] == [
            (128, 16, 16),
            (512, 32 >> last, 32 >> last),
        ]


def test_intermediates_are_returned_with_the_maps(staged, pixels):
    model, images = staged.model, staged.preprocess(pixels)
    with torch.no_grad():
        maps, found = model.forward_intermediates(images)
        assert torch.equal(maps, model.forward_features(images))
        assert len(found) == len(model.stages)
        first = model.forward_intermediates(images, indices=[0], stop_early=True, intermediates_only=True)
    assert torch.equal(first[0], found[0])
    with pytest.raises(ValueError, match="NCHW alone"):
        model.forward_intermediates(images, output_fmt="NLC")


def test_parameters_are_grouped_by_depth(staged):
    from timm.models import group_parameters

    groups = group_parameters(staged.model, staged.model.group_matcher(coarse=True))
    assert len(groups) == len(staged.model.stages) + 1


@pytest.mark.parametrize("name", NAMES)
def test_statistics_are_inherited_trained_and_saved(name, ancestors, pico, pixels, tmp_path):
    run = Run(device="cpu", quiet=True)
    gene = Finetune().condense(ancestors[name], pico, run)
    child = gene.inherit(Size(), pico.classes)
    statistics = [key for key in count_elements(child.model) if "running" in key or "tracked" in key]
    assert statistics
    assert all(torch.equal(child.model.state_dict()[key], gene.tensors[key]) for key in statistics)
    assert all(child.ledger.entries[key] == {"copied": gene.tensors[key].numel()} for key in statistics)
    run.fit("child", child.network, CrossEntropy(), pico.train, TrainSettings(steps=2, batch_size=40))
    trained = child.model.state_dict()
    assert not [key for key in statistics if torch.equal(trained[key], gene.tensors[key])]
    assert {int(trained[key]) for key in statistics if "tracked" in key} == {4}
    # Scoring uses the running statistics: logits do not depend on other images, and no statistic changes.
    before = {key: value.clone() for key, value in trained.items()}
    score_model(child.model, child.network.logits, pico.val)
    assert all(torch.equal(value, before[key]) for key, value in child.model.state_dict().items())
    with torch.no_grad():
        assert torch.allclose(child.network.logits(pixels)[:1], child.network.logits(pixels[:1]), atol=1e-5)
    child.save(tmp_path / "child")
    found = load_network(tmp_path / "child").model.state_dict()
    assert all(torch.equal(found[key], value) for key, value in trained.items())


@pytest.mark.parametrize("name", NAMES)
def test_gene_adapts_to_other_channels(name, ancestors, pico, pixels):
    gene = Finetune().condense(ancestors[name], pico, Run(device="cpu", quiet=True))
    same, colour = gene.inherit(), gene.inherit(channels=3)
    assert not any(counts["adapted"] for counts in same.ledger.entries.values())
    adapted = {key for key, counts in colour.ledger.entries.items() if counts["adapted"]}
    assert adapted == {
        key for key, value in colour.model.state_dict().items() if value.ndim == 4 and value.shape[1] == 3
    }
    assert len(adapted) == {"vgg": 1, "resnet12": 2}[name]
    with torch.no_grad():
        assert torch.allclose(colour.network.logits(pixels), same.network.logits(pixels), atol=1e-5)
