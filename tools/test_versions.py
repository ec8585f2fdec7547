"""Run the tests with the oldest or with the newest versions of what germline requires.

`oldest` pins every requirement to its floor in `pyproject.toml`, under the oldest Python that is allowed.
`newest` upgrades every requirement to what the package index offers.
The result goes to `benchmarks/results/versions-<set>.json`; a run of some tests only is not saved.

    python tools/test_versions.py oldest --python python3.11
    python tools/test_versions.py newest
    python tools/test_versions.py oldest --reuse --only tests/cli tests/test_export.py
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parents[1]
EXTRA = "test"
# That test reads the result of the last run, which this run replaces.
DESELECTED = "tests/test_versions.py::test_stored_results_match_the_requirements_and_pass"
REQUIREMENT = re.compile(r"(?P<name>[\w.-]+)(?:\[(?P<extras>[\w.,-]+)\])?(?:>=(?P<floor>[\d.]+))?")


def read_floors(project: Mapping[str, Any], extra: str = EXTRA) -> dict[str, str]:
    """Read the lowest allowed version of each requirement.

    Args:
        project: Table `project` of `pyproject.toml`.
        extra: Name of the extra whose requirements are added, with those of the extras that it names.

    Returns:
        The highest floor of each package, by its name.

    Raises:
        SystemExit: A requirement has no floor, or more than a floor.
    """
    floors: dict[str, str] = {}
    lines, extras = list(project["dependencies"]), [extra]
    for name in extras:
        lines += project["optional-dependencies"][name]
    for line in lines:
        found = REQUIREMENT.fullmatch(line)
        if found and found["name"] == project["name"] and found["extras"]:
            for name in found["extras"].split(","):
                lines += project["optional-dependencies"][name]
        elif found and found["floor"]:
            name, floor = found["name"], found["floor"]
            floors[name] = max(floors.get(name, "0"), floor, key=split_version)
        else:
            raise SystemExit(f"Requirement '{line}' has no plain floor. It cannot be pinned. Write it as name>=1.2.")
    return floors


def split_version(version: str) -> tuple[int, ...]:
    """Split a version such as "1.26.4" into numbers."""
    return tuple(map(int, version.split(".")))


def check_python(python: str, requires: str) -> None:
    """Stop unless `python` is the oldest minor release that `requires-python` allows.

    Raises:
        SystemExit: The interpreter is of another minor release.
    """
    oldest = requires.removeprefix(">=")
    release = ask(python, "-c", "import sys; print('{}.{}'.format(*sys.version_info))")
    if release != oldest:
        raise SystemExit(f"{python} is Python {release}. The oldest set needs Python {oldest}. Pass it as --python.")


def install(python: Path, requirements: Sequence[str], upgrade: bool) -> None:
    """Install this checkout, with the extra of the tests, and the requirements into an environment."""
    options = ["--upgrade", "--upgrade-strategy", "eager"] if upgrade else []
    command = [str(python), "-m", "pip", "install", "--quiet", *options, *requirements, "-e", f"{ROOT}[{EXTRA}]"]
    subprocess.run(command, env=clean_environment(python), check=True)


def run_tests(python: Path, only: Sequence[str]) -> dict[str, Any]:
    """Run the tests on two processes, without data sets.

    Returns:
        Counts by outcome, the names of tests that failed, and seconds.
    """
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        environment = clean_environment(python) | {"OMP_NUM_THREADS": "1", "GERMLINE_DATA": str(Path(folder) / "none")}
        start = time.perf_counter()
        command = [str(python), "-m", "pytest", "-n", "2", f"--junitxml={report}", "--deselect", DESELECTED, *only]
        subprocess.run(command, cwd=ROOT, env=environment, check=False)
        seconds = time.perf_counter() - start
        if not report.exists():
            raise SystemExit("pytest wrote no report. Its own message is above. Run it again once that is solved.")
        return count_outcomes(report) | {"seconds": round(seconds)}


def count_outcomes(report: Path) -> dict[str, Any]:
    """Count the tests of a JUnit report by outcome; an error counts as a failure."""
    counts: dict[str, Any] = {"passed": 0, "failed": 0, "skipped": 0}
    failures = []
    for case in ElementTree.parse(report).iter("testcase"):
        parts = {part.tag for part in case}
        outcome = "failed" if parts & {"failure", "error"} else "skipped" if "skipped" in parts else "passed"
        counts[outcome] += 1
        if outcome == "failed":
            failures.append(f"{case.get('classname')}::{case.get('name')}")
    return counts | {"failures": sorted(failures)}


def read_versions(python: Path, names: Sequence[str]) -> dict[str, str]:
    """Read the installed versions of Python and of the named packages."""
    listed = json.loads(ask(str(python), "-m", "pip", "list", "--format", "json"))
    installed = {plain_name(package["name"]): package["version"] for package in listed}
    release = ask(str(python), "-c", "import platform; print(platform.python_version())")
    return {"python": release} | {name: installed[plain_name(name)] for name in names}


def plain_name(name: str) -> str:
    """Spell a package's name as the package index compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def clean_environment(python: Path) -> dict[str, str]:
    """Copy this process's variables for an environment: its commands come first, no other code is found."""
    ours = {key: value for key, value in os.environ.items() if key not in {"PYTHONPATH", "PYTEST_ADDOPTS"}}
    return ours | {"PATH": os.pathsep.join([str(python.parent), ours.get("PATH", "")])}


def ask(*command: str) -> str:
    """Run a command in the checkout and return what it prints."""
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()


def main() -> int:
    """Build the environment, run the tests and save the result.

    Returns:
        1 if a test failed, else 0.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("set", choices=["oldest", "newest"])
    parser.add_argument("--python", default=sys.executable, help="Python of the environment (default: this one)")
    parser.add_argument("--folder", type=Path, help="folder of the environment (default: .venv-SET)")
    parser.add_argument("--reuse", action="store_true", help="keep an environment that is there already")
    parser.add_argument("--only", nargs="+", default=[], metavar="PATH", help="run these tests only, save no result")
    options = parser.parse_args()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    floors, is_oldest = read_floors(project), options.set == "oldest"
    folder = (options.folder or ROOT / f".venv-{options.set}").absolute()
    python = folder / "bin" / "python"
    if not (options.reuse and python.exists()):
        if folder.exists() and not (folder / "pyvenv.cfg").exists():
            raise SystemExit(f"'{folder}' is not an environment. It would be emptied. Choose another folder.")
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run([options.python, "-m", "venv", str(folder)], check=True)
    if is_oldest:
        check_python(str(python), project["requires-python"])
    pins = [f"{name}=={floor}" for name, floor in floors.items()] if is_oldest else list(floors)
    install(python, pins, upgrade=not is_oldest)
    output = ROOT / "benchmarks" / "results" / f"versions-{options.set}.json"
    if not options.only:
        # A test compares stored results with the floors; those of other floors would fail it.
        output.unlink(missing_ok=True)
    result = {
        "command": f"python tools/test_versions.py {options.set}",
        "commit": ask("git", "rev-parse", "HEAD"),
        # Results may be new: only the code that is tested counts.
        "dirty": bool(ask("git", "status", "--porcelain", "--", "src", "tests", "tools", "pyproject.toml")),
        "versions": read_versions(python, [project["name"], *floors]),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        **run_tests(python, options.only),
    }
    text = json.dumps(result, indent=2) + "\n"
    if options.only:
        print(text + "This result is not saved: only some tests ran.")
    else:
        output.write_text(text, encoding="utf-8")
        print(f"{result['passed']} passed, {result['failed']} failed. The result is in {output}.")
    return int(result["failed"] > 0)


if __name__ == "__main__":
    raise SystemExit(main())
