"""`germline demo`: what descendants inherit from a packaged ancestor, on known and on unseen characters."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from germline.cli.options import Overwrite, Quiet, Resume, Set

UNSEEN = "unseen"  # folder of the second part


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
    """Show what descendants inherit from a packaged ancestor, on known and on unseen characters. Takes minutes."""
    from germline.cli.compare import ComparisonRequest, check_failures, prepare_comparison, run_comparison

    unseen = out / UNSEEN
    known = ComparisonRequest("demo", out, set_ or (), resume=resume, overwrite=overwrite, quiet=quiet)
    # The store of the first part has the gene.
    requests = [known, replace(known, recipe="demo-unseen", out=unseen, store=str(out / "store"))]
    comparisons = [prepare_comparison(request) for request in requests]
    for comparison in comparisons:
        run_comparison(comparison, replace=comparison is comparisons[0] and known.replaces_output)
        check_failures(comparison)
    from germline.compare.analysis.results import ComparisonResults
    from germline.compare.report.bars import draw_text_bars

    for comparison in comparisons:
        print(f"{draw_text_bars(ComparisonResults.load(comparison.out))}\n")
    print(f"report: {out / 'report.html'}\nreport: {unseen / 'report.html'}")
