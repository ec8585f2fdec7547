"""Checks that a recipe can answer the question of its protocol."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from germline.compare.recipe.schema import Recipe
from germline.errors import SettingError
from germline.training import TrainSettings

INSTINCT_STEPS = (0, 1, 5, 10, 50, 100)


def instinct_steps(further: Iterable[int] = ()) -> tuple[int, ...]:
    """Return the steps after which `instincts` evaluates: those of the protocol, and further ones of a recipe."""
    return tuple(sorted({*INSTINCT_STEPS, *further}))


def accept_recipe(recipe: Recipe) -> None:
    """Accept every recipe."""


def check_curve_points(recipe: Recipe) -> None:
    """Refuse a recipe of `convergence` whose learning curves have too few points.

    Raises:
        SettingError: An arm is evaluated fewer than twice before its last step.
    """
    for arm in recipe.arms:
        settings = recipe.train_settings(arm)
        every, steps = settings.eval_every, settings.steps
        evaluations = [step for step in settings.eval_at if steps is None or step < steps]
        is_regular = every is not None and (steps is None or 2 * every < steps)
        if len(evaluations) < 2 and not is_regular:
            raise SettingError(
                f"The protocol convergence cannot use eval_every={every}, eval_at={settings.eval_at}, steps={steps}",
                "Speed is read from the learning curve, which has too few points",
                "Set train.eval_every, or set train.eval_at to at least two steps before the last",
            )


def check_size_count(recipe: Recipe) -> None:
    """Refuse a recipe whose first arm has only one size.

    Raises:
        SettingError: It has one size.
    """
    sizes = recipe.sizes_of(next(iter(recipe.arms)))
    if len(sizes) < 2:
        raise SettingError(
            f"The first arm has only the sizes {list(sizes)}",
            "The protocol asks about a family of sizes",
            "Give it at least two sizes",
        )


def check_instinct_steps(recipe: Recipe) -> None:
    """Refuse a recipe of `instincts` that does not evaluate after the steps of the protocol.

    Raises:
        SettingError: An arm ends earlier or is not evaluated after one of the steps.
    """
    asked = instinct_steps(recipe.instinct_steps)
    for arm in recipe.arms:
        settings = recipe.train_settings(arm)
        if not _reads_all_steps(settings, asked):
            raise SettingError(
                f"The protocol instincts cannot use steps={settings.steps}, eval_at={settings.eval_at}",
                f"It evaluates after {', '.join(map(str, asked))} steps",
                f"Set train.steps={asked[-1]} or more and train.eval_at={list(asked)}",
            )


def _reads_all_steps(settings: TrainSettings, steps: Sequence[int]) -> bool:
    """Say whether a training is evaluated after all of these steps, sorted from first to last."""
    total = settings.steps
    return total is not None and total >= steps[-1] and all(settings.has_evaluation(step, total) for step in steps)


def check_same_labels(recipe: Recipe) -> None:
    """Refuse a recipe of `same-labels` with other data than the ancestor's, or without the steps to read.

    Raises:
        SettingError: Data or classes differ from the ancestor's, or an arm is not evaluated at one of the steps.
    """
    _check_same_data(recipe)
    steps = sorted(recipe.read_steps)
    for arm in recipe.arms:
        settings = recipe.train_settings(arm)
        if settings.steps is None or not _reads_all_steps(settings, steps):
            raise SettingError(
                f"Arm '{arm}' has steps={settings.steps}, eval_at={settings.eval_at}",
                f"The protocol same-labels reads the accuracy after {', '.join(map(str, steps))} steps",
                f"Set train.steps={steps[-1]} or more and train.eval_at={steps}, or change read_steps",
            )
        if not any(0 < 2 * step <= settings.steps for step in steps):
            raise SettingError(
                f"read_steps={steps} has no step in the first half of {settings.steps} steps",
                "The protocol same-labels asks what is reached in half the steps",
                f"Use a step from 1 to {settings.steps // 2} in read_steps and train.eval_at",
            )


def _check_same_data(recipe: Recipe) -> None:
    if recipe.data != recipe.ancestor.data:
        raise SettingError(
            f"The protocol same-labels has data={recipe.data} and ancestor.data={recipe.ancestor.data}",
            "Descendants learn the classes and the data of their ancestor",
            f"Set data={recipe.ancestor.data}, or use another protocol such as samples",
        )
    if recipe.tasks is not None or recipe.final:
        key = "tasks" if recipe.tasks is not None else "final"
        raise SettingError(
            f"The protocol same-labels is given with {key}",
            "It has other classes than the ancestor",
            "Remove --final" if key == "final" else "Remove tasks",
        )
