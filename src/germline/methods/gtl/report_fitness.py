"""Fitness over generations, of genes that were evolved, and whether evolution chooses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from statistics import fmean
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, TypeAdapter

from germline.reporting.claims import HEADER, Claim, judge, tally
from germline.reporting.html import Section
from germline.reporting.plotting import legend, style, svg, within_shares
from germline.reporting.statistics import Estimate, estimate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


class Generation(BaseModel):
    """What is kept of one generation; all but its number are shares of 1.

    Attributes:
        generation: Counted from 0, which has no fathers.
        fitness: Mean over the population.
        best: Of the population.
        winners: Mean over the winners.
        spread: Standard deviation over the population.
    """

    # A method may tell more.
    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    generation: int
    fitness: float
    best: float
    winners: float
    spread: float


History = tuple[Generation, ...]
Histories = Mapping[str, Mapping[int, History]]  # by arm and seed
_KEPT = TypeAdapter(History)


def read(value: Any) -> History:
    """The generations that a gene keeps.

    Raises:
        ValueError: They are not what is kept of generations, none at all, or not in their order.
    """
    found = _KEPT.validate_python(value)
    if not found or any(one.generation >= other.generation for one, other in pairwise(found)):
        raise ValueError("generations rise from entry to entry, and there is at least one")
    return found


def among(arms: Sequence[str], found: Histories) -> list[Section]:
    """Fitness over generations for every arm that has them, and the first of these against each other one."""
    note = (
        "Mean fitness of the population; thin lines are seeds, the thick line their mean over the generations that all "
        "of them reached, bands are 95 % intervals."
    )
    sections = [Section("Fitness over generations", note, _fitness(arms, found))]
    judgements = judge(claims(found))
    if judgements:
        note = (
            f"{tally(judgements)} Mean fitness of the population, paired by seed over the generations that both "
            "reached; generation 0 has chosen nothing yet. 95 % t intervals; p with Holm's correction over this table."
        )
        rows = [HEADER, *(judgement.row() for judgement in judgements)]
        sections.append(Section("Does evolution choose?", note, rows))
    return sections


def claims(found: Histories) -> list[Claim]:
    """That the first arm's populations are fitter than those of each other one: at the end, and all along."""
    (first, ours), *others = found.items()
    asked = []
    for other, theirs in others:
        pairs = [_differences(ours[seed], theirs[seed]) for seed in sorted(ours.keys() & theirs.keys())]
        ends = [max(pair) for pair in pairs if pair]
        last = tuple(pair[max(pair)] for pair in pairs if pair)
        asked.append(
            Claim(
                f"{first} ends with a fitter population than {other}", _when(ends, "that were the last of both"), last
            )
        )
        # What generation 0 holds is drawn, whatever chooses among it.
        later = [{at: value for at, value in pair.items() if at > 0} for pair in pairs]
        means = tuple(fmean(pair.values()) for pair in later if pair)
        ends = [max(pair) for pair in later if pair]
        asked.append(
            Claim(f"{first} has fitter populations than {other}", _when(ends, "1 to the last of both", "1 to "), means)
        )
    return asked


def _differences(ours: History, theirs: History) -> dict[int, float]:
    """By generation that both reached."""
    beside = {one.generation: one.fitness for one in theirs}
    return {one.generation: one.fitness - beside[one.generation] for one in ours if one.generation in beside}


def _when(ends: Sequence[int], otherwise: str, start: str = "") -> str:
    """Which generations, where they are the same for all seeds."""
    if len(set(ends)) != 1:
        return f"generations {otherwise}"
    return f"generations {start}{ends[0]}" if start and ends[0] > 1 else f"generation {ends[0]}"


def alone(found: History) -> list[Section]:
    """Best, winners and population of one evolution."""
    note = "The band is one standard deviation of the population about its mean."

    def draw(figure: Figure) -> None:
        panel = _panel(figure)
        at = [one.generation for one in found]
        for index, (key, name) in enumerate((("fitness", "population"), ("winners", "winners"), ("best", "best"))):
            values = [100 * getattr(one, key) for one in found]
            panel.plot(at, values, label=name, ms=3, gid=f"fitness-{name}", **style(index))
        low, high = ([100 * (one.fitness + sign * one.spread) for one in found] for sign in (-1, 1))
        panel.fill_between(at, low, high, color=style(0)["color"], alpha=0.15, linewidth=0)
        within_shares(panel)
        legend(figure, 1)

    return [Section("Fitness over generations", note, svg(draw, width=7, height=3.6))]


def _fitness(arms: Sequence[str], found: Histories) -> str:
    def draw(figure: Figure) -> None:
        panel = _panel(figure)
        for arm, histories in found.items():
            _line(panel, arm, histories, style(arms.index(arm)))
        within_shares(panel)
        legend(figure, 1)

    return svg(draw, width=7, height=3.8)


def _line(panel: Axes, arm: str, histories: Mapping[int, History], look: Mapping[str, Any]) -> None:
    points = means(histories)
    at = list(points)
    for seed, history in histories.items():
        values = [100 * one.fitness for one in history]
        where, gid = [one.generation for one in history], f"fitness-{arm}-seed-{seed}"
        panel.plot(where, values, color=look["color"], linestyle=look["linestyle"], lw=0.6, alpha=0.5, gid=gid)
    panel.plot(at, [100 * one.mean for one in points.values()], label=arm, ms=3, lw=2, gid=f"fitness-{arm}", **look)
    if len(histories) > 1:
        low, high = ([100 * getattr(one, end) for one in points.values()] for end in ("low", "high"))
        panel.fill_between(at, low, high, color=look["color"], alpha=0.15, linewidth=0)


def means(histories: Mapping[int, History]) -> dict[int, Estimate]:
    """Mean fitness over seeds, by generation that all of them reached."""
    fitness = [{one.generation: one.fitness for one in history} for history in histories.values()]
    shared = sorted(set.intersection(*(set(values) for values in fitness)))
    return {at: estimate([values[at] for values in fitness]) for at in shared}


def _panel(figure: Figure) -> Axes:
    from matplotlib.ticker import MaxNLocator

    panel: Axes = figure.subplots()
    panel.set_xlabel("generation")
    panel.set_ylabel("fitness, %")
    panel.xaxis.set_major_locator(MaxNLocator(integer=True))
    panel.grid(alpha=0.3)
    return panel
