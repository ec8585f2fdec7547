"""What the README prints runs as printed, with fewer steps."""

import re
import shlex
import shutil
import sys
from pathlib import Path

import pytest

from germline.cli import main
from germline.compare.run.data_cache import PACKAGED

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")


def block(language, start):
    """The first fenced block of a language after some text."""
    found = re.search(rf"```{language}\n(.*?)```", README[README.index(start) :], re.DOTALL)
    assert found is not None
    return found.group(1)


def test_the_python_example_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(PACKAGED, "runs/ancestor")
    example, count = re.subn(r"steps=\d+", "steps=2", block("python", "## In Python"))
    assert count == 1
    names = {}
    exec(example, names)
    assert len(names["child"].model.blocks) == 3
    assert sum(names["child"].ledger.shares().values()) == pytest.approx(1)
    assert Path("models/d3/model.safetensors").is_file()


def test_the_commands_run_in_their_order(tmp_path, monkeypatch, capsys):
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


def test_there_is_one_test_command_for_ci_to_find():
    commands = [line for line in README.splitlines() if line.startswith("python3 -m pip install") and "pytest" in line]
    assert len(commands) == 1
