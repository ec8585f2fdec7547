"""The examples run as printed, and a method of another package works through its entry point alone."""

import json
import shutil
import tomllib
from pathlib import Path

import pytest
import timm

from helpers.processes import command, finish, module, script

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
RECIPE = """\
title: An example method on digits
protocol: samples
kind: quick
minutes: 1
data: digits
ancestor: {data: digits, path: ancestor}
arms:
  repeat: {method: repeat, settings: {keep: 1}}
  scratch: {method: scratch}
sizes: [depth=3]
images_per_class: [2]
seeds: [0]
train: {steps: 2, batch_size: 8}
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder with the example package as pip installs it: the module and its entry point."""
    place = tmp_path_factory.mktemp("site")
    project = tomllib.loads((EXAMPLES / "own_method" / "pyproject.toml").read_text())["project"]
    shutil.copytree(EXAMPLES / "own_method" / "germline_repeat", place / "germline_repeat")
    info = place / "germline_repeat-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    lines = [
        f"[{group}]\n{name} = {value}"
        for group, points in project["entry-points"].items()
        for name, value in points.items()
    ]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
    return place


@pytest.fixture
def run(installed, tmp_path, ancestor):
    """Function that runs a command in an empty folder with a small ancestor; returns the printed text."""
    ancestor.save(tmp_path / "ancestor")

    def call(target, cwd=tmp_path):
        done = finish(target, cwd, paths=[installed])
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return call


def test_train_and_inherit(run, tmp_path):
    out = run(script(EXAMPLES / "train_and_inherit.py", "made", "--steps", "3"))
    assert out.count("as inherited") == 3
    model = timm.create_model(f"local-dir:{tmp_path / 'made' / 'depth-8'}", pretrained=True)
    assert len(model.blocks) == 8


def test_own_method_on_the_command_line(run, tmp_path):
    assert "repeat" in run(command("list", "methods"))
    words = ("--method", "repeat", "--ancestor", "ancestor", "--data", "digits", "--out", "gene", "--quiet")
    run(command("condense", *words))
    assert json.loads((tmp_path / "gene" / "learngene.json").read_text())["method"] == "repeat"
    assert "any depth" in run(command("inspect", "gene", "--size", "depth=5"))
    run(command("report", "gene"))
    assert "Repeated blocks" in (tmp_path / "gene.html").read_text()
    run(command("inherit", "gene", "--size", "depth=5", "--out", "child"))
    assert len(timm.create_model(f"local-dir:{tmp_path / 'child'}", pretrained=True).blocks) == 5


def test_own_method_in_a_comparison_and_its_report(run, tmp_path):
    (tmp_path / "r.yaml").write_text(RECIPE)
    run(command("compare", "r.yaml", "--out", "compared", "--quiet"))
    report = (tmp_path / "compared" / "report.html").read_text()
    assert "Repeated blocks" in report
    assert "<td class=text>repeat</td><td>0</td><td>1</td><td>2</td>" in report


def test_own_method_enters_the_matrix(run):
    out = run(module("pytest", "-p", "no:cacheprovider", "tests/methods/test_matrix.py", "-k", "repeat"), cwd=ROOT)
    assert "3 passed" in out
