"""Files that are written completely or not at all, and refused if they are damaged or of another kind."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from germline.errors import ArtefactError, OutputError
from germline.paths import follow_link, make_part_path, open_regular, read_limited
from germline.tensor_file import write_plain_tensors

if TYPE_CHECKING:
    from torch import Tensor

_RESTORE = "run the command that wrote it again, or restore a copy"
LARGEST_JSON = 2**28  # bytes
# Arguments of Linux's renameat2: paths are relative to the working folder, and the two names are exchanged.
_HERE, _SWAP = -100, 2


@contextlib.contextmanager
def atomic_folder(folder: Path) -> Iterator[Path]:
    """Give an empty folder to write to, and rename it to `folder` if the block ends without an error.

    A crash leaves the old folder or the new one, never a mixture. A symbolic link stays; its target is replaced.

    Raises:
        OutputError: The folder cannot be written.
    """
    place = follow_link(folder)
    fresh = make_part_path(place)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        fresh.mkdir()
        yield fresh
        _share(fresh)
        for path in fresh.rglob("*"):
            _sync(path)
        _replace_folder(fresh, place)
    except OSError as error:
        raise OutputError.from_system(folder, error) from error
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


@contextlib.contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Give the path of a file to write, and rename it to `path` if the block ends without an error.

    The file has the same name in a temporary folder, for libraries that check suffixes.

    Raises:
        OutputError: The file cannot be written.
    """
    place = follow_link(path)
    folder = make_part_path(place)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir()
        fresh = folder / place.name
        yield fresh
        _share(folder)
        _sync(fresh)
        fresh.replace(place)
        _sync(place.parent)
    except OSError as error:
        raise OutputError.from_system(path, error) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _share(folder: Path) -> None:
    """Give every file below a folder the permissions that the user's umask gave the folder.

    Libraries write some files for their owner alone.
    """
    mode = folder.stat().st_mode & 0o777
    for path in folder.rglob("*"):
        path.chmod(mode if path.is_dir() else mode & 0o666)


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
        raise OutputError.from_system(path, error) from error
    with stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def write_text(path: Path, text: str, errors: str = "strict") -> None:
    """Write a small text file atomically, in UTF-8.

    Args:
        path: File to write.
        text: Its content.
        errors: What happens to characters that UTF-8 lacks; `surrogateescape` writes the bytes of odd file names.

    Raises:
        OutputError: The file cannot be written, or UTF-8 lacks a character.
    """
    place = follow_link(path)
    part = make_part_path(place)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with part.open("w", encoding="utf-8", errors=errors) as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        part.replace(place)
    except UnicodeEncodeError as error:
        raise OutputError(f"cannot write '{path}'", str(error), "choose file names in UTF-8") from error
    except OSError as error:
        raise OutputError.from_system(path, error) from error
    finally:
        part.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Write a value as indented JSON, atomically."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def append_json(path: Path, value: Any) -> None:
    """Append one line of JSON to a log in one write, so that lines of several processes do not mix.

    Raises:
        OutputError: The file cannot be written. Its old lines stay.
    """
    line = f"{json.dumps(value, ensure_ascii=False, allow_nan=False)}\n".encode()
    path = follow_link(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        try:
            written = os.write(descriptor, line)
            if written < len(line):
                # Half a line would run into the next one. The position is the end of this write.
                os.ftruncate(descriptor, os.lseek(descriptor, 0, os.SEEK_CUR) - written)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        finally:
            os.close(descriptor)
    except OSError as error:
        raise OutputError.from_system(path, error) from error


def read_json(path: Path, most: int = LARGEST_JSON) -> Any:
    """Read a JSON file.

    Args:
        path: File to read.
        most: Largest number of bytes.

    Raises:
        ArtefactError: The file is missing, too large or not JSON.
    """
    data = read_limited(path, most)
    try:
        return json.loads(data.decode("utf-8"), parse_constant=_refuse_constant)
    except RecursionError as error:
        raise ArtefactError(f"'{path}' is not valid JSON", "it is nested too deeply", _RESTORE) from error
    except ValueError as error:
        raise ArtefactError(f"'{path}' is not valid JSON", str(error), _RESTORE) from error


def read_mapping(path: Path, most: int = LARGEST_JSON) -> dict[str, Any]:
    """Read a JSON file that holds a mapping.

    Args:
        path: File to read.
        most: Largest number of bytes.

    Raises:
        ArtefactError: The file is missing, too large, not JSON or no mapping.
    """
    content = read_json(path, most)
    if not isinstance(content, dict):
        raise ArtefactError(f"'{path}' holds no mapping", f"it holds a {type(content).__name__}", _RESTORE)
    return content


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number of JSON")


def hash_tensor(tensor: Tensor) -> str:
    """Compute the sha256 of a tensor's bytes in row order."""
    import torch

    flat = tensor.detach().cpu().contiguous().flatten().view(torch.uint8)
    return hashlib.sha256(flat.numpy().data).hexdigest()


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write tensors as safetensors, atomically; they can be read from the very file by memory map.

    Args:
        path: File to write.
        tensors: Tensors by name.
        metadata: Texts for the file's header. More than one would be written in a random order.

    Raises:
        OutputError: The file cannot be written.
    """
    place = follow_link(path)
    part = make_part_path(place)
    try:
        plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        write_plain_tensors(part, plain, metadata)
        _sync(part)  # else a power failure could leave an empty file under the new name
        part.replace(place)
    except OSError as error:
        raise OutputError.from_system(path, error) from error
    except Exception as error:
        if type(error).__name__ != "SafetensorError":
            raise
        raise OutputError(f"cannot write '{path}'", str(error), "free some space or choose another folder") from error
    finally:
        part.unlink(missing_ok=True)


def read_tensors(path: Path, device: str = "cpu") -> dict[str, Tensor]:
    """Read a safetensors file by memory map; a pickle is refused without being opened.

    On the CPU the system reads the pages of a tensor from the file when they are first used.

    Raises:
        ArtefactError: The file is missing, truncated or not safetensors.
    """
    from safetensors.torch import load_file

    with open_regular(path) as stream:
        head = stream.read(9)
    # A safetensors file begins with the length of its header, which may look like a pickle; its ninth byte is a brace.
    if head[8:] != b"{" and (head[:2] == b"PK" or head[:1] == b"\x80"):
        raise ArtefactError(
            f"'{path}' is a pickle",
            "a pickle can run code when it is opened",
            "give a safetensors file, or pass a .pth file as --ancestor",
        )
    with _safetensors_errors(path):
        return dict(load_file(path, device=device))


def read_metadata(path: Path) -> dict[str, str]:
    """Read the texts in the header of a safetensors file.

    Raises:
        ArtefactError: The file is missing, truncated or not safetensors.
    """
    from safetensors import safe_open

    open_regular(path).close()
    with _safetensors_errors(path), safe_open(path, framework="pt") as file:
        return dict(file.metadata() or {})


@contextlib.contextmanager
def _safetensors_errors(path: Path) -> Iterator[None]:
    from safetensors import SafetensorError

    try:
        yield
    # safetensors raises KeyError and AttributeError for types that it knows and torch does not.
    except (SafetensorError, OSError, ValueError, RuntimeError, LookupError, TypeError, AttributeError) as error:
        raise ArtefactError(f"'{path}' is damaged or not safetensors", str(error), _RESTORE) from error
