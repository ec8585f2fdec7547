"""Measure how often a comparison calls two equal arms different, and how often it finds a real effect.

Comparisons are simulated. Two arms have independent normal noise with the standard deviation of a real comparison: that
of test accuracy over seeds in its saved results. The code that judges reports judges these arms too.

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


def measure_noise() -> float:
    """Return the standard deviation over seeds of test accuracy (a share of 1), averaged over arms and conditions."""
    accuracies: dict[tuple[str, str, int], list[float]] = {}
    for cell in json.loads(SOURCE.read_text(encoding="utf-8"))["cells"]:
        accuracies.setdefault((cell["arm"], cell["size"], cell["images"]), []).append(cell["test_accuracy"])
    return fmean(stdev(values) for values in accuracies.values())


def simulate_verdicts(
    seeds: int, comparisons: int, spread: float, shift: float, generator: np.random.Generator
) -> dict[str, Any]:
    """Return the shares of comparisons that call the first arm above or below the second.

    Args:
        seeds: Number of seeds per comparison.
        comparisons: Number of simulated comparisons.
        spread: Standard deviation of each arm's noise.
        shift: True difference of the first arm over the second.
        generator: Random generator of the noise.
    """
    first, second = generator.normal(0, spread, (2, comparisons, seeds))
    verdicts = [judge([Claim("", "", tuple(row))])[0].verdict for row in first + shift - second]
    above, below = (verdicts.count(verdict) / comparisons for verdict in ("holds", "the reverse holds"))
    return {"seeds": seeds, "shift": shift, "above": above, "below": below, "different": above + below}


def main() -> int:
    """Simulate all comparisons and save the outcome."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--comparisons", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=OUT)
    options, start = parser.parse_args(), time.monotonic()
    spread, generator = measure_noise(), np.random.default_rng(options.seed)
    equal = [simulate_verdicts(seeds, options.comparisons, spread, 0.0, generator) for seeds in SEEDS]
    # The difference of two independent arms has sqrt(2) times the deviation of one arm.
    shift = EFFECT * spread * 2**0.5
    planted = simulate_verdicts(EFFECT_SEEDS, options.comparisons, spread, shift, generator)
    is_good = all(LEVELS[0] <= row["different"] <= LEVELS[1] for row in equal) and planted["above"] >= FOUND
    result = {
        "command": " ".join(["python", "benchmarks/calibration.py", *sys.argv[1:]]),
        "commit": git("rev-parse", "HEAD"),
        "dirty": bool(git("status", "--porcelain", "--", "src", "benchmarks", ":!benchmarks/results")),
        "versions": {"python": platform.python_version(), **library_versions()},
        "device": "cpu",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": round(time.monotonic() - start, 1),
        "seed": options.seed,
        "comparisons": options.comparisons,
        "noise": {"standard_deviation": spread, "from": f"benchmarks/results/{SOURCE.name}"},
        "targets": {"different_where_equal": LEVELS, "found_where_planted": FOUND},
        "good": is_good,
        "equal": equal,
        "planted": planted,
    }
    write_json(options.out, result)
    for row in equal:
        print(f"{row['seeds']} seeds, equal arms: {100 * row['different']:.2f} % called different")
    print(f"{EFFECT_SEEDS} seeds, {100 * shift:.1f} points planted: {100 * planted['above']:.1f} % found")
    return 0 if is_good else 1


if __name__ == "__main__":
    raise SystemExit(main())
