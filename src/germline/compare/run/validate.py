"""Checks of a recipe against data, ancestor and methods, before anything is trained or written."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from germline.architectures import Preprocess, Size, Spec, TransformerSpec
from germline.baselines.fresh_start import START_LABELS, FreshStart
from germline.compare.analysis.protocols import PROTOCOLS
from germline.compare.analysis.questions import check_question
from germline.compare.recipe.keys import EVERY_SIZE
from germline.compare.recipe.schema import Recipe
from germline.compare.run.cells import Cell
from germline.compare.run.store import ArtifactStore
from germline.data import AnyImages, draw_task
from germline.errors import DataError, SettingError
from germline.loading import look_at, measure_ancestor
from germline.methods.base import empty_gene
from germline.registry import architecture_of
from germline.training.network_options import make_drop_path_error

_LOG = logging.getLogger(__name__)
_MEASURED: set[str] = set()


def check_recipe(recipe: Recipe, *, is_estimate: bool = False) -> ArtifactStore:
    """Refuse a recipe that could not run to its end.

    Args:
        recipe: Recipe to check.
        is_estimate: Whether known numbers may replace missing data and weights, to estimate costs.

    Returns:
        A store that writes nothing. Its recipe lists every size.

    Raises:
        DataError: Data are missing, have no labels, or too few images.
        ArtefactError: The ancestor cannot be read.
        SettingError: A size cannot be built, or a method cannot grow it.
    """
    store = _expand_sizes(ArtifactStore(recipe, Path(), Path(), is_estimate=is_estimate))
    recipe = store.recipe
    PROTOCOLS[recipe.protocol].check(recipe)
    check_question(recipe)
    data = store.load_data(recipe.data)
    for images in (data.train, data.val, data.test):
        _check_labels(images, recipe.data)
    _check_image_counts(recipe, data.train)
    if recipe.final and recipe.final_data is not None:
        store.load_data(recipe.final_data)  # refuses a missing one; its images are not read here
    if recipe.tasks is not None:
        draw_task(data, recipe.tasks.ways, None, recipe.seeds[0], 0)
        _check_task_steps(recipe, recipe.tasks.ways, data.train)
    if recipe.ancestor.path is None:
        _check_labels(store.load_data(recipe.ancestor.data).train, recipe.ancestor.data)
    _look_at_ancestor(store)
    specs = {size: store.descendant_spec(size) for size in recipe.sizes}
    # Named sizes are parts of a gene. They can differ although their specs are equal.
    named = store.list_sizes(store.first_method, "") if store.first_method.traits.has_named_sizes else ()
    _check_equal_networks({size: spec for size, spec in specs.items() if size not in named})
    if recipe.tune is not None:
        store.descendant_spec(recipe.tune.size)
    _check_starts(store)
    if recipe.protocol == "same-labels":
        _check_ancestor_classes(store, "The protocol same-labels is given", data.classes, "Use")
    for arm in recipe.arms:
        if not recipe.is_trained(arm):
            _check_ancestor_classes(
                store, f"Arm '{arm}' has steps=0", data.classes, "Set its steps to 1 or more, or use"
            )
        _check_drop_path(recipe, arm, [specs[size] for size in recipe.sizes_of(arm)])
        sizes = dict.fromkeys(size for seed_sizes in store.gene_sizes(arm).values() for size in seed_sizes)
        _check_arm(store, arm, list(sizes), data.train)
    return store


def _check_starts(store: ArtifactStore) -> None:
    """Check that descendants of every size can have the initial values of their arm and its tuning."""
    recipe, tune = store.recipe, store.recipe.tune
    for arm in recipe.arms:
        sizes = (*recipe.sizes_of(arm), *([tune.size] if tune is not None else []))
        tried = {key: getattr(tune, key, None) or () for key in START_LABELS if recipe.draws_start(arm, key)}
        for start in ({}, *({key: value} for key, values in tried.items() for value in values)):
            method = store.cell_method(Cell(arm, sizes[0], 1, 0, **start))
            if isinstance(method, FreshStart) and (method.positions, method.layer_scale) != (None, None):
                for size in sizes:
                    method.check_start(store.descendant_spec(size))


def _look_at_ancestor(store: ArtifactStore) -> None:
    """Look at a given ancestor, and measure the weights of a file, whose preprocessing may be wrong."""
    path = store.recipe.ancestor.path
    if path is None or store.is_estimate:
        return
    data = store.load_data(store.recipe.ancestor.data)
    network = look_at(store.build_ancestor(0), data)
    key = repr((path, store.recipe.ancestor))
    if Path(path).is_file() and key not in _MEASURED:
        _MEASURED.add(key)  # a recipe is checked more than once per process
        measured = measure_ancestor(network, data)
        for line in (*measured.warnings, *measured.lines):
            _LOG.warning(line)


def _expand_sizes(store: ArtifactStore) -> ArtifactStore:
    """Replace open sizes by all sizes that the first arm's method lists."""
    recipe = store.recipe
    if not recipe.has_open_sizes:
        return store
    sizes = store.list_sizes(store.first_method, "")
    if not sizes:
        raise SettingError(
            f"sizes=['{EVERY_SIZE}'] with '{store.first_method.name}' in the first arm",
            "That method does not list its sizes",
            "Use the names of the sizes to compare",
        )
    return replace(store, recipe=Recipe.model_validate({**recipe.model_dump(), "sizes": sizes}))


def _check_ancestor_classes(store: ArtifactStore, what: str, classes: tuple[str, ...], fix: str) -> None:
    """Check that a given ancestor knows the classes of the recipe's data."""
    if store.is_estimate or store.recipe.ancestor.path is None:
        return
    known = store.build_ancestor(0).classes
    if known != classes:
        raise SettingError(
            f"{what} with ancestor.path={store.recipe.ancestor.path}",
            f"That network knows {len(known)} classes, '{store.recipe.data}' has {len(classes)} or other names",
            f"{fix} data with the ancestor's classes",
        )


def _check_equal_networks(specs: dict[str, Spec]) -> None:
    """Check that no two sizes are the same network, which would count one piece of work twice."""
    known: dict[str, str] = {}
    for size, spec in specs.items():
        twin = known.setdefault(repr(spec), size)
        if twin != size:
            raise SettingError(
                f"Sizes '{twin}' and '{size}' are the same network here",
                "Each of their cells would run twice",
                "Remove one of them",
            )


def _check_labels(images: AnyImages, name: str) -> None:
    if images.labels is None:
        raise DataError(
            f"'{name}' has no labels", "A comparison needs labels", "Use a folder with one subfolder per class"
        )


def _check_image_counts(recipe: Recipe, train: AnyImages) -> None:
    assert train.labels is not None  # noqa: S101 - checked before; repeated for the type checker
    per_class = (*recipe.images_per_class, *([recipe.tune.images_per_class] if recipe.tune else []))
    needed = max((images for images in per_class if not isinstance(images, str)), default=1)
    available = int(train.labels.bincount(minlength=len(train.classes)).min())
    if available < needed:
        raise DataError(
            f"'{recipe.data}' has a class with {available} images, images_per_class asks for {needed}",
            "Images are drawn without replacement",
            f"Use at most {available} images per class",
        )


def _check_task_steps(recipe: Recipe, ways: int, train: AnyImages) -> None:
    """Check that all tasks have equally many steps, since a cell averages their learning curves step by step."""
    per_class = (*recipe.images_per_class, *([recipe.tune.images_per_class] if recipe.tune else []))
    if recipe.is_frozen or "all" not in per_class:
        return
    assert train.labels is not None  # noqa: S101 - checked before; repeated for the type checker
    counts = sorted(train.labels.bincount(minlength=len(train.classes)).tolist())
    fewest, most = sum(counts[:ways]), sum(counts[-ways:])
    for arm in recipe.arms:
        settings = recipe.train_settings(arm)
        if settings.total_steps(fewest) != settings.total_steps(most):
            raise SettingError(
                f"Arm '{arm}' has epochs={settings.epochs:g} with tasks and images_per_class=all",
                f"Tasks have {fewest:,} to {most:,} images, so their trainings would differ in steps",
                "Set train.steps, or a number of images per class",
            )


def _check_same_network(arm: str, size: str, descendant: Spec, control: Spec) -> None:
    """Check that an arm's descendants have the same spec as scratch."""
    fields, expected = (
        {key: value for key, value in spec.model_dump().items() if key != "drop_path"} for spec in (descendant, control)
    )
    for key, value in fields.items():
        if expected.get(key) != value:
            raise SettingError(
                f"Arm '{arm}' at {size or 'own size'} has {key}={value}, scratch has {key}={expected.get(key)}",
                "Arms are compared on the same network: the ancestor's, at the given size",
                f"Set {key} in `sizes`, or remove it from the arm's settings",
            )


def _check_drop_path(recipe: Recipe, arm: str, specs: Sequence[Spec]) -> None:
    """Check that an arm's descendants have paths, if its training drops some."""
    rate = 0.0 if recipe.is_frozen else recipe.train_settings(arm).drop_path
    for spec in specs:
        if rate and not isinstance(spec, TransformerSpec):
            raise make_drop_path_error(rate, architecture_of(spec).name)


def _grey_preprocess(spec: Spec) -> Preprocess:
    """Return placeholder statistics for a gene that is not made yet; no spec depends on them."""
    grey = (0.5,) * spec.channels
    return Preprocess(channels=spec.channels, image_size=spec.image_size, mean=grey, std=grey)


def _check_arm(store: ArtifactStore, arm: str, sizes: list[str], train: AnyImages) -> None:
    """Check that an arm can build every size, with a gene that has a spec and no tensors."""
    method = store.get_method(arm)
    if not method.traits.has_gene:
        return
    for size in sizes:
        spec, needs_own_size = store.gene_spec(method, size), method.traits.needs_own_size
        if needs_own_size and architecture_of(spec).resize(spec, Size.parse(size)) != spec:
            raise SettingError(
                f"Arm '{arm}' cannot have size {size}",
                f"'{method.name}' needs an ancestor of each size, and ancestor.path gives one of a single size",
                "Remove ancestor.path to train one ancestor per size, or remove the arm",
            )
        gene = empty_gene(method, spec, _grey_preprocess(spec))
        gene_size = Size() if needs_own_size else Size.parse(size)
        descendant = gene.target(gene_size, train.classes, train.channels, train.side).spec
        _check_same_network(arm, size, descendant, store.descendant_spec(size))
