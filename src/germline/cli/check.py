"""`germline check`: check a recipe and estimate its cost."""

from __future__ import annotations

from typing import Annotated

import typer

from germline.cli.options import Quick, Quiet, Set, announce


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("check")(check_command)


def check_command(
    recipe: Annotated[str, typer.Argument(help="Packaged recipe or file.")],
    set_: Set = None,
    quick: Quick = False,
    quiet: Quiet = False,
) -> None:
    """Check a recipe and estimate its cost. Nothing is trained."""
    from germline.compare.recipe.text import read_recipe

    read_recipe(recipe, quick=quick)
    announce(f"Checking the recipe {recipe}", quiet=quiet)
    from germline.compare.cost.estimate import estimate_cost
    from germline.compare.recipe.loader import load_recipe

    print(estimate_cost(load_recipe(recipe, set_ or (), quick=quick)).text())
