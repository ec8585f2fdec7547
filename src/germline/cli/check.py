"""`germline check` and `schema`: check a recipe, estimate its cost, and say what recipes may hold."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from germline.cli.options import Quick, Quiet, Set, announce


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("check")(check_command)
    app.command("schema")(schema_command)


def check_command(
    recipe: Annotated[str, typer.Argument(help="Packaged recipe or file.")],
    set_: Set = None,
    quick: Quick = False,
    tflops: Annotated[
        float | None, typer.Option(help="Measured rate of one device in TFLOP/s, for an expected time there.")
    ] = None,
    devices: Annotated[int, typer.Option(help="Number of devices for --tflops.")] = 1,
    quiet: Quiet = False,
) -> None:
    """Check a recipe, name all of its errors, and estimate its cost. Nothing is trained."""
    from germline.compare.recipe.text import read_recipe

    read_recipe(recipe, quick=quick)
    announce(f"Checking the recipe {recipe}", quiet=quiet)
    from germline.compare.cost.device_time import describe_device_time
    from germline.compare.cost.estimate import estimate_cost
    from germline.compare.recipe.loader import load_recipe
    from germline.compare.recipe.problems import list_recipe_errors

    errors = list_recipe_errors(recipe, set_ or (), quick=quick)
    if errors:
        for error in errors[:-1]:
            print(f"germline: {error}", file=sys.stderr)
        raise errors[-1]
    estimate = estimate_cost(load_recipe(recipe, set_ or (), quick=quick))
    time = None if tflops is None else describe_device_time(estimate.stages, tflops, devices)
    print("\n".join([estimate.text(), *([time] if time else [])]))


def schema_command(quiet: Quiet = False) -> None:
    """Print the JSON schema of recipes, for editors that complete and check YAML."""
    announce("Collecting the keys of recipes", quiet=quiet)
    import json

    from germline.compare.recipe.json_schema import make_recipe_schema

    print(json.dumps(make_recipe_schema(), indent=2))
