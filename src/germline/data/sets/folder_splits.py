"""The splits of an image folder: folders of the usual names, or shares of all images."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, replace
from pathlib import Path

from germline.data.dataset import Split
from germline.data.sets.folder_listing import (
    IMAGE_SUFFIXES,
    FileListing,
    has_class_folders,
    has_images,
    list_folder,
    list_subfolders,
)
from germline.errors import DataError

_NAMES: dict[str, Split] = {"train": "train", "training": "train", "test": "test", "testing": "test"}
_NAMES |= {"val": "val", "valid": "val", "validation": "val", "dev": "val"}
_EVALUATION = {"eval", "evaluation"}  # val or test
_DEPTH = 5  # folders inside each other that hold nothing but one folder


@dataclass(frozen=True)
class FolderLayout:
    """Where the splits of a folder are.

    Attributes:
        root: The folder, or the one inside it that holds everything.
        folders: Folder of each split; empty if the images are split by their names.
        notes: What was found in an unusual place, in sentences.
    """

    root: Path
    folders: dict[Split, Path]
    notes: tuple[str, ...]


def find_layout(folder: Path) -> FolderLayout:
    """Find the folders of the splits: train, Training, val, valid, validation, test, Testing and the like.

    Raises:
        DataError: It is unclear which folder is a split.
    """
    root, notes = _enter(folder, frozenset())
    named: dict[Split, list[Path]] = {}
    others = []
    for inner in list_subfolders(root):
        split = _split_named(inner.name)
        if split is None:
            others.append(inner)
        else:
            named.setdefault(split, []).append(inner)
    others = [inner for inner in others if has_images(inner)] if named else []
    folders = {split: _choose(root, split, found) for split, found in named.items()}
    if "train" not in folders:
        _check_no_splits(root, list(folders.values()), others)
        return FolderLayout(root, {}, notes)
    train = folders["train"]
    if others and has_images(train, direct=True) and not has_class_folders(train):
        raise DataError(
            f"{root} has images in '{train.name}' and in '{others[0].name}' beside it",
            f"It is unclear whether '{train.name}' is a class or the training images",
            f"Give each class a folder in {train}, or choose another name for the class",
        )
    unread = [inner for inner in others if not _takes_evaluation(inner, folders)]
    notes += tuple(f"{inner} is not read, because it is no split." for inner in unread)
    if any(place.name != split for split, place in folders.items()):
        places = ", ".join(f"{split} from '{place.name}'" for split, place in sorted(folders.items()))
        notes += (f"Splits of {root} are read by name: {places}.",)
    return FolderLayout(root, folders, notes)


def _split_named(name: str) -> Split | None:
    plain = re.sub(r"[^a-z]", "", name.lower())
    return _NAMES.get(re.sub(r"(set|data|images|imgs)$", "", plain))


def _enter(folder: Path, known: frozenset[str]) -> tuple[Path, tuple[str, ...]]:
    """Enter folders that hold nothing but one folder with class folders, except those of known classes."""
    place = folder
    for _ in range(_DEPTH):
        inner = list_subfolders(place)
        if len(inner) != 1 or inner[0].name in known or has_images(place, direct=True):
            break
        if _split_named(inner[0].name) is not None and place == folder and not known:
            break
        if not has_class_folders(inner[0]):
            break
        place = inner[0]
    return place, (f"The class folders are read from {place}.",) if place != folder else ()


def _choose(root: Path, split: Split, found: list[Path]) -> Path:
    exact = [place for place in found if place.name == split]
    if len(found) > 1 and not exact:
        raise DataError(
            f"{root} has the folders {' and '.join(repr(place.name) for place in found)}",
            f"Each may hold the {split} images",
            f"Remove or rename all but one, or name one '{split}'",
        )
    return (exact or found)[0]


def _check_no_splits(root: Path, found: list[Path], others: list[Path]) -> None:
    """Refuse folders named like splits without one for training, unless they are classes among others."""
    if found and (not others or any(has_class_folders(place) for place in found)):
        raise DataError(
            f"{root} has a folder '{found[0].name}' but none for training images",
            "A folder of that name holds a split, not a class",
            f"Give it a folder {root / 'train'}",
        )


def _takes_evaluation(inner: Path, folders: dict[Split, Path]) -> bool:
    """Whether a folder named `evaluation` is the test split, beside training and validation."""
    if inner.name.lower() not in _EVALUATION or "test" in folders:
        return False
    if "val" not in folders:
        raise DataError(
            f"{inner} may hold validation or test images", "Its name says neither", "Choose the name 'val' or 'test'"
        )
    folders["test"] = inner
    return True


def list_split(folder: Path, split: Split) -> tuple[FileListing, FileListing]:
    """List the files of one split, and those of the training split.

    Raises:
        DataError: The split is missing, it has a class that training does not have, or there is one class.
    """
    layout = find_layout(folder)
    if not layout.folders:
        everything = list_folder(layout.root)
        training = _check_training(layout.root, _select(everything, layout.root, "train"))
        listing = training if split == "train" else _select(everything, layout.root, split)
        if everything.paths and not listing.paths:
            raise DataError(
                f"None of the {len(everything.paths)} images in {folder} is drawn for '{split}'",
                "The file names decide, 80/10/10, which needs more images",
                f"Add images, or give it the folders {folder / 'train'} and {folder / 'val'}",
            )
        notes = (*layout.notes, *everything.notes)
    else:
        training = _check_training(*_list_entered(layout.folders["train"]))
        place, notes = _find_split(layout, split)
        listing = training
        if split != "train":
            place, listing = _list_entered(place, frozenset(training.classes))
            notes += tuple(f"{path} has no images that can be read: it {what}." for path, what in listing.empty)
            listing = _with_classes(listing, training.classes, place)
        notes = (*layout.notes, *notes, *listing.notes)
    if not listing.paths:
        raise DataError(
            f"No images for '{split}' in {folder}",
            f"Files end in {' '.join(sorted(IMAGE_SUFFIXES))}",
            "Choose a folder with such files",
        )
    return replace(listing, notes=notes), training


def _list_entered(place: Path, known: frozenset[str] = frozenset()) -> tuple[Path, FileListing]:
    entered, notes = _enter(place, known or frozenset({""}))
    listing = list_folder(entered)
    return entered, replace(listing, notes=(*notes, *listing.notes))


def _find_split(layout: FolderLayout, split: Split) -> tuple[Path, tuple[str, ...]]:
    if split in layout.folders:
        return layout.folders[split], ()
    train = layout.folders["train"]
    if split == "test" and "val" in layout.folders:
        val = layout.folders["val"]
        note = (
            f"{layout.root} has no test images. The test accuracy is that of {val.name}, on which settings are tuned."
        )
        return val, (note,)
    raise DataError(
        f"{layout.root} has no folder '{split}'",
        f"Its training images are in '{train.name}', and no part of them is held out",
        f"Give it a folder {layout.root / split}, or use folder:{train}, which is split 80/10/10 by file names",
    )


def _check_training(root: Path, listing: FileListing) -> FileListing:
    """Refuse class folders without images, and a single class."""
    if listing.empty and listing.paths:
        path, what = listing.empty[0]
        raise DataError(
            f"The class folder {path} has no image that can be read: it {what}",
            "A network that is trained without it has one class fewer",
            f"Remove the folder, or give it images: {' '.join(sorted(IMAGE_SUFFIXES)[:8])} and others",
        )
    if len(listing.classes) == 1 and listing.paths:
        raise DataError(
            f"'{root}' has one class folder, '{listing.classes[0]}'",
            "A classifier needs at least two classes",
            "Use a folder that holds one folder per class",
        )
    return listing


def _select(every: FileListing, root: Path, split: Split) -> FileListing:
    chosen = [index for index, path in enumerate(every.paths) if _share(path, root) == split]
    labels = None if every.labels is None else tuple(every.labels[index] for index in chosen)
    paths = tuple(every.paths[index] for index in chosen)
    return replace(every, paths=paths, labels=labels)


def _share(path: Path, root: Path) -> Split:
    """Return the split of an image from its path alone, so new images do not move others."""
    digest = hashlib.sha256(path.relative_to(root).as_posix().encode("utf-8", "surrogateescape")).digest()
    tenth = int.from_bytes(digest[:8], "big") % 10
    return "train" if tenth < 8 else "val" if tenth == 8 else "test"


def _with_classes(listing: FileListing, classes: tuple[str, ...], folder: Path) -> FileListing:
    """Relabel a listing with the training classes, which may be more than its own."""
    if listing.labels is None:
        if classes and listing.paths:
            raise DataError(
                f"{folder} has no class folders",
                f"The training folder has some, such as '{classes[0]}'",
                "Use the same layout for every split",
            )
        return listing
    if unknown := sorted(set(listing.classes) - set(classes)):
        near = [name for name in classes if name.lower().strip() == unknown[0].lower().strip()]
        few = ", ".join(classes[:5]) + (" and others" if len(classes) > 5 else "") or "no class folders"
        raise DataError(
            f"{folder} has a class '{unknown[0]}'",
            f"The training folder has no such class, but {near[0] if near else few}",
            "Remove it, or add it to training",
        )
    labels = tuple(classes.index(listing.classes[label]) for label in listing.labels)
    return replace(listing, labels=labels, classes=classes)
