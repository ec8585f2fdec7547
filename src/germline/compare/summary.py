"""From the cells of a comparison to what the report says."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from germline.compare.statistics import Estimate, estimate
from germline.errors import ArtefactError
from germline.files import read_json

CONTROL = "scratch"


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
        if not isinstance(results, dict) or {"recipe", "cells", "genes", "tuned"} - results.keys():
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
    def conditions(self) -> list[tuple[str, int]]:
        """All (size, images a class)."""
        return [(size, images) for images in self.recipe["images_per_class"] for size in self.recipe["sizes"]]

    def cells(self, arm: str, size: str, images: int) -> dict[int, dict[str, Any]]:
        """The cells of one arm and condition, by seed."""
        return {
            cell["seed"]: cell
            for cell in self.results["cells"]
            if (cell["arm"], cell["size"], cell["images"]) == (arm, size, images)
        }

    def accuracy(self, arm: str, size: str, images: int) -> Estimate:
        """Last accuracy on test, over seeds."""
        return estimate([cell["test_accuracy"] for cell in self.cells(arm, size, images).values()])

    def gain(self, arm: str, size: str, images: int, control: str = CONTROL) -> Estimate:
        """Last accuracy on test minus the control's, paired by seed."""
        return self._paired(arm, control, size, images, lambda cell: float(cell["test_accuracy"]))

    def gain_at(self, step: int, arm: str, size: str, images: int, control: str = CONTROL) -> Estimate:
        """Accuracy on validation after `step` steps minus the control's, paired by seed."""
        return self._paired(arm, control, size, images, lambda cell: _at(cell["curve"], step))

    def _paired(
        self, arm: str, control: str, size: str, images: int, value: Callable[[dict[str, Any]], float]
    ) -> Estimate:
        ours, theirs = self.cells(arm, size, images), self.cells(control, size, images)
        return estimate([value(ours[seed]) - value(theirs[seed]) for seed in sorted(ours.keys() & theirs.keys())])

    def curve(self, arm: str, size: str, images: int) -> list[tuple[int, Estimate]]:
        """Accuracy on validation over steps."""
        cells = list(self.cells(arm, size, images).values())
        steps = [point["step"] for point in cells[0]["curve"]]
        return [(step, estimate([_at(cell["curve"], step) for cell in cells])) for step in steps]

    def share_of_steps(self, arm: str, size: str, images: int, control: str = CONTROL) -> list[float | None]:
        """For each seed, steps after which the arm first holds the control's last validation accuracy, as a share.

        The share is of the control's own steps; None where the arm never gets there. Both are read at the steps that
        were looked at, so the true share is at most this one.
        """
        ours, theirs = self.cells(arm, size, images), self.cells(control, size, images)
        shares: list[float | None] = []
        for seed in sorted(ours.keys() & theirs.keys()):
            last = theirs[seed]["curve"][-1]
            reached = [point["step"] for point in ours[seed]["curve"] if point["accuracy"] >= last["accuracy"]]
            shares.append(reached[0] / last["step"] if reached and last["step"] else None)
        return shares

    def parameters(self, arm: str, size: str) -> int:
        """Parameters of an arm's descendant of that size."""
        images = self.recipe["images_per_class"][0]
        return int(next(iter(self.cells(arm, size, images).values()))["parameters"])

    def origins(self, arm: str, size: str) -> dict[str, float]:
        """Share of a descendant's elements by origin."""
        images = self.recipe["images_per_class"][0]
        counts: dict[str, int] = next(iter(self.cells(arm, size, images).values()))["origins"]
        return {origin: count / sum(counts.values()) for origin, count in counts.items()}


def _at(curve: Sequence[Mapping[str, Any]], step: int) -> float:
    return float(next(point["accuracy"] for point in curve if point["step"] == step))
