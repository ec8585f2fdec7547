"""miniImageNet in its published class split, from class folders or from lists of files."""

from __future__ import annotations

import csv
from functools import partial
from pathlib import Path

import torch

from germline.data.dataset import DataSet, ImageFiles, Split
from germline.data.placeholder import MissingDataError, make_placeholder
from germline.data.search_path import find_data_folder
from germline.data.sets.few_shot_splits import TRAINING, check_published_classes, select_split, split_location
from germline.data.sets.folder import parse_side
from germline.data.sets.folder_listing import FileListing, list_folder
from germline.errors import DataError

_NAME = "mini-imagenet"
_SIDE = 84
LIST_STEMS = {"base": "train", "open": "val", "novel": "test"}  # names of the published lists
_HEADER = ["filename", "label"]
_NAMES = {
    "base": (
        "n01532829 n01558993 n01704323 n01749939 n01770081 n01843383 n01910747 n02074367 n02089867 n02091831 n02101006 "
        "n02105505 n02108089 n02108551 n02108915 n02111277 n02113712 n02120079 n02165456 n02457408 n02606052 n02687172 "
        "n02747177 n02795169 n02823428 n02966193 n03017168 n03047690 n03062245 n03207743 n03220513 n03337140 n03347037 "
        "n03400231 n03476684 n03527444 n03676483 n03838899 n03854065 n03888605 n03908618 n03924679 n03998194 n04067472 "
        "n04243546 n04251144 n04258138 n04275548 n04296562 n04389033 n04435653 n04443257 n04509417 n04515003 n04596742 "
        "n04604644 n04612504 n06794110 n07584110 n07697537 n07747607 n09246464 n13054560 n13133613"
    ),
    "open": (
        "n01855672 n02091244 n02114548 n02138441 n02174001 n02950826 n02971356 n02981792 n03075370 n03417042 n03535780 "
        "n03584254 n03770439 n03773504 n03980874 n09256479"
    ),
    "novel": (
        "n01930112 n01981276 n02099601 n02110063 n02110341 n02116738 n02129165 n02219486 n02443484 n02871525 n03127925 "
        "n03146219 n03272010 n03544143 n03775546 n04146614 n04149813 n04418357 n04522168 n07613480"
    ),
}
MINI_IMAGENET_CLASSES = {part: tuple(names.split()) for part, names in _NAMES.items()}


def _check_layout(root: Path, part: str, placeholder: DataSet) -> None:
    stem = LIST_STEMS[part]
    if (root / stem).is_dir():
        return
    if not (root / f"{stem}.csv").is_file():
        raise MissingDataError(
            f"No {_NAME}/{part} in {root}",
            f"Neither a folder {stem} with one folder per class is there, nor {stem}.csv",
            f"Use {_NAME}/{part}:/folder with either in it",
            placeholder,
        )
    if not (root / "images").is_dir():
        raise DataError(
            f"'{root}' has no folder 'images'",
            f"It holds the images of {stem}.csv",
            "Give it that folder with the images",
        )


def _rows(path: Path) -> list[tuple[str, str]]:
    """Read file names and classes from a published list."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            header, *rows = list(csv.reader(file)) or [[]]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} cannot be read", str(error), "Use the published list") from error
    if header != _HEADER:
        raise DataError(
            f"{path} begins '{','.join(header)}'", f"Its columns are {','.join(_HEADER)}", "Use the published list"
        )
    for number, row in enumerate(rows, start=2):
        if len(row) != len(_HEADER):
            raise DataError(f"{path}: line {number} is not a file name and a label", fix="Remove that line")
    return [(name, label) for name, label in rows]


def _list_csv(root: Path, path: Path) -> FileListing:
    rows, images = _rows(path), root / "images"
    classes = tuple(sorted({label for _, label in rows}))
    seen: set[str] = set()
    for number, (name, _) in enumerate(rows, start=2):
        if name in seen:
            raise DataError(f"{path}: line {number} names {name} again", fix="Remove that line")
        if not (images / name).is_file():
            raise DataError(
                f"{images / name} is missing", f"Line {number} of {path} names it", "Use the complete data set"
            )
        seen.add(name)
    return FileListing(
        tuple(images / name for name, _ in rows), tuple(classes.index(label) for _, label in rows), classes
    )


def _read(root: Path, part: str, side: int, split: Split) -> ImageFiles:
    folder, path = root / LIST_STEMS[part], root / f"{LIST_STEMS[part]}.csv"
    listing = list_folder(folder) if folder.is_dir() else _list_csv(root, path)
    check_published_classes(folder if folder.is_dir() else path, listing.classes, MINI_IMAGENET_CLASSES[part])
    # Both lists of classes are sorted, so after the check they are equal.
    labels = torch.tensor(listing.labels, dtype=torch.int64)
    keys = (file.name.encode("utf-8", "surrogateescape") for file in listing.paths)
    images = ImageFiles(labels, listing.classes, listing.paths, side)
    return images.subset(select_split(labels, listing.classes, keys, split))


def read_mini_imagenet(location: str | None = None) -> DataSet:
    """miniImageNet as distributed: mini-imagenet/base:/folder, and open and novel.

    The parts hold the 64 training, 16 validation and 20 test classes of Ravi and Larochelle. In every class a sixth of
    the images (100 of 600) is for validation and a sixth for test. They are chosen by the sha256 of the file names.

    The folder has one of two layouts. It has train, val and test with one folder per class. Or it has train.csv,
    val.csv and test.csv with the columns filename and label, and a folder `images`.

    Args:
        location: base, open or novel, a colon, and a folder, with @SIDE after it for a size other than 84. Without
            colon and folder, `mini-imagenet` in GERMLINE_DATA is used.

    Raises:
        UnknownNameError: There is no such part.
        DataError: The part is missing.
        MissingDataError: The folder is missing, or has neither layout.
    """
    part, place = split_location(_NAME, location)
    folder, side = parse_side(place)
    name = f"{_NAME}/{part}" + (f"@{side}" if side else "")
    placeholder = make_placeholder(
        name, MINI_IMAGENET_CLASSES[part], TRAINING * len(MINI_IMAGENET_CLASSES[part]), side or _SIDE
    )
    root = find_data_folder(f"{_NAME}/{part}", folder, (_NAME,), placeholder)
    _check_layout(root, part, placeholder)
    return DataSet(
        name=name,
        read=partial(_read, root, part, side or _SIDE),
        augmentation=("shift", "mirror"),
        source="S. Ravi and H. Larochelle, Optimization as a Model for Few-Shot Learning, ICLR 2017; "
        "images of ImageNet",
    )
