"""Examples and commands of the README run, with fewer steps."""

import re
import shlex
import shutil
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from germline.cli import main
from germline.compare.run.data_cache import PACKAGED
from germline.loading import load_network
from germline.registry import architecture_of, model_spec

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")


def block(language, start):
    """The first fenced block of a language after some text."""
    found = re.search(rf"```{language}\n(.*?)```", README[README.index(start) :], re.DOTALL)
    assert found is not None
    return found.group(1)


def test_python_example_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(PACKAGED, "runs/ancestor")
    example, count = re.subn(r"steps=\d+", "steps=2", block("python", "## In Python"))
    assert count == 1
    names = {}
    exec(example, names)
    assert len(names["child"].model.blocks) == 3
    assert sum(names["child"].ledger.shares().values()) == pytest.approx(1)
    assert Path("models/d3/model.safetensors").is_file()


def test_commands_on_an_own_checkpoint_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for index in range(24):
        file = Path("photos") / "abc"[index % 3] / f"{index}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(torch.randint(0, 255, (32, 32), generator=torch.manual_seed(index)).byte().numpy()).save(file)
    spec = model_spec("vit_pico", image_size=32, channels=3, classes=3)
    torch.save(architecture_of(spec).build(spec).state_dict(), "vit.pth")
    lines = block("", "On your own checkpoint").splitlines()
    assert len(lines) == 3
    for line in lines:
        # A small network in place of a ViT-S, and few steps.
        words = shlex.split(line.replace("vit_small_patch16_224", "vit_pico").replace("depth=6", "depth=3"))
        words += ["--set", "steps=2", "--set", "batch_size=8"] if words[1] != "inherit" else []
        monkeypatch.setattr(sys, "argv", words)
        with pytest.raises(SystemExit) as stop:
            main()
        assert stop.value.code == 0, (line, capsys.readouterr().err)
    assert len(load_network("vit6-trained").model.blocks) == 3


def test_commands_run_in_their_order(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for line in block("", "## On the command line").splitlines():
        words = shlex.split(re.sub(r"steps=\d+", "steps=2", line))
        if words[1] in ("train", "condense"):
            words += ["--set", "steps=2", "--quiet"]
        if words[1] == "compare":
            words = ["germline", "check", words[2]]
        monkeypatch.setattr(sys, "argv", words)
        with pytest.raises(SystemExit) as stop:
            main()
        assert stop.value.code == 0, (line, capsys.readouterr().err)
    assert Path("runs/d4/model.safetensors").is_file()


def test_readme_has_one_test_command():
    commands = [line for line in README.splitlines() if line.startswith("python3 -m pip install") and "pytest" in line]
    assert len(commands) == 1
