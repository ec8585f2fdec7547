"""`germline compare` and `germline report`: compare methods with controls and draw the report."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from germline.cli.options import Overwrite, Quick, Quiet, Resume, Set, announce

if TYPE_CHECKING:
    from germline.compare import Comparison
    from germline.compare.run.executor import Engine

_ENGINES = ("processes", "ray")


@dataclass(frozen=True)
class ComparisonRequest:
    """What a user says about one comparison.

    Attributes:
        recipe: Name of a packaged recipe, or a file.
        out: Output folder of the results.
        changes: Changes of the recipe, `KEY=VALUE` each.
        workers: Number of worker processes; 0: one per core.
        store: Folder or URL of ancestors, genes and cells; None: a folder in `out`.
        resume: Whether work in the output folder continues.
        overwrite: Whether the output folder may hold other work.
        quiet: Whether no progress is shown.
        quick: Whether the recipe's quick settings are used.
        engine: Engine that runs the tasks; None: worker processes of this machine.
    """

    recipe: str
    out: Path
    changes: Sequence[str] = ()
    workers: int = 0
    store: str | None = None
    resume: bool = False
    overwrite: bool = False
    quiet: bool = False
    quick: bool = False
    engine: Engine | None = None

    @property
    def replaces_output(self) -> bool:
        """Whether the output folder is removed first."""
        return self.overwrite and not self.resume


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.command()(compare)
    app.command()(report)


def compare(
    recipe: Annotated[str, typer.Argument(help="A packaged recipe or a file; see germline list recipes.")],
    out: Annotated[Path | None, typer.Option("--out", help="Output folder; default: runs/RECIPE.")] = None,
    quick: Quick = False,
    set_: Set = None,
    workers: Annotated[int, typer.Option(help="Number of worker processes; 0: one per core.", min=0)] = 0,
    store: Annotated[
        str | None,
        typer.Option("--store", help="Folder or URL (s3://...) for ancestors, genes and cells; recipes can share it."),
    ] = None,
    engine: Annotated[str, typer.Option("--engine", help="Engine: processes of this machine, or ray.")] = "processes",
    address: Annotated[
        str | None, typer.Option("--address", help="Ray cluster, or auto for that of this node; default: this machine.")
    ] = None,
    task_cpus: Annotated[float | None, typer.Option(help="CPUs per Ray task; default: 1.", min=0.01)] = None,
    task_gpus: Annotated[
        float | None, typer.Option(help="GPUs per Ray task, such as 0.25; default: 1 if there are any.", min=0)
    ] = None,
    final: Annotated[
        bool,
        typer.Option("--final", help="Use data that nothing is tuned on, for headline numbers. Each use is logged."),
    ] = False,
    resume: Resume = False,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Run a comparison and write its report."""
    changes = [*(set_ or []), *(["final=true"] if final else [])]
    place = out or Path("runs") / f"{Path(recipe).stem}{'-quick' if quick else ''}"
    request = ComparisonRequest(
        recipe,
        place,
        changes,
        workers=workers,
        store=store,
        resume=resume,
        overwrite=overwrite,
        quiet=quiet,
        quick=quick,
        engine=choose_engine(engine, address, task_cpus, task_gpus, workers),
    )
    comparison = prepare_comparison(request)
    print(run_comparison(comparison, replace=request.replaces_output))
    check_failures(comparison)


def choose_engine(
    name: str, address: str | None, task_cpus: float | None, task_gpus: float | None, workers: int
) -> Engine | None:
    """Return the engine of a name; None: worker processes of this machine.

    Raises:
        GermlineError: The name is unknown, an option is for another engine, or Ray is missing.
    """
    from germline.errors import SettingError, UnknownNameError

    if name not in _ENGINES:
        raise UnknownNameError.with_nearest("engine", name, _ENGINES)
    given = {"--address": address, "--task-cpus": task_cpus, "--task-gpus": task_gpus}
    if name != "ray":
        wrong = [option for option, value in given.items() if value is not None]
        if wrong:
            raise SettingError(f"{wrong[0]} is for --engine ray", f"The engine is {name}", f"Remove {wrong[0]}")
        return None
    if workers:
        raise SettingError("--workers is not for --engine ray", "Ray places tasks by their CPUs", "Pass --task-cpus")
    if importlib.util.find_spec("ray") is None:
        raise SettingError("the engine 'ray' needs Ray", "It is not installed", "Run pip install 'germline[ray]'")
    from germline.compare.run.ray_engine import RayEngine

    return RayEngine(address, 1.0 if task_cpus is None else task_cpus, task_gpus)


def prepare_comparison(request: ComparisonRequest) -> Comparison:
    """Check a recipe and its folders; nothing is written."""
    from germline.compare.recipe.text import list_recipe_files, read_recipe
    from germline.config import apply_overrides
    from germline.outputs import check_output_folder
    from germline.paths import list_input_paths

    recipe, quick, store = request.recipe, request.quick, request.store
    keys = apply_overrides(read_recipe(recipe, quick=quick), request.changes)
    places = [*list_recipe_files(recipe), *list_input_paths(keys)]
    check_output_folder(request.out, resume=request.resume, overwrite=request.overwrite, inputs=places)
    if store is not None and "://" not in store:
        check_output_folder(Path(store), resume=True, overwrite=False)
    announce(f"Comparing the arms of {recipe}", quiet=request.quiet)
    from germline.compare import Comparison
    from germline.compare.recipe.loader import load_recipe

    comparison = Comparison(
        load_recipe(recipe, request.changes, quick=quick),
        f"{recipe}{' --quick' if quick else ''}",
        request.out,
        workers=request.workers,
        quiet=request.quiet,
        store=store,
        engine=request.engine,
    )
    comparison.check()
    return comparison


def run_comparison(comparison: Comparison, *, replace: bool) -> str:
    """Run a comparison, write its report and return what is printed of it.

    Args:
        comparison: The comparison to run.
        replace: Whether to remove the output folder first.
    """
    from germline.compare import write_report

    if replace:
        import shutil

        from germline.paths import follow_link

        place = follow_link(comparison.out)
        shutil.rmtree(place, ignore_errors=True)
        if comparison.out.is_symlink():  # a link needs its target
            place.mkdir()
    comparison.run()
    return write_report(comparison.out)


def check_failures(comparison: Comparison) -> None:
    """Refuse to end well if parts of a comparison failed.

    Raises:
        TrainingError: Some cells failed. The report of the others is written.
    """
    from germline.errors import TrainingError

    if comparison.failed:
        name, reason = next(iter(comparison.failed.items()))
        raise TrainingError(
            f"{len(comparison.failed)} parts of the comparison failed. The first is {name}",
            reason,
            "Run the command again with --resume to retry them; the report names them all",
        )


def report(
    path: Annotated[
        Path, typer.Argument(help="The output folder of a comparison, its results file, or a gene folder.")
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", help="File to write for a gene or a results file; default: GENE.html, RESULTS.html."),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file if it exists.")] = False,
) -> None:
    """Write the report of a comparison from its saved results, or the report of one gene from its record."""
    from germline.cli.names import is_gene

    announce(f"Writing the report of {path}")
    if is_gene(str(path)):
        _report_gene(path, out, overwrite=overwrite)
        return
    if path.is_file():
        _report_file(path, out, overwrite=overwrite)
        return
    from germline.compare import write_report
    from germline.errors import SettingError

    if out is not None:
        raise SettingError(
            f"--out {out} is only for genes and results files",
            f"'{path}' is not a gene, and the report of a comparison is written beside its results",
            "Remove --out",
        )
    print(write_report(path))


def _report_file(path: Path, out: Path | None, *, overwrite: bool) -> None:
    from germline.compare import write_results_page
    from germline.outputs import check_output_file

    page = Path(f"{path.stem}.html") if out is None else out
    check_output_file(page, overwrite=overwrite, inputs=[path])
    write_results_page(path, page)
    print(f"report: {page}")


def _report_gene(folder: Path, out: Path | None, *, overwrite: bool) -> None:
    from germline.cli.inspect import describe_gene
    from germline.compare import write_gene_report
    from germline.learngene import Learngene
    from germline.outputs import check_output_file

    # Resolve names such as `.`, so that the file can be written beside the folder.
    whole = folder if folder.name not in ("", "..") else folder.resolve()
    place = whole.with_name(f"{whole.name}.html") if out is None else out
    check_output_file(place, overwrite=overwrite or out is None, inputs=[folder])
    gene = Learngene.load(folder)
    write_gene_report(gene, describe_gene(gene), whole.name, place)
    print(f"report: {place}")
