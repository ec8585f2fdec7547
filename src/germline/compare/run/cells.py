"""Cells of a comparison: each is one descendant, with everything that its result depends on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

from germline.baselines.fresh_start import START_LABELS
from germline.compare.recipe.keys import CONTROL
from germline.compare.recipe.schema import Recipe
from germline.compare.recipe.sections import Tuning


@dataclass(frozen=True, order=True)
class Cell:
    """One descendant to build and train.

    Attributes:
        arm: Name of the arm that says how the descendant starts.
        size: Size of the descendant in the size language.
        images: Training images per class, or "all".
        seed: Random seed of ancestor, gene, drawn images and descendant.
        lr: Learning rate to try; None: the tuned or given rate of the arm.
        weight_decay: Weight decay to try; None: the tuned or given value of the arm.
        steps: Training steps; None: the steps of the arm.
        tuning: Whether the cell only serves to choose settings; test images are then not used.
        positions: Initial positions to try; None: the tuned or given ones of the arm.
        layer_scale: Initial value of LayerScale to try; None: the tuned or given one of the arm.
    """

    arm: str
    size: str
    images: int | str
    seed: int
    lr: float | None = None
    weight_decay: float | None = None
    steps: int | None = None
    tuning: bool = False
    positions: float | str | None = None
    layer_scale: float | None = None

    @property
    def name(self) -> str:
        """Readable name, unique in the comparison."""
        tried = "" if self.lr is None else f" lr={self.lr:g} wd={self.weight_decay:g}"
        tried += "".join(f" {key}={value}" for key, value in self.start.items())
        longer = "" if self.steps is None else f" steps={self.steps}"
        return f"{self.arm} {self.size or 'own size'} {format_images(self.images)} seed={self.seed}{tried}{longer}"

    @property
    def start(self) -> dict[str, float | str]:
        """Initial values to try, by setting; without those that are None."""
        values = {key: getattr(self, key) for key in START_LABELS}
        return {key: value for key, value in values.items() if value is not None}


def list_main_cells(recipe: Recipe) -> list[Cell]:
    """List the recipe's own cells, seed by seed, so that an unfinished comparison has complete seeds."""
    cells = [
        Cell(arm, size, images, seed)
        for seed in recipe.seeds
        for images in recipe.images_per_class
        for size in recipe.sizes
        for arm in recipe.arms
        if size in recipe.sizes_of(arm)
    ]
    if recipe.grid is None:
        return cells
    points = [(lr, decay) for lr in recipe.grid.lr for decay in recipe.grid.weight_decay]
    return [replace(cell, lr=lr, weight_decay=decay) for cell in cells for lr, decay in points]


def list_tuning_cells(recipe: Recipe, rates: Mapping[str, float] | None = None) -> list[Cell]:
    """List one cell per tuned arm and point of the tuning grid.

    Args:
        recipe: Recipe of the comparison.
        rates: Learning rate by arm, to extend the grids of these arms; None: the rates of the recipe, for all arms.
    """
    tune = recipe.tune
    if tune is None:
        return []
    return [
        Cell(arm, tune.size, tune.images_per_class, tune.seed, lr, decay, tuning=True, **start)
        for arm in recipe.arms
        if recipe.is_tuned(arm) and (rates is None or arm in rates)
        for start in _list_starts(recipe, tune, arm)
        for lr in ((tune.lr or (None,)) if rates is None else (rates[arm],))
        for decay in tune.weight_decay or (None,)
    ]


def _list_starts(recipe: Recipe, tune: Tuning, arm: str) -> list[dict[str, Any]]:
    """List the initial values that an arm is tuned over, in every combination."""
    tried = {key: getattr(tune, key) for key in START_LABELS if recipe.tunes_start(arm, key)}
    return [dict(zip(tried, values, strict=True)) for values in product(*tried.values())]


def list_scratch_cells(recipe: Recipe, size: str, images: int | str, steps: int | None) -> list[Cell]:
    """List one cell of scratch per seed, with another number of steps."""
    return [Cell(CONTROL, size, images, seed, steps=steps) for seed in recipe.seeds]


def format_images(images: int | str) -> str:
    """Format a number of images as `10 images per class`, or `all images`."""
    return "all images" if images == "all" else f"{images} images per class"


def count_images(recipe: Recipe, per_class: int | str, available: int, classes: int) -> int:
    """Count the training images of one descendant.

    Args:
        recipe: Recipe of the comparison.
        per_class: Training images per class, or "all".
        available: Training images of the whole data set.
        classes: Classes of the whole data set.
    """
    ways = classes if recipe.tasks is None else recipe.tasks.ways
    return round(available * ways / classes) if isinstance(per_class, str) else per_class * ways
