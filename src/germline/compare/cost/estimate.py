"""What a recipe would cost, before anything runs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from germline.compare.cost.cost import Cost, ancestor_cost, cell_cost, gene_cost, sum_costs
from germline.compare.cost.storage import count_headless_elements, count_network_parameters, storage_ratio
from germline.compare.recipe.schema import CONTROL, Recipe
from germline.compare.run.cells import list_main_cells, list_tuning_cells
from germline.compare.run.store import ArtifactStore
from germline.compare.run.validate import check_recipe
from germline.methods.base import Method, find_source

MAX_RATIOS_SHOWN = 10  # sizes whose ratios are all told


@dataclass(frozen=True)
class FamilyEstimate:
    """What a recipe's first arm stores and trains for all sizes, from sizes and settings alone.

    Attributes:
        gene: Elements of its gene, without a head.
        networks: Parameters of each size, without heads.
        alone: Samples in which scratch trains all sizes.
        gene_samples: Samples in which the gene is condensed.
        together: Samples in which the gene is condensed and all sizes are trained from it; the ancestor is at hand.
        others: Elements of the genes of other arms that serve all their sizes, without heads.
    """

    gene: int
    networks: dict[str, int]
    alone: int
    gene_samples: int
    together: int
    others: dict[str, int]

    def lines(self) -> list[str]:
        """For people to read."""
        counts = list(self.networks.values())
        found = [
            f"stored without heads: gene {self.gene:,}; all {len(counts)} networks {sum(counts):,}, "
            f"{storage_ratio(self.gene, counts):.2f} times the gene (one: {self._each()})"
        ]
        if self.gene_samples and self.alone:
            found.append(
                f"trained: scratch for each {self.alone / self.gene_samples:.2f} times the gene, "
                f"{self.alone / self.together:.2f} times gene and descendants (samples of one seed)"
            )
        ratios = (f"{arm} {storage_ratio(self.gene, [count]):.2f}" for arm, count in self.others.items())
        return [*found, f"genes of other arms, as many times this one: {', '.join(ratios)}"] if self.others else found

    def _each(self) -> str:
        """How many times the gene one network is: each, or of too many the least and the most."""
        ratios = {size: count / self.gene for size, count in self.networks.items()}
        if len(ratios) > MAX_RATIOS_SHOWN:
            return f"{min(ratios.values()):.2f} to {max(ratios.values()):.2f}"
        return ", ".join(f"{size or 'own size'} {ratio:.2f}" for size, ratio in ratios.items())


@dataclass(frozen=True)
class CostEstimate:
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
        missing: Messages about data sets that are not on this machine, which a run would refuse.
    """

    title: str
    minutes: float
    seeds: int
    cells: Cost
    tuning: Cost
    ancestors: Cost
    genes: Cost
    family: FamilyEstimate | None
    missing: tuple[str, ...] = ()

    def text(self) -> str:
        """For people to read."""
        each = f" ({self.cells.count // self.seeds} x {self.seeds} seeds)"
        parts = {"cells": self.cells, "tuning cells": self.tuning, "ancestors": self.ancestors, "genes": self.genes}
        lines = [
            f"{cost.count} {name}{each if name == 'cells' else ''}: {cost.samples:,} samples, "
            f"{cost.flops / 1e12:,.1f} TFLOP"
            for name, cost in parts.items()
        ]
        whole = sum_costs(parts.values())
        lines.append(f"in all {whole.samples:,} samples, {whole.flops / 1e12:,.1f} TFLOP")
        lines += self.family.lines() if self.family is not None else []
        lines.append(f"expected time on two cores: about {self.minutes:g} minutes")
        lines += [
            f"note: Data are missing. The price uses their known numbers, and a run is refused. {message}"
            for message in self.missing
        ]
        return "\n".join([self.title, *lines])


def estimate_cost(recipe: Recipe) -> CostEstimate:
    """Check a recipe against what it names, and say what it would cost; further steps of scratch are not counted.

    Raises:
        GermlineError: It cannot be run.
    """
    store = check_recipe(recipe, pricing=True)
    recipe = store.recipe
    return CostEstimate(
        title=recipe.title,
        minutes=recipe.minutes,
        seeds=len(recipe.seeds),
        cells=sum_costs(cell_cost(store, cell) for cell in list_main_cells(recipe)),
        tuning=sum_costs(cell_cost(store, cell) for cell in list_tuning_cells(recipe)),
        ancestors=_sum_ancestor_costs(store),
        genes=_sum_gene_costs(store),
        family=_estimate_family(store),
        missing=tuple(
            dict.fromkeys(message for name in (recipe.data, recipe.ancestor.data) for message in store.missing(name))
        ),
    )


def _estimate_family(store: ArtifactStore) -> FamilyEstimate | None:
    recipe = store.recipe
    subject = next(iter(recipe.arms))
    sizes, gene = recipe.sizes_of(subject), _stored_elements(store, subject)
    if gene is None:
        return None
    # Where scratch is left out at a size, its samples are not those of the family.
    control = CONTROL if CONTROL in recipe.arms and set(sizes) <= set(recipe.sizes_of(CONTROL)) else None
    one_seed = [cell for cell in list_main_cells(recipe) if cell.seed == recipe.seeds[0] and cell.size in sizes]
    ours, alone = (
        sum_costs(cell_cost(store, cell) for cell in one_seed if cell.arm == arm).samples for arm in (subject, control)
    )
    made = gene_cost(store, store.first_method, sizes[0]).samples
    networks = {size: count_network_parameters(store.descendant_spec(size))[1] for size in sizes}
    others = {arm: _stored_elements(store, arm) for arm in recipe.arms if arm != subject and _makes_gene(store, arm)}
    known = {arm: count for arm, count in others.items() if count is not None}
    return FamilyEstimate(gene, networks, alone, made, made + ours, known)


def _stored_elements(store: ArtifactStore, arm: str) -> int | None:
    """Elements of the gene that an arm's sizes share, without a head; None where there is none or it is not known."""
    method = find_source(store.get_method(arm))
    if not method.traits.has_gene or (method.traits.needs_own_size and arm != next(iter(store.recipe.arms))):
        return None
    form = store.gene_spec(method, store.recipe.sizes_of(arm)[0])
    stored = method.cost(form, 0, 0).stored
    return None if stored is None else count_headless_elements(form, stored)


def _makes_gene(store: ArtifactStore, arm: str) -> bool:
    """Whether an arm's method condenses its own gene, and does not change that of another method."""
    method = store.get_method(arm)
    return find_source(method) is method


def _sum_ancestor_costs(store: ArtifactStore) -> Cost:
    """One a seed, and one of each further size that a method needs of its own."""
    asked: dict[tuple[int, str], str | None] = {}
    for method, seed, size in _iterate_genes(store):
        if method.ancestor != "none":
            own = size if method.traits.needs_own_size else None
            asked[seed, repr(store.ancestor_spec(own))] = own
    return sum_costs(ancestor_cost(store, own) for own in asked.values())


def _sum_gene_costs(store: ArtifactStore) -> Cost:
    """A gene that several sizes share counts once."""
    costs: dict[tuple[str, str | None], Cost] = {}
    asked: set[tuple[int, tuple[str, str | None]]] = set()
    for method, seed, size in _iterate_genes(store):
        gene = (repr((method.name, method)), size if method.traits.needs_own_size else None)
        asked.add((seed, gene))
        if gene not in costs:
            costs[gene] = gene_cost(store, method, size)
    return sum_costs(costs[gene] for _, gene in asked)


def _iterate_genes(store: ArtifactStore) -> Iterator[tuple[Method, int, str]]:
    """Whose gene grows which size on which seed; a redrawn gene is that which it is redrawn from."""
    for arm in store.recipe.arms:
        method = find_source(store.get_method(arm))
        if method.traits.has_gene:
            for seed, sizes in store.gene_sizes(arm).items():
                yield from ((method, seed, size) for size in sizes)
