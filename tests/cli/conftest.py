"""The real command line, run in this process, and a folder of small things to run it on."""

import shutil
import sys
from dataclasses import dataclass

import pytest

from germline.architectures import Size
from germline.cli import main
from helpers.light_processes import LightServer


@dataclass(frozen=True)
class Done:
    """What a command left behind: its exit code and both streams."""

    code: int
    out: str
    err: str


@pytest.fixture
def run(monkeypatch, capsys):
    """Runs `germline ...` as the console script does."""

    def call(*words):
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["germline", *map(str, words)])
        with pytest.raises(SystemExit) as stop:
            main()
        said = capsys.readouterr()
        return Done(stop.value.code, said.out, said.err)

    return call


@pytest.fixture(scope="session")
def made(ancestors, gene, tmp_path_factory):
    """As folders: a trained ancestor, a gene condensed from it, a descendant for three other classes, a small CNN."""
    place = tmp_path_factory.mktemp("made")
    ancestors["vit"].save(place / "ancestor")
    ancestors["vgg"].save(place / "cnn")
    gene.save(place / "gene")
    gene.inherit(Size(depth=3), ("a", "b", "c")).save(place / "child")
    return place


@pytest.fixture
def bench(made, tmp_path, monkeypatch):
    """A working folder with copies of what was made."""
    place = tmp_path / "bench"
    shutil.copytree(made, place)
    monkeypatch.chdir(place)
    return place


@pytest.fixture(scope="session")
def light(tmp_path_factory):
    """Runs commands in processes that have not imported torch."""
    server = LightServer(tmp_path_factory.mktemp("light"))
    yield server.run
    server.close()
