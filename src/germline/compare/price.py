"""What a recipe would cost, before anything runs."""

from __future__ import annotations

from typing import Any

from germline.anatomy import Size
from germline.config import Recipe, validated
from germline.data import data
from germline.errors import DataError
from germline.registry import METHODS, anatomy_of, model_spec
from germline.training import TrainSettings


def price(recipe: Recipe) -> str:
    """Check a recipe against its data, and say what it would cost.

    Raises:
        DataError: A class has too few pictures.
        SettingError: A size that cannot be built.
    """
    source, base = data(recipe.data), data(recipe.ancestor.data)
    train = source.train
    if train.labels is None:
        raise DataError(f"'{recipe.data}' has no labels", "a comparison needs them")
    least = int(train.labels.bincount(minlength=len(train.classes)).min())
    if least < max(recipe.images_per_class):
        raise DataError(
            f"'{recipe.data}' has a class with {least} pictures, {max(recipe.images_per_class)} are asked for",
            fix=f"ask for at most {least} images a class",
        )
    spec = model_spec(
        recipe.ancestor.model,
        image_size=train.images.shape[2],
        channels=train.images.shape[1],
        classes=len(train.classes),
    )
    anatomy = anatomy_of(spec)
    cells = [
        (anatomy.flops(anatomy.resize(spec, Size.parse(size))), recipe.train_settings(arm), images)
        for arm in recipe.arms
        for size in recipe.sizes
        for images in recipe.images_per_class
    ]
    seeds = len(recipe.seeds)
    samples = seeds * sum(how.total_steps(images * len(train.classes)) * how.batch_size for _, how, images in cells)
    flops = (
        3
        * seeds
        * sum(one * how.total_steps(images * len(train.classes)) * how.batch_size for one, how, images in cells)
    )
    genes = _gene_samples(recipe, len(base.train))
    tuned = _tuning_cells(recipe)
    return (
        f"{recipe.title}\n{len(cells) * seeds} cells ({len(cells)} x {seeds} seeds) after {tuned} tuning cells\n"
        f"descendants: {samples:,} samples, {flops / 1e12:,.1f} TFLOP\n"
        f"ancestors and genes: {genes:,} samples\nexpected time on two cores: about {recipe.minutes:g} minutes"
    )


def _gene_samples(recipe: Recipe, pictures: int) -> int:
    """Samples of ancestors and genes over all seeds; a shared gene counts once."""
    makers = 1 if recipe.one_gene else len(recipe.seeds) + (recipe.tune is not None)
    how = recipe.ancestor.train
    own = 0 if recipe.ancestor.path else how.total_steps(pictures) * how.batch_size
    for name, arm in recipe.arms.items():
        method: Any = validated(METHODS[arm.method], arm.settings, f"arms.{name}.settings")
        if isinstance(method, TrainSettings):
            own += method.total_steps(pictures) * method.batch_size
    return own * makers


def _tuning_cells(recipe: Recipe) -> int:
    if recipe.tune is None:
        return 0
    arms = sum(arm.tuned_as is None for arm in recipe.arms.values())
    return arms * len(recipe.tune.lr) * len(recipe.tune.weight_decay)
