"""The commands in docs/methods/openworld.md run as printed, with small settings."""

import re
import shlex
import sys
from pathlib import Path

import pytest

from germline.cli import main

PAGE = (Path(__file__).parents[3] / "docs" / "methods" / "openworld.md").read_text(encoding="utf-8")
TINY = ["--set", "preset=tiny", "--quiet", "--device", "cpu"]
SHORT = ["--set", "steps=2", "--set", "batch_size=8", "--quiet", "--device", "cpu"]


def test_commands_of_the_page_run_in_order(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```\n(.*?)```", PAGE, re.DOTALL)
    for line in "".join(blocks).splitlines():
        words = shlex.split(line)
        words += {"condense": TINY, "train": SHORT}.get(words[1], [])
        if words[1] == "compare":
            words = ["germline", "check", words[2]]
        monkeypatch.setattr(sys, "argv", words)
        with pytest.raises(SystemExit) as stop:
            main()
        assert stop.value.code == 0, (line, capsys.readouterr().err)
    assert Path("runs/novel/model.safetensors").is_file()
    assert Path("genes/ow.html").is_file()
    assert Path("genes/open/learngene.json").is_file()
