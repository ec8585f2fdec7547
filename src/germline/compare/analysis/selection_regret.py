"""Regret and rank of a choice of blocks among all given choices of the same size."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import fmean

from germline.compare.analysis.results import ComparisonResults, Condition, final_accuracy
from germline.reporting.hook import parse_record, report_modules
from germline.reporting.html import Rows, Section
from germline.reporting.statistics import estimate

Blocks = tuple[int, ...]


@dataclass(frozen=True)
class SelectionScore:
    """Regret and rank of one arm's choices.

    Attributes:
        chosen: Blocks by seed.
        regrets: Accuracy of the best given choice minus the arm's, as shares of 1, one per seed. The best choice is
            found on the other seeds, so that no seed helps to choose what it is compared with. A single seed has none.
        ranks: Rank of the arm in each seed. Rank 1 means that no other choice is better; ties share the mean rank.
        competitors: Number of choices that are ranked, the arm's own included.
    """

    chosen: Mapping[int, Blocks]
    regrets: list[float]
    ranks: list[float]
    competitors: int


@dataclass(frozen=True)
class _Group:
    """Choices that compete: those that arms made, by arm and seed, and those that the recipe gives, by arm."""

    chosen: dict[str, dict[int, Blocks]] = field(default_factory=dict)
    given: dict[str, Blocks] = field(default_factory=dict)


def score_selections(results: ComparisonResults, at: Condition) -> dict[str, SelectionScore]:
    """Score every arm that chooses blocks among the arms whose blocks are given and as many."""
    scores = {}
    for group in _groups(results):
        given = {arm: blocks for arm, blocks in group.given.items() if results.cells(arm, at)}
        for arm, chosen in group.chosen.items():
            counts = {len(blocks) for blocks in chosen.values()}
            rivals = {other: blocks for other, blocks in given.items() if {len(blocks)} == counts}
            if len(rivals) > 1 and results.cells(arm, at):
                scores[arm] = _score(results, at, arm, chosen, rivals)
    return scores


def _score(
    results: ComparisonResults, at: Condition, arm: str, chosen: Mapping[int, Blocks], rivals: Mapping[str, Blocks]
) -> SelectionScore:
    ours = {seed: final_accuracy(cell) for seed, cell in results.cells(arm, at).items()}
    theirs = {
        other: {seed: final_accuracy(cell) for seed, cell in results.cells(other, at).items()} for other in rivals
    }
    regrets, ranks, competitors = [], [], 0
    # With one gene for all seeds, there is one choice.
    shared = next(iter(chosen.values())) if results.recipe.get("one_gene") else None
    for seed, accuracy in ours.items():
        own = chosen[seed] if shared is None else shared
        others = {other: theirs[other] for other, blocks in rivals.items() if blocks != own}
        present = [values[seed] for values in others.values() if seed in values]
        above = sum(value > accuracy for value in present)
        equal = sum(value == accuracy for value in present)
        ranks.append(1 + above + equal / 2)
        competitors = max(competitors, 1 + len(present))
        elsewhere = {
            other: fmean(rest)
            for other, values in others.items()
            if (rest := [value for one, value in values.items() if one != seed]) and seed in values
        }
        if elsewhere:
            best = max(elsewhere, key=lambda other: elsewhere[other])
            regrets.append(others[best][seed] - accuracy)
    return SelectionScore(chosen, regrets, ranks, competitors)


def _groups(results: ComparisonResults) -> list[_Group]:
    """Collect the block choices that the genes record, by kind of record and group."""
    groups: dict[tuple[str, str], _Group] = {}
    for kind, module in report_modules(results.record_kinds).items():
        chosen_blocks = getattr(module, "chosen_blocks", None)
        if chosen_blocks is None:
            continue
        for arm, seed, value in results.records(kind):
            record = parse_record(module, kind, value, f"the gene of {arm}, seed {seed}")
            choice = chosen_blocks(record, results.settings_of(arm))
            group = groups.setdefault((kind, choice.group), _Group())
            if choice.is_given:
                group.given[arm] = choice.blocks
            else:
                group.chosen.setdefault(arm, {})[seed] = choice.blocks
    return list(groups.values())


def regret_table(results: ComparisonResults) -> Rows:
    """List the chosen blocks, regret and rank by condition and arm."""
    rows = [["condition", "arm", "chosen blocks", "regret, points", "rank", "of"]]
    for at in results.conditions:
        for arm, score in score_selections(results, at).items():
            regret = estimate(score.regrets).text(sign=True) if score.regrets else ""
            rank = estimate(score.ranks).text(scale=1)
            rows.append([str(at), arm, _chosen_text(score.chosen), regret, rank, str(score.competitors)])
    return rows


def _chosen_text(chosen: Mapping[int, Blocks]) -> str:
    """Return text such as `4+5 in 3, 2+3 in 1`: blocks, and the number of seeds that chose them."""
    counts: dict[Blocks, int] = {}
    for blocks in chosen.values():
        counts[blocks] = counts.get(blocks, 0) + 1
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{'+'.join(map(str, blocks))} in {count}" for blocks, count in ordered)


def regret_sections(results: ComparisonResults) -> list[Section]:
    """Return the table as a section, if some arm chooses among several given choices."""
    rows = regret_table(results)
    note = (
        "Layers are counted from 0, units of a window from 1. The number after a choice is the number of seeds that "
        "made it. Regret is the test accuracy of the best other given choice of that size minus the arm's own. The "
        "best choice is found on the other seeds and read on this one. Regret above 0: another choice would have been "
        "better. Rank 1 is the best choice in a seed; a random choice has the middle rank on average. Means with 95 % "
        "t intervals over seeds."
    )
    return [Section("Was the choice of blocks good?", note, rows)] if len(rows) > 1 else []
