"""Results of a comparison, and the values that reports read from them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from germline.compare.recipe.keys import CONTROL
from germline.compare.run.cells import format_images
from germline.errors import ArtefactError
from germline.files import read_json
from germline.reporting.statistics import Estimate, estimate
from germline.seals import hash_json
from germline.sharing import hide_all

Entry = Mapping[str, Any]  # one cell, gene or scratch run, as stored
CellValue = Callable[[Entry], float]
RESULT_KEYS = {"recipe", "cells", "ancestors", "genes", "tuned", "costs", "family", "levels", "failed"}


@dataclass(frozen=True)
class Condition:
    """Condition under which arms are compared.

    Attributes:
        size: Size of the descendants in the size language.
        images: Training images per class, or "all".
    """

    size: str
    images: int | str

    def __str__(self) -> str:
        return f"{self.size or 'own size'}, {format_images(self.images)}"


@dataclass(frozen=True)
class ComparisonResults:
    """Stored results of a comparison, with the questions that reports ask of them.

    Attributes:
        stored: The content of `results.json`.
        siblings: Results of other comparisons with the same question.
    """

    stored: Mapping[str, Any]
    siblings: tuple[ComparisonResults, ...] = ()

    @classmethod
    def load(cls, path: Path) -> ComparisonResults:
        """Load the results of a comparison from its folder or from a results file.

        If the recipe names a question, results with that question in the folder beside it are its siblings.

        Raises:
            ArtefactError: There are no results, or the file holds something else.
        """
        file = path / "results.json" if path.is_dir() else path
        if not path.exists():
            raise ArtefactError(
                f"There are no results in '{path}'",
                "There is no such file or folder",
                "Give the output folder of germline compare, or run it with --resume",
            )
        if not file.exists():
            raise ArtefactError(
                f"There are no results in '{path}'",
                "The comparison has not ended",
                "Run it again with --resume",
            )
        stored = read_json(file)
        if not _is_complete(stored):
            raise ArtefactError(
                f"'{file}' does not hold a comparison's results",
                "Some of its parts are missing",
                "Run the comparison again with --resume",
            )
        _check_hash(stored, file, "Run the comparison again with --resume, or restore a copy")
        with wrong_content(stored, file):
            # Results of earlier versions hold the places of their inputs.
            return cls(hide_all(stored), tuple(cls(hide_all(other)) for other in _read_siblings(file, stored)))

    @property
    def recipe(self) -> dict[str, Any]:
        """The recipe as it ran."""
        return dict(self.stored["recipe"])

    @property
    def arms(self) -> list[str]:
        """Names of the arms, in the recipe's order."""
        return list(self.recipe["arms"])

    @property
    def subject(self) -> str:
        """The arm that the claims are about: the first one."""
        return self.arms[0]

    @property
    def controls(self) -> list[str]:
        """The arms that the subject is compared with: scratch first, then the others."""
        others = [arm for arm in self.arms if arm not in (self.subject, CONTROL)]
        return [CONTROL, *others] if CONTROL in self.arms and self.subject != CONTROL else others

    def method_of(self, arm: str) -> str:
        """Return the name of an arm's method."""
        return str(self.recipe["arms"][arm]["method"])

    def settings_of(self, arm: str) -> dict[str, Any]:
        """Return the method settings that the recipe gives an arm."""
        return dict(self.recipe["arms"][arm].get("settings") or {})

    def train_steps(self, arm: str) -> int:
        """Return the training steps that the recipe gives an arm; 0 if it gives epochs."""
        return int({**self.recipe["train"], **(self.recipe["arms"][arm].get("train") or {})}.get("steps") or 0)

    @property
    def record_kinds(self) -> set[str]:
        """Kinds of records that the genes keep."""
        return {kind for gene in self.stored["genes"] for kind in gene.get("record", {})}

    def records(self, kind: str) -> Iterator[tuple[str, int, Any]]:
        """Yield arm, seed and stored record of every gene that has a record of this kind."""
        for gene in self.stored["genes"]:
            if kind in gene.get("record", {}):
                yield gene["arm"], gene["seed"], gene["record"][kind]

    def has_size(self, arm: str, size: str) -> bool:
        """Return whether the recipe gives an arm this size."""
        return size in self.sizes_of(arm)

    def sizes_of(self, arm: str) -> list[str]:
        """Return the sizes of an arm, in the recipe's order."""
        recipe = self.recipe
        named = recipe["arms"][arm].get("sizes")
        return [size for size in recipe["sizes"] if named is None or size in named]

    def arms_at(self, size: str) -> list[str]:
        """Return the arms that have a size, in the recipe's order."""
        return [arm for arm in self.arms if self.has_size(arm, size)]

    def controls_at(self, size: str) -> list[str]:
        """Return the controls that have a size; none if the subject does not have it."""
        return [arm for arm in self.controls if self.has_size(arm, size)] if self.has_size(self.subject, size) else []

    def shared_sizes(self, control: str) -> list[str]:
        """Return the sizes that both the subject and a control have."""
        return [size for size in self.sizes_of(self.subject) if self.has_size(control, size)]

    @property
    def conditions(self) -> list[Condition]:
        """Every size at every number of images."""
        recipe = self.recipe
        return [Condition(size, images) for images in recipe["images_per_class"] for size in recipe["sizes"]]

    def cells(self, arm: str, at: Condition, steps: int | None = None) -> dict[int, Entry]:
        """Return the cells of one arm and condition by seed; `steps` selects those with another number of steps."""
        return {seed: cells[0] for seed, cells in self.grid(arm, at, steps).items()}

    def grid(self, arm: str, at: Condition, steps: int | None = None) -> dict[int, list[Entry]]:
        """Return all cells of one arm and condition by seed; several if rates and decays are tried."""
        by_seed: dict[int, list[Entry]] = {}
        for cell in self.stored["cells"]:
            asked = cell["asked"]
            if (asked["arm"], asked["size"], asked["images"], asked["steps"]) == (arm, at.size, at.images, steps):
                by_seed.setdefault(asked["seed"], []).append(cell)
        return by_seed

    def accuracy(self, arm: str, at: Condition, steps: int | None = None) -> Estimate | None:
        """Return the final test accuracy over seeds; None if no cell finished."""
        values = [final_accuracy(cell) for cell in self.cells(arm, at, steps).values()]
        return estimate(values) if values else None

    def differences(
        self, arm: str, control: str, at: Condition, value: CellValue, control_steps: int | None = None
    ) -> list[float]:
        """Return a value of the arm's cell minus that of the control's, for each seed that both have."""
        ours, theirs = self.cells(arm, at), self.cells(control, at, control_steps)
        return [value(ours[seed]) - value(theirs[seed]) for seed in sorted(ours.keys() & theirs.keys())]

    def over_sizes(self, control: str, images: int | str) -> dict[int, list[float]]:
        """Return the subject's final test accuracy minus a control's, by seed, at each size that both have.

        A seed in which one of these cells failed is left out: its mean would be over other sizes.
        """
        both = (self.subject, control)
        pairs = [[self.cells(arm, Condition(size, images)) for arm in both] for size in self.shared_sizes(control)]
        complete = set.intersection(*(set(cells) for pair in pairs for cells in pair)) if pairs else set()
        return {
            seed: [final_accuracy(ours[seed]) - final_accuracy(theirs[seed]) for ours, theirs in pairs]
            for seed in sorted(complete)
        }

    def curve(self, arm: str, at: Condition) -> list[tuple[int, Estimate]]:
        """Return the validation accuracy over steps."""
        cells = list(self.cells(arm, at).values())
        if not cells:
            return []
        steps = [point["step"] for point in cells[0]["curve"]]
        return [(step, estimate([accuracy_at(step)(cell) for cell in cells])) for step in steps]

    def share_of_steps(self, arm: str, at: Condition, control: str = CONTROL) -> list[float | None]:
        """Return per seed the steps until the arm reaches the control's final validation accuracy.

        Steps are a share of the control's own; None if the arm never reaches it. Accuracy is known only at the steps
        that were evaluated, so the true share is at most this one.
        """
        theirs, shares = self.cells(control, at), []
        for seed, step in self.steps_to_control(arm, at, control).items():
            whole = theirs[seed]["curve"][-1]["step"]
            shares.append(step / whole if step is not None and whole else None)
        return shares

    def steps_to_control(self, arm: str, at: Condition, control: str = CONTROL) -> dict[int, int | None]:
        """Return by seed the first evaluated step at which the arm has the control's final validation accuracy.

        None if the arm never has it.
        """
        ours, theirs = self.cells(arm, at), self.cells(control, at)
        steps: dict[int, int | None] = {}
        for seed in sorted(ours.keys() & theirs.keys()):
            least = theirs[seed]["curve"][-1]["accuracy"]
            reached = [point["step"] for point in ours[seed]["curve"] if point["accuracy"] >= least]
            steps[seed] = reached[0] if reached else None
        return steps

    def scratch_runs(self, at: Condition) -> list[Entry]:
        """Return the longer and longer scratch runs at a condition, with their validation accuracy."""
        return [run for run in self.stored["levels"] if (run["size"], run["images"]) == (at.size, at.images)]

    def longest_scratch(self, at: Condition) -> tuple[int, bool] | None:
        """Return the steps of the longest scratch run and whether its accuracy is on a plateau.

        On a plateau the last doubling added no more than the tolerance. None if scratch was not trained longer.
        """
        runs = self.scratch_runs(at)
        if not runs or runs[-1]["val"] is None:
            return None
        first = [cell["curve"][-1]["accuracy"] for cell in self.cells(CONTROL, at).values()]
        before = runs[-2]["val"] if len(runs) > 1 else sum(first) / len(first)
        tolerance = self.recipe["levelling"]["tolerance"]
        return int(runs[-1]["steps"]), runs[-1]["val"] - before <= tolerance

    def first_cell(self, arm: str, size: str) -> Entry | None:
        """Return any cell of an arm at a size; None if none finished."""
        for images in self.recipe["images_per_class"]:
            for cell in self.cells(arm, Condition(size, images)).values():
                return cell
        return None

    def origins(self, arm: str, size: str) -> dict[str, float]:
        """Return the share of a descendant's elements by origin; empty if no cell finished."""
        cell = self.first_cell(arm, size)
        counts: dict[str, int] = {} if cell is None else cell["origins"]
        return {origin: count / sum(counts.values()) for origin, count in counts.items()}


@contextmanager
def wrong_content(stored: Entry, file: Path) -> Iterator[None]:
    """Turn errors at content of a wrong kind into one message; with a right hash they are germline's own faults.

    Raises:
        ArtefactError: The block fails, and the results have no hash.
    """
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError) as error:
        if "sha256" in stored:
            raise
        raise ArtefactError(
            f"'{file}' does not hold a comparison's results",
            f"A part is missing or of a wrong kind: {type(error).__name__} {error}".splitlines()[0][:200],
            "Run the comparison again with --resume",
        ) from error


def _is_complete(stored: Any) -> bool:
    return isinstance(stored, dict) and not RESULT_KEYS - stored.keys() and isinstance(stored["recipe"], dict)


def _check_hash(stored: Entry, file: Path, fix: str) -> None:
    if stored.get("sha256") not in (None, hash_json({key: stored[key] for key in stored.keys() - {"sha256"}})):
        raise ArtefactError(f"'{file}' is damaged or was changed", "Its content differs from the hash in it", fix)


def _read_siblings(file: Path, stored: Entry) -> list[Entry]:
    """Read the results beside a file that belong to its family of claims; skip files that hold something else.

    They have the same question and kind. A reading of final data repeats claims on other data, so it is a family of
    its own.

    Raises:
        ArtefactError: Results of the family are damaged.
    """
    question, siblings = stored["recipe"].get("question"), []
    is_run = file.name == "results.json"
    for other in sorted(file.resolve().parents[1].glob("*/results.json") if is_run else file.parent.glob("*.json")):
        if question is None or other.resolve() == file.resolve():
            continue
        try:
            found = read_json(other)
        except ArtefactError:
            continue
        if _is_complete(found) and _family_key(found) == _family_key(stored):
            named = found["recipe"].get("question")
            if named is not None and named["name"] == question["name"]:
                fix = f"The question '{question['name']}' needs them. Run that comparison again with --resume"
                _check_hash(found, other, f"{fix}, or move the file away")
                siblings.append(found)
    return siblings


def _family_key(stored: Entry) -> tuple[str, bool]:
    return stored["recipe"].get("kind", ""), stored["recipe"].get("final", False)


def final_accuracy(cell: Entry) -> float:
    """Return the final test accuracy of a cell."""
    return float(cell["test_accuracy"])


def accuracy_at(step: int) -> CellValue:
    """Return a function that reads a cell's validation accuracy after `step` steps."""

    def value(cell: Entry) -> float:
        return float(next(point["accuracy"] for point in cell["curve"] if point["step"] == step))

    return value


def mean_accuracy(cell: Entry) -> float:
    """Return a cell's validation accuracy averaged over the steps, by the trapezoidal rule."""
    curve: Sequence[Entry] = cell["curve"]
    area = sum(
        (after["step"] - before["step"]) * (after["accuracy"] + before["accuracy"]) / 2
        for before, after in pairwise(curve)
    )
    length = curve[-1]["step"] - curve[0]["step"]
    return float(area / length) if length else float(curve[-1]["accuracy"])
