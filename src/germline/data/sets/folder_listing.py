"""The image files of a folder and its class folders, and what in it is not read."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from germline.errors import DataError
from germline.paths import check_text

IMAGE_SUFFIXES = {
    *(".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".gif", ".webp", ".tif", ".tiff"),
    *(".pbm", ".pgm", ".ppm", ".pnm", ".jp2", ".avif"),
}
# A class folder with these alone was meant as a class.
_OTHER_IMAGES = {
    *("", ".heic", ".heif", ".jxl", ".svg", ".psd", ".raw", ".cr2", ".nef", ".arw", ".dng", ".npy", ".npz", ".pt"),
    *(".dcm", ".nii", ".exr", ".hdr", ".tga", ".ico", ".mat", ".mp4", ".avi", ".zip", ".tar", ".gz"),
}
_JUNK_FOLDERS = {"__macosx", "@eadir", "$recycle.bin", "lost+found", "system volume information"}
_JUNK_FILES = {"thumbs.db", "desktop.ini"}


@dataclass(frozen=True)
class FileListing:
    """The image files of one split, before any is opened.

    Attributes:
        paths: Paths in the order of class, then name.
        labels: One label per path; None if the folder has no class folders.
        classes: Sorted names of the class folders.
        empty: Class folders without an image that can be read, each with the reason.
        notes: What is not read, in sentences.
    """

    paths: tuple[Path, ...]
    labels: tuple[int, ...] | None
    classes: tuple[str, ...]
    empty: tuple[tuple[Path, str], ...] = ()
    notes: tuple[str, ...] = ()


def list_subfolders(folder: Path) -> list[Path]:
    """List the subfolders of a folder, without hidden ones and those that archives and file servers leave.

    Raises:
        DataError: The folder cannot be read, or a subfolder is a link to a folder above it.
    """
    try:
        entries = sorted(entry for entry in folder.iterdir() if entry.is_dir() and not _is_junk(entry.name))
    except OSError as error:
        raise DataError(f"{folder} cannot be read", str(error), "Give the user access to it") from error
    above = {folder.resolve(), *folder.resolve().parents}
    for entry in entries:
        if entry.is_symlink() and entry.resolve() in above:
            raise DataError(
                f"{entry} is a link to a folder above it", "Its images would be read again", "Remove the link"
            )
    return entries


def has_images(folder: Path, *, direct: bool = False) -> bool:
    """Whether an image file is below a folder, or directly in it."""
    if direct:
        return any(_is_image(entry) for entry in folder.iterdir() if entry.is_file())
    return any(_is_image(path) for path in _files(folder))


def has_class_folders(folder: Path) -> bool:
    """Whether a folder has subfolders with images."""
    return any(has_images(inner) for inner in list_subfolders(folder))


def list_folder(folder: Path) -> FileListing:
    """List all image files below a folder that holds class folders or images.

    Raises:
        DataError: A folder cannot be read.
        ArtefactError: The name of a class folder is not UTF-8.
    """
    groups, empty, notes, others = [], [], [], []
    for inner in list_subfolders(folder):
        files = sorted(_files(inner))
        images = [path for path in files if _is_image(path)]
        skipped = _count_suffixes(path for path in files if not _is_image(path))
        if images:
            check_text(inner.name)
            groups.append((inner.name, images))
            others += [path for path in files if not _is_image(path)]
        elif not files or any(path.suffix.lower() in _OTHER_IMAGES for path in files):
            empty.append((inner, f"holds {skipped}" if skipped else "is empty"))
        else:
            notes.append(f"{inner} holds no images but {skipped}, and is not read as a class.")
        notes += [f"{link} is a link to a folder, and is not followed." for link in _linked_folders(inner)]
    if not groups:
        files = sorted(_files(folder))
        paths = tuple(path for path in files if _is_image(path))
        return FileListing(paths, None, (), tuple(empty), tuple(notes))
    seen: dict[str, str] = {}
    for name, _ in groups:
        if (other := seen.setdefault(name.strip().lower(), name)) != name:
            notes.append(f"The class folders '{other}' and '{name}' of {folder} differ by case or spaces alone.")
    notes += _list_odd_formats(folder, groups)
    if loose := sum(_is_image(entry) for entry in folder.iterdir() if entry.is_file()):
        notes.append(f"{loose} images beside the class folders of {folder} are not read.")
    if others:
        notes.append(f"{len(others)} files in class folders of {folder} are not read: {_count_suffixes(others)}.")
    paths = tuple(path for _, files in groups for path in files)
    labels = tuple(label for label, (_, files) in enumerate(groups) for _ in files)
    return FileListing(paths, labels, tuple(name for name, _ in groups), tuple(empty), tuple(notes))


def _list_odd_formats(folder: Path, groups: list[tuple[str, list[Path]]]) -> list[str]:
    """Name classes whose files have suffixes that no other class has: their format may give the class away."""
    suffixes = [{path.suffix.lower().replace(".jpeg", ".jpg") for path in files} for _, files in groups]
    uses = Counter(suffix for found in suffixes for suffix in found)
    odd = [
        f"'{name}' ({', '.join(sorted(found))})"
        for (name, _), found in zip(groups, suffixes, strict=True)
        if len(groups) > 1 and all(uses[suffix] == 1 for suffix in found)
    ]
    if not odd:
        return []
    more = f" and {len(odd) - 3} more" if len(odd) > 3 else ""
    names = ", ".join(odd[:3]) + more
    return [f"Classes of {folder} have files of a format of their own: {names}. A network may learn the format."]


def _is_junk(name: str) -> bool:
    return name.startswith(".") or name.lower() in _JUNK_FOLDERS


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")


def _files(folder: Path) -> Iterator[Path]:
    """Yield visible files at any depth, without those that archives and file servers leave."""
    for parent, inner, names in os.walk(folder, onerror=_refuse):
        inner[:] = [name for name in inner if not _is_junk(name)]
        yield from (Path(parent, name) for name in names if not _is_junk(name) and name.lower() not in _JUNK_FILES)


def _linked_folders(folder: Path) -> list[Path]:
    return [
        Path(parent, name)
        for parent, inner, _ in os.walk(folder)
        for name in sorted(inner)
        if not _is_junk(name) and Path(parent, name).is_symlink()
    ]


def _refuse(error: OSError) -> None:
    raise DataError(f"{error.filename} cannot be read", str(error.strerror), "Give the user access to it") from error


def _count_suffixes(paths: Iterable[Path]) -> str:
    counts = Counter(path.suffix.lower() or "without suffix" for path in paths)
    return ", ".join(f"{count} {suffix}" for suffix, count in sorted(counts.items()))
