"""Arms over sizes: lines of sizes around the ancestor's own, the best arm at each, and where one overtakes another."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean
from typing import Literal

from germline.architectures import Size
from germline.compare.analysis.results import CellValue, ComparisonResults, Condition, accuracy_at, final_accuracy
from germline.compare.recipe.keys import READ_STEPS
from germline.compare.run.cells import format_images

LineEnd = Literal["smaller", "larger"]
LEAST_SIZES = 3  # fewer are no line
READING_PROTOCOLS = ("same-labels", "samples", "convergence")


@dataclass(frozen=True)
class Reading:
    """One accuracy that arms are compared by.

    Attributes:
        name: When it is read, such as `after 50 steps`.
        images: Training images per class, or "all".
        value: Function that reads it from a cell.
    """

    name: str
    images: int | str
    value: CellValue


@dataclass(frozen=True)
class Crossover:
    """Where a control overtakes the subject, on the way from the ancestor's own size.

    Attributes:
        control: Name of the control.
        ratio: Parameters relative to the ancestor's own size, interpolated between two sizes on a logarithmic scale. It
            is the first size of that direction if the control is already above there.
        is_first: Whether the control is above at the first size of that direction.
    """

    control: str
    ratio: float
    is_first: bool

    def text(self, direction: LineEnd) -> str:
        """Return where the control wins, such as `scratch from x 2.1`."""
        reached = "at" if self.is_first else "from about"
        return f"{self.control} {reached} x {self.ratio:.2f} and {direction}"


def list_readings(results: ComparisonResults) -> list[Reading]:
    """List what arms are read by: the steps of `same-labels` on validation images, and the last step on test images."""
    recipe, readings = results.recipe, []
    for images in recipe["images_per_class"]:
        place = f", {format_images(images)}" if len(recipe["images_per_class"]) > 1 else ""
        if recipe["protocol"] == "same-labels":
            steps = sorted(recipe.get("read_steps", READ_STEPS))
            last = results.train_steps(results.subject)
            early = [step for step in steps if step < last]
            readings += [Reading(f"after {step:,} steps{place}", images, accuracy_at(step)) for step in early]
        readings.append(Reading(f"test at the end{place}", images, final_accuracy))
    return readings


def group_sizes(sizes: Sequence[str]) -> dict[str, list[str]]:
    """Group sizes by what they change: `depth`, `width`, or both."""
    groups: dict[str, list[str]] = {}
    for size in sizes:
        keys = {key.rstrip("0123456789") for key in Size.parse(size)}
        axes = [axis for axis, names in (("depth", {"depth"}), ("width", {"width", "heads"})) if keys & names]
        groups.setdefault(" and ".join(axes) or "own size", []).append(size)
    if len(groups) > 1 and "own size" in groups:  # the ancestor's own size belongs to every line
        own = groups.pop("own size")
        groups = {axis: [*own, *sizes] for axis, sizes in groups.items()}
    return groups


def count_parameters(results: ComparisonResults, size: str) -> int:
    """Return the parameters of a size, the head included."""
    return int(results.stored["costs"]["parameters"][size]["full"])


def own_parameters(results: ComparisonResults) -> int | None:
    """Return the parameters of the ancestor's own size with the descendants' head; None in results without them."""
    own = results.stored.get("own_size")
    return None if own is None else int(own["full"])


def read_means(results: ComparisonResults, size: str, reading: Reading) -> dict[str, float]:
    """Return the mean over seeds of each arm that has a size, without arms that failed."""
    cells = {arm: results.cells(arm, Condition(size, reading.images)).values() for arm in results.arms_at(size)}
    return {arm: fmean(map(reading.value, entries)) for arm, entries in cells.items() if entries}


def find_crossovers(
    results: ComparisonResults, sizes: Sequence[str], reading: Reading, direction: LineEnd
) -> list[Crossover]:
    """Find the controls that overtake the subject on the way from the ancestor's own size, the nearest first.

    Args:
        results: Results of the comparison.
        sizes: Sizes of one line.
        reading: Accuracy to compare by; means over seeds.
        direction: Sizes to go through: those smaller or those larger than the ancestor.
    """
    own, found = own_parameters(results), []
    if own is None:
        return []
    ratios = {size: count_parameters(results, size) / own for size in sizes}
    means = {size: read_means(results, size, reading) for size in sizes}
    for control in results.controls:
        gaps = {
            ratios[size]: means[size][results.subject] - means[size][control]
            for size in sizes
            if {results.subject, control} <= means[size].keys() and (ratios[size] > 1) == (direction == "larger")
        }
        crossover = _find_crossover(control, dict(sorted(gaps.items(), reverse=direction == "smaller")))
        found += [] if crossover is None else [crossover]
    return sorted(found, key=lambda one: abs(math.log(one.ratio)))


def _find_crossover(control: str, gaps: dict[float, float]) -> Crossover | None:
    """Find where the gap between subject and control first falls below 0; None if it never does."""
    points = list(gaps.items())
    if points and points[0][1] < 0:
        return Crossover(control, points[0][0], is_first=True)
    for (near, before), (far, after) in pairwise(points):
        if after < 0:
            share = before / (before - after)
            return Crossover(control, near * (far / near) ** share, is_first=False)
    return None
