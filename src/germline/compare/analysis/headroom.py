"""Headroom of a comparison: the ceiling of what any gene can show at a condition."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import Any

from germline.baselines.ceiling import CEILING_ARMS, CeilingRole, find_ceiling_role
from germline.baselines.random_gene import RandomGene
from germline.compare.analysis.results import CellValue, ComparisonResults, Condition, final_accuracy
from germline.compare.recipe.keys import CONTROL, MIN_HEADROOM
from germline.compare.recipe.schema import Recipe
from germline.reporting.claims import Ceiling

UNKNOWN = "ceiling unknown"
MAX_SIZES_SHOWN = 6


def find_ceiling(results: ComparisonResults, at: Condition, value: CellValue = final_accuracy) -> Ceiling | None:
    """Find the ceiling of a condition: fine-tuning minus the shuffled fine-tuned network, paired by seed.

    Both arms have the condition's size and images, and the steps of the first arm. A first arm without training has
    the ceiling of `find_untrained_ceiling_arms`.

    Returns:
        The ceiling; None if the recipe lacks one of the arms, or if no seed finished both.
    """
    size = _find_ceiling_size(results, at.size)
    pair, place = find_ceiling_arms(results, size), Condition(size, at.images)
    return None if pair is None else make_ceiling(results, results.differences(*pair, place, value))


def find_ceiling_over_sizes(results: ComparisonResults, sizes: Sequence[str], images: int | str) -> Ceiling | None:
    """Find the mean ceiling over sizes; None if it is unknown at one of them."""
    by_seed = []
    for size in sizes:
        own = _find_ceiling_size(results, size)
        pair, at = find_ceiling_arms(results, own), Condition(own, images)
        if pair is None:
            return None
        cells = [results.cells(arm, at) for arm in pair]
        seeds = cells[0].keys() & cells[1].keys()
        by_seed.append({seed: final_accuracy(cells[0][seed]) - final_accuracy(cells[1][seed]) for seed in seeds})
    complete = sorted(set.intersection(*(set(values) for values in by_seed))) if by_seed else []
    return make_ceiling(results, [fmean(values[seed] for values in by_seed) for seed in complete])


def make_ceiling(results: ComparisonResults, differences: Sequence[float]) -> Ceiling | None:
    """Return differences as a ceiling, with the least headroom that the recipe asks for; None without any."""
    least = results.recipe.get("min_headroom", MIN_HEADROOM) / 100
    return Ceiling(tuple(differences), least) if differences else None


def find_ceiling_arms(results: ComparisonResults, size: str) -> tuple[str, str] | None:
    """Find the arms of fine-tuning and of the shuffled fine-tuned network at a size; None if one is missing."""
    top, bottom = (_arms_of_role(results, size, role) for role in CEILING_ARMS)
    return (top[0], bottom[0]) if top and bottom else find_untrained_ceiling_arms(results, size)


def find_untrained_ceiling_arms(results: ComparisonResults, size: str) -> tuple[str, str] | None:
    """Find scratch and the shuffled gene at a size, if descendants of the first arm are used without training.

    No step is left for fine-tuning there. The best known network of a size is then one that is trained by itself. A
    network that knows nothing is the first arm's gene with shuffled elements, without training.
    """
    if CONTROL not in results.arms_at(size) or not has_untrained_subject(results):
        return None
    own = results.method_of(results.subject)
    shuffled = [arm for arm in results.arms_at(size) if _shuffles(results, arm) == own and _is_untrained(results, arm)]
    return (CONTROL, shuffled[0]) if shuffled and not _is_untrained(results, CONTROL) else None


def has_untrained_subject(results: ComparisonResults) -> bool:
    """Tell whether descendants of the first arm are used without training."""
    return _is_untrained(results, results.subject)


def _find_ceiling_size(results: ComparisonResults, size: str) -> str:
    """Return the size whose ceiling a size has: its own, or the first known one for sizes without training.

    A pool lists its narrowest network first. Its ceiling is the lowest that can be expected.
    """
    if find_ceiling_arms(results, size) is not None or not has_untrained_subject(results):
        return size
    known = [other for other in results.sizes_of(results.subject) if find_ceiling_arms(results, other) is not None]
    return known[0] if known else size


def _shuffles(results: ComparisonResults, arm: str) -> str | None:
    is_shuffled = results.method_of(arm) == RandomGene.name
    return str(results.settings_of(arm).get("method")) if is_shuffled else None


def _is_untrained(results: ComparisonResults, arm: str) -> bool:
    return bool(_steps_of(results, arm)[0] == 0)


def _arms_of_role(results: ComparisonResults, size: str, role: CeilingRole) -> list[str]:
    """List the arms of fine-tuning, or of the shuffled fine-tuned network, with the first arm's steps."""
    steps = _steps_of(results, results.subject)
    return [
        arm
        for arm in results.arms_at(size)
        if find_ceiling_role(results.method_of(arm), results.settings_of(arm)) == role
        and _steps_of(results, arm) == steps
    ]


def _steps_of(results: ComparisonResults, arm: str) -> tuple[Any, Any]:
    recipe = results.recipe
    train = {**recipe.get("train", {}), **(recipe["arms"][arm].get("train") or {})}
    steps = train.get("steps")
    return steps, train.get("epochs") if steps is None else None


def describe_ceiling_arms(recipe: Recipe) -> str:
    """Describe whether a recipe's arms give the ceiling of each size, and which arms are missing.

    The text says before a run what the report will be able to judge.
    """
    planned = ComparisonResults({"recipe": recipe.model_dump(mode="json")})
    needed = f"a claim needs {recipe.min_headroom:g} points of it"
    if has_untrained_subject(planned):
        return _describe_untrained_ceiling(planned, needed)
    missing: dict[str, list[str]] = {}
    for size in planned.sizes_of(planned.subject):
        for role, example in CEILING_ARMS.items():
            if not _arms_of_role(planned, size, role):
                missing.setdefault(example, []).append(size or "own size")
    if not missing:
        return f"ceiling: known at every size; {needed}"
    lines = (f"{UNKNOWN} at {_list_shortly(sizes)}: the arm {example} is missing" for example, sizes in missing.items())
    return "\n".join(lines)


def _describe_untrained_ceiling(planned: ComparisonResults, needed: str) -> str:
    sizes = planned.sizes_of(planned.subject)
    known = [size for size in sizes if find_ceiling_arms(planned, size) is not None]
    if not known:
        own = planned.method_of(planned.subject)
        shuffled = f"{RandomGene.name}: {{method: {RandomGene.name}, settings: {{method: {own}}}, train: {{steps: 0}}}}"
        return f"{UNKNOWN} at every size: {CONTROL}, or the arm {shuffled}, is missing"
    others = f"; all others have that of {known[0]}" if len(known) < len(sizes) else ""
    return f"ceiling: known at {_list_shortly(known)}{others}; {needed}"


def _list_shortly(sizes: Sequence[str]) -> str:
    more = len(sizes) - MAX_SIZES_SHOWN
    return f"{'; '.join(sizes[:MAX_SIZES_SHOWN])}{f' and {more} more sizes' if more > 0 else ''}"
