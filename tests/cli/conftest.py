"""Fixtures: commands that run in this process, and a working folder with small artefacts."""

import shutil
import sys
from dataclasses import dataclass

import pytest

from germline.architectures import Size
from germline.cli import main
from helpers.light_processes import LightServer


@dataclass(frozen=True)
class Done:
    """Exit code and both streams of a command."""

    code: int
    out: str
    err: str


@pytest.fixture
def run(monkeypatch, capsys):
    """Function that runs `germline WORDS` as the console script does."""

    def call(*words):
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["germline", *map(str, words)])
        with pytest.raises(SystemExit) as stop:
            main()
        captured = capsys.readouterr()
        return Done(stop.value.code, captured.out, captured.err)

    return call


@pytest.fixture(scope="session")
def artefacts(ancestors, gene, tmp_path_factory):
    """Folders of a trained ancestor, its gene, a descendant for three other classes, and a small CNN."""
    place = tmp_path_factory.mktemp("artefacts")
    ancestors["vit"].save(place / "ancestor")
    ancestors["vgg"].save(place / "cnn")
    gene.save(place / "gene")
    gene.inherit(Size(depth=3), ("a", "b", "c")).save(place / "child")
    return place


@pytest.fixture
def workdir(artefacts, tmp_path, monkeypatch):
    """Working folder with copies of the artefacts."""
    place = tmp_path / "workdir"
    shutil.copytree(artefacts, place)
    monkeypatch.chdir(place)
    return place


@pytest.fixture(scope="session")
def light(tmp_path_factory):
    """Function that runs commands in processes that have not imported torch."""
    server = LightServer(tmp_path_factory.mktemp("light"))
    yield server.run
    server.close()
