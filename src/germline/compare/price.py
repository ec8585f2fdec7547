"""What a recipe would cost, before anything runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from germline.compare.cells import Workshop
from germline.compare.check import check
from germline.config import Recipe
from germline.methods.scratch import Scratch
from germline.registry import anatomy_of
from germline.training import TrainSettings


@dataclass(frozen=True)
class Price:
    """What a recipe would cost. Samples are pictures seen in training, repeats counted.

    Attributes:
        title: The recipe's.
        minutes: What it says that it takes on two cores.
        cells: Descendants to be grown and trained.
        seeds: Of the comparison.
        samples: Of those descendants.
        flops: Of those descendants, forward and backward.
        tuning_cells: Descendants of the grid.
        tuning_samples: Theirs.
        ancestors: Ancestors to be trained.
        ancestor_samples: Theirs.
        genes: Genes to be condensed.
        gene_samples: Theirs.
    """

    title: str
    minutes: float
    cells: int
    seeds: int
    samples: int
    flops: int
    tuning_cells: int
    tuning_samples: int
    ancestors: int
    ancestor_samples: int
    genes: int
    gene_samples: int

    def text(self) -> str:
        """For people to read."""
        return (
            f"{self.title}\n{self.cells} cells ({self.cells // self.seeds} x {self.seeds} seeds): "
            f"{self.samples:,} samples, {self.flops / 1e12:,.1f} TFLOP\n"
            f"{self.tuning_cells} tuning cells: {self.tuning_samples:,} samples\n"
            f"{self.ancestors} ancestors: {self.ancestor_samples:,} samples\n"
            f"{self.genes} genes: {self.gene_samples:,} samples\n"
            f"expected time on two cores: about {self.minutes:g} minutes"
        )


def price(recipe: Recipe) -> Price:
    """Check a recipe against what it names, and say what it would cost.

    Raises:
        GermlineError: It cannot be run.
    """
    check(recipe)
    shop = Workshop(recipe, Path())
    seeds, (samples, flops) = len(recipe.seeds), _descendants(shop)
    tuning_cells, tuning_samples = _tuning(shop)
    ancestors, (genes, gene_samples) = _ancestors(shop), _genes(shop)
    how, pictures = recipe.ancestor.train, len(shop.data(recipe.ancestor.data).train)
    return Price(
        title=recipe.title,
        minutes=recipe.minutes,
        cells=len(recipe.arms) * len(recipe.sizes) * len(recipe.images_per_class) * seeds,
        seeds=seeds,
        samples=samples * seeds,
        flops=flops * seeds,
        tuning_cells=tuning_cells,
        tuning_samples=tuning_samples,
        ancestors=ancestors,
        ancestor_samples=ancestors * _samples(how, pictures),
        genes=genes,
        gene_samples=gene_samples,
    )


def _samples(how: TrainSettings, pictures: int) -> int:
    return how.total_steps(pictures) * how.batch_size


def _descendants(shop: Workshop) -> tuple[int, int]:
    """Samples and FLOPs of one seed's cells."""
    recipe, train = shop.recipe, shop.data(shop.recipe.data).train
    forms = [shop.form(size, train) for size in recipe.sizes]
    forward = sum(anatomy_of(form).flops(form) for form in forms)
    seen = sum(
        _samples(recipe.train_settings(arm), images * len(train.classes))
        for arm in recipe.arms
        for images in recipe.images_per_class
    )
    return seen * len(forms), 3 * seen * forward


def _tuning(shop: Workshop) -> tuple[int, int]:
    """Cells of the grid and their samples."""
    recipe, tune = shop.recipe, shop.recipe.tune
    if tune is None:
        return 0, 0
    tries = len(tune.lr) * len(tune.weight_decay)
    arms = [name for name, arm in recipe.arms.items() if arm.tuned_as is None]
    pictures = tune.images_per_class * len(shop.data(recipe.data).train.classes)
    return tries * len(arms), tries * sum(_samples(recipe.train_settings(arm), pictures) for arm in arms)


def _ancestors(shop: Workshop) -> int:
    """Ancestors to be trained: one a seed, and one of each further size that a method needs of its own."""
    if shop.recipe.ancestor.path is not None:
        return 0
    methods = [shop.method(arm) for arm in shop.recipe.arms]
    makers = [method for method in methods if not isinstance(method, Scratch) and method.ancestor != "none"]
    count = 0
    for sizes in shop.gene_sizes().values():
        asked = {size if method.own_size else None for method in makers for size in sizes}
        count += len({shop.begin_ancestor(0, size).spec for size in asked})
    return count


def _genes(shop: Workshop) -> tuple[int, int]:
    """Genes to be condensed and their samples; a shared gene counts once."""
    pictures = len(shop.data(shop.recipe.ancestor.data).train)
    count = samples = 0
    for arm in shop.recipe.arms:
        method = shop.method(arm)
        if isinstance(method, Scratch):
            continue
        made = sum(len(sizes) if method.own_size else 1 for sizes in shop.gene_sizes().values())
        count += made
        samples += made * _samples(method, pictures) if isinstance(method, TrainSettings) else 0
    return count, samples
