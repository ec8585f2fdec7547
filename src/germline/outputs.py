"""Outputs of a command, refused before any work if they exist already, are inputs or cannot be written."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

from germline.arguments import check_type
from germline.errors import OutputError
from germline.paths import check_apart, check_text, follow_link


def check_output_folder(
    folder: Path, *, overwrite: bool = False, resume: bool = False, inputs: Iterable[Path | str] = ()
) -> None:
    """Refuse an output folder that is not empty, unless it may be overwritten or resumed.

    Args:
        folder: Output folder.
        overwrite: Whether its old content may be removed.
        resume: Whether the work in it may be resumed.
        inputs: Paths of the command's inputs, which have to survive.

    Raises:
        OutputError: The folder is not empty, is a file, is an input, or cannot be written.
    """
    check_type("overwrite", overwrite, bool, "It is True or False", "Use overwrite=True or overwrite=False")
    folder = follow_link(folder)
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"'{folder}' is a file", "this output is a folder", "choose another name")
    if folder.is_dir() and any(folder.iterdir()) and not (overwrite or resume):
        raise OutputError(
            f"output folder '{folder}' is not empty",
            "files are overwritten only on request",
            "choose another folder, or pass --overwrite (in Python overwrite=True) or --resume where it is taken",
        )
    if overwrite and folder.is_dir() and any(folder.iterdir()):
        _check_overwritable(folder)
    places = [*inputs]
    check_apart(folder, places, overwrite=overwrite and not resume)
    check_text(*places)
    _try_writing(folder, folder)


def check_replaceable(folder: Path) -> None:
    """Refuse an output folder that no system can replace as a whole, which is how results are written.

    Args:
        folder: Output folder.

    Raises:
        OutputError: It is a mount point, or it is given as `.`, `..` or the root.
    """
    place, reason = follow_link(folder), ""
    if place.name in ("", ".."):
        reason = "it has no name of its own, and results replace the output folder as a whole"
    elif os.path.ismount(place):
        reason = "it is a mount point, such as a volume of Docker, and results replace the output folder as a whole"
    if reason:
        raise OutputError(f"'{folder}' cannot be an output folder", reason, "choose a folder in it")


def check_output_file(path: Path, *, overwrite: bool = False, inputs: Iterable[Path | str] = ()) -> None:
    """Refuse an output file that exists already, unless it may be overwritten.

    Args:
        path: Output file.
        overwrite: Whether an old file may be replaced.
        inputs: Paths of the command's inputs, which have to survive.

    Raises:
        OutputError: The file exists, is a folder, is an input or in one, or cannot be written.
    """
    check_apart(path, inputs, overwrite=False, is_file=True)
    path = follow_link(path)
    if path.is_dir():
        raise OutputError(f"'{path}' is a folder", "this output is one file", "choose another name")
    if path.exists() and not path.is_file():
        raise OutputError(f"'{path}' is a pipe or a device", "this output is a file", "choose another name")
    if path.exists() and not overwrite:
        raise OutputError(
            f"'{path}' exists already",
            "files are overwritten only on request",
            "choose another name, or pass --overwrite",
        )
    _try_writing(path, path.parent)


def _try_writing(output: Path, folder: Path) -> None:
    parent = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    try:
        with tempfile.TemporaryFile(dir=parent):
            pass
    except OSError as error:
        raise OutputError.from_system(output, error) from error


def _check_overwritable(folder: Path) -> None:
    """Refuse to overwrite the working folder, the home folder or a folder above them: all contents would be lost."""
    protected = (Path.cwd(), *Path.cwd().parents, Path.home(), *Path.home().parents)
    if folder.resolve() in {path.resolve() for path in protected}:
        raise OutputError(
            f"'{folder}' is not overwritten", "it contains your working or home folder", "choose another folder"
        )
