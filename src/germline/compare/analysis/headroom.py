"""Headroom of a comparison: the ceiling of what any gene can show at a condition."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import Any

from germline.baselines.ceiling import CEILING_ARMS, CeilingRole, find_ceiling_role
from germline.compare.analysis.results import CellValue, ComparisonResults, Condition, final_accuracy
from germline.compare.recipe.schema import MIN_HEADROOM, Recipe
from germline.reporting.claims import Ceiling

UNKNOWN = "ceiling unknown"
MAX_SIZES_SHOWN = 6


def find_ceiling(results: ComparisonResults, at: Condition, value: CellValue = final_accuracy) -> Ceiling | None:
    """Find the ceiling of a condition: fine-tuning minus the shuffled fine-tuned network, paired by seed.

    Both arms have the condition's size and images, and the steps of the first arm.

    Returns:
        The ceiling; None if the recipe lacks one of the arms, or if no seed finished both.
    """
    pair = find_ceiling_arms(results, at.size)
    return None if pair is None else make_ceiling(results, results.differences(*pair, at, value))


def find_ceiling_over_sizes(results: ComparisonResults, sizes: Sequence[str], images: int | str) -> Ceiling | None:
    """Find the mean ceiling over sizes; None if it is unknown at one of them."""
    by_seed = []
    for size in sizes:
        pair, at = find_ceiling_arms(results, size), Condition(size, images)
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
    return (top[0], bottom[0]) if top and bottom else None


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
    missing: dict[str, list[str]] = {}
    for size in planned.sizes_of(planned.subject):
        for role, example in CEILING_ARMS.items():
            if not _arms_of_role(planned, size, role):
                missing.setdefault(example, []).append(size or "own size")
    if not missing:
        return f"ceiling: known at every size; a claim needs {recipe.min_headroom:g} points of it"
    lines = (f"{UNKNOWN} at {_list_shortly(sizes)}: the arm {example} is missing" for example, sizes in missing.items())
    return "\n".join(lines)


def _list_shortly(sizes: Sequence[str]) -> str:
    more = len(sizes) - MAX_SIZES_SHOWN
    return f"{'; '.join(sizes[:MAX_SIZES_SHOWN])}{f' and {more} more sizes' if more > 0 else ''}"
