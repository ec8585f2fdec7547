"""What a recipe would cost, before anything runs."""

from __future__ import annotations

from dataclasses import dataclass

from germline.compare.accounts import headless_elements, parameters, stored_ratio
from germline.compare.cells import main_cells, tuning_cells
from germline.compare.check import check
from germline.compare.cost import Cost, ancestor_cost, cell_cost, gene_cost, total
from germline.compare.workshop import Workshop
from germline.methods.scratch import Scratch
from germline.recipe import CONTROL, Recipe


@dataclass(frozen=True)
class Family:
    """What a recipe's first arm stores and trains for all sizes, from sizes and settings alone.

    Attributes:
        gene: Elements of its gene, without a head.
        networks: Parameters of each size, without heads.
        alone: Samples in which scratch trains all sizes.
        gene_samples: Samples in which the gene is condensed.
        together: Samples in which the gene is condensed and all sizes are trained from it; the ancestor is at hand.
    """

    gene: int
    networks: dict[str, int]
    alone: int
    gene_samples: int
    together: int

    def lines(self) -> list[str]:
        """For people to read."""
        each = ", ".join(f"{size or 'own size'} {count / self.gene:.2f}" for size, count in self.networks.items())
        whole = sum(self.networks.values())
        found = [
            f"stored without heads: gene {self.gene:,}; all {len(self.networks)} networks {whole:,}, "
            f"{stored_ratio(self.gene, list(self.networks.values())):.2f} times the gene (one: {each})"
        ]
        if self.gene_samples and self.alone:
            found.append(
                f"trained: scratch for each {self.alone / self.gene_samples:.2f} times the gene, "
                f"{self.alone / self.together:.2f} times gene and descendants (samples of one seed)"
            )
        return found


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
        family: What the first arm stores and trains; None where its gene is not known beforehand.
    """

    title: str
    minutes: float
    seeds: int
    cells: Cost
    tuning: Cost
    ancestors: Cost
    genes: Cost
    family: Family | None

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
        lines += self.family.lines() if self.family is not None else []
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
        family=_family(shop),
    )


def _family(shop: Workshop) -> Family | None:
    recipe, sizes = shop.recipe, shop.recipe.sizes
    subject = next(iter(recipe.arms))
    method = shop.subject.inner() or shop.subject
    if isinstance(method, Scratch):
        return None
    form = shop.gene_form(method, sizes[0])
    outline = None if form is None else method.outline(form)
    if form is None or outline is None:
        return None
    one_seed = [cell for cell in main_cells(recipe) if cell.seed == recipe.seeds[0]]
    ours, alone = (
        total(cell_cost(shop, cell) for cell in one_seed if cell.arm == arm).samples for arm in (subject, CONTROL)
    )
    made = gene_cost(shop, method, sizes[0]).samples
    networks = {size: parameters(shop.form(size))[1] for size in sizes}
    return Family(headless_elements(form, outline), networks, alone, made, made + ours)


def _ancestors(shop: Workshop) -> Cost:
    """One a seed, and one of each further size that a method needs of its own."""
    wanting = [method for method in shop.makers() if method.ancestor != "none"]
    costs = []
    for sizes in shop.gene_sizes().values():
        asked = {size if method.own_size else None for method in wanting for size in sizes}
        distinct = {repr(shop.ancestor_form(size)): size for size in asked}
        costs += [ancestor_cost(shop, size) for size in distinct.values()]
    return total(costs)


def _genes(shop: Workshop) -> Cost:
    """A gene that several sizes share counts once."""
    return total(
        gene_cost(shop, method, size)
        for sizes in shop.gene_sizes().values()
        for method in shop.makers()
        for size in (sizes if method.own_size else sizes[:1])
    )
