"""Kill all processes of a comparison at ten random times, resume it each time, and compare results.

The comparison runs once without a kill, and once as a chain of processes. All but the last process of the chain are
killed by SIGKILL: after a random number of new parts, and a random part of the time that one part takes. Kills follow
progress and not a clock, so that a machine that is busy for a while changes nothing. The chain is right if its
`results.json` and its report equal those of the first run, apart from times and facts about the host. No finished part
may be made again.

    python benchmarks/compare_kills.py --kills 10
"""

from __future__ import annotations

import argparse
import contextlib
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

from common import git
from germline.files import read_json, write_json
from germline.learngene import library_versions

RESULT = Path(__file__).resolve().parent / "results" / "compare_kills.json"
RECIPE = """\
title: Four arms on digits
protocol: convergence
kind: quick
minutes: 1
data: digits
ancestor: {data: digits, model: vit_pico, train: {steps: 30, batch_size: 32, checkpoint_every: 10}}
arms:
  gene: {method: tleg, settings: {steps: 30, batch_size: 32, checkpoint_every: 10}}
  scratch: {method: scratch}
  finetune: {method: finetune}
  random-gene: {method: random-gene, settings: {settings: {steps: 30, batch_size: 32, checkpoint_every: 10}}}
sizes: [depth=2, depth=4]
images_per_class: [5]
seeds: [0, 1]
train: {steps: 40, batch_size: 32, eval_at: [0, 10, 20]}
tune: {lr: [1.0e-3, 3.0e-3], weight_decay: [0.05], size: depth=2, images_per_class: 5}
scratch_until_plateau: {most: 2}
"""
HOST = ("seconds", "command", "device", "sha256")


def start_comparison(recipe: Path, out: Path) -> subprocess.Popen[bytes]:
    """Start the comparison as a user does, in its own process group."""
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


def list_parts(out: Path) -> dict[str, int]:
    """List the finished parts with the times when they were written."""
    parts = [*(out / "store").glob("cell-*.json"), *(out / "store").glob("gene-*/learngene.json")]
    return {str(path.relative_to(out)): path.stat().st_mtime_ns for path in parts}


def wait_for_parts(child: subprocess.Popen[bytes], out: Path, count: int, seconds: float) -> None:
    """Wait until a process has finished a number of new parts and some seconds more, or has ended."""
    before = list_parts(out).keys()
    while child.poll() is None and len(list_parts(out).keys() - before) < count:
        time.sleep(0.1)
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(timeout=seconds)


def remove_host_facts(value: Any) -> Any:
    """Remove times and facts about the machine from results."""
    if isinstance(value, dict):
        return {key: remove_host_facts(inner) for key, inner in value.items() if key not in HOST}
    return [remove_host_facts(inner) for inner in value] if isinstance(value, list) else value


def read_report(out: Path) -> str:
    """Read the report without the lines about its command and machine."""
    lines = (out / "report.md").read_text(encoding="utf-8").splitlines()
    return "\n".join(line for line in lines if not re.match(r"- (command|cpu)", line))


def main() -> int:
    """Run both comparisons and save the outcome."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    draw = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as place:
        recipe, alone, killed = (Path(place) / name for name in ("recipe.yaml", "alone", "killed"))
        recipe.write_text(RECIPE, encoding="utf-8")
        start = time.monotonic()
        start_comparison(recipe, alone).wait()
        seconds = time.monotonic() - start
        total = len(list_parts(alone))
        # Two processes can finish a part each while a kill is waited for.
        most = max(0, total // (options.kills + 1) - 1)
        kills, made_again = [], 0
        for _ in range(options.kills):
            begin, new_parts = time.monotonic(), draw.randint(0, most)
            before, child = list_parts(killed), start_comparison(recipe, killed)
            wait_for_parts(child, killed, new_parts, draw.uniform(0, 1) * seconds / total)
            if child.poll() is None:
                os.killpg(child.pid, signal.SIGKILL)
                child.wait()
            after = list_parts(killed)
            made_again += sum(after[name] != written for name, written in before.items())
            kills.append(
                {"after_s": round(time.monotonic() - begin, 2), "signal": -child.returncode, "parts": len(after)}
            )
        start_comparison(recipe, killed).wait()
        are_results_equal = remove_host_facts(read_json(alone / "results.json")) == remove_host_facts(
            read_json(killed / "results.json")
        )
        are_reports_equal = read_report(alone) == read_report(killed)
    is_good = (
        are_results_equal
        and are_reports_equal
        and not made_again
        and all(kill["signal"] == signal.SIGKILL for kill in kills)
    )
    result = {
        "command": " ".join(["python", "benchmarks/compare_kills.py", *sys.argv[1:]]),
        "versions": {"python": platform.python_version(), **library_versions()},
        "commit": git("rev-parse", "HEAD"),
        "dirty": bool(git("status", "--porcelain", "--", "src", "benchmarks", ":!benchmarks/results")),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "alone_s": round(seconds, 1),
        "parts": total,
        "kills": kills,
        "made_again": made_again,
        "results_equal": are_results_equal,
        "reports_equal": are_reports_equal,
        "good": is_good,
    }
    write_json(RESULT, result)
    print(
        f"{len(kills)} kills; results equal: {are_results_equal}; reports equal: {are_reports_equal}; "
        f"parts made again: {made_again}"
    )
    return 0 if is_good else 1


if __name__ == "__main__":
    raise SystemExit(main())
