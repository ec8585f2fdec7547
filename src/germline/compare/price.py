"""What a recipe would cost, before anything runs."""

from __future__ import annotations

from dataclasses import dataclass

from germline.compare.cells import Cell, drawn_images, main_cells, tuning_cells
from germline.compare.check import check
from germline.compare.cost import Cost, forward_flops, total, training_cost
from germline.compare.workshop import Workshop
from germline.methods.base import Method
from germline.methods.scratch import Scratch
from germline.recipe import Recipe
from germline.training import TrainSettings


def gene_cost(shop: Workshop, method: Method, size: str) -> Cost:
    """Condensing one gene, its ancestor left out; nothing for a gene that is taken as it lies there."""
    data, inner = shop.data(shop.recipe.ancestor.data), method.inner() or method
    ancestor = None if inner.ancestor == "none" else shop.begin_ancestor(0, size if inner.own_size else None)
    form = inner.form(ancestor, data)
    if form is None or not isinstance(inner, TrainSettings):
        return Cost(1)
    teacher = forward_flops(ancestor) if inner.distils and ancestor is not None else 0
    return training_cost(form, inner, len(data.train), teacher)


def ancestor_cost(shop: Workshop, size: str | None = None) -> Cost:
    """Training one ancestor; nothing for one that is at hand."""
    spec = shop.begin_ancestor(0, size).spec
    if shop.recipe.ancestor.path is not None or spec is None:
        return Cost()
    return training_cost(spec, shop.recipe.ancestor.train, len(shop.data(shop.recipe.ancestor.data).train))


def cell_cost(shop: Workshop, cell: Cell) -> Cost:
    """One descendant's training."""
    train, tasks = shop.data(shop.recipe.data).train, shop.recipe.tasks
    pictures, count = (
        drawn_images(shop.recipe, cell.images, len(train), len(train.classes)),
        tasks.count if tasks else 1,
    )
    method = shop.method(cell.arm)
    teacher = forward_flops(shop.begin_ancestor(0)) if method.teaches else 0
    one = training_cost(shop.form(cell.size), shop.settings(cell), pictures, teacher)
    return Cost(1, one.samples * count, one.flops * count)


@dataclass(frozen=True)
class Price:
    """What a recipe would cost.

    Attributes:
        title: The recipe's.
        minutes: What it says that it takes on two cores.
        seeds: Of the comparison.
        cells: Descendants to be grown and trained.
        tuning: Descendants of the grid.
        ancestors: Ancestors to be trained.
        genes: Genes to be condensed.
    """

    title: str
    minutes: float
    seeds: int
    cells: Cost
    tuning: Cost
    ancestors: Cost
    genes: Cost

    def text(self) -> str:
        """For people to read."""
        each = f" ({self.cells.count // self.seeds} x {self.seeds} seeds)"
        parts = {"cells": self.cells, "tuning cells": self.tuning, "ancestors": self.ancestors, "genes": self.genes}
        lines = [
            f"{cost.count} {name}{each if name == 'cells' else ''}: {cost.samples:,} samples, "
            f"{cost.flops / 1e12:,.1f} TFLOP"
            for name, cost in parts.items()
        ]
        whole = total(parts.values())
        lines.append(f"in all {whole.samples:,} samples, {whole.flops / 1e12:,.1f} TFLOP")
        return "\n".join([self.title, *lines, f"expected time on two cores: about {self.minutes:g} minutes"])


def price(recipe: Recipe) -> Price:
    """Check a recipe against what it names, and say what it would cost; further steps of scratch are not counted.

    Raises:
        GermlineError: It cannot be run.
    """
    shop = check(recipe, pricing=True)
    return Price(
        title=recipe.title,
        minutes=recipe.minutes,
        seeds=len(recipe.seeds),
        cells=total(cell_cost(shop, cell) for cell in main_cells(recipe)),
        tuning=total(cell_cost(shop, cell) for cell in tuning_cells(recipe)),
        ancestors=_ancestors(shop),
        genes=_genes(shop),
    )


def makers(shop: Workshop) -> list[Method]:
    """Methods of the arms that have a gene; a redrawn gene counts as the one that it is redrawn from, twice as one."""
    found: dict[str, Method] = {}
    for arm in shop.recipe.arms:
        method = shop.method(arm)
        method = method.inner() or method
        if not isinstance(method, Scratch):
            found.setdefault(repr((method.name, method)), method)
    return list(found.values())


def _ancestors(shop: Workshop) -> Cost:
    """One a seed, and one of each further size that a method needs of its own."""
    wanting = [method for method in makers(shop) if method.ancestor != "none"]
    costs = []
    for sizes in shop.gene_sizes().values():
        asked = {size if method.own_size else None for method in wanting for size in sizes}
        distinct = {repr(shop.begin_ancestor(0, size).spec): size for size in asked}
        costs += [ancestor_cost(shop, size) for size in distinct.values()]
    return total(costs)


def _genes(shop: Workshop) -> Cost:
    """A gene that several sizes share counts once."""
    return total(
        gene_cost(shop, method, size)
        for sizes in shop.gene_sizes().values()
        for method in makers(shop)
        for size in (sizes if method.own_size else sizes[:1])
    )
