"""Files that are written completely or not at all, and refused if they are damaged or of another kind."""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from germline.errors import ArtefactError, OutputError

if TYPE_CHECKING:
    from torch import Tensor

_CHECK_PATH = "give another path, or restore a copy"
# Arguments of Linux's renameat2: paths are relative to the working folder, and the two names are exchanged.
_HERE, _SWAP = -100, 2


def _write_error(path: Path, error: OSError) -> OutputError:
    return OutputError(
        f"cannot write '{path}'",
        error.strerror or str(error),
        "choose another folder, free some space, or change its permissions",
    )


def check_output_folder(folder: Path, *, overwrite: bool = False, resume: bool = False) -> None:
    """Refuse an output folder that is not empty, unless it may be overwritten or resumed.

    Raises:
        OutputError: The folder is not empty, is a file, or cannot be written.
    """
    if folder.is_file():
        raise OutputError(f"'{folder}' is a file", "this output is a folder", "choose another name")
    if folder.is_dir() and any(folder.iterdir()) and not (overwrite or resume):
        raise OutputError(
            f"output folder '{folder}' is not empty",
            "files are overwritten only on request",
            "choose another folder, or pass --overwrite or --resume where the command takes it",
        )
    if overwrite and folder.is_dir() and any(folder.iterdir()):
        _check_overwritable(folder)
    _try_writing(folder, folder)


def check_output_file(path: Path, *, overwrite: bool = False) -> None:
    """Refuse an output file that exists already, unless it may be overwritten.

    Raises:
        OutputError: The file exists, is a folder, or cannot be written.
    """
    if path.is_dir():
        raise OutputError(f"'{path}' is a folder", "this output is one file", "choose another name")
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
        raise _write_error(output, error) from error


def _check_overwritable(folder: Path) -> None:
    """Refuse to overwrite the working folder, the home folder or a folder above them: all contents would be lost."""
    protected = (Path.cwd(), *Path.cwd().parents, Path.home(), *Path.home().parents)
    if folder.resolve() in {path.resolve() for path in protected}:
        raise OutputError(
            f"'{folder}' is not overwritten", "it contains your working or home folder", "choose another folder"
        )


@contextlib.contextmanager
def atomic_folder(folder: Path) -> Iterator[Path]:
    """Give an empty folder to write to, and rename it to `folder` if the block ends without an error.

    A crash leaves the old folder or the new one, never a mixture.

    Raises:
        OutputError: The folder cannot be written.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".part", dir=folder.parent))
    except OSError as error:
        raise _write_error(folder, error) from error
    try:
        yield fresh
        fresh.chmod(0o755)
        for path in fresh.rglob("*"):
            _sync(path)
        _replace_folder(fresh, folder)
    except OSError as error:
        raise _write_error(folder, error) from error
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


@contextlib.contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Give the path of a file to write, and rename it to `path` if the block ends without an error.

    The file has the same name in a temporary folder, for libraries that check suffixes.

    Raises:
        OutputError: The file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{path.name}.", suffix=".part", dir=path.parent) as folder:
            fresh = Path(folder) / path.name
            yield fresh
            _sync(fresh)
            fresh.replace(path)
        _sync(path.parent)
    except OSError as error:
        raise _write_error(path, error) from error


def _replace_folder(fresh: Path, folder: Path) -> None:
    if folder.exists():
        # After the exchange `fresh` is the old folder, which the caller removes.
        _exchange(fresh, folder)
    else:
        fresh.rename(folder)
    _sync(folder.parent)


def _exchange(one: Path, other: Path) -> None:
    """Exchange the names of two folders, in one step if the system can, so that both exist at every moment."""
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if renameat2 and renameat2(_HERE, os.fsencode(one), _HERE, os.fsencode(other), _SWAP) == 0:
        return
    aside = one.with_suffix(".old")
    other.rename(aside)
    try:
        one.rename(other)
    except OSError:
        aside.rename(other)
        raise
    aside.rename(one)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def file_lock(path: Path) -> Iterator[None]:
    """Hold a lock that other processes wait for; the system releases it if the process dies.

    Raises:
        OutputError: The lock file cannot be written.
    """
    try:
        import fcntl
    except ImportError:  # Windows has no such lock: two runs that share a folder may repeat each other's work
        yield
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        stream = path.open("w")
    except OSError as error:
        raise _write_error(path, error) from error
    with stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def write_text(path: Path, text: str) -> None:
    """Write a small text file atomically.

    Raises:
        OutputError: The file cannot be written.
    """
    part = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise _write_error(path, error) from error


def write_json(path: Path, value: Any) -> None:
    """Write a value as indented JSON, atomically."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def append_json(path: Path, value: Any) -> None:
    """Append one line of JSON to a log in one write, so that lines of several processes do not mix.

    Raises:
        OutputError: The file cannot be written.
    """
    line = json.dumps(value, ensure_ascii=False, allow_nan=False) + "\n"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(descriptor, line.encode())
        finally:
            os.close(descriptor)
    except OSError as error:
        raise _write_error(path, error) from error


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        ArtefactError: The file is missing or not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ArtefactError(f"cannot read '{path}'", error.strerror or str(error), _CHECK_PATH) from error
    except ValueError as error:
        raise ArtefactError(
            f"'{path}' is not valid JSON", str(error), "run the command that wrote it again, or restore a copy"
        ) from error


def hash_tensor(tensor: Tensor) -> str:
    """Compute the sha256 of a tensor's bytes in row order."""
    import torch

    flat = tensor.detach().cpu().contiguous().flatten().view(torch.uint8)
    return hashlib.sha256(flat.numpy().data).hexdigest()


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors as safetensors.

    Raises:
        OutputError: The file cannot be written.
    """
    from safetensors.torch import save_file

    try:
        save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, path)
    except OSError as error:
        raise _write_error(path, error) from error
    except Exception as error:
        if type(error).__name__ != "SafetensorError":
            raise
        raise OutputError(f"cannot write '{path}'", str(error), "free some space or choose another folder") from error


def read_tensors(path: Path, device: str = "cpu") -> dict[str, Tensor]:
    """Read a safetensors file; a pickle is refused without being opened.

    Raises:
        ArtefactError: The file is missing, truncated or not safetensors.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        with path.open("rb") as stream:
            head = stream.read(9)
    except OSError as error:
        raise ArtefactError(f"cannot read '{path}'", error.strerror or str(error), _CHECK_PATH) from error
    # A safetensors file begins with the length of its header, which may look like a pickle; its ninth byte is a brace.
    if head[8:] != b"{" and (head[:2] == b"PK" or head[:1] == b"\x80"):
        raise ArtefactError(
            f"'{path}' is a pickle",
            "a pickle can run code when it is opened",
            "give a safetensors file, or pass a .pth file as --ancestor",
        )
    try:
        return dict(load_file(path, device=device))
    except (SafetensorError, OSError, ValueError) as error:
        raise ArtefactError(
            f"'{path}' is damaged or not safetensors",
            str(error),
            "run the command that wrote it again, or restore a copy",
        ) from error
