"""`germline demo`: condense, inherit, train and compare on packaged data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from germline.cli.options import Overwrite, Quiet, Resume, Set


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command()(demo)


def demo(
    out: Annotated[Path, typer.Option("--out", help="Output folder.")] = Path("germline-demo"),
    set_: Set = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Condense a packaged ancestor, build a family from it and compare it with scratch. Takes minutes on two cores."""
    from germline.cli.compare import run_recipe

    run_recipe("demo", out, set_, 0, None, resume, overwrite, quiet)
