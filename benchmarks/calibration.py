"""How often a comparison calls two equal arms different, and how often it finds an effect that is there.

Comparisons are drawn, not run: two arms with independent normal noise, as wide as that of real runs (the standard
deviation over seeds of test accuracy in the kept results of a real comparison), judged by the same code that judges a
report.

    python benchmarks/calibration.py
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np

from common import git
from germline.files import write_json
from germline.learngene import library_versions
from germline.reporting.claims import Claim, judge

RESULTS = Path(__file__).resolve().parent / "results"
SOURCE, OUT = RESULTS / "tleg-samples-1000-steps.json", RESULTS / "calibration.json"
SEEDS, EFFECT_SEEDS = (3, 5, 10), 5
EFFECT = 3.0  # standard deviations of the paired differences
LEVELS, FOUND = (0.035, 0.065), 0.9


def noise() -> float:
    """Standard deviation over seeds of an arm's accuracy on test pictures, a share of 1; the mean over conditions."""
    accuracies: dict[tuple[str, str, int], list[float]] = {}
    for cell in json.loads(SOURCE.read_text(encoding="utf-8"))["cells"]:
        accuracies.setdefault((cell["arm"], cell["size"], cell["images"]), []).append(cell["test_accuracy"])
    return fmean(stdev(values) for values in accuracies.values())


def called(seeds: int, comparisons: int, spread: float, shift: float, draw: np.random.Generator) -> dict[str, Any]:
    """Share of comparisons that call the first arm above the other, or below it.

    Args:
        seeds: Of each comparison.
        comparisons: To draw.
        spread: Standard deviation of each arm's noise.
        shift: By how much the first arm is truly above the other.
        draw: Where noise comes from.
    """
    ours, theirs = draw.normal(0, spread, (2, comparisons, seeds))
    verdicts = [judge([Claim("", "", tuple(row))])[0].verdict for row in ours + shift - theirs]
    above, below = (verdicts.count(verdict) / comparisons for verdict in ("holds", "the reverse holds"))
    return {"seeds": seeds, "shift": shift, "above": above, "below": below, "different": above + below}


def main() -> int:
    """Draw all comparisons and keep the outcome."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--comparisons", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=OUT)
    asked, began = parser.parse_args(), time.monotonic()
    spread, draw = noise(), np.random.default_rng(asked.seed)
    equal = [called(seeds, asked.comparisons, spread, 0.0, draw) for seeds in SEEDS]
    # differences of two independent arms are wider than one arm by the root of 2
    shift = EFFECT * spread * 2**0.5
    planted = called(EFFECT_SEEDS, asked.comparisons, spread, shift, draw)
    right = all(LEVELS[0] <= row["different"] <= LEVELS[1] for row in equal) and planted["above"] >= FOUND
    result = {
        "command": " ".join(["python", "benchmarks/calibration.py", *sys.argv[1:]]),
        "commit": git("rev-parse", "HEAD"),
        "dirty": bool(git("status", "--porcelain", "--", "src", "benchmarks", ":!benchmarks/results")),
        "versions": {"python": platform.python_version(), **library_versions()},
        "device": "cpu",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": round(time.monotonic() - began, 1),
        "seed": asked.seed,
        "comparisons": asked.comparisons,
        "noise": {"standard_deviation": spread, "from": f"benchmarks/results/{SOURCE.name}"},
        "targets": {"different_where_equal": LEVELS, "found_where_planted": FOUND},
        "good": right,
        "equal": equal,
        "planted": planted,
    }
    write_json(asked.out, result)
    for row in equal:
        print(f"{row['seeds']} seeds, equal arms: {100 * row['different']:.2f} % called different")
    print(f"{EFFECT_SEEDS} seeds, {100 * shift:.1f} points planted: {100 * planted['above']:.1f} % found")
    return 0 if right else 1


if __name__ == "__main__":
    raise SystemExit(main())
