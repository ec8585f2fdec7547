"""Was the window that a criterion chose a good one? All windows of the same collectives side by side."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import fmean

from germline.compare.statistics import Estimate, estimate
from germline.compare.summary import Condition, Summary, tested
from germline.compare.tables import Rows

HEADER = ["condition", "windows", "rank of the chosen", "regret, points", "over the mean window, points"]
HEADER += ["best window on average", "behind that, points"]


def windows(summary: Summary) -> dict[str, int]:
    """Arms that differ from the first one in naming a window, with the number of its first unit; there are several."""
    arms = summary.recipe["arms"]
    ours = arms[summary.subject]
    named = {
        arm: one["settings"]["window"]
        for arm, one in arms.items()
        if one["method"] == ours["method"]
        and isinstance(one["settings"].get("window"), int)
        and {key: value for key, value in one["settings"].items() if key != "window"} == ours["settings"]
    }
    return named if len(named) > 1 else {}


def table(summary: Summary) -> Rows:
    """Rank, regret and gain of the first arm's choice among the arms that name a window, paired by seed.

    Regret is how far it stays behind the best window of the same seed, which is chosen on the same test pictures: it is
    above 0 even where all windows are alike. The last columns hold it against the window that is best on average.
    """
    named, rows = windows(summary), [HEADER]
    for at in summary.conditions if named else ():
        found = {arm: {seed: tested(cell) for seed, cell in summary.cells(arm, at).items()} for arm in named}
        ours = {seed: tested(cell) for seed, cell in summary.cells(summary.subject, at).items()}
        seeds = sorted(set(ours).intersection(*(set(own) for own in found.values())))
        if seeds:
            rows.append(_row(at, {seed: ours[seed] for seed in seeds}, found, named))
    return rows


def _row(
    at: Condition, ours: Mapping[int, float], found: Mapping[str, Mapping[int, float]], named: Mapping[str, int]
) -> list[str]:
    ranks, regrets, gains = [], [], []
    for seed, chosen in ours.items():
        others = [own[seed] for own in found.values()]
        ranks.append(1 + sum(other > chosen for other in others))
        regrets.append(max(others) - chosen)
        gains.append(chosen - fmean(others))
    best = max(found, key=lambda arm: fmean(found[arm][seed] for seed in ours))
    behind = [found[best][seed] - chosen for seed, chosen in ours.items()]
    mean: Estimate = estimate([float(rank) for rank in ranks])
    return [
        str(at),
        str(len(found)),
        mean.text(scale=1),
        estimate(regrets).text(),
        estimate(gains).text(sign=True),
        f"from unit {named[best]}",
        estimate(behind).text(sign=True),
    ]
