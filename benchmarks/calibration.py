"""Measure how often comparisons call equal arms different, and how often they find a real effect.

Comparisons are simulated. Arms have independent normal noise with the standard deviation of a real comparison: that of
test accuracy over seeds in its saved results. The code that judges reports judges these arms too.

Single claims are simulated first. Then questions are: two reports of two claims each, judged as one family. A question
counts as different if any of its claims does. The two claims of a report share their subject, so they are correlated.

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
from germline.compare.analysis.questions import judge_claims
from germline.compare.analysis.results import ComparisonResults
from germline.files import write_json
from germline.learngene import library_versions
from germline.reporting.claims import Claim, judge

RESULTS = Path(__file__).resolve().parent / "results"
SOURCE, OUT = RESULTS / "tleg-samples-1000-steps.json", RESULTS / "calibration.json"
SEEDS, EFFECT_SEEDS = (3, 5, 10), 5
EFFECT = 3.0  # standard deviations of the paired differences
# A question: controls that claims are made against, and images per class of each of its reports.
CONTROLS, REPORTS = ("scratch", "shuffled"), (10, 20)
ARMS = {
    "gene": {"method": "tleg"},
    "scratch": {"method": "scratch"},
    "shuffled": {"method": "random-gene"},
    "finetune": {"method": "finetune"},
    "finetune-shuffled": {"method": "random-gene", "settings": {"method": "finetune"}},
}
ROOM, LOW_ROOM = 0.20, 0.02  # true headroom of a question, and of one without room
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


def simulate_questions(
    seeds: int, questions: int, spread: float, generator: np.random.Generator, shift: float = 0.0, room: float = ROOM
) -> dict[str, Any]:
    """Return the shares of questions with a claim that holds or differs, and of claims without room.

    Args:
        seeds: Number of seeds per report.
        questions: Number of simulated questions.
        spread: Standard deviation of each arm's noise.
        generator: Random generator of the noise.
        shift: True difference of the gene over its controls, in every report.
        room: True headroom.
    """
    means = {"gene": shift, "finetune": room}
    above = different = without_room = 0
    for _ in range(questions):
        reports = []
        for images in REPORTS:
            noise = generator.normal(0, spread, (len(ARMS), seeds))
            ends = {arm: means.get(arm, 0.0) + row for arm, row in zip(ARMS, noise, strict=True)}
            reports.append(_report(images, ends))
        verdicts = [
            judged.verdict
            for index, stored in enumerate(reports)
            for judged in judge_claims(_with_siblings(reports, index))
            if judged.claim.is_stated
        ]
        above += "holds" in verdicts
        different += bool({"holds", "the reverse holds"} & set(verdicts))
        without_room += verdicts.count("no room to tell") / len(verdicts)
    return {
        "seeds": seeds,
        "claims": len(REPORTS) * len(CONTROLS),
        "shift": shift,
        "room": room,
        "above": above / questions,
        "different": different / questions,
        "without_room": without_room / questions,
    }


def _with_siblings(reports: list[dict[str, Any]], index: int) -> ComparisonResults:
    others = (ComparisonResults(stored) for at, stored in enumerate(reports) if at != index)
    return ComparisonResults(reports[index], tuple(others))


def _report(images: int, ends: dict[str, Any]) -> dict[str, Any]:
    """Return the parts of a results file that judging reads."""
    count = len(REPORTS) * len(CONTROLS)
    recipe = {
        "protocol": "samples",
        "arms": ARMS,
        "sizes": [""],
        "images_per_class": [images],
        "train": {"steps": 1},
        "levelling": None,
        "question": {"name": "simulated", "claims": count, "against": CONTROLS},
    }
    cells = [
        {
            "asked": {"arm": arm, "size": "", "images": images, "steps": None, "seed": seed},
            "test_accuracy": float(end),
        }
        for arm, row in ends.items()
        for seed, end in enumerate(row)
    ]
    return {"name": f"{images} images", "recipe": recipe, "cells": cells, "levels": []}


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
    # A generator of their own, so that single claims are those of earlier runs.
    generator = np.random.default_rng([options.seed, 1])
    families = [simulate_questions(seeds, options.comparisons, spread, generator) for seeds in SEEDS]
    found = simulate_questions(EFFECT_SEEDS, options.comparisons // 4, spread, generator, shift)
    no_room = simulate_questions(EFFECT_SEEDS, options.comparisons // 4, spread, generator, shift, LOW_ROOM)
    is_good = all(LEVELS[0] <= row["different"] <= LEVELS[1] for row in (*equal, *families))
    is_good = is_good and planted["above"] >= FOUND and found["above"] >= FOUND
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
        "families": families,
        "family_planted": found,
        "family_without_room": no_room,
    }
    write_json(options.out, result)
    for row in equal:
        print(f"{row['seeds']} seeds, equal arms: {100 * row['different']:.2f} % called different")
    print(f"{EFFECT_SEEDS} seeds, {100 * shift:.1f} points planted: {100 * planted['above']:.1f} % found")
    for row in families:
        print(f"{row['seeds']} seeds, {row['claims']} equal claims: {100 * row['different']:.2f} % of questions differ")
    print(f"{EFFECT_SEEDS} seeds, planted in a family: {100 * found['above']:.1f} % of questions find it")
    print(f"the same with {100 * LOW_ROOM:g} points of room: {100 * no_room['without_room']:.1f} % of claims have none")
    return 0 if is_good else 1


if __name__ == "__main__":
    raise SystemExit(main())
