"""Measure how often comparisons call equal arms different, and how often they find a real effect.

Comparisons are simulated. Arms have independent normal noise with the standard deviation of a real comparison: that of
test accuracy over seeds in its saved results. The code that judges reports judges these arms too.

Single claims are simulated first. Then families of claims are, each judged as one question. A question counts as
different if any of its claims does: this rate is the one that Holm's method limits to 5 %. Claims of one report share
their subject. Claims that read one run at several steps share its noise too. Both make them correlated, and Holm's
method is cautious then: the rate falls below 5 %. The rate of single claims, without correction, stays at 5 %.

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

from claim_families import Family, adjust_by_holm, compute_p_values, simulate_family
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
SMALL = Family("two reports, two controls", len(REPORTS), len(CONTROLS))
FAMILIES = (
    SMALL,
    Family("two reports, five controls", 2, 5),
    Family("three readings of each run, four controls", 3, 4, shared=0.8),
)
FAMILIES_PER_COMPARISON = 50
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


def count_disagreements(questions: int, seeds: int, spread: float, generator: np.random.Generator) -> int:
    """Count the claims for which the arrays and the code that judges reports differ, in a few simulated questions."""
    noise = SMALL.draw(questions, seeds, spread, generator)
    adjusted = adjust_by_holm(compute_p_values(noise))
    wrong = 0
    for question, p_values in zip(noise, adjusted, strict=True):
        names = ("gene", *CONTROLS)
        reports = [
            _report(images, dict(zip(names, ends, strict=True))) for images, ends in zip(REPORTS, question, strict=True)
        ]
        judged = [one for index in range(len(reports)) for one in judge_claims(_with_siblings(reports, index))]
        stated = [one.p for one in judged if one.claim.is_stated]
        wrong += sum(bool(abs(one - other) > 1e-9) for one, other in zip(stated, p_values, strict=True))
    return wrong


def _with_siblings(reports: list[dict[str, Any]], index: int) -> ComparisonResults:
    others = (ComparisonResults(stored) for at, stored in enumerate(reports) if at != index)
    return ComparisonResults(reports[index], tuple(others))


def _report(images: int, ends: dict[str, Any]) -> dict[str, Any]:
    """Return the parts of a results file that judging reads."""
    count = len(REPORTS) * len(CONTROLS)
    recipe = {
        "protocol": "samples",
        "arms": {arm: ARMS[arm] for arm in ends},
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
    count = FAMILIES_PER_COMPARISON * options.comparisons
    families = [simulate_family(family, seeds, count, spread, generator) for family in FAMILIES for seeds in SEEDS]
    disagreements = sum(count_disagreements(options.comparisons // 10, seeds, spread, generator) for seeds in SEEDS)
    found = simulate_questions(EFFECT_SEEDS, options.comparisons // 4, spread, generator, shift)
    no_room = simulate_questions(EFFECT_SEEDS, options.comparisons // 4, spread, generator, shift, LOW_ROOM)
    is_good = all(LEVELS[0] <= row["different"] <= LEVELS[1] for row in (*equal, *families)) and not disagreements
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
        "families_per_row": count,
        "families": families,
        "claims_judged_otherwise": disagreements,
        "family_planted": found,
        "family_without_room": no_room,
    }
    write_json(options.out, result)
    for row in equal:
        print(f"{row['seeds']} seeds, equal arms: {100 * row['different']:.2f} % called different")
    print(f"{EFFECT_SEEDS} seeds, {100 * shift:.1f} points planted: {100 * planted['above']:.1f} % found")
    for row in families:
        print(
            f"{row['seeds']} seeds, {row['family']} ({row['claims']} equal claims): "
            f"{100 * row['different']:.2f} % of questions differ, "
            f"{100 * row['claims_different']:.2f} % of claims, "
            f"{100 * row['claims_different_uncorrected']:.2f} % of claims without correction"
        )
    print(f"{EFFECT_SEEDS} seeds, planted in a family: {100 * found['above']:.1f} % of questions find it")
    print(f"the same with {100 * LOW_ROOM:g} points of room: {100 * no_room['without_room']:.1f} % of claims have none")
    return 0 if is_good else 1


if __name__ == "__main__":
    raise SystemExit(main())
