"""Report on the record `generations`: fitness over generations, and whether evolution selects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from statistics import fmean
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, TypeAdapter

from germline.reporting.claims import Claim, claim_rows, count_verdicts, judge
from germline.reporting.html import Rows, Section
from germline.reporting.plotting import add_legend, arm_style, clip_to_percent, render_svg, use_whole_numbers
from germline.reporting.statistics import Estimate, estimate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


class GenerationRecord(BaseModel):
    """Record of one generation; fitness values are shares of 1.

    Attributes:
        generation: Number of the generation. Generation 0 has no parents.
        fitness: Mean fitness of the population.
        best: Best fitness of the population.
        winners: Mean fitness of the winners.
        spread: Standard deviation of fitness over the population.
    """

    # A method may record more.
    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    generation: int
    fitness: float
    best: float
    winners: float
    spread: float


History = tuple[GenerationRecord, ...]
Histories = Mapping[str, Mapping[int, History]]  # by arm and seed
_STORED = TypeAdapter(History)


def parse(value: Any) -> History:
    """Check the generations that a gene records.

    Raises:
        ValueError: They are damaged, empty or out of order.
    """
    history = _STORED.validate_python(value)
    if not history or any(one.generation >= other.generation for one, other in pairwise(history)):
        raise ValueError("generations rise from entry to entry, and there is at least one")
    return history


def comparison_sections(arms: Sequence[str], records: Histories) -> list[Section]:
    """Show fitness over generations of every arm, and compare the first arm with each other one."""
    note = (
        "Mean fitness of the population. Thin lines are seeds. The thick line is their mean over the generations that "
        "all seeds reached; bands are 95 % intervals."
    )
    sections = [Section("Fitness over generations", note, _draw_arms(arms, records))]
    judgements = judge(fitness_claims(records))
    if judgements:
        note = (
            f"{count_verdicts(judgements)} Mean fitness of the population, paired by seed over the generations that "
            "both arms reached; generation 0 is drawn before any selection. 95 % t intervals; p with Holm's correction "
            "over this table."
        )
        sections.append(Section("Does evolution select?", note, fitness_claims_table(records)))
    return sections


def gene_sections(record: History) -> list[Section]:
    """Show best, winners and population of one evolution."""
    note = "The band is one standard deviation of the population around its mean."
    return [Section("Fitness over generations", note, _draw_history(record))]


def fitness_claims_table(records: Histories) -> Rows:
    """Judge whether the first arm's populations are fitter than those of each other arm."""
    return claim_rows(fitness_claims(records))


def generations_table(records: Histories) -> Rows:
    """List the mean fitness of the population by arm and generation, over seeds."""
    by_arm = {arm: mean_fitness(seeds) for arm, seeds in records.items()}
    numbers = sorted({number for means in by_arm.values() for number in means})
    head = ["arm", *(f"generation {number}, %" for number in numbers)]
    return [head, *([arm, *(means[n].text() if n in means else "" for n in numbers)] for arm, means in by_arm.items())]


def fitness_claims(records: Histories) -> list[Claim]:
    """Claim that the first arm's populations are fitter than each other arm's: in the end, and on average."""
    (first, ours), *others = records.items()
    claims = []
    for other, theirs in others:
        pairs = [_differences(ours[seed], theirs[seed]) for seed in sorted(ours.keys() & theirs.keys())]
        ends = [max(pair) for pair in pairs if pair]
        last = tuple(pair[max(pair)] for pair in pairs if pair)
        where = _generations_text(ends, "the last of both arms")
        claims.append(Claim(f"{first} ends with a fitter population than {other}", where, last))
        # Generation 0 is drawn at random, whatever selects from it.
        later = [{at: value for at, value in pair.items() if at > 0} for pair in pairs]
        means = tuple(fmean(pair.values()) for pair in later if pair)
        where = _generations_text([max(pair) for pair in later if pair], "1 to the last of both arms", "1 to ")
        claims.append(Claim(f"{first} has fitter populations than {other}", where, means))
    return claims


def _differences(ours: History, theirs: History) -> dict[int, float]:
    """Return fitness differences by generation that both reached."""
    other = {one.generation: one.fitness for one in theirs}
    return {one.generation: one.fitness - other[one.generation] for one in ours if one.generation in other}


def _generations_text(ends: Sequence[int], otherwise: str, start: str = "") -> str:
    """Name the generations, if they are the same for all seeds."""
    if len(set(ends)) != 1:
        return f"generations {otherwise}"
    return f"generations {start}{ends[0]}" if start and ends[0] > 1 else f"generation {ends[0]}"


def mean_fitness(histories: Mapping[int, History]) -> dict[int, Estimate]:
    """Return the mean fitness over seeds, by generation that all seeds reached."""
    fitness = [{one.generation: one.fitness for one in history} for history in histories.values()]
    shared = sorted(set.intersection(*(set(values) for values in fitness)))
    return {at: estimate([values[at] for values in fitness]) for at in shared}


def _draw_history(history: History) -> str:
    def draw(figure: Figure) -> None:
        panel = _add_panel(figure)
        numbers = [one.generation for one in history]
        for index, (key, name) in enumerate((("fitness", "population"), ("winners", "winners"), ("best", "best"))):
            values = [100 * getattr(one, key) for one in history]
            panel.plot(numbers, values, label=name, ms=3, gid=f"fitness-{name}", **arm_style(index))
        low, high = ([100 * (one.fitness + sign * one.spread) for one in history] for sign in (-1, 1))
        panel.fill_between(numbers, low, high, color=arm_style(0)["color"], alpha=0.15, linewidth=0)
        clip_to_percent(panel)
        add_legend(figure, 1)

    return render_svg(draw, width=7, height=3.6)


def _draw_arms(arms: Sequence[str], records: Histories) -> str:
    def draw(figure: Figure) -> None:
        panel = _add_panel(figure)
        for arm, histories in records.items():
            _draw_arm(panel, arm, histories, arm_style(arms.index(arm)))
        clip_to_percent(panel)
        add_legend(figure, 1)

    return render_svg(draw, width=7, height=3.8)


def _draw_arm(panel: Axes, arm: str, histories: Mapping[int, History], line: Mapping[str, Any]) -> None:
    for seed, history in histories.items():
        numbers, values = [one.generation for one in history], [100 * one.fitness for one in history]
        gid = f"fitness-{arm}-seed-{seed}"
        panel.plot(numbers, values, color=line["color"], linestyle=line["linestyle"], lw=0.6, alpha=0.5, gid=gid)
    points = mean_fitness(histories)
    numbers, values = list(points), [100 * point.mean for point in points.values()]
    panel.plot(numbers, values, label=arm, ms=3, lw=2, gid=f"fitness-{arm}", **line)
    if len(histories) > 1:
        low, high = ([100 * getattr(point, end) for point in points.values()] for end in ("low", "high"))
        panel.fill_between(numbers, low, high, color=line["color"], alpha=0.15, linewidth=0)


def _add_panel(figure: Figure) -> Axes:
    panel: Axes = figure.subplots()
    panel.set_xlabel("generation")
    panel.set_ylabel("fitness, %")
    use_whole_numbers(panel)
    panel.grid(alpha=0.3)
    return panel
