"""Further steps of scratch: until it has levelled off, and as many as a whole family of descendants cost."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from germline.compare.cost.cost import Cost, ancestor_cost, cell_cost, gene_cost
from germline.compare.recipe.schema import CONTROL
from germline.compare.run.cells import Cell, count_images, list_scratch_cells
from germline.compare.run.store import ArtifactStore
from germline.compare.run.train_cell import run_cell


@dataclass(frozen=True)
class ScratchRun:
    """Scratch at one condition with a multiple of its steps.

    Attributes:
        size: Of the network.
        images: Training pictures a class.
        multiple: Of the steps that the recipe gives it.
        cells: One a seed.
    """

    size: str
    images: int | str
    multiple: int
    cells: tuple[Cell, ...]

    def facts(self, store: ArtifactStore, failed: Mapping[str, str]) -> dict[str, Any]:
        """What is kept of it."""
        accuracy = _last_accuracy(store, self.cells, failed)
        steps = self.cells[0].steps
        return {"size": self.size, "images": self.images, "multiple": self.multiple, "steps": steps, "val": accuracy}


def plan_doublings(store: ArtifactStore, done: Sequence[ScratchRun], failed: Mapping[str, str]) -> list[ScratchRun]:
    """For each condition in which the last doubling added more than the tolerance, the next one."""
    wanted, recipe = store.recipe.scratch_until_plateau, store.recipe
    if wanted is None:
        return []
    conditions = [(size, images) for images in recipe.images_per_class for size in recipe.sizes_of(CONTROL)]
    further = []
    for size, images in conditions:
        ladder = [level for level in done if (level.size, level.images) == (size, images)]
        cells = [tuple(list_scratch_cells(recipe, size, images, None)), *(level.cells for level in ladder)]
        reached = [_last_accuracy(store, rung, failed) for rung in cells]
        multiple = 2 ** len(cells)
        if None in reached or multiple > wanted.most:
            continue
        if len(reached) > 1 and reached[-1] - reached[-2] <= wanted.tolerance:  # type: ignore[operator]
            continue
        steps = _steps(store, images) * multiple
        further.append(ScratchRun(size, images, multiple, tuple(list_scratch_cells(recipe, size, images, steps))))
    return further


def _last_accuracy(store: ArtifactStore, cells: Iterable[Cell], failed: Mapping[str, str]) -> float | None:
    """Mean last accuracy on validation; None where a cell failed."""
    cells = list(cells)
    if any(cell.name in failed for cell in cells):
        return None
    return fmean(run_cell(store, cell)["curve"][-1]["accuracy"] for cell in cells)


def _steps(store: ArtifactStore, images: int | str) -> int:
    """Steps that the recipe gives scratch."""
    train = store.load_data(store.recipe.data).train
    drawn = count_images(store.recipe, images, len(train), len(train.classes))
    return store.recipe.train_settings(CONTROL).total_steps(drawn)


def compute_family_steps(store: ArtifactStore, count: int, *, with_ancestor: bool) -> int:
    """Steps that scratch gets for one of `count` descendants, so that all cost as much as gene and descendants do.

    In operations: what gene (and ancestor) cost is shared out evenly over the descendants; what a descendant costs
    more than scratch, such as a teacher's forward passes, is added.
    """
    family = store.recipe.family
    assert family is not None  # noqa: S101 - asked for only where there is one
    made = gene_cost(store, store.first_method, family.size) + (ancestor_cost(store) if with_ancestor else Cost())
    own, scratch = (
        cell_cost(store, Cell(arm, family.size, family.images_per_class, store.recipe.seeds[0])).flops
        for arm in (next(iter(store.recipe.arms)), CONTROL)
    )
    steps = _steps(store, family.images_per_class)
    return steps + round((made.flops / count + own - scratch) / (scratch / steps))


def compute_family_budgets(store: ArtifactStore) -> list[dict[str, Any]]:
    """For each number of descendants, with and without the ancestor's cost, the steps that scratch gets.

    A gene that needs no ancestor has no budget with one.
    """
    family = store.recipe.family
    ways = (True, False) if store.first_method.ancestor != "none" else (False,)
    return [
        {
            "count": count,
            "with_ancestor": with_ancestor,
            "steps": compute_family_steps(store, count, with_ancestor=with_ancestor),
        }
        for count in (family.counts if family is not None else ())
        for with_ancestor in ways
    ]


def list_family_cells(store: ArtifactStore) -> list[Cell]:
    """Scratch with those steps, for every seed."""
    family = store.recipe.family
    if family is None:
        return []
    steps = dict.fromkeys(budget["steps"] for budget in compute_family_budgets(store))
    return [
        cell
        for count in steps
        for cell in list_scratch_cells(store.recipe, family.size, family.images_per_class, count)
    ]
