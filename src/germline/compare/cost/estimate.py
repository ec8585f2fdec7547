"""Estimated cost of a recipe, before anything runs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from germline.baselines.fresh_start import START_LABELS
from germline.compare.analysis.headroom import describe_ceiling_arms
from germline.compare.analysis.questions import count_planned_claims, describe_planned_claims
from germline.compare.cost.cost import Cost, ancestor_cost, cell_cost, gene_cost, sum_costs
from germline.compare.cost.storage import count_headless_elements, count_network_parameters, storage_ratio
from germline.compare.recipe.keys import CONTROL
from germline.compare.recipe.schema import Recipe
from germline.compare.recipe.text import DEMONSTRATION
from germline.compare.run.cells import list_main_cells, list_tuning_cells
from germline.compare.run.store import ArtifactStore
from germline.compare.run.validate import check_recipe
from germline.methods.base import Method, find_source

KIND_MEANINGS = {
    "quick": "quick, shows that everything works; its numbers are no evidence",
    DEMONSTRATION: f"{DEMONSTRATION}, without room or without a known ceiling; its numbers are no evidence",
    "full": "full, its numbers are evidence where the ceiling leaves room",
}
MAX_RATIOS_SHOWN = 10  # with more sizes, only the lowest and highest ratio are shown


@dataclass(frozen=True)
class FamilyEstimate:
    """Storage and training of the first arm for all sizes, from sizes and settings alone.

    Attributes:
        gene: Elements of the gene, without a head.
        networks: Parameters of each size, without heads.
        alone: Samples of training scratch at all sizes.
        gene_samples: Samples of condensing the gene.
        together: Samples of condensing the gene and training all sizes from it, without the ancestor.
        others: Elements, without heads, of the genes of other arms that serve all their sizes.
    """

    gene: int
    networks: dict[str, int]
    alone: int
    gene_samples: int
    together: int
    others: dict[str, int]

    def lines(self) -> list[str]:
        """Format the estimate as lines of text."""
        counts = list(self.networks.values())
        lines = [
            f"stored without heads: gene {self.gene:,}; all {len(counts)} networks {sum(counts):,}, "
            f"{storage_ratio(self.gene, counts):.2f} times the gene (one network: {self._ratio_text()})"
        ]
        if self.gene_samples and self.alone:
            lines.append(
                f"samples of one seed: scratch at all sizes {self.alone / self.gene_samples:.2f} times the gene, "
                f"{self.alone / self.together:.2f} times gene and descendants"
            )
        if self.others:
            ratios = (f"{arm} {storage_ratio(self.gene, [count]):.2f}" for arm, count in self.others.items())
            lines.append(f"genes of other arms, relative to this gene: {', '.join(ratios)}")
        return lines

    def _ratio_text(self) -> str:
        """Format the size of each network relative to the gene, or the range if there are many."""
        ratios = {size: count / self.gene for size, count in self.networks.items()}
        if len(ratios) > MAX_RATIOS_SHOWN:
            return f"{min(ratios.values()):.2f} to {max(ratios.values()):.2f}"
        return ", ".join(f"{size or 'own size'} {ratio:.2f}" for size, ratio in ratios.items())


@dataclass(frozen=True)
class CostEstimate:
    """Estimated cost of a recipe.

    Attributes:
        title: Title of the recipe.
        kind: Kind of the recipe, which says whether its numbers are evidence.
        minutes: Expected time on two cores, as the recipe gives it; None if it does not.
        seeds: Number of seeds.
        cells: Cost of training the descendants.
        tuning: Cost of training the descendants of the tuning grid.
        ancestors: Cost of training the ancestors.
        genes: Cost of condensing the genes.
        family: Storage and training of the first arm; None if its gene is not known before condensing.
        missing: Messages about data sets that are not on this machine, which a run would refuse.
        ceiling: Text that says whether the ceiling is known at every size, and which arms are missing; empty if
            there are no claims.
        claims: Text that counts the claims of the recipe, and of its question.
        grid: Text that describes the tuning grid, and what it can grow by; empty without initial values and extension.
    """

    title: str
    kind: str
    minutes: float | None
    seeds: int
    cells: Cost
    tuning: Cost
    ancestors: Cost
    genes: Cost
    family: FamilyEstimate | None
    missing: tuple[str, ...] = ()
    ceiling: str = ""
    claims: str = ""
    grid: str = ""

    @property
    def stages(self) -> dict[str, Cost]:
        """Costs by what follows each other in a run."""
        return {"ancestors": self.ancestors, "genes": self.genes, "tuning cells": self.tuning, "cells": self.cells}

    def text(self) -> str:
        """Format the estimate as text."""
        per_seed = f" ({self.cells.count // self.seeds} x {self.seeds} seeds)"
        parts = {"cells": self.cells, "tuning cells": self.tuning, "ancestors": self.ancestors, "genes": self.genes}
        lines = [
            f"{cost.count} {name}{per_seed if name == 'cells' else ''}: {cost.samples:,} samples, "
            f"{cost.flops / 1e12:,.1f} TFLOP"
            for name, cost in parts.items()
        ]
        total = sum_costs(parts.values())
        lines.append(f"in total {total.samples:,} samples, {total.flops / 1e12:,.1f} TFLOP")
        lines += self.family.lines() if self.family is not None else []
        lines += [text for text in (self.grid, self.claims, self.ceiling) if text]
        if self.minutes is not None:
            lines.append(f"expected time on two cores: about {self.minutes:g} minutes")
        lines += [
            f"note: Data are missing. The estimate uses their known numbers, but a run is refused. {message}"
            for message in self.missing
        ]
        return "\n".join([self.title, f"kind: {KIND_MEANINGS[self.kind]}", *lines])


def estimate_cost(recipe: Recipe) -> CostEstimate:
    """Check a recipe and estimate its cost, without longer training of scratch.

    Raises:
        GermlineError: The recipe cannot be run.
    """
    store = check_recipe(recipe, is_estimate=True)
    recipe = store.recipe
    return CostEstimate(
        title=recipe.title,
        kind=recipe.kind,
        minutes=recipe.minutes,
        seeds=len(recipe.seeds),
        cells=sum_costs(cell_cost(store, cell) for cell in list_main_cells(recipe)),
        tuning=sum_costs(cell_cost(store, cell) for cell in list_tuning_cells(recipe)),
        ancestors=_sum_ancestor_costs(store),
        genes=_sum_gene_costs(store),
        family=_estimate_family(store),
        missing=tuple(
            dict.fromkeys(message for name in _list_data_names(recipe) for message in store.list_missing_data(name))
        ),
        ceiling=describe_ceiling_arms(recipe) if count_planned_claims(recipe) else "",
        claims=describe_planned_claims(recipe),
        grid=_describe_grid(store),
    )


def _list_data_names(recipe: Recipe) -> tuple[str, ...]:
    final = (recipe.final_data,) if recipe.final and recipe.final_data is not None else ()
    return recipe.data, recipe.ancestor.data, *final


def _describe_grid(store: ArtifactStore) -> str:
    """Describe a tuning grid with initial values, or one that grows; empty for others."""
    recipe, tune = store.recipe, store.recipe.tune
    if tune is None:
        return ""
    starts = []
    for key, label in START_LABELS.items():
        arms = [arm for arm in recipe.arms if recipe.tunes_start(arm, key)]
        starts += [f"{len(getattr(tune, key))} {label} for {', '.join(arms)}"] if arms else []
    if not (starts or tune.extend):
        return ""
    if tune.lr is None or tune.weight_decay is None:
        return f"tuning grid: {' x '.join(starts)}"
    more = f", and {' x '.join(starts)}" if starts else ""
    text = f"tuning grid: {len(tune.lr)} rates x {len(tune.weight_decay)} decays{more}"
    if not tune.extend or len(tune.lr) < 2:
        return text
    one_more = list_tuning_cells(recipe, dict.fromkeys(recipe.arms, tune.lr[0]))
    most = sum_costs(cell_cost(store, cell) for cell in one_more)
    cost = f"{tune.extend * most.samples:,} samples, {tune.extend * most.flops / 1e12:,.1f} TFLOP"
    return f"{text}; at most {tune.extend * len(one_more)} cells more where a best rate is at an edge: {cost}"


def _estimate_family(store: ArtifactStore) -> FamilyEstimate | None:
    recipe = store.recipe
    subject = next(iter(recipe.arms))
    sizes, gene = recipe.sizes_of(subject), _count_stored_elements(store, subject)
    if gene is None:
        return None
    # If scratch lacks a size, its samples are not those of the whole family.
    control = CONTROL if CONTROL in recipe.arms and set(sizes) <= set(recipe.sizes_of(CONTROL)) else None
    cells = [cell for cell in list_main_cells(recipe) if cell.seed == recipe.seeds[0] and cell.size in sizes]
    descendants, alone = (
        sum_costs(cell_cost(store, cell) for cell in cells if cell.arm == arm).samples for arm in (subject, control)
    )
    gene_samples = gene_cost(store, store.first_method, sizes[0]).samples
    networks = {size: count_network_parameters(store.descendant_spec(size))[1] for size in sizes}
    others = {
        arm: _count_stored_elements(store, arm) for arm in recipe.arms if arm != subject and _makes_own_gene(store, arm)
    }
    known = {arm: count for arm, count in others.items() if count is not None}
    return FamilyEstimate(gene, networks, alone, gene_samples, gene_samples + descendants, known)


def _count_stored_elements(store: ArtifactStore, arm: str) -> int | None:
    """Count the elements, without a head, of the gene that an arm's sizes share; None if there is none or no count."""
    method = find_source(store.get_method(arm))
    if not method.traits.has_gene or (method.traits.needs_own_size and arm != next(iter(store.recipe.arms))):
        return None
    spec = store.gene_spec(method, store.recipe.sizes_of(arm)[0])
    stored = method.cost(spec, 0, 0).stored
    return None if stored is None else count_headless_elements(spec, stored)


def _makes_own_gene(store: ArtifactStore, arm: str) -> bool:
    """Tell whether an arm's method condenses a gene of its own, and does not change another method's gene."""
    method = store.get_method(arm)
    return find_source(method) is method


def _sum_ancestor_costs(store: ArtifactStore) -> Cost:
    """Sum the costs of the ancestors: one per seed or shared, and per size for methods that need that."""
    sizes: dict[tuple[int, str], str | None] = {}
    for method, seed, size in _iterate_genes(store):
        if method.ancestor != "none":
            own_size = size if method.traits.needs_own_size else None
            sizes[store.ancestor_seed(seed), repr(store.ancestor_spec(own_size))] = own_size
    return sum_costs(ancestor_cost(store, own_size) for own_size in sizes.values())


def _sum_gene_costs(store: ArtifactStore) -> Cost:
    """Sum the costs of all genes; a gene that several sizes share counts once."""
    costs: dict[tuple[str, str | None], Cost] = {}
    needed: set[tuple[int, tuple[str, str | None]]] = set()
    for method, seed, size in _iterate_genes(store):
        gene = (repr((method.name, method)), size if method.traits.needs_own_size else None)
        needed.add((seed, gene))
        if gene not in costs:
            costs[gene] = gene_cost(store, method, size)
    return sum_costs(costs[gene] for _, gene in needed)


def _iterate_genes(store: ArtifactStore) -> Iterator[tuple[Method, int, str]]:
    """Yield the method that makes each arm's gene, with every seed and size that needs it."""
    for arm in store.recipe.arms:
        method = find_source(store.get_method(arm))
        if method.traits.has_gene:
            for seed, sizes in store.gene_sizes(arm).items():
                yield from ((method, seed, size) for size in sizes)
