"""Longer training of scratch: until a plateau, or with the budget of a whole family."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from germline.compare.cost.cost import Cost, ancestor_cost, cell_cost, gene_cost
from germline.compare.recipe.keys import CONTROL
from germline.compare.run.cells import Cell, count_images, list_scratch_cells
from germline.compare.run.store import ArtifactStore
from germline.compare.run.train_cell import run_cell


@dataclass(frozen=True)
class ScratchRun:
    """Scratch at one condition with a multiple of its steps.

    Attributes:
        size: Size of the network.
        images: Training images per class, or "all".
        multiple: Factor on the steps that the recipe gives scratch.
        cells: Cells of the run, one per seed.
    """

    size: str
    images: int | str
    multiple: int
    cells: tuple[Cell, ...]

    def summarise(self, store: ArtifactStore, failed: Mapping[str, str]) -> dict[str, Any]:
        """Return the entry of the run in the results."""
        accuracy = _mean_last_accuracy(store, self.cells, failed)
        steps = self.cells[0].steps
        return {"size": self.size, "images": self.images, "multiple": self.multiple, "steps": steps, "val": accuracy}


def plan_doublings(store: ArtifactStore, finished: Sequence[ScratchRun], failed: Mapping[str, str]) -> list[ScratchRun]:
    """Plan one more doubling of the steps where the last one gained more than the tolerance."""
    recipe, plateau = store.recipe, store.recipe.scratch_until_plateau
    if plateau is None:
        return []
    conditions = [(size, images) for images in recipe.images_per_class for size in recipe.sizes_of(CONTROL)]
    planned = []
    for size, images in conditions:
        runs = [run for run in finished if (run.size, run.images) == (size, images)]
        cells_by_run = [tuple(list_scratch_cells(recipe, size, images, None)), *(run.cells for run in runs)]
        accuracies = [_mean_last_accuracy(store, cells, failed) for cells in cells_by_run]
        multiple = 2 ** len(cells_by_run)
        if None in accuracies or multiple > plateau.most:
            continue
        if len(accuracies) > 1 and accuracies[-1] - accuracies[-2] <= plateau.tolerance:  # type: ignore[operator]
            continue
        steps = _scratch_steps(store, images) * multiple
        planned.append(ScratchRun(size, images, multiple, tuple(list_scratch_cells(recipe, size, images, steps))))
    return planned


def _mean_last_accuracy(store: ArtifactStore, cells: Iterable[Cell], failed: Mapping[str, str]) -> float | None:
    """Average the last validation accuracies of cells; None if one failed."""
    cells = list(cells)
    if any(cell.name in failed for cell in cells):
        return None
    return fmean(run_cell(store, cell)["curve"][-1]["accuracy"] for cell in cells)


def _scratch_steps(store: ArtifactStore, images: int | str) -> int:
    """Return the steps that the recipe gives scratch."""
    train = store.load_data(store.recipe.data).train
    drawn = count_images(store.recipe, images, len(train), len(train.classes))
    return store.recipe.train_settings(CONTROL).total_steps(drawn)


def compute_family_steps(store: ArtifactStore, count: int, *, with_ancestor: bool) -> int:
    """Compute the steps of scratch that cost as much as one of `count` descendants.

    The unit is FLOPs. The descendants share the cost of the gene, and of the ancestor if asked, equally. The extra cost
    of a descendant over scratch, such as the forward passes of a teacher, is added.
    """
    family = store.recipe.family
    assert family is not None  # noqa: S101 - callers check it
    shared = gene_cost(store, store.first_method, family.size) + (ancestor_cost(store) if with_ancestor else Cost())
    descendant, scratch = (
        cell_cost(store, Cell(arm, family.size, family.images_per_class, store.recipe.seeds[0])).flops
        for arm in (next(iter(store.recipe.arms)), CONTROL)
    )
    steps = _scratch_steps(store, family.images_per_class)
    return steps + round((shared.flops / count + descendant - scratch) / (scratch / steps))


def compute_family_budgets(store: ArtifactStore) -> list[dict[str, Any]]:
    """Compute the steps of scratch for each number of descendants, with and without the ancestor's cost.

    A gene that needs no ancestor has no budget with one.
    """
    family = store.recipe.family
    choices = (True, False) if store.first_method.ancestor != "none" else (False,)
    return [
        {
            "count": count,
            "with_ancestor": with_ancestor,
            "steps": compute_family_steps(store, count, with_ancestor=with_ancestor),
        }
        for count in (family.counts if family is not None else ())
        for with_ancestor in choices
    ]


def list_family_cells(store: ArtifactStore) -> list[Cell]:
    """List the cells of scratch with a family's budget, one per budget and seed.

    A budget of less than one step has none: an untrained gene can cost nothing.
    """
    family = store.recipe.family
    if family is None:
        return []
    budgets = dict.fromkeys(budget["steps"] for budget in compute_family_budgets(store))
    return [
        cell
        for steps in budgets
        if steps > 0
        for cell in list_scratch_cells(store.recipe, family.size, family.images_per_class, steps)
    ]
