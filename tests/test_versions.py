"""The floors that `tools/test_versions.py` pins equal those of `pyproject.toml`."""

import importlib.util
import json
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SPEC = importlib.util.spec_from_file_location("test_versions_tool", ROOT / "tools" / "test_versions.py")
tool = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(tool)
RESULTS = sorted((ROOT / "benchmarks" / "results").glob("versions-*.json"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def project_with(*dependencies, **extras):
    return {"name": "here", "dependencies": list(dependencies), "optional-dependencies": {"test": [], **extras}}


def test_the_highest_floor_of_a_package_counts():
    project = project_with("a>=1.9", "b_c>=2", test=["here[more]", "d>=0.3"], more=["a>=1.10"])
    assert tool.read_floors(project) == {"a": "1.10", "b_c": "2", "d": "0.3"}


@pytest.mark.parametrize("line", ["a", "a>=1,<2", "a==1", "other[more]"])
def test_requirement_without_a_plain_floor_is_refused(line):
    with pytest.raises(SystemExit, match="has no plain floor"):
        tool.read_floors(project_with(line))


def test_every_requirement_of_germline_has_a_floor():
    floors = tool.read_floors(PROJECT)
    assert {"torch", "timm", "numpy", "onnx", "pytest"} <= floors.keys()
    assert not {"germline", "wandb", "ruff"} & floors.keys()


def test_newer_python_than_the_oldest_is_refused(monkeypatch):
    monkeypatch.setattr(tool, "ask", lambda *command: "3.13")
    tool.check_python("python", ">=3.13")
    with pytest.raises(SystemExit, match=r"is Python 3.13. The oldest set needs Python 3.11"):
        tool.check_python("python", ">=3.11")


def test_outcomes_are_counted_and_failures_named(tmp_path):
    cases = {"a": "", "b": "<failure/>", "c": "<skipped/>", "d": "<error/>", "e": "<properties/>"}
    inner = "".join(f'<testcase classname="tests.x" name="{name}">{part}</testcase>' for name, part in cases.items())
    (tmp_path / "r.xml").write_text(f"<testsuites><testsuite>{inner}</testsuite></testsuites>")
    assert tool.count_outcomes(tmp_path / "r.xml") == {
        "passed": 2,
        "failed": 2,
        "skipped": 1,
        "failures": ["tests.x::b", "tests.x::d"],
    }


def test_stored_results_match_the_requirements_and_pass():
    floors = tool.read_floors(PROJECT)
    for path in RESULTS:
        result = json.loads(path.read_text(encoding="utf-8"))
        assert (result["failed"], result["failures"]) == (0, []), path.stem
        for name, floor in floors.items():
            version = result["versions"][name]
            assert version == floor or version.startswith(f"{floor}.") or path.stem != "versions-oldest", name
