"""What a release needs: both archives, workflow files, citation, and old names that are removed in time."""

import importlib.util
import re
import tomllib
from pathlib import Path

import pytest
import yaml

import germline
from germline.deprecation import DEPRECATIONS, warn_deprecated

ROOT = Path(__file__).parent.parent
MODULE = importlib.util.spec_from_file_location("check_release", ROOT / "tools" / "check_release.py")
tool = importlib.util.module_from_spec(MODULE)
MODULE.loader.exec_module(tool)
WHEEL = [*(f"germline/{name}" for name in tool.PACKAGED), "germline/__init__.py", "germline-1.dist-info/METADATA"]
ARCHIVE = [*(f"src/germline/{name}" for name in tool.PACKAGED), "README.md", "PKG-INFO"]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
PAPERS = {
    "2401.08139": "gtl",
    "2305.02279": "auto",
    "2106.06788": "openworld",
    "2312.05614": "tleg",
    "2312.05743": "pool",
}


def split_version(text):
    return tuple(map(int, text.split(".")[:2]))


def test_complete_archives_have_no_fault():
    assert tool.find_faults(WHEEL, ARCHIVE, tool.LARGEST_WHEEL) == []


def test_faults_of_archives_are_named():
    faults = tool.find_faults([*WHEEL[1:], "tests/test_a.py"], [*ARCHIVE[1:], "benchmarks/a.json"], 5_000_001)
    assert faults == [
        "The wheel lacks data/packs/glyphs.npz.",
        "The source archive lacks data/packs/glyphs.npz.",
        "The source archive holds benchmarks/a.json.",
        "The wheel holds tests/test_a.py.",
        "The wheel has 5,000,001 bytes, more than 5,000,000.",
    ]


def test_packaged_files_exist():
    assert all((ROOT / "src" / "germline" / name).is_file() for name in tool.PACKAGED)


def test_tag_names_the_version_and_its_dated_section():
    tool.check_tag("v1.2.0", "1.2.0", "# Changelog\n\n## 1.2.0, 2026-01-02\n")
    with pytest.raises(SystemExit, match=r"The package has version 1.2.0. Use the tag v1.2.0"):
        tool.check_tag("v1.3.0", "1.2.0", "## 1.2.0, 2026-01-02")
    with pytest.raises(SystemExit, match=r"no dated section of 1.2.0"):
        tool.check_tag("v1.2.0", "1.2.0", "## 1.2.0, unreleased\n## 1.2.01, 2026-01-02")


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_workflows_use_existing_files_and_supported_pythons(path):
    workflow = yaml.safe_load(path.read_text(encoding="utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    floor = split_version(project["requires-python"].removeprefix(">="))
    for job in workflow["jobs"].values():
        assert job["timeout-minutes"] <= 60
        versions = job.get("strategy", {}).get("matrix", {}).get("python", [])
        for step in job["steps"]:
            versions += [step["with"]["python-version"]] if "setup-python" in step.get("uses", "") else []
            for place in re.findall(r"(?:tools/|\.ci/)\S+", step.get("run", "")):
                assert (ROOT / place).is_file(), place
            # A released action, not the newest state of a branch.
            assert re.fullmatch(r"[\w./-]+@(v\d+|release/v\d+)", step.get("uses", "a@v1"))
        assert all(split_version(version) >= floor for version in versions if "$" not in version)


def test_only_the_publishing_job_has_an_identity_token():
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "release.yml").read_text(encoding="utf-8"))
    assert workflow["permissions"] == {"contents": "read"}
    allowed = {name: job["permissions"] for name, job in workflow["jobs"].items() if "permissions" in job}
    assert allowed == {"publish": {"id-token": "write"}}
    assert not re.search(r"secrets\.|password|token:", str(workflow))


def test_citation_names_version_and_papers():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == germline.__version__
    assert {"cff-version", "message", "title", "authors"} <= citation.keys()
    noted = {
        paper["identifiers"][0]["value"].removeprefix("arXiv:"): paper["notes"] for paper in citation["references"]
    }
    assert noted == {number: f"the method `{name}`" for number, name in PAPERS.items()}
    assert all(paper["authors"] and paper["title"] and paper["year"] for paper in citation["references"])


@pytest.mark.parametrize("entry", DEPRECATIONS.values(), ids=str)
def test_old_names_are_removed_in_time(entry):
    now, since, end = map(split_version, (germline.__version__, entry.since, entry.removed_in))
    assert since <= now < end, f"remove {entry.name}, or change its last version in the changelog first"
    # A complete minor version warns before the name is removed.
    assert end >= (since[0], since[1] + 2) or end[0] > since[0]


def test_old_name_works_and_warns_at_the_callers_line():
    with pytest.warns(
        DeprecationWarning,
        match=r"'germline.data\(...\)' is deprecated since germline 0.1. Version 0.3 removes it. Use",
    ) as seen:
        digits = germline.data("digits")
    assert len(digits.classes) == 10
    assert [warning.filename for warning in seen] == [__file__]
    with pytest.warns(DeprecationWarning, match="Use germline.Images") as seen:
        assert germline.Pictures is germline.Images
    assert [warning.filename for warning in seen] == [__file__]
    with pytest.raises(KeyError):
        warn_deprecated("no such name")
