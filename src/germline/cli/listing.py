"""`germline list`, `show` and `check`: list names, print a recipe and estimate its cost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from germline.cli.options import Quick, Set

KINDS = ("methods", "models", "data", "recipes")


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.command("list")(list_)
    app.command()(show)
    app.command("check")(check_command)


def list_(kind: Annotated[str, typer.Argument(help=", ".join(KINDS))]) -> None:
    """List methods, models, data or recipes."""
    from germline.errors import UnknownNameError

    if kind not in KINDS:
        raise UnknownNameError.with_nearest("kind", kind, KINDS)
    for name, text in _entries(kind).items():
        print(f"{name:24} {text}")


def _entries(kind: str) -> dict[str, str]:
    if kind == "recipes":
        from germline.compare.recipe.loader import has_quick_version, list_packaged_recipes, load_recipe

        return {
            name: load_recipe(name).title + " [--quick]" * has_quick_version(name) for name in list_packaged_recipes()
        }
    if kind == "models":
        from germline.architectures.presets import MODELS

        presets = {name: f"{architecture}: {_plain(fields)}" for name, (architecture, fields) in MODELS.items()}
        return {**presets, "vit_*, deit_*": "any plain ViT of timm"}
    if kind == "methods":
        from germline.registry import METHODS

        return {
            name: f"{METHODS[name].__doc__ or ''}".splitlines()[0] + f" [{METHODS[name].paper}]" for name in METHODS
        }
    from germline.data import list_data_sets

    return list_data_sets()


def _plain(fields: Mapping[str, Any]) -> str:
    """Fields as `depth=6, width=64`. A slash separates stages, a comma separates units."""
    return ", ".join(f"{key}={_stages(value) if isinstance(value, tuple) else value}" for key, value in fields.items())


def _stages(values: tuple[Any, ...]) -> str:
    return "/".join(",".join(map(str, stage)) if isinstance(stage, tuple) else str(stage) for stage in values)


def show(recipe: Annotated[str, typer.Argument(help="Packaged recipe or file.")], quick: Quick = False) -> None:
    """Print a recipe; of a quick version, print all its keys."""
    from germline.compare.recipe.loader import format_quick_recipe, read_recipe_text, split_quick_name

    plain, is_quick = split_quick_name(recipe)
    print(format_quick_recipe(plain) if quick or is_quick else read_recipe_text(plain), end="")


def check_command(
    recipe: Annotated[str, typer.Argument(help="Packaged recipe or file.")], set_: Set = None, quick: Quick = False
) -> None:
    """Check a recipe and estimate its cost. Nothing is trained."""
    from germline.compare.cost.estimate import estimate_cost
    from germline.compare.recipe.loader import load_recipe

    print(estimate_cost(load_recipe(recipe, set_ or (), quick=quick)).text())
