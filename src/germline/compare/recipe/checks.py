"""Checks of a recipe's keys: methods, arms and sizes, each alone and together."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import partial

from germline.architectures import Size
from germline.baselines.fresh_start import START_LABELS
from germline.compare.recipe.keys import CONTROL, EVERY_SIZE, RecipeKeys
from germline.compare.recipe.sections import FamilyBudget, Tuning
from germline.errors import SettingError, UnknownNameError
from germline.methods.base import find_method
from germline.registry import METHODS
from germline.setting_problems import validate_settings


def list_checks(recipe: RecipeKeys) -> Iterator[Callable[[], None]]:
    """List the checks of a recipe, in their order. Each raises a `GermlineError` if keys are wrong."""
    for name in recipe.arms:
        yield partial(_check_arm, recipe, name)
    for check in (_check_train, _check_arm_sizes, _check_duplicates, _check_grid):
        yield partial(check, recipe)
    if recipe.tune is not None:
        yield partial(_check_tuning, recipe, recipe.tune)
    for key in ("scratch_until_plateau", "family"):
        if getattr(recipe, key):
            yield partial(_check_longer_scratch, recipe, key)
    if recipe.family is not None:
        yield partial(_check_family, recipe, recipe.family)
    for check in (_check_question, _check_final):
        yield partial(check, recipe)


def _check_train(recipe: RecipeKeys) -> None:
    if not recipe.is_frozen and "train" not in recipe.model_fields_set:
        raise SettingError(
            f"No train with protocol={recipe.protocol}",
            "It holds the training settings of the descendants",
            "Set train, for example train: {steps: 600}",
        )


def _check_grid(recipe: RecipeKeys) -> None:
    if (recipe.protocol == "sensitivity") != (recipe.grid is not None):
        raise SettingError(
            f"protocol={recipe.protocol} {'with' if recipe.grid else 'without'} a grid",
            "The protocol sensitivity measures the spread over a grid, and no other protocol uses one",
            "Remove `grid`" if recipe.grid else "Set grid: {lr: [...], weight_decay: [...]}",
        )


def _check_question(recipe: RecipeKeys) -> None:
    for other in (recipe.question.against or ()) if recipe.question is not None else ():
        if other not in recipe.arms:
            raise UnknownNameError.with_nearest("arm at question.against:", other, recipe.arms)


def _check_final(recipe: RecipeKeys) -> None:
    if recipe.final and recipe.final_data is None and not recipe.data.startswith("glyphs/"):
        raise SettingError(
            f"final with data={recipe.data}",
            "Only glyphs has a final part of its own",
            "Set final_data to data that nothing is tuned on, or remove --final",
        )
    if recipe.final_data is not None and recipe.final_data in (recipe.data, recipe.ancestor.data.partition(",")[0]):
        raise SettingError(
            f"final_data={recipe.final_data}",
            "The recipe trains or tunes on these data",
            "Choose data with other classes",
        )


def _check_arm(recipe: RecipeKeys, name: str) -> None:
    arm, other = recipe.arms[name], recipe.arms[name].tuned_as
    # Names of arms become parts of file names.
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_+-]*", name):
        raise SettingError(
            f"The name of arm '{name}' is not allowed",
            "Names are made of letters, digits, - and _",
            "Choose another name",
        )
    if arm.method not in METHODS:
        raise UnknownNameError.with_nearest(f"method at arms.{name}.method:", arm.method, METHODS)
    validate_settings(find_method(arm.method), arm.settings, f"arms.{name}.settings")
    if not recipe.is_trained(name):
        _check_untrained(recipe, name)
    if other is not None and other not in recipe.arms:
        raise UnknownNameError.with_nearest(f"arm at arms.{name}.tuned_as:", other, recipe.arms)
    if other is not None and (recipe.arms[other].tuned_as is not None or not recipe.is_trained(other)):
        raise SettingError(f"arms.{name}.tuned_as={other}", "That arm is not tuned itself", "Use an arm that is")


def _check_untrained(recipe: RecipeKeys, name: str) -> None:
    """Check that an arm without training is a `paths` arm whose descendants inherit a head for the data."""
    arm, ancestor_data = recipe.arms[name], recipe.ancestor.data
    method = validate_settings(find_method(arm.method), arm.settings, f"arms.{name}.settings")
    has_source = method.ancestor != "none"
    has_one_gene = not method.traits.varies_with_seed and (recipe.ancestor.is_shared or not has_source)
    path, seed = recipe.ancestor.path, recipe.ancestor.seed
    shared = f"ancestor.seed={seed}" if path is None else f"ancestor.path={path}"
    refusals = (
        (recipe.protocol != "paths", f"The protocol {recipe.protocol} compares trained descendants", ""),
        (
            not method.traits.inherits_head,
            f"'{arm.method}' passes no head on, and a fresh head only guesses",
            "",
        ),
        (arm.tuned_as is not None, "An arm without training is not tuned", "Remove tuned_as, or "),
        (
            recipe.data != ancestor_data or recipe.final,
            f"Its head is for the classes of {ancestor_data}, and a fresh head only guesses",
            f"Use data: {ancestor_data}, or ",
        ),
        (
            recipe.tasks is not None,
            "Each task has its own classes, for which the head is fresh",
            "Remove tasks, or ",
        ),
        (
            recipe.one_gene and len(recipe.seeds) > 1,
            "With one_gene, every seed repeats the same evaluation",
            "Remove one_gene, use a single seed, or ",
        ),
        (
            has_one_gene and len(recipe.seeds) > 1,
            f"'{arm.method}' has the same gene for every seed{f' of {shared}' if has_source else ''}",
            "Use a single seed, or ",
        ),
    )
    for is_refused, why, alternative in refusals:
        if is_refused:
            fix = f"{alternative}set its steps to 1 or more"
            raise SettingError(f"Arm '{name}' has steps=0", why, fix[0].upper() + fix[1:])


def _check_arm_sizes(recipe: RecipeKeys) -> None:
    """Check that arms only use the recipe's sizes, and that every size has an arm."""
    if recipe.has_open_sizes:
        return
    if EVERY_SIZE in recipe.sizes:
        raise SettingError(
            f"sizes={list(recipe.sizes)}", f"'{EVERY_SIZE}' means every size", f"Remove '{EVERY_SIZE}' or the others"
        )
    for name, arm in recipe.arms.items():
        unknown = [size for size in arm.sizes or () if size not in recipe.sizes]
        if unknown:
            raise SettingError(
                f"arms.{name}.sizes: '{unknown[0]}'",
                "It is not one of the recipe's sizes",
                "Use sizes from `sizes`, spelled as there",
            )
    used = {size for name in recipe.arms for size in recipe.sizes_of(name)}
    if unused := [size for size in recipe.sizes if size not in used]:
        raise SettingError(
            f"No arm uses size '{unused[0]}'",
            "It would never be built",
            "Remove it from `sizes`, or add it to an arm's `sizes`",
        )


def _check_longer_scratch(recipe: RecipeKeys, key: str) -> None:
    if CONTROL not in recipe.arms:
        raise SettingError(
            f"{key} without an arm '{CONTROL}'", "It trains that arm longer", f"Use such an arm, or remove {key}"
        )
    if recipe.grid is not None:
        raise SettingError(f"{key} with a grid", "It needs one learning rate and weight decay", f"Remove grid or {key}")


def _check_family(recipe: RecipeKeys, family: FamilyBudget) -> None:
    first = next(iter(recipe.arms))
    shared = set(recipe.sizes_of(first)) & set(recipe.sizes_of(CONTROL))
    has_size = family.size in shared or recipe.has_open_sizes
    if not has_size or family.images_per_class not in recipe.images_per_class:
        raise SettingError(
            f"family.size={family.size}, family.images_per_class={family.images_per_class}",
            "The recipe has no such descendants to compare with",
            f"Use a size that '{first}' and '{CONTROL}' both have, and one of the recipe's images_per_class",
        )
    if not find_method(recipe.arms[first].method).traits.has_gene:
        raise SettingError(
            f"family with '{first}' as the first arm",
            "Scratch gets the cost of the first arm's gene, and this arm has no gene",
            "Use an arm with a gene first, or remove family",
        )


def _check_duplicates(recipe: RecipeKeys) -> None:
    """Check that no two sizes or arms are the same, which would count one piece of work twice."""
    sizes: dict[frozenset[tuple[str, int]], str] = {}
    for size in () if recipe.has_open_sizes else recipe.sizes:
        twin = sizes.setdefault(frozenset(Size.parse(size).items()), size)
        if twin is not size:
            raise SettingError(
                f"Sizes '{twin}' and '{size}' are the same",
                "Each of their cells would run twice",
                "Remove one of them",
            )
    arms: dict[str, str] = {}
    for name, arm in recipe.arms.items():
        tuned = _identify_arm(recipe, arm.tuned_as or name) if recipe.tune is not None else ""
        twin = arms.setdefault(f"{_identify_arm(recipe, name)} {tuned}", name)
        if twin != name:
            raise SettingError(
                f"Arms '{twin}' and '{name}' are the same",
                "Each of their cells would run twice",
                "Remove one of them, or set another draw for one, such as draw: 1",
            )


def _identify_arm(recipe: RecipeKeys, name: str) -> str:
    """Return a text that is equal for arms with the same cells, apart from tuning."""
    arm, settings = recipe.arms[name], recipe.train_settings(name)
    method = validate_settings(find_method(arm.method), arm.settings, f"arms.{name}.settings")
    return repr((arm.method, method, settings, arm.draw))


def _check_tuning(recipe: RecipeKeys, tune: Tuning) -> None:
    Size.parse(tune.size)
    if not recipe.is_frozen and (tune.lr is None or tune.weight_decay is None):
        raise SettingError(
            f"tune without {'lr' if tune.lr is None else 'weight_decay'}",
            "Every arm is tuned over learning rate and weight decay",
            "Set both, for example lr: [0.001, 0.003] and weight_decay: [0.05]",
        )
    for key in START_LABELS:
        values = getattr(tune, key)
        if values and not any(recipe.tunes_start(arm, key) for arm in recipe.arms):
            raise SettingError(
                f"tune.{key}={list(values)}",
                f"No tuned arm starts from random weights without {key} of its own",
                f"Remove tune.{key}, or use an arm such as scratch: {{method: scratch}}",
            )
    if tune.seed in recipe.seeds:
        raise SettingError(
            f"tune.seed={tune.seed}", "It is one of the comparison's own seeds", "Use a seed that is not in `seeds`"
        )
