"""What the benchmarks share: sides timed in turn, ratios with intervals, results kept as JSON."""

from __future__ import annotations

import argparse
import os
import platform
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from germline.files import write_json
from germline.learngene import library_versions

ROOT = Path(__file__).resolve().parents[1]
RESAMPLES, LEAST_ROUNDS = 2000, 6
DEFAULT_THREADS = torch.get_num_threads()


def set_up(about: str | None, budget_s: float | None = None) -> float:
    """Read the command line: `--threads`, torch's own number by default; `--budget`, where a default is given.

    Returns:
        The seconds that one case may take; 0 without that option.
    """
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--threads", type=int, default=DEFAULT_THREADS, help="threads of torch (default: its own)")
    if budget_s is not None:
        parser.add_argument("--budget", type=float, default=budget_s, help=f"seconds a case (default: {budget_s:g})")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    return float(getattr(asked, "budget", 0.0))


def in_turn(
    sides: Mapping[str, Callable[[], object]],
    rounds: int,
    *,
    warmup: int = 2,
    budget_s: float = 40.0,
    least: int = LEAST_ROUNDS,
    before: Callable[[], object] = lambda: None,
) -> dict[str, list[float]]:
    """Seconds of each side in each round.

    The sides take turns, and the one that starts changes every round. On a busy machine it stops once the budget is
    spent, but not before the `least` rounds. `before` is called ahead of each side, untimed.
    """
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    end = time.perf_counter() + budget_s
    for index in range(-warmup, rounds):
        if index >= least and time.perf_counter() > end:
            break
        for name in list(sides) if index % 2 else reversed(sides):
            before()
            began = time.perf_counter()
            sides[name]()
            took = time.perf_counter() - began
            if index >= 0:
                seconds[name].append(took)
    return seconds


def ratio(over: Sequence[float], under: Sequence[float]) -> dict[str, float]:
    """Median over the rounds of the ratio within a round, with a 95 % bootstrap interval over the rounds."""
    ratios, draw = [one / other for one, other in zip(over, under, strict=True)], random.Random(0)
    found = sorted(statistics.median(draw.choices(ratios, k=len(ratios))) for _ in range(RESAMPLES))
    low, high = found[round(0.025 * RESAMPLES)], found[round(0.975 * RESAMPLES) - 1]
    return {"ratio": statistics.median(ratios), "low": low, "high": high}


def row(case: str, over: Sequence[float], under: Sequence[float], target: float, **facts: Any) -> dict[str, Any]:
    """One comparison as it is kept: medians in seconds, ratio and interval, target, number of rounds."""
    medians = {"ours_s": statistics.median(over), "peer_s": statistics.median(under)}
    return {"case": case, **medians, **ratio(over, under), "target": target, "rounds": len(over), **facts}


def keep(name: str, rows: Sequence[Mapping[str, Any]], **facts: Any) -> None:
    """Print a table of the rows and write them to `benchmarks/results/<name>.json`.

    A run on another number of threads than torch's own is kept beside it, as `<name>-<threads>-threads.json`.
    """
    for entry in rows:
        print(
            f"{entry['case']:<44} ours {entry['ours_s'] * 1e3:9.2f} ms   peer {entry['peer_s'] * 1e3:9.2f} ms   "
            f"ratio {entry['ratio']:.3f} [{entry['low']:.3f}, {entry['high']:.3f}]   target {entry['target']}"
        )
    result = {**describe_run(), **facts, "rows": list(rows)}
    threads = torch.get_num_threads()
    suffix = "" if threads == DEFAULT_THREADS else f"-{threads}-threads"
    write_json(ROOT / "benchmarks" / "results" / f"{name}{suffix}.json", result)


def describe_run() -> dict[str, Any]:
    """Return command, commit, versions, device and date of a measurement."""
    arguments = [f"benchmarks/{Path(sys.argv[0]).name}", *sys.argv[1:]]
    head = git("rev-parse", "HEAD")
    # Results themselves may be new; what counts is the code that was measured.
    changes = git("status", "--porcelain", "--", "src", "benchmarks", ":!benchmarks/results")
    return {
        "command": " ".join(["python", *arguments]),
        # A copy without its history gets the commit from the environment.
        "commit": os.environ.get("GERMLINE_COMMIT") or head or "unknown",
        "dirty": bool(changes) if head else None,
        "versions": {"python": platform.python_version(), **library_versions()},
        "device": {
            "cpu": _cpu(),
            "threads": torch.get_num_threads(),
            "load": list(os.getloadavg()),
            "omp_wait_policy": os.environ.get("OMP_WAIT_POLICY", "default"),
        },
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def git(*arguments: str) -> str:
    """What git says of this checkout; empty for a copy without its history."""
    try:
        done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return done.stdout.strip()


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
