"""Names for what is shared: a gene, a model or a report never says where a file was on the machine that made it.

A path below the working directory becomes relative to it. Any other absolute path becomes its own last name. A data
set's name loses its folder: `cifar100:/data` becomes `cifar100`, and `folder:/photos/birds` becomes `folder:birds`.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

_LARGEST_HASHED = 2**31  # bytes of a file that is hashed for its name
_HASH_LENGTH = 12
_DATA_KEYS = frozenset({"data", "final_data"})
_PATH_KEYS = frozenset({"path", "gene"})
# Names before a colon whose path is all that they say.
_KEPT_HEADS = ("folder", "local-dir")
# First names of paths on common machines; those of this machine are looked up.
_ROOTS = frozenset({"Users", "Volumes", "content", "data", "home", "kaggle", "media", "mnt", "opt", "root", "scratch"})
_ROLE = re.compile(r",(held_out|stream)=")
_JOIN = re.compile(r"\+(?=[a-z][a-z0-9-]*(?:[/:+@,]|$))")
_SIDE = re.compile(r"@\d+$")
_TASK = re.compile(r"\[[^\]/]*\]$")
# A path is preceded by no part of another path or address, and ends at a space or a mark of a sentence.
_DRIVE = r"(?:[A-Za-z]:[\\/])"
_PLACE = rf"(?:~?/(?!/)|{_DRIVE})"
_QUOTED = re.compile(rf"(?P<mark>['\"`])(?P<head>(?:[\w./-]+:)?)(?P<place>{_PLACE}[^'\"`\n]*)(?P=mark)")
_BARE = re.compile(rf"(?<![\w.~/\\'\"-])(?P<head>(?:[A-Za-z][\w./-]*[:=])*)(?P<place>{_PLACE}[^\s'\"`<>|,;:()\[\]]+)")


def name_place(path: str | Path) -> str:
    """Return a path as it is shared: relative to the working directory, or its own last name.

    Args:
        path: Path that a user gave.
    """
    given = Path(path)
    if not is_far(given):
        return str(path)
    if os.sep == "/" and re.match(_DRIVE, str(path)):
        return re.split(r"[\\/]", str(path).rstrip("\\/"))[-1]
    place = Path(os.path.normpath(Path.cwd() / given.expanduser()))
    for start in _list_starts():
        if place != start and place.is_relative_to(start):
            return place.relative_to(start).as_posix()
    return re.split(r"[\\/]", str(place).rstrip("\\/"))[-1] or "a folder"


def is_far(path: Path) -> bool:
    """Return whether a path says more than names below the working directory."""
    return path.is_absolute() or ".." in path.parts or re.match(rf"~|{_DRIVE}", str(path)) is not None


def name_source(path: Path, content: Path | None = None, digest: str = "") -> str:
    """Name the file or folder of a network; a path from elsewhere has a hash instead of its folder.

    Args:
        path: File or folder.
        content: File that is hashed for a path from elsewhere; None for the path itself.
        digest: sha256 that is known already, in hexadecimal; empty to compute it.
    """
    name = name_place(path)
    if not is_far(path) or Path.cwd() in Path(os.path.normpath(Path.cwd() / path.expanduser())).parents:
        return name
    digest = digest or _hash_file(content or path)
    return f"{name} (sha256 {digest[:_HASH_LENGTH]})" if digest else name


def name_data(source: str) -> str:
    """Return the name of a data set without its folder; only a folder of images has its own last name."""
    return _name_parts(source, _name_part)


def name_data_content(source: str) -> str:
    """Return the name of a data set without its folder, the same wherever the folder is and germline is called.

    Args:
        source: Name of a data set in the data language.
    """
    return _name_parts(source, _name_part_content)


def _name_parts(source: str, name_part: Callable[[str], str]) -> str:
    first, *others = _ROLE.split(source)
    names = ["+".join(map(name_part, _JOIN.split(text))) for text in (first, *others[1::2])]
    return names[0] + "".join(f",{role}={name}" for role, name in zip(others[::2], names[1:], strict=True))


def name_argument(word: str) -> str:
    """Return a word of a command line without absolute paths, which may hold spaces."""
    option, equals, value = word.rpartition("=")
    _, colon, place = value.partition(":")
    if is_far(Path(value)):
        return f"{option}{equals}{name_place(value)}"
    if colon and is_far(Path(place)) and not place.startswith("//"):
        return f"{option}{equals}{name_data(value)}"
    return hide_places(word)


def hide_places(text: str) -> str:
    """Replace absolute paths in a text for people, as far as they can be recognised."""
    if "/" not in text and "\\" not in text:
        return text
    for start in map(str, _list_starts()):
        text = re.sub(rf"(?<![\w./-]){re.escape(start)}/+(?=[^\s/])", "", text)
    return _BARE.sub(_replace, _QUOTED.sub(_replace, text.replace("file://", "")))


def hide_all(value: Any, key: str = "") -> Any:
    """Replace absolute paths in all texts of a JSON value.

    Args:
        value: JSON value.
        key: Key of the value: data sets lose their folders, and paths are named whole even if they hold spaces.
    """
    if isinstance(value, Mapping):
        return {hide_places(str(name)): hide_all(inner, str(name)) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [hide_all(inner, key) for inner in value]
    if not isinstance(value, str):
        return value
    if key in _DATA_KEYS:
        return name_data(value)
    return name_place(value) if key in _PATH_KEYS and is_far(Path(value)) else hide_places(value)


def _list_starts() -> tuple[Path, ...]:
    """List the names of the working directory, which may be a link; the root of all files is none."""
    starts = dict.fromkeys((Path.cwd(), Path(os.environ.get("PWD") or ".").absolute()))
    here = [start for start in starts if start != Path(start.anchor) and start.resolve() == Path.cwd().resolve()]
    return tuple(here)


def _name_part(source: str) -> str:
    return _name_one(source, name_place) if ":" in source else hide_places(source)


def _name_part_content(source: str) -> str:
    return _name_one(source, _last_name) if ":" in source else source


def _last_name(place: str) -> str:
    return re.split(r"[\\/]", place.rstrip("\\/"))[-1]


def _name_one(source: str, name_folder: Callable[[str], str]) -> str:
    head, _, place = source.partition(":")
    task = match[0] if (match := _TASK.search(place)) else ""
    place = place.removesuffix(task)
    side = match[0] if (match := _SIDE.search(place)) else ""
    if head not in _KEPT_HEADS:
        return f"{head}{side}{task}"
    return f"{head}:{name_folder(place.removesuffix(side))}{side}{task}"


def _replace(match: re.Match[str]) -> str:
    groups = match.groupdict()
    mark, head, given = groups.get("mark") or "", groups["head"], groups["place"]
    place = given.rstrip(".") if not mark else given
    if not _is_place(place):
        return match[0]
    outer, _, last = head.rpartition("=")
    name = _name_part(last + place) if last.endswith(":") else last + name_place(place)
    return f"{mark}{outer}{'=' if outer else ''}{name}{given[len(place) :]}{mark}"


def _is_place(place: str) -> bool:
    """Return whether a text is a path of some machine; names of classes may begin with a slash too."""
    if not place.startswith("/"):
        return True
    first = place.lstrip("/").partition("/")[0]
    return first in _ROOTS or _exists_here(first)


@cache
def _exists_here(first: str) -> bool:
    try:
        return Path(f"/{first}").exists()
    except (OSError, ValueError):
        return False


def _hash_file(path: Path) -> str:
    try:
        if not path.is_file() or path.stat().st_size > _LARGEST_HASHED:
            return ""
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError:
        return ""
