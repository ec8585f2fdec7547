"""Report on the record `generations`: fitness over generations, and whether evolution selects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from statistics import fmean
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, TypeAdapter

from germline.reporting.claims import Claim, claim_rows, count_verdicts, judge
from germline.reporting.html import Rows, Section
from germline.reporting.plotting import add_legend, arm_style, clip_to_percent, render_svg, use_whole_numbers
from germline.reporting.statistics import Estimate, estimate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


FitnessMeasure = Literal["accuracy", "loss"]
UNITS: Mapping[FitnessMeasure, str] = {"accuracy": "points", "loss": "hundredths of a nat"}
# Name of the axis, and factor of its values.
AXES: Mapping[FitnessMeasure, tuple[str, float]] = {"accuracy": ("fitness, %", 100), "loss": ("fitness, nats", 1)}


class GenerationRecord(BaseModel):
    """Record of one generation; fitness values are accuracies as shares of 1, or minus losses in nats.

    Attributes:
        generation: Number of the generation. Generation 0 has no parents.
        fitness: Mean fitness of the population.
        best: Best fitness of the population.
        winners: Mean fitness of the winners.
        spread: Standard deviation of fitness over the population.
        measure: What fitness is: an `accuracy`, or minus a `loss`.
        accuracy: Mean accuracy of the critics of the population; None if it is the fitness.
    """

    # A method may record more.
    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    generation: int
    fitness: float
    best: float
    winners: float
    spread: float
    measure: FitnessMeasure = "accuracy"
    accuracy: float | None = None

    def value(self, measure: FitnessMeasure) -> float:
        """Return the population's mean fitness as minus a loss, or its mean accuracy."""
        return self.accuracy if measure == "accuracy" and self.accuracy is not None else self.fitness


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
        f"{_describe(common_measure(records))} Thin lines are seeds. The thick line is their mean over the generations "
        "that all seeds reached; bands are 95 % intervals."
    )
    sections = [Section("Fitness over generations", note, _draw_arms(arms, records))]
    judgements = judge(fitness_claims(records))
    if judgements:
        note = (
            f"{count_verdicts(judgements)} {_describe(common_measure(records))} Pairs are of one seed, over the "
            "generations that both arms reached; generation 0 is drawn before any selection. 95 % t intervals; p with "
            "Holm's correction over this table."
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
    measure = common_measure(records)
    unit, scale, digits = ("%", 100, 1) if measure == "accuracy" else ("nats", 1, 3)
    by_arm = {arm: mean_fitness(seeds, measure) for arm, seeds in records.items()}
    numbers = sorted({number for means in by_arm.values() for number in means})
    rows = [
        [arm, *(means[number].text(scale, digits) if number in means else "" for number in numbers)]
        for arm, means in by_arm.items()
    ]
    return [["arm", *(f"generation {number}, {unit}" for number in numbers)], *rows]


def fitness_claims(records: Histories) -> list[Claim]:
    """Claim that the first arm's populations are fitter than each other arm's: in the end, and on average."""
    (first, ours), *others = records.items()
    claims, measure = [], common_measure(records)
    unit = UNITS[measure]
    for other, theirs in others:
        pairs = [_differences(ours[seed], theirs[seed], measure) for seed in sorted(ours.keys() & theirs.keys())]
        ends = [max(pair) for pair in pairs if pair]
        last = tuple(pair[max(pair)] for pair in pairs if pair)
        where = _generations_text(ends, "the last of both arms")
        claims.append(Claim(f"{first} ends with a fitter population than {other}", where, last, unit))
        # Generation 0 is drawn at random, whatever selects from it.
        later = [{at: value for at, value in pair.items() if at > 0} for pair in pairs]
        means = tuple(fmean(pair.values()) for pair in later if pair)
        where = _generations_text([max(pair) for pair in later if pair], "1 to the last of both arms", "1 to ")
        claims.append(Claim(f"{first} has fitter populations than {other}", where, means, unit))
    return claims


def common_measure(records: Histories) -> FitnessMeasure:
    """Return the measure in which all evolutions compare: minus the loss if all have it, or else the accuracy."""
    measures = {one.measure for seeds in records.values() for history in seeds.values() for one in history}
    return "loss" if measures == {"loss"} else "accuracy"


def _describe(measure: FitnessMeasure) -> str:
    return f"Mean {'of minus the loss of critics, in nats,' if measure == 'loss' else 'fitness'} of the population."


def _differences(ours: History, theirs: History, measure: FitnessMeasure) -> dict[int, float]:
    """Return fitness differences by generation that both reached."""
    other = {one.generation: one.value(measure) for one in theirs}
    return {one.generation: one.value(measure) - other[one.generation] for one in ours if one.generation in other}


def _generations_text(ends: Sequence[int], otherwise: str, start: str = "") -> str:
    """Name the generations, if they are the same for all seeds."""
    if len(set(ends)) != 1:
        return f"generations {otherwise}"
    return f"generations {start}{ends[0]}" if start and ends[0] > 1 else f"generation {ends[0]}"


def mean_fitness(histories: Mapping[int, History], measure: FitnessMeasure = "accuracy") -> dict[int, Estimate]:
    """Return the mean fitness over seeds, by generation that all seeds reached."""
    fitness = [{one.generation: one.value(measure) for one in history} for history in histories.values()]
    shared = sorted(set.intersection(*(set(values) for values in fitness)))
    return {at: estimate([values[at] for values in fitness]) for at in shared}


def _draw_history(history: History) -> str:
    measure = history[0].measure
    scale = AXES[measure][1]

    def draw(figure: Figure) -> None:
        panel = _add_panel(figure, measure)
        numbers = [one.generation for one in history]
        for index, (key, name) in enumerate((("fitness", "population"), ("winners", "winners"), ("best", "best"))):
            values = [scale * getattr(one, key) for one in history]
            panel.plot(numbers, values, label=name, ms=3, gid=f"fitness-{name}", **arm_style(index))
        low, high = ([scale * (one.fitness + sign * one.spread) for one in history] for sign in (-1, 1))
        panel.fill_between(numbers, low, high, color=arm_style(0)["color"], alpha=0.15, linewidth=0)
        if measure == "accuracy":
            clip_to_percent(panel)
        add_legend(figure, 1)

    return render_svg(draw, width=7, height=3.6)


def _draw_arms(arms: Sequence[str], records: Histories) -> str:
    measure = common_measure(records)

    def draw(figure: Figure) -> None:
        panel = _add_panel(figure, measure)
        for arm, histories in records.items():
            _draw_arm(panel, arm, histories, measure, arm_style(arms.index(arm)))
        if measure == "accuracy":
            clip_to_percent(panel)
        add_legend(figure, 1)

    return render_svg(draw, width=7, height=3.8)


def _draw_arm(
    panel: Axes, arm: str, histories: Mapping[int, History], measure: FitnessMeasure, line: Mapping[str, Any]
) -> None:
    scale = AXES[measure][1]
    for seed, history in histories.items():
        numbers, values = [one.generation for one in history], [scale * one.value(measure) for one in history]
        gid = f"fitness-{arm}-seed-{seed}"
        panel.plot(numbers, values, color=line["color"], linestyle=line["linestyle"], lw=0.6, alpha=0.5, gid=gid)
    points = mean_fitness(histories, measure)
    numbers, values = list(points), [scale * point.mean for point in points.values()]
    panel.plot(numbers, values, label=arm, ms=3, lw=2, gid=f"fitness-{arm}", **line)
    if len(histories) > 1:
        low, high = ([scale * getattr(point, end) for point in points.values()] for end in ("low", "high"))
        panel.fill_between(numbers, low, high, color=line["color"], alpha=0.15, linewidth=0)


def _add_panel(figure: Figure, measure: FitnessMeasure) -> Axes:
    panel: Axes = figure.subplots()
    panel.set_xlabel("generation")
    panel.set_ylabel(AXES[measure][0])
    use_whole_numbers(panel)
    panel.grid(alpha=0.3)
    return panel
