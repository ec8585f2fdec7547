"""The tables of a report; a table is rows of text, the first of them its header."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from germline.compare.analysis.protocols import (
    PROTOCOLS,
    grid_means,
    instinct_steps,
    probed,
    spread,
    whole_grids,
    worst,
)
from germline.compare.analysis.results import Condition, Summary, accuracy_at, tested
from germline.compare.cost.storage import stored_ratio
from germline.compare.recipe.schema import CONTROL
from germline.reporting.claims import HEADER, Judgement, judge
from germline.reporting.html import Rows
from germline.reporting.statistics import Estimate, estimate

FAMILIES = (1, 5, 10)


def claims_table(summary: Summary) -> Rows:
    """Every claim of the protocol, and whether it holds here."""
    return [HEADER, *(judgement.row() for judgement in judgements(summary))]


def judgements(summary: Summary) -> list[Judgement]:
    """All claims of the protocol, judged together."""
    return judge(PROTOCOLS[summary.recipe["protocol"]].claims(summary))


def main_table(summary: Summary) -> Rows:
    """Condition by condition and arm by arm: accuracy, gain over scratch, steps to scratch's last accuracy."""
    rows = [["condition", "arm", "test accuracy, %", "gain over scratch, points", "steps to scratch's last"]]
    for at in summary.conditions:
        for arm in summary.arms_at(at.size):
            rows.append([str(at), arm, _text(summary.accuracy(arm, at)), *_beside_scratch(summary, arm, at)])
        longest = summary.levelled(at)
        if longest is not None:
            steps, level = longest
            name = f"{CONTROL}, {steps:,} steps ({'levelled off' if level else 'still rising'})"
            gains = _gain(summary, CONTROL, at, steps)
            rows.append([str(at), name, _text(summary.accuracy(CONTROL, at, steps)), gains, ""])
    return rows


def _beside_scratch(summary: Summary, arm: str, at: Condition) -> list[str]:
    if arm == CONTROL or CONTROL not in summary.arms_at(at.size):
        return ["", ""]
    return [_gain(summary, arm, at), _steps(summary.share_of_steps(arm, at))]


def _gain(summary: Summary, arm: str, at: Condition, steps: int | None = None) -> str:
    ours, theirs = summary.cells(arm, at, steps), summary.cells(CONTROL, at)
    values = [tested(ours[seed]) - tested(theirs[seed]) for seed in sorted(ours.keys() & theirs.keys())]
    return estimate(values).text(sign=True) if values else "failed"


def _text(found: Estimate | None) -> str:
    return "failed" if found is None else found.text()


def _steps(shares: Sequence[float | None]) -> str:
    reached = [share for share in shares if share is not None]
    if not reached:
        return "never reached"
    middle = sorted(reached)[len(reached) // 2]
    missed = f", not by {len(shares) - len(reached)} of {len(shares)} seeds" if len(reached) < len(shares) else ""
    return f"{middle:.0%} of them{missed}"


def sensitivity_table(summary: Summary) -> Rows:
    """Over the grid of rates and decays: mean, spread, best and worst last accuracy."""
    rows = [["condition", "arm", "mean, %", "standard deviation, points", "best, %", "worst, %", "best at"]]
    for at in summary.conditions:
        for arm in summary.arms_at(at.size):
            grids = list(whole_grids(summary, arm, at).values())
            if not grids:
                rows.append([str(at), arm, "failed", "", "", "", ""])
                continue
            points = grid_means(summary, arm, at)
            rate, decay = max(points, key=lambda point: points[point])
            best = estimate([max(tested(cell) for cell in cells) for cells in grids])
            mean = estimate([fmean(tested(cell) for cell in cells) for cells in grids])
            spreads, lowest = estimate([spread(cells) for cells in grids]), estimate([worst(cells) for cells in grids])
            found = [mean.text(), spreads.text(), best.text(), lowest.text(), f"rate {rate:g}, decay {decay:g}"]
            rows.append([str(at), arm, *found])
    return rows


def instincts_table(summary: Summary) -> Rows:
    """Accuracy on validation after a few steps, and of a linear probe before the first."""
    steps = instinct_steps(summary.recipe.get("instinct_steps", ()))
    rows = [["condition", "arm", "linear probe, %", *(f"{step} steps, %" for step in steps)]]
    for at in summary.conditions:
        for arm in summary.arms_at(at.size):
            cells = list(summary.cells(arm, at).values())
            if not cells:
                rows.append([str(at), arm, "failed", *([""] * len(steps))])
                continue
            early = [estimate([accuracy_at(step)(cell) for cell in cells]).text() for step in steps]
            rows.append([str(at), arm, estimate([probed(cell) for cell in cells]).text(), *early])
    return rows


def levels_table(summary: Summary) -> Rows:
    """Scratch with more and more steps."""
    rows = [["condition", "steps", "validation accuracy, %", "test accuracy, %"]]
    for at in summary.conditions:
        rungs = summary.rungs(at)
        first = list(summary.cells(CONTROL, at).values())
        if not rungs or not first:
            continue
        for steps in (None, *(rung["steps"] for rung in rungs)):
            cells = list(summary.cells(CONTROL, at, steps).values())
            val = estimate([cell["curve"][-1]["accuracy"] for cell in cells]).text() if cells else "failed"
            count = cells[0]["steps"] if cells else steps
            rows.append([str(at), f"{count:,}", val, _text(summary.accuracy(CONTROL, at, steps))])
    return rows


def cost_table(summary: Summary) -> Rows:
    """The budget of one descendant: what each arm saw, and with what settings."""
    rows = [["arm", "samples", "TFLOP", "steps", "learning rate", "weight decay"]]
    for arm in summary.arms:
        cells = [c for c in summary.results["cells"] if c["asked"]["arm"] == arm and c["asked"]["steps"] is None]
        if not cells:
            continue
        most = max(cells, key=lambda cell: int(cell["flops"]))
        rates, decays = ({cell[key] for cell in cells if cell["steps"]} for key in ("lr", "weight_decay"))
        rows.append(
            [arm, f"{most['samples']:,}", _tera(most["flops"]), f"{most['steps']:,}", _all(rates), _all(decays)]
        )
    return rows


def _all(values: set[float]) -> str:
    return ", ".join(f"{value:g}" for value in sorted(values))


def _tera(flops: float) -> str:
    return f"{flops / 1e12:,.4g}"


def family_table(summary: Summary) -> Rows:
    """The budget of a whole family: ancestor, gene and descendants of the first arm, against scratch for each."""
    costs, at = summary.results["costs"], _family_condition(summary)
    ours, scratch = (list(summary.cells(arm, at).values()) for arm in (summary.subject, CONTROL))
    made = costs["genes"].get(summary.subject)
    if made is None or not ours or not scratch:
        return []
    rows = [["descendants", "paid for", "TFLOP in all", "as many times scratch", "scratch given the same, %", "gain"]]
    asked = {(b["count"], b["with_ancestor"]): b["steps"] for b in summary.results["family"]}
    for count in dict.fromkeys((*FAMILIES, *(count for count, _ in asked))):
        for with_ancestor in (True, False) if costs["ancestor"] else (False,):
            ancestor = costs["ancestor"]["flops"] if with_ancestor else 0
            flops = ancestor + made["flops"] + count * ours[0]["flops"]
            paid = "ancestor, gene, descendants" if with_ancestor else "gene, descendants"
            ratio = f"{flops / (count * scratch[0]['flops']):.2f}"
            steps = asked.get((count, with_ancestor))
            rows.append([str(count), paid, _tera(flops), ratio, *_equal_total(summary, at, steps)])
    return rows


def _family_condition(summary: Summary) -> Condition:
    family = summary.recipe["family"]
    return Condition(family["size"], family["images_per_class"]) if family else summary.conditions[0]


def _equal_total(summary: Summary, at: Condition, steps: int | None) -> list[str]:
    if steps is None or not summary.cells(CONTROL, at, steps):
        return ["not run", ""]
    gain = summary.differences(summary.subject, CONTROL, at, tested, control_steps=steps)
    return [f"{_text(summary.accuracy(CONTROL, at, steps))} ({steps:,} steps)", estimate(gain).text(sign=True)]


def stored_table(summary: Summary) -> Rows:
    """What has to be kept to have all sizes: one gene, or every descendant as it was pretrained."""
    sizes = summary.results["costs"]["parameters"]
    rows = [["kept", "parameters without heads", "with heads", "times the gene, without heads"]]
    genes = {gene["arm"]: gene for gene in summary.results["genes"]}
    kept = genes.get(summary.subject)
    for arm, gene in genes.items():
        own = "of one size" if summary.recipe["arms"][arm]["method"] == "finetune" else "for all sizes"
        rows.append([f"gene of {arm} ({own})", *_counts(gene["headless_elements"], gene["elements"], kept)])
    for size, count in sizes.items():
        rows.append([f"one network, {size or 'own size'}", *_counts(count["headless"], count["full"], kept)])
    if len(sizes) > 1:
        whole = [sum(count[key] for count in sizes.values()) for key in ("headless", "full")]
        rows.append([f"all {len(sizes)} networks", *_counts(whole[0], whole[1], kept)])
    return rows


def _counts(headless: int, full: int, gene: Mapping[str, Any] | None) -> list[str]:
    ratio = f"{stored_ratio(gene['headless_elements'], [headless]):.2f}" if gene else ""
    return [f"{headless:,}", f"{full:,}", ratio]


def tuning_table(summary: Summary) -> Rows:
    """The grid in which each arm was tuned, with accuracies on validation; the chosen one is marked."""
    rows = [["arm", "learning rate", "weight decay", "validation accuracy, %"]]
    for arm, tuned in (summary.results["tuned"] or {}).items():
        for tried in tuned["grid"]:
            chosen = (tried["lr"], tried["weight_decay"]) == (tuned["lr"], tuned["weight_decay"])
            known = tried["accuracy"]
            accuracy = "failed" if known is None else f"{100 * known:.1f}{' *' if chosen else ''}"
            rows.append([arm, f"{tried['lr']:g}", f"{tried['weight_decay']:g}", accuracy])
    return rows


def failed_table(summary: Summary) -> Rows:
    """What failed, and why."""
    return [["what", "why"], *([name, reason] for name, reason in summary.results["failed"].items())]
