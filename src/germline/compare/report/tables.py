"""Tables of accuracy and of claims in a comparison's report."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean

from germline.compare.analysis.headroom import UNKNOWN, find_ceiling_arms, has_untrained_subject
from germline.compare.analysis.protocols import (
    complete_grids,
    grid_minimum,
    grid_spread,
    longer_scratch_text,
    mean_by_grid_point,
    probe_accuracy,
)
from germline.compare.analysis.questions import judge_claims
from germline.compare.analysis.recipe_checks import instinct_steps
from germline.compare.analysis.results import ComparisonResults, Condition, accuracy_at, final_accuracy
from germline.compare.recipe.keys import CONTROL, MIN_HEADROOM
from germline.reporting.claims import CLAIM_COLUMNS, Judgement
from germline.reporting.html import Rows
from germline.reporting.statistics import Estimate, estimate


def claims_table(results: ComparisonResults) -> Rows:
    """List every claim of the protocol with its verdict and its ceiling."""
    return list_judgements(judge_claims(results))


def list_judgements(judgements: Sequence[Judgement]) -> Rows:
    """List judgements, stated claims first, with a column of ceilings if one of them is known."""
    judgements = sorted(judgements, key=lambda judgement: not judgement.claim.is_stated)
    if not any(judgement.claim.ceiling for judgement in judgements):
        return [CLAIM_COLUMNS, *(judgement.row() for judgement in judgements)]
    return [[*CLAIM_COLUMNS, "ceiling"], *([*judgement.row(), _ceiling_text(judgement)] for judgement in judgements)]


def _ceiling_text(judgement: Judgement) -> str:
    ceiling = judgement.claim.ceiling
    return UNKNOWN if ceiling is None else f"{ceiling.estimate.text(sign=True)} points"


def describe_ceiling(results: ComparisonResults) -> str:
    """Say what the ceiling is, or that it is unknown for every claim."""
    least = f"{results.recipe.get('min_headroom', MIN_HEADROOM):g}"
    meaning = "fine-tuning minus the shuffled fine-tuned network at the condition"
    if has_untrained_subject(results):
        meaning = f"{CONTROL} trained by itself minus the shuffled gene without training, at the first size with both"
    if any(judgement.claim.ceiling for judgement in judge_claims(results)):
        pairs = {find_ceiling_arms(results, size) for size in results.sizes_of(results.subject)}
        names = ", ".join(sorted(f"{top} minus {bottom}" for top, bottom in filter(None, pairs)))
        named = f"{meaning} ({names})" if names else meaning
        return f"The ceiling is {named}. If its mean is under {least} points, the comparison has no room to tell."
    return f"{UNKNOWN.capitalize()} for every claim: it is {meaning}, and arms of both are missing or failed."


def main_table(results: ComparisonResults) -> Rows:
    """List accuracy, gain over scratch and steps to scratch's final accuracy by condition and arm."""
    gain = "gain over scratch, points"
    rows = [["condition", "arm", "test accuracy, %", gain, "steps to scratch's final accuracy"]]
    for at in results.conditions:
        for arm in results.arms_at(at.size):
            accuracy = accuracy_text(results.accuracy(arm, at))
            rows.append([str(at), arm, accuracy, *_compared_with_scratch(results, arm, at)])
        longest = results.longest_scratch(at)
        if longest is not None:
            steps, _ = longest
            accuracy = accuracy_text(results.accuracy(CONTROL, at, steps))
            rows.append([str(at), longer_scratch_text(*longest), accuracy, _gain(results, CONTROL, at, steps), ""])
    return rows


def _compared_with_scratch(results: ComparisonResults, arm: str, at: Condition) -> list[str]:
    if arm == CONTROL or CONTROL not in results.arms_at(at.size):
        return ["", ""]
    return [_gain(results, arm, at), describe_steps(results.share_of_steps(arm, at))]


def _gain(results: ComparisonResults, arm: str, at: Condition, steps: int | None = None) -> str:
    ours, theirs = results.cells(arm, at, steps), results.cells(CONTROL, at)
    values = [final_accuracy(ours[seed]) - final_accuracy(theirs[seed]) for seed in sorted(ours.keys() & theirs.keys())]
    return estimate(values).text(sign=True) if values else "failed"


def accuracy_text(accuracy: Estimate | None) -> str:
    """Return an accuracy in percent, or `failed`."""
    return "failed" if accuracy is None else accuracy.text()


def describe_steps(shares: Sequence[float | None]) -> str:
    """Return the median share of scratch's steps until its accuracy is reached, and how many seeds never reach it.

    A seed that never reaches it counts as the slowest. Of an even number of seeds, the median is the larger of the two
    in the middle.
    """
    never = sum(share is None for share in shares)
    if never == len(shares):
        return "never reached"
    median = sorted(math.inf if share is None else share for share in shares)[len(shares) // 2]
    missed = f"{never} of {len(shares)} seeds never" if never else ""
    if math.isinf(median):
        return missed
    return f"{median:.0%} of scratch's{', ' * bool(missed)}{missed}"


def sensitivity_table(results: ComparisonResults) -> Rows:
    """List mean, spread, best and worst final accuracy over the grid of rates and decays."""
    rows = [["condition", "arm", "mean, %", "standard deviation, points", "best, %", "worst, %", "best at"]]
    for at in results.conditions:
        for arm in results.arms_at(at.size):
            grids = list(complete_grids(results, arm, at).values())
            if not grids:
                rows.append([str(at), arm, "failed", "", "", "", ""])
                continue
            points = mean_by_grid_point(results, arm, at)
            rate, decay = max(points, key=lambda point: points[point])
            columns = [
                [fmean(final_accuracy(cell) for cell in cells) for cells in grids],
                [grid_spread(cells) for cells in grids],
                [max(final_accuracy(cell) for cell in cells) for cells in grids],
                [grid_minimum(cells) for cells in grids],
            ]
            texts = [estimate(values).text() for values in columns]
            rows.append([str(at), arm, *texts, f"rate {rate:g}, decay {decay:g}"])
    return rows


def instincts_table(results: ComparisonResults) -> Rows:
    """List the accuracy of a linear probe at step 0, and validation accuracy after a few steps."""
    steps = instinct_steps(results.recipe.get("instinct_steps", ()))
    rows = [["condition", "arm", "linear probe, %", *(f"{step} steps, %" for step in steps)]]
    for at in results.conditions:
        for arm in results.arms_at(at.size):
            cells = list(results.cells(arm, at).values())
            if not cells:
                rows.append([str(at), arm, "failed", *([""] * len(steps))])
                continue
            early = [estimate([accuracy_at(step)(cell) for cell in cells]).text() for step in steps]
            rows.append([str(at), arm, estimate([probe_accuracy(cell) for cell in cells]).text(), *early])
    return rows


def frozen_table(results: ComparisonResults) -> Rows:
    """List accuracy and gain over scratch of frozen bodies, and the penalties of their heads."""
    rows = [["condition", "arm", "test accuracy, %", "gain over scratch, points", "penalties"]]
    for at in results.conditions:
        for arm in results.arms_at(at.size):
            has_gain = arm != CONTROL and CONTROL in results.arms_at(at.size)
            gain = _gain(results, arm, at) if has_gain else ""
            cells = results.cells(arm, at).values()
            penalties = sorted({penalty for cell in cells for penalty in cell["penalties"]})
            texts = ", ".join(f"{penalty:g}" for penalty in penalties)
            rows.append([str(at), arm, accuracy_text(results.accuracy(arm, at)), gain, texts])
    return rows


def levels_table(results: ComparisonResults) -> Rows:
    """List the accuracy of scratch with more and more steps."""
    rows = [["condition", "steps", "validation accuracy, %", "test accuracy, %"]]
    for at in results.conditions:
        runs = results.scratch_runs(at)
        first = list(results.cells(CONTROL, at).values())
        if not runs or not first:
            continue
        for steps in (None, *(run["steps"] for run in runs)):
            cells = list(results.cells(CONTROL, at, steps).values())
            validation = estimate([cell["curve"][-1]["accuracy"] for cell in cells]).text() if cells else "failed"
            count = cells[0]["steps"] if cells else steps
            rows.append([str(at), f"{count:,}", validation, accuracy_text(results.accuracy(CONTROL, at, steps))])
    return rows


def failed_table(results: ComparisonResults) -> Rows:
    """List the parts that failed, with their reasons."""
    return [["part", "reason"], *([name, reason] for name, reason in results.stored["failed"].items())]
