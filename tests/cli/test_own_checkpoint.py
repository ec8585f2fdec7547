"""A checkpoint of a plain PyTorch script: commands reproduce the script's accuracy, or print their assumptions."""

import json

import pytest
import torch
from torch.nn.functional import cross_entropy

from germline.data import load_data
from helpers.plain_resnet import PlainResNet


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Checkpoint of a small ResNet on grey digits of 32 pixels, and the accuracy that the script measures."""
    torch.manual_seed(0)
    digits = load_data("digits")
    mean, std = 0.4, 0.3
    images, labels = (digits.train.images / 255 - mean) / std, digits.train.labels
    model = PlainResNet(10, (1, 1, 1, 1), 8, channels=1)
    optimizer = torch.optim.AdamW(model.parameters(), 5e-3)
    for _ in range(40):
        chosen = torch.randint(len(images), (64,))
        optimizer.zero_grad()
        cross_entropy(model(images[chosen]), labels[chosen]).backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        guess = model((digits.val.images / 255 - mean) / std).argmax(1)
    place = tmp_path_factory.mktemp("script")
    torch.save({"net": {f"module.{n}": t for n, t in model.state_dict().items()}, "epoch": 1}, place / "best.pth")
    return place / "best.pth", float((guess == digits.val.labels).float().mean())


WEIGHTS = ("--model", "resnet", "--image-size", "32", "--mean", "0.4", "--std", "0.3")


def test_accuracy_equals_that_of_the_script(trained, run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path, accuracy = trained
    assert accuracy > 0.5
    done = run("evaluate", path, *WEIGHTS, "--data", "digits", "--json", "scores.json", "--quiet")
    assert done.code == 0, done.err
    assert json.loads((tmp_path / "scores.json").read_text())["accuracy"] == pytest.approx(accuracy, abs=1e-3)
    words = ("condense", "--method", "finetune", "--ancestor", path, *WEIGHTS, "--data", "digits", "--out", "gene")
    done = run(*words, "--device", "cpu")
    assert done.code == 0, done.err
    assert f"the ancestor's accuracy is {accuracy:.2%} on 360 validation images" in done.err
    facts = json.loads((tmp_path / "gene.run" / "ancestor.json").read_text())
    assert facts["accuracy"] == pytest.approx(accuracy, abs=1e-3)
    assert facts["preprocess"] == {"channels": 1, "image_size": 32, "mean": [0.4], "std": [0.3]}


def test_missing_options_are_assumed_and_printed(trained, run, tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    path, accuracy = trained
    done = run(
        "condense", "--method", "finetune", "--ancestor", path, "--model", "resnet", "--data", "digits", "--out", "g"
    )
    assert done.code == 0, done.err
    assert "assumed preprocessing: 1 x 32 x 32" in caplog.text
    assert "assumed stem: 3 x 3 pixels" in caplog.text
    facts = json.loads((tmp_path / "g.run" / "ancestor.json").read_text())
    assert facts["accuracy"] > accuracy - 0.1


def test_work_does_not_resume_with_another_preprocessing(trained, run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ("condense", "--method", "finetune", "--ancestor", trained[0], "--model", "resnet", "--data", "digits")
    for out, first, second in (("plain", (), ("--mean", "0.4", "--std", "0.3")), ("given", WEIGHTS[2:], ())):
        assert run(*words, "--out", out, *first).code == 0
        assert run(*words, "--out", out, *first, "--resume").code == 0
        done = run(*words, "--out", out, *second, "--resume")
        assert done.code == 2
        assert "was started with" in done.err


def test_gene_of_the_checkpoint_grows_networks_that_are_evaluated(trained, run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path, _ = trained
    words = ("condense", "--method", "weight-selection", "--ancestor", path, *WEIGHTS, "--data", "digits")
    assert run(*words, "--out", "gene", "--quiet").code == 0
    for size in ("width=4", "width=6", "width=8"):
        assert run("inherit", "gene", "--size", size, "--out", f"child-{size}").code == 0
        done = run("evaluate", f"child-{size}", "--data", "digits", "--quiet")
        assert done.code == 0, done.err


BAD = {
    "no-model": ((), "Its architecture is unknown"),
    "wrong-model": (("--model", "resnet18"), "depths=(2, 2, 2, 2) is expected"),
    "other-family": (("--model", "vit,heads=2"), "A ViT has patch_embed.proj.weight"),
    "no-such-model": (("--model", "resnot"), "Unknown model 'resnot'"),
    "mean-text": ((*WEIGHTS[:2], "--mean", "grey", "--std", "0.3"), "--mean grey"),
    "mean-alone": ((*WEIGHTS[:2], "--mean", "0.5"), "Mean without std"),
    "mean-of-255": ((*WEIGHTS[:2], "--mean", "120", "--std", "0.5"), "Divide them by 255"),
    "mean-of-two": ((*WEIGHTS[:2], "--mean", "0.5,0.5", "--std", "0.5,0.5"), "one number for grey or three"),
    "std-zero": ((*WEIGHTS[:2], "--mean", "0.5", "--std", "0"), "above 0"),
    "size-zero": ((*WEIGHTS[:2], "--image-size", "0"), "image_size=0"),
}


@pytest.mark.parametrize("case", BAD)
@pytest.mark.parametrize("command", ["condense", "evaluate"])
def test_a_wrong_option_writes_nothing(case, command, trained, run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options, message = BAD[case]
    place = ("--method", "finetune", "--out", "gene", "--ancestor") if command == "condense" else ()
    done = run(command, *place, trained[0], *options, "--data", "digits", "--quiet")
    assert done.code == 2
    assert message in done.err
    assert len(done.err.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_options_of_weight_files_need_a_weight_file(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = run("condense", "--method", "scratch", "--data", "digits", "--out", "gene", "--image-size", "32")
    assert done.code == 2
    assert "--image-size without --ancestor" in done.err
