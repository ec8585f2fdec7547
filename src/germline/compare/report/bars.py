"""Accuracy as bars of text, to see at a glance what is inherited."""

from __future__ import annotations

from statistics import fmean

from germline.compare.analysis.results import ComparisonResults, Condition, accuracy_at
from germline.compare.recipe.keys import READ_STEPS
from germline.compare.run.cells import format_images

BAR_LENGTH = 25  # characters of a bar at 100 %


def draw_text_bars(results: ComparisonResults) -> str:
    """Draw the mean validation accuracy by size and arm, as bars of text.

    With the protocol `same-labels` the first and the last of its steps are shown, and else the last step.
    """
    recipe, steps = results.recipe, _shown_steps(results)
    count = len(recipe["seeds"])
    seeds = f"mean over {count} seeds" if count > 1 else "one seed"
    counts = " or ".join(map(format_images, recipe["images_per_class"]))
    lines = [f"Validation accuracy on {recipe['data']}, {counts}, {seeds}"]
    width = max(len(name) for name in results.arms) + 2
    labels = [str(at) if len(recipe["images_per_class"]) > 1 else at.size or "own size" for at in results.conditions]
    margin = max(map(len, labels)) + 2
    heads = [f"after {step:,} steps" for step in steps]
    lines.append(" " * (margin + width) + "  ".join(f"{head:<{BAR_LENGTH + 7}}" for head in heads).rstrip())
    for label, at in zip(labels, results.conditions, strict=True):
        for nth, arm in enumerate(results.arms_at(at.size)):
            bars = "  ".join(_draw_bar(_mean_accuracy(results, arm, at, step)) for step in steps)
            lines.append(f"{'' if nth else label:<{margin}}{arm:<{width}}{bars}".rstrip())
    return "\n".join(lines)


def _shown_steps(results: ComparisonResults) -> list[int]:
    if results.recipe["protocol"] == "same-labels":
        steps = sorted(results.recipe.get("read_steps", READ_STEPS))
        return list(dict.fromkeys((steps[0], steps[-1])))
    return [max((cell["curve"][-1]["step"] for cell in results.stored["cells"]), default=0)]


def _mean_accuracy(results: ComparisonResults, arm: str, at: Condition, step: int) -> float | None:
    cells = [cell for cell in results.cells(arm, at).values() if cell["curve"][-1]["step"] >= step]
    return fmean(map(accuracy_at(step), cells)) if cells else None


def _draw_bar(accuracy: float | None) -> str:
    if accuracy is None:
        return f"{'failed':<{BAR_LENGTH + 7}}"
    return f"{'#' * round(BAR_LENGTH * accuracy):<{BAR_LENGTH}}{100 * accuracy:5.1f} %"
