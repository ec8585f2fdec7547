"""Options that several commands share, and the objects they create."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

if TYPE_CHECKING:
    from pydantic import BaseModel

    from germline.training import Run

    ModelT = TypeVar("ModelT", bound=BaseModel)

Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Change a setting; can be repeated. Keys: germline list settings METHOD, or germline list settings train.",
    ),
]
Seed = Annotated[int, typer.Option(help="Random seed of the run.", min=0, max=2**63 - 1)]
Device = Annotated[str, typer.Option(help="Device: auto, cpu, cuda or mps.")]
Precision = Annotated[str, typer.Option(help="Precision: 32-true, bf16-mixed or bf16-true.")]
Tf32 = Annotated[bool, typer.Option(help="On CUDA, compute float32 matrix products and convolutions in TF32.")]
Resume = Annotated[bool, typer.Option("--resume", help="Resume the unfinished work of the output folder.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace the content of the output folder.")]
Logger = Annotated[str | None, typer.Option(help="Logger: csv, tensorboard or wandb; default: none.")]
Quick = Annotated[bool, typer.Option("--quick", help="Use the recipe's quick version: it shows that all works.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Show no progress.")]
Out = Annotated[Path, typer.Option("--out", help="Output folder. Checkpoints and logs are saved beside it in OUT.run.")]


def announce(text: str, *, quiet: bool = False) -> None:
    """Say what a command does before it imports torch, which takes seconds."""
    if not quiet and "torch" not in sys.modules:
        print(f"{text} ...", file=sys.stderr, flush=True)


def settings(model: type[ModelT], changes: Sequence[str] | None) -> ModelT:
    """Settings with the changes of `--set` applied to their defaults.

    Raises:
        SettingError: An unknown key, or a value that is not allowed.
    """
    from germline.config import apply_overrides
    from germline.setting_problems import validate_settings

    return validate_settings(model, apply_overrides({}, changes or ()), "--set")


@dataclass(frozen=True)
class Output:
    """Where a training command writes. Nothing is written or removed before `open_run`.

    Attributes:
        out: The folder of the result.
        renew: Whether earlier work is deleted.
    """

    out: Path
    renew: bool

    @property
    def work(self) -> Path:
        """The folder of checkpoints and logs, beside the output folder."""
        # Resolve names such as `.`, so that the work folder can be made beside the output folder.
        whole = self.out if self.out.name not in ("", "..") else self.out.resolve()
        return whole.with_name(f"{whole.name}.run")


def check_outputs(out: Path, *, resume: bool, overwrite: bool, command: str = "", inputs: Sequence[str] = ()) -> Output:
    """Check the output folder and its work folder.

    Args:
        out: Output folder.
        resume: Whether to resume the work in it.
        overwrite: Whether to replace it.
        command: Command that would resume the work; only its own work can be resumed.
        inputs: Paths of the command's inputs.

    Raises:
        OutputError: One of them is not empty and neither `--resume` nor `--overwrite` is given, or there is nothing
            to resume.
    """
    from germline.errors import OutputError
    from germline.outputs import check_output_folder, check_replaceable

    check_replaceable(out)
    output = Output(out, renew=overwrite and not resume)
    check_output_folder(out, overwrite=overwrite, resume=resume, inputs=inputs)
    _check_work_folder(output.work, command, overwrite=overwrite, resume=resume)
    has_work = (output.work / "config.json").exists()
    if resume and not overwrite and not has_work and out.is_dir() and any(out.iterdir()):
        raise OutputError(
            f"The output folder '{out}' is not empty",
            f"There is no work in '{output.work}' to resume",
            "Choose another folder, or pass --overwrite",
        )
    return output


def _check_work_folder(work: Path, command: str, *, resume: bool, overwrite: bool) -> None:
    """Refuse a work folder with content; the message names the command that made it."""
    from germline.errors import OutputError
    from germline.files import read_mapping
    from germline.outputs import check_output_folder

    maker, config = "", work / "config.json"
    if config.is_file():
        saved = read_mapping(config)
        keys = saved.keys() if isinstance(saved, dict) else ()
        maker = "condense" if "method" in keys else "train" if "model" in keys else ""
    if overwrite or not maker or (resume and command in ("", maker)):
        check_output_folder(work, overwrite=overwrite, resume=resume)
        return
    fix = "Choose another folder, or pass --overwrite"
    raise OutputError(
        f"'{work}' holds the work of germline {maker}",
        "Another command cannot resume it" if resume else "Unfinished or finished work is replaced only on request",
        fix if resume else f"{fix}, or pass --resume to continue with germline {maker}",
    )


def open_run(
    output: Output,
    *,
    seed: int,
    device: str,
    precision: str,
    tf32: bool,
    logger: str | None,
    quiet: bool,
    config: dict[str, Any],
) -> Run:
    """A run in the work folder, with the resolved configuration written beside its logs.

    Raises:
        SettingError: A device, precision or logger is not available, or the work to resume has other settings.
    """
    import shutil

    from germline.files import write_json
    from germline.training import Run, check_device

    logging.basicConfig(format="germline: %(message)s", level=logging.WARNING)
    check_device(device, precision)
    make_logger, work = find_logger(logger), output.work
    if output.renew:
        shutil.rmtree(work, ignore_errors=True)
    _check_same_settings(work / "config.json", config)
    options: dict[str, Any] = {"seed": seed, "device": device, "precision": precision, "tf32": tf32, "quiet": quiet}
    run = Run(work, **options, logger=make_logger(work))
    if run.fabric.is_global_zero:
        write_json(work / "config.json", config)
    return run


def _check_same_settings(config_file: Path, config: dict[str, Any]) -> None:
    """Refuse to resume with other settings: the old work would be reused under the new ones."""
    from germline.errors import SettingError
    from germline.files import read_mapping

    saved: dict[str, Any] = read_mapping(config_file) if config_file.exists() else {}
    old, new = ({**all_, **all_.get("settings", {}), "settings": None} for all_ in (saved, config))
    for key in sorted(old.keys() & new.keys()):
        if old[key] != new[key]:
            raise SettingError(
                f"'{config_file.parent}' was started with {key}={old[key]}, now it is {new[key]}",
                "A run cannot resume with other settings",
                "Use the old value, or pass --overwrite to start again",
            )


def find_logger(name: str | None) -> Callable[[Path], Any]:
    """Return a function that creates one of Fabric's loggers in a folder.

    Raises:
        SettingError: The logger is unknown, or its package is not installed.
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

            TensorBoardLogger(root_dir="")  # fails if the package is missing; writes nothing yet
            return lambda work: TensorBoardLogger(root_dir=str(work / "tensorboard"), name="")
        if name == "wandb":
            from germline.training.wandb_logger import WandbLogger

            return WandbLogger
    except ModuleNotFoundError as error:
        raise SettingError(
            f"--logger {name}: it cannot be used",
            f"The package {error.name or name} is not installed",
            f"Run pip install 'germline[{name}]'",
        ) from error
    raise SettingError(f"--logger {name}: unknown logger", "germline does not have it", "Use csv, tensorboard or wandb")
