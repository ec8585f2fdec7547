"""`germline compare` and `report`: methods against controls, into one report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from germline.cli.options import Overwrite, Quiet, Resume, Set


def add(app: typer.Typer) -> None:
    """Register the verbs."""
    app.command()(compare)
    app.command()(report)


def compare(
    recipe: Annotated[str, typer.Argument(help="A packaged recipe or a file; see germline list recipes.")],
    out: Annotated[Path | None, typer.Option("--out", help="Folder to write; runs/RECIPE by default.")] = None,
    set_: Set = None,
    workers: Annotated[int, typer.Option(help="Processes; 0 is one a core.", min=0)] = 0,
    store: Annotated[
        Path | None, typer.Option("--store", help="Where ancestors, genes and cells are kept; recipes may share it.")
    ] = None,
    final: Annotated[
        bool,
        typer.Option("--final", help="Train and test on glyphs/final, for headline numbers; readings are noted."),
    ] = False,
    resume: Resume = False,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Run a comparison and write its report."""
    changes = [*(set_ or []), *(["final=true"] if final else [])]
    place = out or Path("runs") / Path(recipe).stem
    run_recipe(recipe, place, changes, workers, store, resume, overwrite, quiet)


def run_recipe(
    recipe: str,
    out: Path,
    changes: list[str] | None,
    workers: int,
    store: Path | None,
    resume: bool,
    overwrite: bool,
    quiet: bool,
) -> None:
    """Run a recipe to its report; `compare` and `demo` are this.

    Raises:
        TrainingError: Some cells failed; the report of the others is written.
    """
    from germline.compare.recipe.loader import load_recipe
    from germline.errors import TrainingError
    from germline.files import check_output_folder

    loaded = load_recipe(recipe, changes or ())
    check_output_folder(out, resume=resume, overwrite=overwrite)
    if store is not None:
        check_output_folder(store, resume=True, overwrite=False)
    from germline.compare import Comparison, write_report

    comparison = Comparison(loaded, recipe, out, workers=workers, quiet=quiet, store=store)
    comparison.check()
    if overwrite and not resume:
        import shutil

        shutil.rmtree(out, ignore_errors=True)
    comparison.run()
    print(write_report(out))
    if comparison.failed:
        name, reason = next(iter(comparison.failed.items()))
        raise TrainingError(
            f"{len(comparison.failed)} parts of the comparison failed, first {name}",
            reason,
            "the report says which; --resume tries them again",
        )


def report(
    folder: Annotated[Path, typer.Argument(help="The output folder of a comparison, or a gene folder.")],
    out: Annotated[Path | None, typer.Option("--out", help="Of a gene: file to write; GENE.html by default.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file that --out names.")] = False,
) -> None:
    """Write the report of a comparison again, from its kept results; or that of one gene, from its record."""
    from germline.learngene import MANIFEST

    if (folder / MANIFEST).exists():
        _report_gene(folder, out, overwrite=overwrite)
        return
    from germline.compare import write_report
    from germline.errors import SettingError

    if out is not None:
        raise SettingError(
            f"--out {out}", f"'{folder}' is no gene, and a comparison's report lies beside its results", "leave it out"
        )
    print(write_report(folder))


def _report_gene(folder: Path, out: Path | None, *, overwrite: bool) -> None:
    from germline.cli.inspect import facts
    from germline.compare import write_gene_report
    from germline.files import check_output_file
    from germline.learngene import Learngene

    # A name such as `.` has to become one that a file can stand beside.
    whole = folder if folder.name not in ("", "..") else folder.resolve()
    place = whole.with_name(f"{whole.name}.html") if out is None else out
    check_output_file(place, overwrite=overwrite or out is None)
    gene = Learngene.load(folder)
    write_gene_report(gene, facts(gene), whole.name, place)
    print(f"report: {place}")
