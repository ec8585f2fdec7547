"""What the benchmarks share: sides timed in turn, ratios with intervals, results kept as JSON."""

from __future__ import annotations

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
RESAMPLES = 2000


def in_turn(sides: Mapping[str, Callable[[], object]], rounds: int, warmup: int = 2) -> dict[str, list[float]]:
    """Seconds of each side in each round; the sides take turns, and the one that starts changes every round."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for index in range(-warmup, rounds):
        for name in list(sides) if index % 2 else reversed(sides):
            began = time.perf_counter()
            sides[name]()
            took = time.perf_counter() - began
            if index >= 0:
                seconds[name].append(took)
    return seconds


def ratio(over: Sequence[float], under: Sequence[float]) -> dict[str, float]:
    """Ratio of the medians, with a 95 % bootstrap interval over the rounds (both sides of a round stay together)."""
    rounds, draw = range(len(over)), random.Random(0)
    found = []
    for _ in range(RESAMPLES):
        chosen = draw.choices(rounds, k=len(rounds))
        found.append(statistics.median(over[i] for i in chosen) / statistics.median(under[i] for i in chosen))
    found.sort()
    middle = statistics.median(over) / statistics.median(under)
    return {"ratio": middle, "low": found[round(0.025 * RESAMPLES)], "high": found[round(0.975 * RESAMPLES) - 1]}


def row(case: str, over: Sequence[float], under: Sequence[float], target: float, **facts: Any) -> dict[str, Any]:
    """One comparison as it is kept: medians in seconds, ratio and interval, target, number of rounds."""
    medians = {"ours_s": statistics.median(over), "peer_s": statistics.median(under)}
    return {"case": case, **medians, **ratio(over, under), "target": target, "rounds": len(over), **facts}


def keep(name: str, rows: Sequence[Mapping[str, Any]], **facts: Any) -> None:
    """Print a table of the rows and write them to `benchmarks/results/<name>.json`."""
    for entry in rows:
        print(
            f"{entry['case']:<44} ours {entry['ours_s'] * 1e3:9.2f} ms   peer {entry['peer_s'] * 1e3:9.2f} ms   "
            f"ratio {entry['ratio']:.3f} [{entry['low']:.3f}, {entry['high']:.3f}]   target {entry['target']}"
        )
    arguments = [f"benchmarks/{Path(sys.argv[0]).name}", *sys.argv[1:]]
    result = {
        "command": " ".join(["python", *arguments]),
        "commit": _git("rev-parse", "HEAD"),
        # Results themselves may be new; what counts is the code that was measured.
        "dirty": bool(_git("status", "--porcelain", "--", "src", "benchmarks", ":!benchmarks/results")),
        "versions": {"python": platform.python_version(), **library_versions()},
        "device": {"cpu": _cpu(), "threads": torch.get_num_threads()},
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        **facts,
        "rows": list(rows),
    }
    write_json(ROOT / "benchmarks" / "results" / f"{name}.json", result)


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
