"""Was a choice of layers or of a window a good one? Its regret and its rank among all given choices of that size."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from germline.compare.analysis.results import Condition, Summary, tested
from germline.reporting.html import Rows, Section
from germline.reporting.statistics import Estimate, estimate

GIVEN = "given"
Blocks = tuple[int, ...]
Chosen = dict[str, dict[int, Blocks]]  # by arm and seed


@dataclass(frozen=True)
class Standing:
    """How the choices of one arm stand, seed by seed.

    Attributes:
        chosen: Blocks by seed.
        regrets: Accuracy of the best other choice minus the arm's, as shares of 1; best on the other seeds, so that no
            seed has a say in what it is held against. A single seed has none.
        ranks: 1 where no other choice is better in that seed; of equal ones the mean of their places.
        among: Choices that are ranked, the arm's own included.
    """

    chosen: Mapping[int, Blocks]
    regrets: list[float]
    ranks: list[float]
    among: int


def standings(summary: Summary, at: Condition) -> dict[str, Standing]:
    """The standing of every arm that chooses, among the arms whose choice is given; only choices as large compete."""
    found = {}
    for kept, given in (_layers(summary), _windows(summary)):
        fixed = {arm: blocks for arm, blocks in given.items() if summary.cells(arm, at)}
        for arm, chosen in kept.items():
            sizes = {len(blocks) for blocks in chosen.values()}
            rivals = {other: blocks for other, blocks in fixed.items() if {len(blocks)} == sizes}
            if len(rivals) > 1 and summary.cells(arm, at):
                found[arm] = _standing(summary, at, arm, chosen, rivals)
    return found


def _standing(
    summary: Summary, at: Condition, arm: str, chosen: Mapping[int, Blocks], rivals: Mapping[str, Blocks]
) -> Standing:
    ours = {seed: tested(cell) for seed, cell in summary.cells(arm, at).items()}
    theirs = {other: {seed: tested(cell) for seed, cell in summary.cells(other, at).items()} for other in rivals}
    regrets, ranks, among = [], [], 0
    for seed, accuracy in ours.items():
        others = {other: theirs[other] for other, blocks in rivals.items() if blocks != chosen[seed]}
        present = [values[seed] for values in others.values() if seed in values]
        above, equal = (sum(test) for test in ((v > accuracy for v in present), (v == accuracy for v in present)))
        ranks.append(1 + above + equal / 2)
        among = max(among, 1 + len(present))
        elsewhere = {
            other: fmean(rest)
            for other, values in others.items()
            if (rest := [value for one, value in values.items() if one != seed]) and seed in values
        }
        if elsewhere:
            best = max(elsewhere, key=lambda other: elsewhere[other])
            regrets.append(others[best][seed] - accuracy)
    return Standing(chosen, regrets, ranks, among)


def _layers(summary: Summary) -> tuple[Chosen, dict[str, Blocks]]:
    """The blocks of genes, counted from 0: those that were chosen, by arm and seed, and those that were given."""
    chosen: Chosen = {}
    given: dict[str, Blocks] = {}
    for gene in summary.results["genes"]:
        if told := gene.get("record", {}).get("layers"):
            if told["select"] == GIVEN:
                given[gene["arm"]] = tuple(told["kept"])
            else:
                chosen.setdefault(gene["arm"], {})[gene["seed"]] = tuple(told["kept"])
    return chosen, given


def _windows(summary: Summary) -> tuple[Chosen, dict[str, Blocks]]:
    """The units of the first arm's windows, counted from 1, and those of arms that differ from it in naming one."""
    arms: dict[str, Any] = summary.recipe["arms"]
    told: list[tuple[int, Any]] = [
        (gene["seed"], gene.get("record", {}).get("collective"))
        for gene in summary.results["genes"]
        if gene["arm"] == summary.subject
    ]
    windows = {seed: record["window"] for seed, record in told if record}
    ours = arms[summary.subject]
    if not windows or "window" in ours["settings"]:
        return {}, {}
    size = next(iter(windows.values()))[1]
    given = {
        arm: _units(one["settings"]["window"], size)
        for arm, one in arms.items()
        if one["method"] == ours["method"]
        and "window" in one["settings"]
        and {key: value for key, value in one["settings"].items() if key != "window"} == ours["settings"]
    }
    return {summary.subject: {seed: _units(start + 1, size) for seed, (start, _) in windows.items()}}, given


def _units(first: int, size: int) -> Blocks:
    return tuple(range(first, first + size))


def table(summary: Summary) -> Rows:
    """Condition by condition and arm by arm: what was chosen, regret and rank."""
    rows = [["condition", "arm", "chosen", "regret, points", "rank", "of"]]
    for at in summary.conditions:
        for arm, standing in standings(summary, at).items():
            regret = estimate(standing.regrets).text(sign=True) if standing.regrets else ""
            rank = _plain(estimate(standing.ranks))
            rows.append([str(at), arm, _spoken(standing.chosen), regret, rank, str(standing.among)])
    return rows


def _plain(found: Estimate) -> str:
    return found.text(scale=1, digits=1)


def _spoken(chosen: Mapping[int, Blocks]) -> str:
    """`4+5 in 3 seeds, 2+3 in 1`."""
    counts: dict[Blocks, int] = {}
    for blocks in chosen.values():
        counts[blocks] = counts.get(blocks, 0) + 1
    ordered = sorted(counts.items(), key=lambda one: (-one[1], one[0]))
    return ", ".join(f"{'+'.join(map(str, blocks))} in {count}" for blocks, count in ordered)


def sections(summary: Summary) -> list[Section]:
    """The table, where some arm chooses among several given ones."""
    rows = table(summary)
    note = (
        "Layers are counted from 0, units of a window from 1; behind each choice the seeds that made it. Regret is the "
        "test accuracy of the best other given choice of that size minus the arm's own: best on the mean of the other "
        "seeds, read on this one; above 0, another choice would have been better. Rank 1 is the best of the choices in "
        "a seed; a choice by chance has the middle one. Means with 95 % t intervals over seeds."
    )
    return [Section("Was the choice a good one?", note, rows)] if len(rows) > 1 else []
