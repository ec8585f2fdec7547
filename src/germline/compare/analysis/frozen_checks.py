"""Checks of recipes of the protocol `frozen`, in which no body is trained."""

from __future__ import annotations

from germline.baselines.fresh_start import START_LABELS
from germline.compare.analysis.shared_gene import has_one_gene
from germline.compare.recipe.schema import Recipe
from germline.errors import SettingError
from germline.methods.base import find_method


def check_frozen_bodies(recipe: Recipe) -> None:
    """Refuse settings of training in a recipe of `frozen`, and seeds that would repeat the same fit.

    Raises:
        SettingError: A setting has no effect, an arm needs training, or all seeds have the same features and images.
    """
    why = "Bodies stay as they are, and heads are fitted without steps or learning rates"
    trained = [f"arms.{name}.train" for name, arm in recipe.arms.items() if arm.train]
    for key in ["train"] * ("train" in recipe.model_fields_set) + trained:
        raise SettingError(f"The protocol frozen cannot use {key}", why, f"Remove {key}")
    for key in ("scratch_until_plateau", "family"):
        if getattr(recipe, key) is not None:
            raise SettingError(f"The protocol frozen cannot use {key}", why, f"Remove {key}")
    for name, arm in recipe.arms.items():
        if find_method(arm.method).traits.needs_teacher:
            raise SettingError(
                f"Arm '{name}' has the method '{arm.method}'",
                "Its teacher acts in training, and the protocol frozen trains no body",
                "Remove the arm, or use another protocol",
            )
    _check_frozen_tuning(recipe)
    _check_repeated_fits(recipe)


def _check_frozen_tuning(recipe: Recipe) -> None:
    tune = recipe.tune
    if tune is None:
        return
    given = {"lr": tune.lr, "weight_decay": tune.weight_decay, "extend": tune.extend, "scaling": tune.scaling != "none"}
    for key, value in given.items():
        if value:
            raise SettingError(
                f"The protocol frozen cannot use tune.{key}",
                "Heads are fitted without a learning rate",
                f"Remove tune.{key}",
            )
    if not any(getattr(tune, key) for key in START_LABELS):
        raise SettingError(
            "The protocol frozen cannot use tune without positions or layer_scale",
            "Nothing else can be tuned where bodies are frozen",
            "Set tune.positions, for example [0.02, 0.1, 0.5], or remove tune",
        )


def _check_repeated_fits(recipe: Recipe) -> None:
    """Refuse several seeds at which the first arm has the same features of the same images."""
    name, first = next(iter(recipe.arms.items()))
    has_gene = find_method(first.method).traits.has_gene and has_one_gene(recipe.model_dump(mode="json"), name)
    is_repeated = has_gene and "all" in recipe.images_per_class and recipe.tasks is None
    if is_repeated and len(recipe.seeds) > 1:
        raise SettingError(
            "The protocol frozen cannot use images_per_class=all with one gene and several seeds",
            "Every seed would fit the same head to the same features",
            "Use numbers of images, a single seed, or one gene per seed",
        )
