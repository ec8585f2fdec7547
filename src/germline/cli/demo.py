"""`germline demo`: the main job on embedded data, ending in a report to look at."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from germline.cli.options import Overwrite, Quiet, Resume, Set


def add(app: typer.Typer) -> None:
    """Register the verb."""
    app.command()(demo)


def demo(
    out: Annotated[Path, typer.Option("--out", help="Folder to write.")] = Path("germline-demo"),
    set_: Set = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Condense a packaged ancestor and grow a family from it, against scratch; minutes on two cores."""
    from germline.cli.compare import run_recipe

    run_recipe("demo", out, set_, 0, None, resume, overwrite, quiet)
