"""From the cells of a comparison to what the report says."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from germline.compare.recipe.schema import CONTROL
from germline.compare.run.cells import images_text
from germline.errors import ArtefactError
from germline.files import read_json
from germline.reporting.statistics import Estimate, estimate

Kept = Mapping[str, Any]
Value = Callable[[Kept], float]
PARTS = {"recipe", "cells", "ancestors", "genes", "tuned", "costs", "family", "levels", "failed"}


@dataclass(frozen=True)
class Condition:
    """Where arms are compared.

    Attributes:
        size: Of the descendants, in the size language.
        images: Training pictures a class.
    """

    size: str
    images: int | str

    def __str__(self) -> str:
        return f"{self.size or 'own size'}, {images_text(self.images)}"


@dataclass(frozen=True)
class Summary:
    """A comparison's kept results, with the questions that are asked of them.

    Attributes:
        results: What `results.json` holds.
    """

    results: Mapping[str, Any]

    @classmethod
    def read(cls, out: Path) -> Summary:
        """Read the results of a comparison.

        Raises:
            ArtefactError: The folder holds none.
        """
        if not (out / "results.json").exists():
            raise ArtefactError(f"no results in '{out}'", "the comparison has not ended", "run it again with --resume")
        results = read_json(out / "results.json")
        if not isinstance(results, dict) or PARTS - results.keys():
            raise ArtefactError(
                f"'{out / 'results.json'}' is not a comparison's results", fix="run the comparison again with --resume"
            )
        return cls(results)

    @property
    def recipe(self) -> dict[str, Any]:
        """The recipe as it ran."""
        return dict(self.results["recipe"])

    @property
    def arms(self) -> list[str]:
        """Arms, in the recipe's order."""
        return list(self.recipe["arms"])

    @property
    def subject(self) -> str:
        """The arm that claims are made of: the first."""
        return self.arms[0]

    @property
    def controls(self) -> list[str]:
        """What the subject is held against: scratch first, then the other arms."""
        others = [arm for arm in self.arms if arm not in (self.subject, CONTROL)]
        return [CONTROL, *others] if CONTROL in self.arms and self.subject != CONTROL else others

    def stands(self, arm: str, size: str) -> bool:
        """Whether an arm is asked about at a size."""
        return size in self.sizes_of(arm)

    def sizes_of(self, arm: str) -> list[str]:
        """The sizes at which an arm stands, in the recipe's order."""
        recipe = self.recipe
        named = recipe["arms"][arm].get("sizes")
        return [size for size in recipe["sizes"] if named is None or size in named]

    def arms_at(self, size: str) -> list[str]:
        """The arms that stand at a size, in the recipe's order."""
        return [arm for arm in self.arms if self.stands(arm, size)]

    def controls_at(self, size: str) -> list[str]:
        """What the subject is held against at a size; nothing where it does not stand there itself."""
        return [arm for arm in self.controls if self.stands(arm, size)] if self.stands(self.subject, size) else []

    def shared(self, control: str) -> list[str]:
        """The sizes at which both the subject and a control stand."""
        return [size for size in self.sizes_of(self.subject) if self.stands(control, size)]

    @property
    def conditions(self) -> list[Condition]:
        """Every size at every number of pictures."""
        recipe = self.recipe
        return [Condition(size, images) for images in recipe["images_per_class"] for size in recipe["sizes"]]

    def cells(self, arm: str, at: Condition, steps: int | None = None) -> dict[int, Kept]:
        """The cells of one arm and condition by seed; `steps` asks for those that were given another number."""
        return {seed: cells[0] for seed, cells in self.grid(arm, at, steps).items()}

    def grid(self, arm: str, at: Condition, steps: int | None = None) -> dict[int, list[Kept]]:
        """All cells of one arm and condition by seed; several where rates and decays are tried."""
        found: dict[int, list[Kept]] = {}
        for cell in self.results["cells"]:
            asked = cell["asked"]
            if (asked["arm"], asked["size"], asked["images"], asked["steps"]) == (arm, at.size, at.images, steps):
                found.setdefault(asked["seed"], []).append(cell)
        return found

    def accuracy(self, arm: str, at: Condition, steps: int | None = None) -> Estimate | None:
        """Last accuracy on test, over seeds; None where no cell came to its end."""
        values = [tested(cell) for cell in self.cells(arm, at, steps).values()]
        return estimate(values) if values else None

    def differences(
        self, arm: str, control: str, at: Condition, value: Value, control_steps: int | None = None
    ) -> list[float]:
        """A value of the arm's cell minus that of the control's, for each seed that both have."""
        ours, theirs = self.cells(arm, at), self.cells(control, at, control_steps)
        return [value(ours[seed]) - value(theirs[seed]) for seed in sorted(ours.keys() & theirs.keys())]

    def over_sizes(self, control: str, images: int | str) -> dict[int, list[float]]:
        """Last accuracy on test of the subject minus a control's, at each size where both stand, by seed.

        A seed in which one of these cells failed is left out: the rest would be another mean.
        """
        both = (self.subject, control)
        pairs = [[self.cells(arm, Condition(size, images)) for arm in both] for size in self.shared(control)]
        whole = set.intersection(*(set(cells) for pair in pairs for cells in pair)) if pairs else set()
        return {seed: [tested(ours[seed]) - tested(theirs[seed]) for ours, theirs in pairs] for seed in sorted(whole)}

    def curve(self, arm: str, at: Condition) -> list[tuple[int, Estimate]]:
        """Accuracy on validation over steps."""
        cells = list(self.cells(arm, at).values())
        if not cells:
            return []
        steps = [point["step"] for point in cells[0]["curve"]]
        return [(step, estimate([accuracy_at(step)(cell) for cell in cells])) for step in steps]

    def share_of_steps(self, arm: str, at: Condition, control: str = CONTROL) -> list[float | None]:
        """For each seed, steps after which the arm first holds the control's last validation accuracy, as a share.

        The share is of the control's own steps; None where the arm never gets there. Both are read at the steps that
        were looked at, so the true share is at most this one.
        """
        ours, theirs = self.cells(arm, at), self.cells(control, at)
        shares: list[float | None] = []
        for seed in sorted(ours.keys() & theirs.keys()):
            last = theirs[seed]["curve"][-1]
            reached = [point["step"] for point in ours[seed]["curve"] if point["accuracy"] >= last["accuracy"]]
            shares.append(reached[0] / last["step"] if reached and last["step"] else None)
        return shares

    def rungs(self, at: Condition) -> list[Kept]:
        """Scratch with more and more steps at a condition, as it was looked at on validation."""
        return [rung for rung in self.results["levels"] if (rung["size"], rung["images"]) == (at.size, at.images)]

    def levelled(self, at: Condition) -> tuple[int, bool] | None:
        """Steps of the longest scratch at a condition, and whether the last doubling added no more than the tolerance.

        None where scratch was not trained any longer.
        """
        rungs = self.rungs(at)
        if not rungs or rungs[-1]["val"] is None:
            return None
        first = [cell["curve"][-1]["accuracy"] for cell in self.cells(CONTROL, at).values()]
        before = rungs[-2]["val"] if len(rungs) > 1 else sum(first) / len(first)
        tolerance = self.recipe["levelling"]["tolerance"]
        return int(rungs[-1]["steps"]), rungs[-1]["val"] - before <= tolerance

    def first_cell(self, arm: str, size: str) -> Kept | None:
        """Any cell of an arm at a size."""
        for images in self.recipe["images_per_class"]:
            for cell in self.cells(arm, Condition(size, images)).values():
                return cell
        return None

    def origins(self, arm: str, size: str) -> dict[str, float]:
        """Share of a descendant's elements by origin; empty where no cell came to its end."""
        cell = self.first_cell(arm, size)
        counts: dict[str, int] = {} if cell is None else cell["origins"]
        return {origin: count / sum(counts.values()) for origin, count in counts.items()}


def tested(cell: Kept) -> float:
    """Last accuracy on test."""
    return float(cell["test_accuracy"])


def accuracy_at(step: int) -> Value:
    """Accuracy on validation after so many steps."""

    def value(cell: Kept) -> float:
        return float(next(point["accuracy"] for point in cell["curve"] if point["step"] == step))

    return value


def mean_accuracy(cell: Kept) -> float:
    """Accuracy on validation, averaged over the steps by the trapezium rule."""
    curve: Sequence[Kept] = cell["curve"]
    area = sum(
        (after["step"] - before["step"]) * (after["accuracy"] + before["accuracy"]) / 2
        for before, after in pairwise(curve)
    )
    whole = curve[-1]["step"] - curve[0]["step"]
    return float(area / whole) if whole else float(curve[-1]["accuracy"])
