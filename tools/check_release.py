"""Build wheel and source archive, check both, and try the wheel alone in an empty environment.

It needs the packages build and twine.

    python tools/check_release.py
    python tools/check_release.py --demo
    python tools/check_release.py --tag v0.1.0 --keep dist

`--demo` runs `germline demo` too and saves the result.

The wheel is installed from its file. Nothing of the checkout is on the path of its interpreter.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULT = ROOT / "benchmarks" / "results" / "release.json"
LARGEST_WHEEL = 5_000_000
# Packaged data that commands read without a network.
PACKAGED = (
    "data/packs/glyphs.npz",
    "data/packs/digits.npz",
    "data/packs/ancestor/model.safetensors",
    "recipes/demo.yaml",
    "py.typed",
)
# All that a source archive holds.
SOURCES = (
    "src/germline/",
    "README.md",
    "CHANGELOG.md",
    "CITATION.cff",
    "LICENSE",
    "PKG-INFO",
    "pyproject.toml",
    ".gitignore",
)
COMMANDS = (
    ("--version",),
    ("--help",),
    ("list", "methods"),
    ("list", "recipes"),
    ("check", "demo"),
)


def check_tag(tag: str, version: str, changelog: str) -> None:
    """Stop unless a tag names the version and the changelog has a dated section of it.

    Args:
        tag: Tag of the release, such as "v0.1.0".
        version: Version of the package.
        changelog: Text of the changelog.

    Raises:
        SystemExit: The tag or the changelog is of another version.
    """
    if tag != f"v{version}":
        raise SystemExit(f"The tag is {tag}. The package has version {version}. Use the tag v{version}.")
    if not re.search(rf"^## {re.escape(version)}, \d{{4}}-\d\d-\d\d$", changelog, re.MULTILINE):
        raise SystemExit(
            f"CHANGELOG.md has no dated section of {version}. A release needs one. Write '## {version}, YYYY-MM-DD'."
        )


def find_faults(wheel: Sequence[str], archive: Sequence[str], wheel_bytes: int) -> list[str]:
    """Name what a wheel or a source archive lacks or has too much of.

    Args:
        wheel: Names of the wheel's files.
        archive: Names of the source archive's files, without its top folder.
        wheel_bytes: Size of the wheel.

    Returns:
        One sentence per fault.
    """
    faults = [f"The wheel lacks {name}." for name in PACKAGED if f"germline/{name}" not in wheel]
    faults += [f"The source archive lacks {name}." for name in PACKAGED if f"src/germline/{name}" not in archive]
    faults += [f"The source archive holds {name}." for name in archive if not name.startswith(SOURCES)]
    faults += [f"The wheel holds {name}." for name in wheel if not name.startswith(("germline/", "germline-"))]
    if wheel_bytes > LARGEST_WHEEL:
        faults.append(f"The wheel has {wheel_bytes:,} bytes, more than {LARGEST_WHEEL:,}.")
    return faults


def build(folder: Path) -> tuple[Path, Path]:
    """Build both files into a folder.

    Returns:
        Wheel and source archive.
    """
    run(sys.executable, "-m", "build", "--outdir", str(folder), str(ROOT))
    (wheel,), (archive,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    run(sys.executable, "-m", "twine", "check", "--strict", str(wheel), str(archive))
    return wheel, archive


def try_wheel(wheel: Path, folder: Path, with_demo: bool) -> dict[str, Any]:
    """Install a wheel alone and run commands of it.

    Returns:
        The versions that were installed with it, and the commands that ran.
    """
    run(sys.executable, "-m", "venv", str(folder / "environment"))
    python = folder / "environment" / "bin" / "python"
    run(str(python), "-m", "pip", "install", "--quiet", str(wheel))
    work = folder / "work"
    work.mkdir()
    commands = (*COMMANDS, *([("demo",)] if with_demo else []))
    for command in commands:
        run(str(python.parent / "germline"), *command, place=work)
    if with_demo and not (work / "germline-demo" / "report.html").exists():
        raise SystemExit("The demo wrote no report.")
    code = "import json; from germline.learngene import library_versions; print(json.dumps(library_versions()))"
    versions = subprocess.run([str(python), "-c", code], cwd=work, capture_output=True, text=True, check=True).stdout
    return {"versions": json.loads(versions), "commands": [f"germline {' '.join(command)}" for command in commands]}


def run(*command: str, place: Path | None = None) -> None:
    """Run a command without this process's paths and without data sets."""
    clean = {key: value for key, value in os.environ.items() if key not in {"PYTHONPATH", "GERMLINE_DATA"}}
    subprocess.run(command, cwd=place, env=clean | {"GERMLINE_DATA": os.devnull}, check=True)


def ask_git(*command: str) -> str:
    """Run git in the checkout and return what it prints."""
    return subprocess.run(["git", *command], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()


def main() -> int:
    """Build, check and try a release.

    Returns:
        1 if a file has a fault, else 0.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--demo", action="store_true", help="run the demo too, and save the result")
    parser.add_argument("--tag", help="tag of the release, compared with version and changelog")
    parser.add_argument("--keep", type=Path, help="folder that receives both files")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        wheel, archive = build(folder / "dist")
        with zipfile.ZipFile(wheel) as opened:
            inside = opened.namelist()
        with tarfile.open(archive) as packed:
            sources = [member.name.partition("/")[2] for member in packed.getmembers()]
        version = wheel.name.split("-")[1]
        if options.tag:
            check_tag(options.tag, version, (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"))
        faults = find_faults(inside, sources, wheel.stat().st_size)
        if faults:
            print("\n".join(faults))
            return 1
        result = {
            "command": "python tools/check_release.py --demo",
            "commit": ask_git("rev-parse", "HEAD"),
            "dirty": bool(ask_git("status", "--porcelain", "--", "src", "pyproject.toml", "tools")),
            "version": version,
            "python": sys.version.split()[0],
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "wheel_bytes": wheel.stat().st_size,
            "archive_bytes": archive.stat().st_size,
            **try_wheel(wheel, folder, options.demo),
        }
        if options.keep:
            options.keep.mkdir(parents=True, exist_ok=True)
            for path in (wheel, archive):
                shutil.copy2(path, options.keep)
    print(json.dumps(result, indent=2))
    if options.demo:
        RESULT.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
