"""What a comparison is made of: cells, each with all that its result depends on."""

from __future__ import annotations

from dataclasses import dataclass, replace

from germline.compare.recipe.schema import CONTROL, Recipe


@dataclass(frozen=True, order=True)
class Cell:
    """One descendant to be grown and trained.

    Attributes:
        arm: How it starts.
        size: In the size language.
        images: Training pictures a class, or "all".
        seed: Of all that it depends on.
        lr: A rate to try; None takes the arm's own, tuned or given.
        weight_decay: Likewise.
        steps: Of training; None takes the arm's own.
        tuning: Whether it only serves to choose settings: test pictures are left alone.
    """

    arm: str
    size: str
    images: int | str
    seed: int
    lr: float | None = None
    weight_decay: float | None = None
    steps: int | None = None
    tuning: bool = False

    @property
    def name(self) -> str:
        """For people to read; unique in the comparison."""
        tried = "" if self.lr is None else f" lr={self.lr:g} wd={self.weight_decay:g}"
        longer = "" if self.steps is None else f" steps={self.steps}"
        return f"{self.arm} {self.size or 'own size'} {format_images(self.images)} seed={self.seed}{tried}{longer}"


def list_main_cells(recipe: Recipe) -> list[Cell]:
    """The recipe's own cells, seed by seed, so that an unfinished comparison has whole seeds."""
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
    tried = [(lr, decay) for lr in recipe.grid.lr for decay in recipe.grid.weight_decay]
    return [replace(cell, lr=lr, weight_decay=decay) for cell in cells for lr, decay in tried]


def list_tuning_cells(recipe: Recipe) -> list[Cell]:
    """Every arm that is tuned, at every point of the grid."""
    tune = recipe.tune
    if tune is None:
        return []
    return [
        Cell(arm, tune.size, tune.images_per_class, tune.seed, lr, decay, tuning=True)
        for arm in recipe.arms
        if recipe.is_tuned(arm)
        for lr in tune.lr
        for decay in tune.weight_decay
    ]


def list_scratch_cells(recipe: Recipe, size: str, images: int | str, steps: int | None) -> list[Cell]:
    """Scratch with another number of steps, for every seed."""
    return [Cell(CONTROL, size, images, seed, steps=steps) for seed in recipe.seeds]


def format_images(images: int | str) -> str:
    """`10 images per class`, or `all images`."""
    return "all images" if images == "all" else f"{images} images per class"


def count_images(recipe: Recipe, per_class: int | str, available: int, classes: int) -> int:
    """Pictures that a descendant is trained on, of a set of that many pictures and classes."""
    ways = classes if recipe.tasks is None else recipe.tasks.ways
    return round(available * ways / classes) if isinstance(per_class, str) else per_class * ways
