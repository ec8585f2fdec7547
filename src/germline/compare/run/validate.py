"""A recipe held against what it names, before anything is trained or written."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from germline.architectures import Preprocess, Size, Spec
from germline.compare.analysis.protocols import PROTOCOLS
from germline.compare.recipe.schema import EVERY_SIZE, Recipe
from germline.compare.run.store import ArtifactStore
from germline.data import AnyImages, draw_task
from germline.errors import DataError, SettingError
from germline.methods.base import empty_gene
from germline.registry import architecture_of


def check_recipe(recipe: Recipe, *, pricing: bool = False) -> ArtifactStore:
    """Refuse a recipe that could not be run to its end.

    Args:
        recipe: What is to be compared.
        pricing: Whether data and weights that are not at hand may be stood for by their numbers.

    Returns:
        A workshop that writes nothing; its recipe names every size.

    Raises:
        DataError: Data are missing, without labels, or too few.
        ArtefactError: The ancestor cannot be read.
        SettingError: A size that cannot be built, or that a method cannot grow.
    """
    store = _expand_sizes(ArtifactStore(recipe, Path(), Path(), pricing=pricing))
    recipe = store.recipe
    PROTOCOLS[recipe.protocol].check(recipe)
    source = store.load_data(recipe.data)
    for images in (source.train, source.val, source.test):
        _check_labels(images, recipe.data)
    _check_image_counts(recipe, source.train)
    if recipe.tasks is not None:
        draw_task(source, recipe.tasks.ways, None, recipe.seeds[0], 0)
    if recipe.ancestor.path is None:
        _check_labels(store.load_data(recipe.ancestor.data).train, recipe.ancestor.data)
    forms = {size: store.descendant_spec(size) for size in recipe.sizes}
    # Sizes that are named are parts of a gene, which differ where their forms do not.
    named = store.listed_sizes(store.first_method, "") if store.first_method.traits.has_named_sizes else ()
    _check_equal_networks({size: form for size, form in forms.items() if size not in named})
    if recipe.tune is not None:
        store.descendant_spec(recipe.tune.size)
    for arm in recipe.arms:
        if not recipe.is_trained(arm):
            _check_ancestor_classes(store, arm, source.classes)
        sizes = dict.fromkeys(size for wanted in store.gene_sizes(arm).values() for size in wanted)
        _check_arm(store, arm, list(sizes), source.train)
    return store


def _expand_sizes(store: ArtifactStore) -> ArtifactStore:
    """A recipe whose sizes are open gets all that the first arm's method lists."""
    recipe = store.recipe
    if not recipe.has_open_sizes:
        return store
    found = store.listed_sizes(store.first_method, "")
    if not found:
        raise SettingError(
            f"sizes=['{EVERY_SIZE}']",
            f"'{store.first_method.name}' of the first arm has no list of its sizes",
            "name the sizes that you ask about",
        )
    return replace(store, recipe=Recipe.model_validate({**recipe.model_dump(), "sizes": found}))


def _check_ancestor_classes(store: ArtifactStore, arm: str, classes: tuple[str, ...]) -> None:
    """An ancestor that is at hand may know other classes than those of the data that it is said to be of."""
    if store.pricing or store.recipe.ancestor.path is None:
        return
    known = store.build_ancestor(0).classes
    if known != classes:
        raise SettingError(
            f"arm '{arm}' has steps=0 with ancestor.path={store.recipe.ancestor.path}",
            f"that network knows {len(known)} classes, '{store.recipe.data}' has {len(classes)} or other names",
            "give the arm a step or more, or name data with the ancestor's classes",
        )


def _check_equal_networks(forms: dict[str, Spec]) -> None:
    """Two sizes that come to the same network would be one piece of work that counts as two."""
    known: dict[str, str] = {}
    for size, form in forms.items():
        twin = known.setdefault(repr(form), size)
        if twin != size:
            raise SettingError(f"sizes '{twin}' and '{size}'", "they are the same network here", "leave one out")


def _check_labels(images: AnyImages, name: str) -> None:
    if images.labels is None:
        raise DataError(f"'{name}' has no labels", "a comparison needs them", "put each class in a folder of its own")


def _check_image_counts(recipe: Recipe, train: AnyImages) -> None:
    assert train.labels is not None  # noqa: S101 - said above, repeated for the type checker
    asked = (*recipe.images_per_class, *([recipe.tune.images_per_class] if recipe.tune else []))
    wanted = max((images for images in asked if not isinstance(images, str)), default=1)
    least = int(train.labels.bincount(minlength=len(train.classes)).min())
    if least < wanted:
        raise DataError(
            f"'{recipe.data}' has a class with {least} pictures, images_per_class asks for {wanted}",
            "a class is drawn without replacement",
            f"ask for at most {least} images a class",
        )


def _check_same_network(arm: str, size: str, grown: Spec, form: Spec) -> None:
    """An arm whose descendants are other networks than scratch's would be compared with what it is not."""
    ours, theirs = ({k: v for k, v in spec.model_dump().items() if k != "drop_path"} for spec in (grown, form))
    for key, value in ours.items():
        if theirs.get(key) != value:
            raise SettingError(
                f"arm '{arm}' at {size or 'own size'} grows {key}={value}, scratch {key}={theirs.get(key)}",
                "arms are compared on one and the same network, that of the ancestor at the size asked for",
                f"say {key} in the sizes, or leave it out of the arm's settings",
            )


def _grey_preprocess(form: Spec) -> Preprocess:
    """Statistics that stand for those of a gene that is not there; a form does not depend on them."""
    grey = (0.5,) * form.channels
    return Preprocess(channels=form.channels, image_size=form.image_size, mean=grey, std=grey)


def _check_arm(store: ArtifactStore, arm: str, sizes: list[str], train: AnyImages) -> None:
    """Grow every size in thought, from a gene that has its form and no tensors."""
    method = store.get_method(arm)
    if not method.traits.has_gene:
        return
    for size in sizes:
        own = size if method.traits.needs_own_size else None
        form = store.gene_spec(method, size)
        if own is not None and architecture_of(form).resize(form, Size.parse(own)) != form:
            raise SettingError(
                f"arm '{arm}' cannot have {size}",
                f"'{method.name}' needs an ancestor of each size, and ancestor.path gives one of a single size",
                "leave out ancestor.path, so that one of each size is trained, or leave out the arm",
            )
        gene = empty_gene(method, form, _grey_preprocess(form))
        wanted = Size() if own is not None else Size.parse(size)
        grown = gene.target(wanted, train.classes, train.channels, train.side).spec
        _check_same_network(arm, size, grown, store.descendant_spec(size))
