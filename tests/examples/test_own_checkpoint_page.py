"""The page about own checkpoints runs as printed, on networks that plain PyTorch scripts trained."""

import contextlib
import importlib.util
import io
import json
import re
import shlex
import sys
from pathlib import Path

import pytest

import germline as gl
from germline.cli import main

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "how-to" / "own-checkpoint.md").read_text(encoding="utf-8")
COMMANDS = PAGE.replace("steps=200", "steps=20")  # a poor gene grows descendants too
RESNET, TRAINED, VIT = (block.strip().splitlines() for block in re.findall(r"```console\n(.*?)```", COMMANDS, re.S))


def load_script(name):
    spec = importlib.util.spec_from_file_location(f"own_checkpoint_{name}", ROOT / "examples/own_checkpoint" / name)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with the images and both checkpoints, and the accuracies that the script printed."""
    folder = tmp_path_factory.mktemp("own")
    load_script("write_images.py").main(folder / "images")
    accuracies = {}
    for kind in ("resnet", "vit"):
        printed = io.StringIO()
        script = load_script("train.py")
        script.STEPS["vit"] = 30  # only equal accuracies matter
        with contextlib.redirect_stdout(printed):
            script.main(kind, folder / "images", folder / f"{kind}.pth")
        assert printed.getvalue().endswith("--mean 0.3048,0.3048,0.3048 --std 0.3755,0.3755,0.3755\n")
        accuracies[kind] = float(printed.getvalue().split()[1])
    return folder, accuracies


@pytest.fixture
def run(place, monkeypatch, capsys):
    """Function that runs a line of the page in the folder; returns the text of both streams."""
    monkeypatch.chdir(place[0])

    def call(line):
        monkeypatch.setattr(sys, "argv", shlex.split(line))
        with pytest.raises(SystemExit) as stop:
            main()
        printed = capsys.readouterr()
        assert stop.value.code == 0, printed.err
        return printed.out + printed.err

    return call


def read_ancestor_accuracy(printed):
    return float(re.search(r"the ancestor's accuracy is ([\d.]+)%", printed)[1]) / 100


def read_parameter_count(printed):
    return int(re.search(r"([\d,]+) parameters", printed)[1].replace(",", ""))


def test_a_resnet_gives_three_sizes_in_five_commands(run, place, caplog):
    assert len(RESNET) == 5
    condensed, *grown, evaluated = map(run, RESNET)
    assert read_ancestor_accuracy(condensed) == pytest.approx(place[1]["resnet"], abs=1e-3)
    assert place[1]["resnet"] > 0.8
    assert "assumed stem: 3 x 3 pixels with stride 1" in caplog.text
    counts = [read_parameter_count(text) for text in grown]
    assert counts == sorted(counts, reverse=True)
    assert len(set(counts)) == 3
    assert re.search(r"accuracy 0\.\d+", evaluated)


def test_a_descendant_is_trained_evaluated_and_exported(run, place):
    if not (place[0] / "smallest").exists():
        [run(line) for line in RESNET[:4]]
    trained, _, exported = map(run, TRAINED)
    accuracy = json.loads((place[0] / "trained.json").read_text())["accuracy"]
    assert accuracy == pytest.approx(float(re.search(r"accuracy ([\d.]+)", trained)[1]), abs=1e-4)
    assert accuracy > 0.5
    assert "equal to the network within" in exported


def test_a_custom_vit_gives_three_depths(run, place):
    assert (PAGE.count("steps=200"), len(VIT)) == (1, 6)
    condensed, *grown, evaluated, exported = map(run, VIT)
    assert read_ancestor_accuracy(condensed) == pytest.approx(place[1]["vit"], abs=1e-3)
    counts = [read_parameter_count(text) for text in grown]
    assert counts == sorted(counts)
    assert gl.load_network(place[0] / "vit8").spec.depth == 8
    # At the depth of the auxiliary model a descendant is that model.
    auxiliary = float(re.search(r"auxiliary accuracy \(val\) ([\d.]+)", condensed)[1])
    assert float(re.search(r"accuracy ([\d.]+)", evaluated)[1]) == pytest.approx(auxiliary, abs=1e-3)
    assert "equal to the network within" in exported


def test_python_of_the_page_runs(place, monkeypatch):
    monkeypatch.chdir(place[0])
    scope = {}
    exec(re.search(r"```python\n(.*?)```", PAGE, re.S)[1], scope)
    assert scope["gene"].classes == tuple("0123456789")
    assert gl.load_network("descendant").spec == scope["child"].network.spec
