"""Paths that users give: regular files only, links that are followed, names that fit, inputs that stay."""

from __future__ import annotations

import errno
import os
import re
import secrets
import stat
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from germline.errors import ArtefactError, GermlineError, OutputError

T = TypeVar("T")

LONGEST_NAME = 255  # bytes of a file's name on every common file system
_LONGEST_PART = 200  # bytes of the name that a temporary neighbour takes over
_TRIES = 20  # times that a folder is read again because somebody replaced it meanwhile
# Keys of recipes, and options of commands, that name inputs.
_DATA_KEYS = frozenset({"data", "final_data"})
_INPUT_KEYS = frozenset({"path", "gene"}) | _DATA_KEYS
_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def open_regular(path: Path) -> BinaryIO:
    """Open a regular file for reading; a pipe or device would block or never end.

    Raises:
        ArtefactError: The path is missing, or something else than a file.
    """
    try:
        _check_regular(path, path.stat().st_mode)
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
        # The path may have been replaced since the first look.
        try:
            _check_regular(path, os.fstat(descriptor).st_mode)
        except ArtefactError:
            os.close(descriptor)
            raise
        return os.fdopen(descriptor, "rb")
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise ArtefactError(f"cannot read '{path}'", reason, "give another path, or restore a copy") from error


def _check_regular(path: Path, mode: int) -> None:
    if not stat.S_ISREG(mode):
        kind = _KINDS.get(stat.S_IFMT(mode), "something else")
        raise ArtefactError(
            f"cannot read '{path}'", f"it is {kind}, not a file", "give another path, or restore a copy"
        )


def read_limited(path: Path, most: int) -> bytes:
    """Read a regular file of limited size.

    Args:
        path: File to read.
        most: Largest number of bytes.

    Raises:
        ArtefactError: The path is missing, something else than a file, or larger.
    """
    with open_regular(path) as stream:
        data = stream.read(most + 1)
    if len(data) > most:
        raise ArtefactError(
            f"'{path}' is too large", f"germline reads at most {most:,} bytes of such a file", "give another file"
        )
    return data


def read_unchanged(folder: Path, read: Callable[[Path], T]) -> T:
    """Read the files of a folder, again if the folder is replaced meanwhile, so that old and new are never mixed.

    Args:
        folder: Folder to read.
        read: Function that reads the folder.
    """
    for _ in range(_TRIES):
        before = _identify(folder)
        try:
            result = read(folder)
        except (GermlineError, OSError):
            # Where folders cannot be exchanged, the new one may be a moment away.
            time.sleep(0.005)
            if _identify(folder) == before:
                raise
        else:
            if _identify(folder) == before:
                return result
    return read(folder)


def _identify(folder: Path) -> tuple[int, ...] | None:
    try:
        facts = folder.stat()
    except OSError:
        return None
    return facts.st_dev, facts.st_ino, facts.st_mtime_ns


def follow_link(path: Path) -> Path:
    """Return the path that a symbolic link leads to, so that a write replaces the target and not the link.

    Raises:
        OutputError: The link leads to itself, or the path to a device or a pipe.
    """
    check_name(path)
    target = Path(os.path.realpath(path)) if path.is_symlink() else path
    if target.is_symlink():
        raise OutputError(f"cannot write '{path}'", "it is a symbolic link to itself", "choose another name")
    if _exists(target) and not (target.is_file() or target.is_dir()):
        # A rename would replace a device or a pipe by a file, for every program of the machine.
        kind = _KINDS.get(stat.S_IFMT(target.stat().st_mode), "something else")
        raise OutputError(f"cannot write '{path}'", f"it is {kind}, not a file", "choose another name")
    return target


def check_name(path: Path) -> None:
    """Refuse an output path that no file system can hold.

    Raises:
        OutputError: A name in the path, or the path, is too long.
    """
    try:
        path.lstat()
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            return
        raise OutputError(
            f"cannot write '{str(path)[:60]}...'",
            f"a name of {len(os.fsencode(path.name))} bytes is too long; the limit is {LONGEST_NAME}",
            "choose a shorter name",
        ) from error


def check_text(*paths: str | Path) -> None:
    """Refuse paths of inputs whose names are not UTF-8: they are written into files that are.

    Raises:
        ArtefactError: A byte of a path is not UTF-8.
    """
    for path in map(str, paths):
        try:
            path.encode()
        except UnicodeEncodeError as error:
            raise ArtefactError(
                f"{path!a} is not a name in UTF-8",
                "names of inputs and classes are written into files that are in UTF-8",
                "choose another name for the file or folder",
            ) from error


def make_part_path(path: Path) -> Path:
    """Return the path of a hidden temporary neighbour, whose name is not longer than names can be."""
    start = os.fsencode(path.name)[:_LONGEST_PART].decode(errors="ignore")
    return path.parent / f".{start}.{secrets.token_hex(4)}.part"


def list_input_paths(value: Any, key: str = "path") -> list[str]:
    """List the paths among the inputs of a command, or among the values of a recipe.

    Args:
        value: A name such as `local-dir:FOLDER` or `folder:PHOTOS@64`, or a mapping or list of values.
        key: Key of the value: names of data sets are paths only behind a colon.
    """
    if isinstance(value, Mapping):
        return [path for key, inner in value.items() for path in list_input_paths(inner, str(key))]
    if isinstance(value, list | tuple):
        return [path for inner in value for path in list_input_paths(inner, key)]
    if not isinstance(value, str | Path) or key not in _INPUT_KEYS:
        return []
    text = str(value)
    if text.startswith(("timm:", "hf-hub:")):
        return []
    head, colon, tail = text.partition(":")
    if key not in _DATA_KEYS:
        return [tail if head == "local-dir" else text]
    return [re.sub(r"@\d+$", "", part) for part in (tail, tail.partition(",")[0])] if colon else []


def check_apart(out: Path, inputs: Iterable[Path | str], *, overwrite: bool, is_file: bool = False) -> None:
    """Refuse an output that would replace an input of the same command, or lie in it.

    Args:
        out: Output of the command.
        inputs: Paths of its inputs; those that do not exist are left out.
        overwrite: Whether the output's old content is removed, and with it an input inside.
        is_file: Whether the output is one file; a new file may lie in an input.

    Raises:
        OutputError: The output is an input, lies in one, or contains one that would be removed.
    """
    place = Path(os.path.realpath(out))
    for given in inputs:
        if not _exists(Path(given)):
            continue
        source = Path(os.path.realpath(given))
        if place == source:
            reason = "it is an input of this command"
        elif source in place.parents and source.is_dir() and not (is_file and not place.exists()):
            reason = f"it lies in '{given}', an input of this command"
        elif place in source.parents and overwrite:
            reason = f"it contains '{given}', an input of this command, which would be removed"
        else:
            continue
        raise OutputError(f"cannot write '{out}'", reason, "choose another output")


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # a name that is too long, or holds a null character
        return False
