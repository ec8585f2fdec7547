"""Kill a comparison, all of its processes, by SIGKILL at ten random times, resume it each time, and compare results.

The comparison runs once alone and once as a chain of processes of which all but the last are killed. The chain is
right if its `results.json` and its report equal those of the one left alone, but for times and host facts, and if no
part that was finished was made again.

    python benchmarks/compare_kills.py --kills 10
"""

from __future__ import annotations

import argparse
import os
import platform
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from germline.files import read_json, write_json
from germline.learngene import library_versions

RESULT = Path(__file__).resolve().parent / "results" / "compare_kills.json"
RECIPE = """\
title: Four arms on digits
protocol: convergence
kind: quick
minutes: 1
data: digits
ancestor: {data: digits, model: vit_pico, train: {steps: 60, batch_size: 32, checkpoint_every: 20}}
arms:
  gene: {method: tleg, settings: {steps: 60, batch_size: 32, checkpoint_every: 20}}
  scratch: {method: scratch}
  finetune: {method: finetune}
  random-gene: {method: random-gene, settings: {settings: {steps: 60, batch_size: 32, checkpoint_every: 20}}}
sizes: [depth=2, depth=4]
images_per_class: [5]
seeds: [0, 1, 2]
train: {steps: 120, batch_size: 32, eval_at: [0, 10, 50]}
tune: {lr: [1.0e-3, 3.0e-3], weight_decay: [0.05], size: depth=2, images_per_class: 5}
scratch_until_plateau: {most: 4}
"""
HOST = ("seconds", "command", "device")


def begin(recipe: Path, out: Path) -> subprocess.Popen[bytes]:
    """The comparison as a user runs it, in a process group of its own."""
    command = [
        sys.executable,
        "-m",
        "germline.cli",
        "compare",
        str(recipe),
        "--out",
        str(out),
        "--resume",
        "--workers",
        "2",
    ]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen([*command, "--quiet"], env=env, start_new_session=True, stdout=subprocess.DEVNULL)


def made(out: Path) -> dict[str, int]:
    """When each finished part was written."""
    parts = [*(out / "store").glob("cell-*.json"), *(out / "store").glob("gene-*/learngene.json")]
    return {str(path.relative_to(out)): path.stat().st_mtime_ns for path in parts}


def without_host(value: Any) -> Any:
    """Results without what clock and machine say."""
    if isinstance(value, dict):
        return {key: without_host(inner) for key, inner in value.items() if key not in HOST}
    return [without_host(inner) for inner in value] if isinstance(value, list) else value


def report(out: Path) -> str:
    """The report without its lines on how it was made."""
    lines = (out / "report.md").read_text(encoding="utf-8").splitlines()
    return "\n".join(line for line in lines if not re.match(r"- (command|cpu)", line))


def main() -> int:
    """Run both and keep the outcome."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    draw = random.Random(asked.seed)
    with tempfile.TemporaryDirectory() as place:
        recipe, alone, killed = (Path(place) / name for name in ("recipe.yaml", "alone", "killed"))
        recipe.write_text(RECIPE, encoding="utf-8")
        began = time.monotonic()
        begin(recipe, alone).wait()
        whole = time.monotonic() - began
        kills, again = [], 0
        for _ in range(asked.kills):
            wait = draw.uniform(0.05, 0.3) * whole
            before, child = made(killed), begin(recipe, killed)
            try:
                child.wait(timeout=wait)
            except subprocess.TimeoutExpired:
                os.killpg(child.pid, signal.SIGKILL)
                child.wait()
            after = made(killed)
            again += sum(after[name] != when for name, when in before.items())
            kills.append({"after_s": round(wait, 2), "signal": -child.returncode, "parts": len(after)})
        begin(recipe, killed).wait()
        equal = without_host(read_json(alone / "results.json")) == without_host(read_json(killed / "results.json"))
        same_report = report(alone) == report(killed)
    good = equal and same_report and not again and all(kill["signal"] == signal.SIGKILL for kill in kills)
    result = {
        "command": " ".join(["python", "benchmarks/compare_kills.py", *sys.argv[1:]]),
        "versions": {"python": platform.python_version(), **library_versions()},
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "alone_s": round(whole, 1),
        "kills": kills,
        "made_again": again,
        "results_equal": equal,
        "reports_equal": same_report,
        "good": good,
    }
    write_json(RESULT, result)
    print(f"{len(kills)} kills; results equal: {equal}; reports equal: {same_report}; parts made again: {again}")
    return 0 if good else 1


if __name__ == "__main__":
    raise SystemExit(main())
