"""Options that several verbs share, and what they turn into."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

if TYPE_CHECKING:
    from pydantic import BaseModel

    from germline.training import Run

    ModelT = TypeVar("ModelT", bound=BaseModel)

Set = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a setting; may be repeated.")]
Seed = Annotated[int, typer.Option(help="Of every random draw.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")]
Precision = Annotated[str, typer.Option(help="32-true, bf16-mixed or bf16-true.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with the work that the output folder was begun with.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what the output folder holds.")]
Logger = Annotated[str | None, typer.Option(help="csv, tensorboard or wandb; off by default.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Show no progress.")]
Out = Annotated[Path, typer.Option("--out", help="Folder to write; its work is kept beside it in OUT.run.")]


def settings(model: type[ModelT], changes: Sequence[str] | None) -> ModelT:
    """A model's defaults with `--set` changes put in.

    Raises:
        SettingError: An unknown key, or a value that is not allowed.
    """
    from germline.config import overridden, validated

    return validated(model, overridden({}, changes or ()), "--set")


def open_output(out: Path, *, resume: bool, overwrite: bool) -> Path:
    """Check the output folder and its work folder, and give the latter.

    Raises:
        OutputError: One of them holds something and neither `--resume` nor `--overwrite` is given.
    """
    import shutil

    from germline.files import check_output

    work = out.with_name(f"{out.name}.run")
    check_output(out, overwrite=overwrite, resume=resume)
    check_output(work, overwrite=overwrite, resume=resume)
    if overwrite and not resume:
        shutil.rmtree(work, ignore_errors=True)
    return work


def open_run(
    work: Path, *, seed: int, device: str, precision: str, logger: str | None, quiet: bool, config: dict[str, Any]
) -> Run:
    """A run in the work folder, with the resolved configuration written beside its logs."""
    from germline.files import write_json
    from germline.training import Run

    logging.basicConfig(format="germline: %(message)s", level=logging.WARNING)
    made = make_logger(logger, work)
    run = Run(work, seed=seed, device=device, precision=precision, quiet=quiet, logger=made)
    if run.fabric.is_global_zero:
        write_json(work / "config.json", config)
    return run


def make_logger(name: str | None, work: Path) -> Any:
    """One of Fabric's loggers.

    Raises:
        SettingError: An unknown logger, or one whose package is not installed.
    """
    from germline.errors import SettingError

    if name is None:
        return None
    try:
        if name == "csv":
            from lightning_fabric.loggers import CSVLogger

            return CSVLogger(root_dir=str(work / "csv"), name="")
        if name == "tensorboard":
            from lightning_fabric.loggers import TensorBoardLogger

            return TensorBoardLogger(root_dir=str(work / "tensorboard"), name="")
        if name == "wandb":
            from germline.training.wandb_logger import WandbLogger

            return WandbLogger(work)
    except ModuleNotFoundError as error:
        raise SettingError(
            f"--logger {name}", f"the package {error.name} is not installed", f"pip install 'germline[{name}]'"
        ) from error
    raise SettingError(f"--logger {name}", fix="use csv, tensorboard or wandb")
