"""Options that several verbs share, and what they turn into."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

if TYPE_CHECKING:
    from pydantic import BaseModel

    from germline.training import Run

    ModelT = TypeVar("ModelT", bound=BaseModel)

Set = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a setting; may be repeated.")]
Seed = Annotated[int, typer.Option(help="Of every random draw.", min=0, max=2**63 - 1)]
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
    from germline.config import apply_overrides, validate_settings

    return validate_settings(model, apply_overrides({}, changes or ()), "--set")


@dataclass(frozen=True)
class Output:
    """Where a training verb writes; nothing is written or removed before `open_run`.

    Attributes:
        out: The folder of the result.
        renew: Whether earlier work is thrown away.
    """

    out: Path
    renew: bool

    @property
    def work(self) -> Path:
        """The folder beside it, of checkpoints and logs."""
        # A name such as `.` has to become one that something can stand beside.
        whole = self.out if self.out.name not in ("", "..") else self.out.resolve()
        return whole.with_name(f"{whole.name}.run")


def check_outputs(out: Path, *, resume: bool, overwrite: bool) -> Output:
    """Check the output folder and its work folder.

    Raises:
        OutputError: One of them holds something and neither `--resume` nor `--overwrite` is given, or there is no work
            to resume.
    """
    from germline.errors import OutputError
    from germline.files import check_output_folder

    if not out.resolve().name:
        raise OutputError(f"'{out}' is no folder to write to", "it has no name", "choose another folder")
    output = Output(out, renew=overwrite and not resume)
    check_output_folder(out, overwrite=overwrite, resume=resume)
    check_output_folder(output.work, overwrite=overwrite, resume=resume)
    begun = (output.work / "config.json").exists()
    if resume and not overwrite and not begun and out.is_dir() and any(out.iterdir()):
        raise OutputError(
            f"output folder '{out}' is not empty",
            f"there is no work in '{output.work}' to resume",
            "choose another folder, or pass --overwrite",
        )
    return output


def open_run(
    output: Output, *, seed: int, device: str, precision: str, logger: str | None, quiet: bool, config: dict[str, Any]
) -> Run:
    """A run in the work folder, with the resolved configuration written beside its logs.

    Raises:
        SettingError: A device, precision or logger that is not to be had, or work that was begun otherwise.
    """
    import shutil

    from germline.files import write_json
    from germline.training import Run, check_device

    logging.basicConfig(format="germline: %(message)s", level=logging.WARNING)
    check_device(device, precision)
    make_logger, work = find_logger(logger), output.work
    if output.renew:
        shutil.rmtree(work, ignore_errors=True)
    _check_begun(work / "config.json", config)
    run = Run(work, seed=seed, device=device, precision=precision, quiet=quiet, logger=make_logger(work))
    if run.fabric.is_global_zero:
        write_json(work / "config.json", config)
    return run


def _check_begun(known: Path, config: dict[str, Any]) -> None:
    """Work goes on as it was begun: another seed or data set would leave it as it is, and be noted as if it counted."""
    from germline.errors import SettingError
    from germline.files import read_json

    begun: dict[str, Any] = read_json(known) if known.exists() else {}
    old, new = ({**all_, **all_.get("settings", {}), "settings": None} for all_ in (begun, config))
    for key in sorted(old.keys() & new.keys()):
        if old[key] != new[key]:
            raise SettingError(
                f"'{known.parent}' was begun with {key}={old[key]}, now {new[key]}",
                "work goes on as it was begun",
                "take that back, or start anew with --overwrite",
            )


def find_logger(name: str | None) -> Callable[[Path], Any]:
    """What makes one of Fabric's loggers in a folder.

    Raises:
        SettingError: An unknown logger, or one whose package is not installed.
    """
    from germline.errors import SettingError

    if name is None:
        return lambda work: None
    try:
        if name == "csv":
            from lightning_fabric.loggers import CSVLogger

            return lambda work: CSVLogger(root_dir=str(work / "csv"), name="")
        if name == "tensorboard":
            from lightning_fabric.loggers import TensorBoardLogger

            TensorBoardLogger(root_dir="")  # says whether the package is there, and writes nothing yet
            return lambda work: TensorBoardLogger(root_dir=str(work / "tensorboard"), name="")
        if name == "wandb":
            from germline.training.wandb_logger import WandbLogger

            return WandbLogger
    except ModuleNotFoundError as error:
        raise SettingError(
            f"--logger {name}", f"the package {error.name or name} is not installed", f"pip install 'germline[{name}]'"
        ) from error
    raise SettingError(f"--logger {name}", "it is unknown", "use csv, tensorboard or wandb")
