"""Protocols: what papers claim about learngenes, tested in the same way for all methods."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from germline.baselines.random_gene import RandomGene
from germline.compare.analysis.frozen_checks import check_frozen_bodies
from germline.compare.analysis.headroom import (
    find_ceiling,
    find_ceiling_arms,
    find_ceiling_over_sizes,
    make_ceiling,
)
from germline.compare.analysis.recipe_checks import (
    accept_recipe,
    check_curve_points,
    check_instinct_steps,
    check_same_labels,
    check_size_count,
    instinct_steps,
)
from germline.compare.analysis.results import (
    CellValue,
    ComparisonResults,
    Condition,
    Entry,
    accuracy_at,
    final_accuracy,
    mean_accuracy,
)
from germline.compare.analysis.shared_gene import has_one_gene
from germline.compare.recipe.keys import CONTROL, READ_STEPS, ProtocolName
from germline.compare.recipe.schema import Recipe
from germline.compare.run.cells import format_images
from germline.reporting.claims import Ceiling, Claim

ClaimMaker = Callable[[ComparisonResults], list[Claim]]


@dataclass(frozen=True)
class Protocol:
    """One question about a learngene.

    Attributes:
        name: Name of the protocol in recipes.
        asks: The question in one sentence.
        check: Function that refuses a recipe that cannot answer the question.
        claims: Function that returns the claims with their paired differences.
    """

    name: ProtocolName
    asks: str
    check: Callable[[Recipe], None]
    claims: ClaimMaker


def _claims_per_condition(
    results: ComparisonResults, text: str, value: CellValue, *, with_longest_scratch: bool = True
) -> list[Claim]:
    """Compare the subject with every control at every condition, and with the longest scratch run."""
    claims, subject = [], results.subject
    for at in results.conditions:
        controls, ceiling = results.controls_at(at.size), find_ceiling(results, at, value)
        for control in controls:
            differences = results.differences(subject, control, at, value)
            claims.append(
                Claim(f"{subject} {text} {control}", str(at), tuple(differences), ceiling=ceiling, against=control)
            )
        longest = results.longest_scratch(at) if with_longest_scratch and CONTROL in controls else None
        if longest is not None:
            differences = results.differences(subject, CONTROL, at, value, control_steps=longest[0])
            text_of_longest = f"{subject} {text} {longer_scratch_text(*longest)}"
            claim = Claim(text_of_longest, str(at), tuple(differences), ceiling=ceiling, against=CONTROL)
            claims.append(claim)
    return claims


def longer_scratch_text(steps: int, on_plateau: bool) -> str:
    """Return the name of a longer scratch run, such as `scratch with 200 steps (on a plateau)`."""
    return f"{CONTROL} with {steps:,} steps ({'on a plateau' if on_plateau else 'still improving'})"


def _convergence(results: ComparisonResults) -> list[Claim]:
    claims = []
    for at in results.conditions:
        if CONTROL in results.controls_at(at.size):
            shares = results.share_of_steps(results.subject, at)
            doublings = tuple(_speed_doublings(share, results, at) for share in shares)
            text = f"{results.subject} reaches the final accuracy of {CONTROL} faster"
            claims.append(Claim(text, str(at), doublings, "doublings", find_ceiling(results, at), CONTROL))
    text = "has a higher mean accuracy over the training than"
    claims += _claims_per_condition(results, text, mean_accuracy, with_longest_scratch=False)
    return claims + _claims_per_condition(results, "ends above", final_accuracy)


def _speed_doublings(share: float | None, results: ComparisonResults, at: Condition) -> float:
    """Return how many times the steps are halved; 0 if the arm never reaches the accuracy, which may flatter it.

    An arm that reaches it before its first step counts as reaching it at the first evaluation after that.
    """
    if share is None:
        return 0.0
    steps = [step for step, _ in results.curve(CONTROL, at) if step > 0]
    return -math.log2(max(share, steps[0] / steps[-1]))


def _samples(results: ComparisonResults) -> list[Claim]:
    return _claims_per_condition(results, "ends above", final_accuracy)


def grid_spread(cells: list[Entry]) -> float:
    """Return the standard deviation of the final test accuracy over a grid of rates and decays."""
    return stdev([final_accuracy(cell) for cell in cells])


def grid_minimum(cells: list[Entry]) -> float:
    """Return the lowest final test accuracy over a grid."""
    return min(final_accuracy(cell) for cell in cells)


def complete_grids(results: ComparisonResults, arm: str, at: Condition) -> dict[int, list[Entry]]:
    """Return the cells of a grid by seed, without seeds in which a cell failed (they would seem to spread less)."""
    grid = results.recipe["grid"]
    points = len(grid["lr"]) * len(grid["weight_decay"])
    return {seed: cells for seed, cells in results.grid(arm, at).items() if len(cells) == points}


def mean_by_grid_point(results: ComparisonResults, arm: str, at: Condition) -> dict[tuple[float, float], float]:
    """Return the mean final test accuracy over seeds, by rate and decay."""
    points: dict[tuple[float, float], list[float]] = {}
    for cells in results.grid(arm, at).values():
        for cell in cells:
            points.setdefault((cell["lr"], cell["weight_decay"]), []).append(final_accuracy(cell))
    return {point: fmean(values) for point, values in sorted(points.items())}


def _sensitivity(results: ComparisonResults) -> list[Claim]:
    claims, subject = [], results.subject
    for at in results.conditions:
        ours, ceiling = complete_grids(results, subject, at), _find_grid_ceiling(results, at)
        for control in results.controls_at(at.size):
            theirs = complete_grids(results, control, at)
            pairs = [(ours[seed], theirs[seed]) for seed in sorted(ours.keys() & theirs.keys())]
            less = tuple(grid_spread(other) - grid_spread(own) for own, other in pairs)
            claims.append(
                Claim(
                    f"{subject} spreads less over the grid than {control}",
                    str(at),
                    less,
                    ceiling=ceiling,
                    against=control,
                )
            )
            higher = tuple(grid_minimum(own) - grid_minimum(other) for own, other in pairs)
            text = f"the lowest accuracy over the grid is higher for {subject} than for {control}"
            claims.append(Claim(text, str(at), higher, ceiling=ceiling, against=control))
    return claims


def _find_grid_ceiling(results: ComparisonResults, at: Condition) -> Ceiling | None:
    """Find the mean ceiling over a grid of rates and decays; None if it is unknown."""
    pair = find_ceiling_arms(results, at.size)
    if pair is None:
        return None
    grids = [complete_grids(results, arm, at) for arm in pair]
    means = [{seed: fmean(map(final_accuracy, cells)) for seed, cells in grid.items()} for grid in grids]
    seeds = sorted(means[0].keys() & means[1].keys())
    return make_ceiling(results, [means[0][seed] - means[1][seed] for seed in seeds])


def _sizes(results: ComparisonResults) -> list[Claim]:
    claims, subject = _claims_per_condition(results, "ends above", final_accuracy), results.subject
    family = results.recipe["family"]
    if family is None or CONTROL not in results.controls:
        return claims
    at = Condition(family["size"], family["images_per_class"])
    ceiling = find_ceiling(results, at)
    for budget in results.stored["family"]:
        differences = results.differences(subject, CONTROL, at, final_accuracy, control_steps=budget["steps"])
        text = f"{subject} ends above {CONTROL} at the same total cost, {budget_text(budget)}"
        claims.append(Claim(text, str(at), tuple(differences), ceiling=ceiling, against=CONTROL))
    return claims


def budget_text(budget: Entry) -> str:
    """Return the name of a whole-family budget, such as `5 descendants, ancestor and gene included`."""
    count = "1 descendant" if budget["count"] == 1 else f"{budget['count']} descendants"
    return f"{count}, {'ancestor and gene' if budget['with_ancestor'] else 'gene'} included"


def _paths(results: ComparisonResults) -> list[Claim]:
    return [*_claims_over_sizes(results), *_claims_per_condition(results, "ends above", final_accuracy)]


def _claims_over_sizes(results: ComparisonResults) -> list[Claim]:
    """Compare the subject with each control over all sizes that both have, if there are at least two."""
    claims, subject = [], results.subject
    for images in results.recipe["images_per_class"]:
        for control in results.controls:
            sizes = results.shared_sizes(control)
            count = len(sizes)
            if count < 2:
                continue
            ceiling = find_ceiling_over_sizes(results, sizes, images)
            where = f"{count} sizes, {format_images(images)}"
            by_seed = results.over_sizes(control, images).values()
            means = tuple(fmean(differences) for differences in by_seed)
            claims.append(
                Claim(
                    f"{subject} is above {control} in the mean over sizes",
                    where,
                    means,
                    ceiling=ceiling,
                    against=control,
                )
            )
            halves = tuple(share_above(differences) - 0.5 for differences in by_seed)
            text = f"{subject} is above {control} at more than half of the sizes"
            claims.append(Claim(text, where, halves, "% of sizes", ceiling, control))
    return claims


def share_above(differences: Sequence[float]) -> float:
    """Return the share of differences that are above 0."""
    return sum(difference > 0 for difference in differences) / len(differences)


def probe_accuracy(cell: Entry) -> float:
    """Return the accuracy of the linear probe at step 0."""
    return float(cell["probe_accuracy"])


def _instincts(results: ComparisonResults) -> list[Claim]:
    claims = []
    for step in instinct_steps(results.recipe.get("instinct_steps", ()))[1:]:
        text = "after 1 step is above" if step == 1 else f"after {step} steps is above"
        claims += _claims_per_condition(results, text, accuracy_at(step), with_longest_scratch=False)
    text = "has better features at step 0 (linear probe) than"
    return claims + _claims_per_condition(results, text, probe_accuracy, with_longest_scratch=False)


def _same_labels(results: ComparisonResults) -> list[Claim]:
    claims, recipe, subject = [], results.recipe, results.subject
    # With one gene, seeds repeat one evaluation before training: that is no sample.
    read_steps = recipe.get("read_steps", READ_STEPS)
    if 0 in read_steps and not has_one_gene(recipe, subject):
        for at in results.conditions:
            ceiling = find_ceiling(results, at, accuracy_at(0))
            for control in results.controls_at(at.size):
                if is_shuffled_subject(results, control):
                    differences = results.differences(subject, control, at, accuracy_at(0))
                    text = f"{subject} before training is above {control}"
                    claims.append(Claim(text, str(at), tuple(differences), ceiling=ceiling, against=control))
    for step in sorted(read_steps):
        # Accuracy after the last step is claimed on test images.
        if 0 < step < results.train_steps(subject):
            text = f"after {step} step{'s' if step > 1 else ''} is above"
            claims += _claims_per_condition(results, text, accuracy_at(step), with_longest_scratch=False)
    claims += _claims_per_condition(results, "ends above", final_accuracy)
    for at in results.conditions:
        if CONTROL in results.controls_at(at.size):
            shares = results.share_of_steps(subject, at)
            beyond_half = tuple(_speed_doublings(share, results, at) - 1 for share in shares)
            text = f"{subject} reaches the final accuracy of {CONTROL} in less than half the steps"
            claims.append(Claim(text, str(at), beyond_half, "doublings", find_ceiling(results, at), CONTROL))
    return claims


def is_shuffled_subject(results: ComparisonResults, arm: str) -> bool:
    """Return whether an arm shuffles the gene of the subject's method."""
    shuffled = results.settings_of(arm).get("method", RandomGene.model_fields["method"].default)
    return results.method_of(arm) == RandomGene.name and shuffled == results.method_of(results.subject)


def _frozen(results: ComparisonResults) -> list[Claim]:
    text = "with a frozen body ends above"
    return _claims_per_condition(results, text, final_accuracy, with_longest_scratch=False)


PROTOCOLS: dict[str, Protocol] = {
    protocol.name: protocol
    for protocol in (
        Protocol("convergence", "Does it converge faster and end better?", check_curve_points, _convergence),
        Protocol("samples", "Does it need fewer images?", accept_recipe, _samples),
        Protocol("sensitivity", "Is it less sensitive to learning rate and weight decay?", accept_recipe, _sensitivity),
        Protocol("sizes", "Does one gene serve a family of sizes?", check_size_count, _sizes),
        Protocol("paths", "Is every size of a family good without any training?", check_size_count, _paths),
        Protocol("instincts", "What does it know before and soon after training?", check_instinct_steps, _instincts),
        Protocol("same-labels", "How much of the known classes is inherited?", check_same_labels, _same_labels),
        Protocol("frozen", "Is its body good without any training?", check_frozen_bodies, _frozen),
    )
}
