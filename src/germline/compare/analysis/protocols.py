"""The protocols: what each paper claims of a learngene, asked in one way of all methods."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from germline.compare.analysis.results import Condition, Kept, Summary, Value, accuracy_at, mean_accuracy, tested
from germline.compare.recipe.schema import CONTROL, Question, Recipe
from germline.compare.run.cells import images_text
from germline.errors import SettingError
from germline.reporting.claims import Claim

INSTINCT_STEPS = (0, 1, 5, 10, 50, 100)
Ask = Callable[[Summary], list[Claim]]


@dataclass(frozen=True)
class Protocol:
    """One question.

    Attributes:
        name: As recipes call it.
        asks: The question in a sentence.
        check: Refuses a recipe that cannot answer it.
        claims: What is claimed, with the differences that speak for or against it.
    """

    name: Question
    asks: str
    check: Callable[[Recipe], None]
    claims: Ask


def _claims(summary: Summary, text: str, value: Value, *, levelled: bool = True) -> list[Claim]:
    """The subject against every control at every condition, and against scratch once it has levelled off."""
    claims = []
    for at in summary.conditions:
        controls = summary.controls_at(at.size)
        for control in controls:
            differences = summary.differences(summary.subject, control, at, value)
            claims.append(Claim(f"{summary.subject} {text} {control}", str(at), tuple(differences)))
        longest = summary.levelled(at) if levelled and CONTROL in controls else None
        if longest is not None:
            steps, level = longest
            differences = summary.differences(summary.subject, CONTROL, at, value, control_steps=steps)
            named = f"{CONTROL} with {steps:,} steps ({'levelled off' if level else 'still rising'})"
            claims.append(Claim(f"{summary.subject} {text} {named}", str(at), tuple(differences)))
    return claims


def _convergence(summary: Summary) -> list[Claim]:
    claims = []
    for at in summary.conditions:
        if CONTROL in summary.controls_at(at.size):
            shares = summary.share_of_steps(summary.subject, at)
            doublings = tuple(_doublings(share, summary, at) for share in shares)
            text = f"{summary.subject} is faster to {CONTROL}'s last accuracy"
            claims.append(Claim(text, str(at), doublings, "doublings"))
    claims += _claims(summary, "is higher over the whole training than", mean_accuracy, levelled=False)
    return claims + _claims(summary, "ends above", tested)


def _doublings(share: float | None, summary: Summary, at: Condition) -> float:
    """How many times the steps are halved; none where the arm never gets there, though it may be worse than that.

    An arm that is there before its first step counts as there at the first look after it.
    """
    if share is None:
        return 0.0
    steps = [step for step, _ in summary.curve(CONTROL, at) if step > 0]
    return -math.log2(max(share, steps[0] / steps[-1]))


def _samples(summary: Summary) -> list[Claim]:
    return _claims(summary, "ends above", tested)


def spread(cells: list[Kept]) -> float:
    """Standard deviation of the last accuracy on test over a grid of rates and decays."""
    return stdev([tested(cell) for cell in cells])


def worst(cells: list[Kept]) -> float:
    """Lowest last accuracy on test over a grid."""
    return min(tested(cell) for cell in cells)


def whole_grids(summary: Summary, arm: str, at: Condition) -> dict[int, list[Kept]]:
    """The cells of a grid by seed, seeds left out in which one failed: the rest would spread less for it."""
    grid = summary.recipe["grid"]
    points = len(grid["lr"]) * len(grid["weight_decay"])
    return {seed: cells for seed, cells in summary.grid(arm, at).items() if len(cells) == points}


def _sensitivity(summary: Summary) -> list[Claim]:
    claims = []
    for at in summary.conditions:
        ours = whole_grids(summary, summary.subject, at)
        for control in summary.controls_at(at.size):
            theirs = whole_grids(summary, control, at)
            both = [(ours[seed], theirs[seed]) for seed in sorted(ours.keys() & theirs.keys())]
            less = tuple(spread(other) - spread(own) for own, other in both)
            claims.append(Claim(f"{summary.subject} spreads less over the grid than {control}", str(at), less))
            higher = tuple(worst(own) - worst(other) for own, other in both)
            text = f"the worst of the grid is higher for {summary.subject} than for {control}"
            claims.append(Claim(text, str(at), higher))
    return claims


def _sizes(summary: Summary) -> list[Claim]:
    claims = _claims(summary, "ends above", tested)
    family = summary.recipe["family"]
    if family is None or CONTROL not in summary.controls:
        return claims
    at = Condition(family["size"], family["images_per_class"])
    for budget in summary.results["family"]:
        differences = summary.differences(summary.subject, CONTROL, at, tested, control_steps=budget["steps"])
        text = f"{summary.subject} ends above {CONTROL} given the same total, {budget_text(budget)}"
        claims.append(Claim(text, str(at), tuple(differences)))
    return claims


def budget_text(budget: Kept) -> str:
    """Which whole-family budget it is."""
    many = "1 descendant" if budget["count"] == 1 else f"{budget['count']} descendants"
    return f"{many}, {'ancestor and gene' if budget['with_ancestor'] else 'gene'} paid for"


def _paths(summary: Summary) -> list[Claim]:
    return [*_over_sizes(summary), *_claims(summary, "ends above", tested)]


def _over_sizes(summary: Summary) -> list[Claim]:
    """The subject against each control over all sizes at which both stand; a single one is no family."""
    claims, subject = [], summary.subject
    for images in summary.recipe["images_per_class"]:
        for control in summary.controls:
            count = len(summary.shared(control))
            if count < 2:
                continue
            where = f"{count} sizes, {images_text(images)}"
            found = summary.over_sizes(control, images).values()
            means = tuple(fmean(differences) for differences in found)
            claims.append(Claim(f"{subject} is above {control} in the mean over sizes", where, means))
            halves = tuple(share_above(differences) - 0.5 for differences in found)
            text = f"{subject} is above {control} at more than half of the sizes"
            claims.append(Claim(text, where, halves, "% of sizes"))
    return claims


def share_above(differences: Sequence[float]) -> float:
    """Share of differences that are above 0."""
    return sum(difference > 0 for difference in differences) / len(differences)


def probed(cell: Kept) -> float:
    """Accuracy of the linear probe at step 0."""
    return float(cell["probe_accuracy"])


def instinct_steps(further: Iterable[int] = ()) -> tuple[int, ...]:
    """The steps after which `instincts` looks: those of the protocol, and further ones of a recipe."""
    return tuple(sorted({*INSTINCT_STEPS, *further}))


def _instincts(summary: Summary) -> list[Claim]:
    claims = []
    for step in instinct_steps(summary.recipe.get("instinct_steps", ()))[1:]:
        text = "after 1 step is above" if step == 1 else f"after {step} steps is above"
        claims += _claims(summary, text, accuracy_at(step), levelled=False)
    return claims + _claims(summary, "has better features at step 0 (linear probe) than", probed, levelled=False)


def _no_check(recipe: Recipe) -> None:
    """Every recipe will do."""


def _check_convergence(recipe: Recipe) -> None:
    for arm in recipe.arms:
        settings = recipe.train_settings(arm)
        every, steps = settings.eval_every, settings.steps
        looks = [step for step in settings.eval_at if steps is None or step < steps]
        regular = every is not None and (steps is None or 2 * every < steps)
        if len(looks) < 2 and not regular:
            raise SettingError(
                f"convergence with eval_every={every}, eval_at={settings.eval_at}, steps={steps}",
                "speed is read from the curve, which has hardly a point",
                "set train.eval_every, or train.eval_at to two steps or more before the last",
            )


def _check_sizes(recipe: Recipe) -> None:
    own = recipe.sizes_of(next(iter(recipe.arms)))
    if len(own) < 2:
        raise SettingError(f"sizes={list(own)}", "the protocol asks about a family of sizes", "give two sizes or more")


def _check_instincts(recipe: Recipe) -> None:
    asked = instinct_steps(recipe.instinct_steps)
    for arm in recipe.arms:
        settings = recipe.train_settings(arm)
        missing = [step for step in asked if not settings.evaluates(step, settings.steps or 0)]
        if settings.steps is None or settings.steps < asked[-1] or missing:
            raise SettingError(
                f"instincts with steps={settings.steps}, eval_at={settings.eval_at}",
                f"the protocol looks after {', '.join(map(str, asked))} steps",
                f"set train.steps={asked[-1]} or more and train.eval_at={list(asked)}",
            )


PROTOCOLS: dict[str, Protocol] = {
    protocol.name: protocol
    for protocol in (
        Protocol("convergence", "Does it converge faster, and end better?", _check_convergence, _convergence),
        Protocol("samples", "Does it need fewer samples?", _no_check, _samples),
        Protocol("sensitivity", "Does it mind rate and decay less?", _no_check, _sensitivity),
        Protocol("sizes", "Does one gene serve a family of sizes?", _check_sizes, _sizes),
        Protocol("paths", "Is every size of a family as good as it could be, as it stands?", _check_sizes, _paths),
        Protocol("instincts", "What does it know before and soon after it is trained?", _check_instincts, _instincts),
    )
}


def grid_means(summary: Summary, arm: str, at: Condition) -> dict[tuple[float, float], float]:
    """Mean last accuracy on test over seeds, by rate and decay."""
    points: dict[tuple[float, float], list[float]] = {}
    for cells in summary.grid(arm, at).values():
        for cell in cells:
            points.setdefault((cell["lr"], cell["weight_decay"]), []).append(tested(cell))
    return {point: fmean(values) for point, values in sorted(points.items())}
