"""Further steps of scratch: until it has levelled off, and as many as a whole family of descendants cost."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from germline.compare.cost.cost import Cost, ancestor_cost, cell_cost, gene_cost
from germline.compare.recipe.schema import CONTROL
from germline.compare.run.cells import Cell, drawn_images, longer_cells
from germline.compare.run.store import Workshop
from germline.compare.run.train_cell import make_cell


@dataclass(frozen=True)
class Level:
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

    def facts(self, shop: Workshop, failed: Mapping[str, str]) -> dict[str, Any]:
        """What is kept of it."""
        accuracy = _last_accuracy(shop, self.cells, failed)
        steps = self.cells[0].steps
        return {"size": self.size, "images": self.images, "multiple": self.multiple, "steps": steps, "val": accuracy}


def next_doublings(shop: Workshop, done: Sequence[Level], failed: Mapping[str, str]) -> list[Level]:
    """For each condition in which the last doubling added more than the tolerance, the next one."""
    wanted, recipe = shop.recipe.levelling, shop.recipe
    if wanted is None:
        return []
    conditions = [(size, images) for images in recipe.images_per_class for size in recipe.sizes_of(CONTROL)]
    further = []
    for size, images in conditions:
        ladder = [level for level in done if (level.size, level.images) == (size, images)]
        cells = [tuple(longer_cells(recipe, size, images, None)), *(level.cells for level in ladder)]
        reached = [_last_accuracy(shop, rung, failed) for rung in cells]
        multiple = 2 ** len(cells)
        if None in reached or multiple > wanted.most:
            continue
        if len(reached) > 1 and reached[-1] - reached[-2] <= wanted.tolerance:  # type: ignore[operator]
            continue
        steps = _steps(shop, images) * multiple
        further.append(Level(size, images, multiple, tuple(longer_cells(recipe, size, images, steps))))
    return further


def _last_accuracy(shop: Workshop, cells: Iterable[Cell], failed: Mapping[str, str]) -> float | None:
    """Mean last accuracy on validation; None where a cell failed."""
    cells = list(cells)
    if any(cell.name in failed for cell in cells):
        return None
    return fmean(make_cell(shop, cell)["curve"][-1]["accuracy"] for cell in cells)


def _steps(shop: Workshop, images: int | str) -> int:
    """Steps that the recipe gives scratch."""
    train = shop.data(shop.recipe.data).train
    drawn = drawn_images(shop.recipe, images, len(train), len(train.classes))
    return shop.recipe.train_settings(CONTROL).total_steps(drawn)


def family_steps(shop: Workshop, count: int, *, with_ancestor: bool) -> int:
    """Steps that scratch gets for one of `count` descendants, so that all cost as much as gene and descendants do.

    In operations: what gene (and ancestor) cost is shared out evenly over the descendants; what a descendant costs
    more than scratch, such as a teacher's forward passes, is added.
    """
    family = shop.recipe.family
    assert family is not None  # noqa: S101 - asked for only where there is one
    made = gene_cost(shop, shop.subject, family.size) + (ancestor_cost(shop) if with_ancestor else Cost())
    own, scratch = (
        cell_cost(shop, Cell(arm, family.size, family.images_per_class, shop.recipe.seeds[0])).flops
        for arm in (next(iter(shop.recipe.arms)), CONTROL)
    )
    steps = _steps(shop, family.images_per_class)
    return steps + round((made.flops / count + own - scratch) / (scratch / steps))


def family_budgets(shop: Workshop) -> list[dict[str, Any]]:
    """For each number of descendants, with and without the ancestor's cost, the steps that scratch gets.

    A gene that needs no ancestor has no budget with one.
    """
    family = shop.recipe.family
    ways = (True, False) if shop.subject.ancestor != "none" else (False,)
    return [
        {
            "count": count,
            "with_ancestor": with_ancestor,
            "steps": family_steps(shop, count, with_ancestor=with_ancestor),
        }
        for count in (family.counts if family is not None else ())
        for with_ancestor in ways
    ]


def family_cells(shop: Workshop) -> list[Cell]:
    """Scratch with those steps, for every seed."""
    family = shop.recipe.family
    if family is None:
        return []
    steps = dict.fromkeys(budget["steps"] for budget in family_budgets(shop))
    return [cell for count in steps for cell in longer_cells(shop.recipe, family.size, family.images_per_class, count)]
