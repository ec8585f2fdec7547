"""Count the test cases about bad and odd inputs by kind, and save the table.

    python tools/count_odd_inputs.py

Each test case tries one input. It asserts on what was read, or on the message of the refusal.
The table goes to `benchmarks/results/odd_inputs.json`.
"""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

from germline.files import write_json
from germline.learngene import library_versions

ROOT = Path(__file__).resolve().parents[1]
RESULT = ROOT / "benchmarks" / "results" / "odd_inputs.json"
KINDS = {
    "Python data": ("tests/data/test_python_items.py", "tests/data/test_python_splits.py"),
    "image files and folders": ("tests/data/sets/test_folder_inputs.py",),
    "ancestors given in Python": ("tests/loading/test_look.py", "tests/loading/test_rebuild.py"),
    "checkpoints and names": (
        "tests/loading/test_checkpoint_files.py",
        "tests/loading/test_timm_names.py",
        "tests/loading/test_transformers_folder.py",
    ),
    "model folders": ("tests/loading/test_model_folder.py", "tests/loading/test_no_reaching_out.py"),
    "genes": ("tests/test_learngene.py",),
    "outputs and files": ("tests/test_files.py", "tests/test_command_paths.py", "tests/cli/test_outputs_and_inputs.py"),
    "ancestors without a head": ("tests/methods/test_feature_targets.py", "tests/cli/test_headless.py"),
    "command lines and recipes": ("tests/cli/test_bad_commands.py", "tests/cli/test_bad_input.py"),
}


def count_inputs() -> dict[str, int]:
    """Collect the tests of each kind, and count their cases."""
    files = [name for names in KINDS.values() for name in names]
    command = [sys.executable, "-m", "pytest", "-o", "addopts=", "--collect-only", "-q", *files]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    counts = Counter(line.partition("::")[0] for line in listed.splitlines() if "::" in line)
    if missing := [name for name in files if not counts[name]]:
        raise SystemExit(f"No test was collected from {missing[0]}. Its name may have changed. Correct KINDS.")
    return {kind: sum(counts[name] for name in names) for kind, names in KINDS.items()}


def main() -> None:
    """Save the table and print it."""
    counts = count_inputs()
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    result = {
        "command": "python tools/count_odd_inputs.py",
        "commit": commit.strip(),
        "versions": library_versions(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "kinds": counts,
        "total": sum(counts.values()),
    }
    write_json(RESULT, result)
    for kind, count in [*counts.items(), ("total", result["total"])]:
        print(f"{kind:28} {count:5}")


if __name__ == "__main__":
    main()
