"""CIFAR-FS: the classes of CIFAR-100 in three parts."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from germline.data.dataset import DataSet, Images, Split
from germline.data.placeholder import make_placeholder
from germline.data.search_path import find_data_folder
from germline.data.sets.cifar import check_cifar100, read_all_cifar100
from germline.data.sets.few_shot_splits import TRAINING, check_published_classes, select_split, split_location

_NAME = "cifar-fs"
_NAMES = {
    "base": (
        "apple aquarium_fish bear bee bottle bowl boy bridge bus can castle caterpillar chair clock cloud cockroach "
        "couch cup dinosaur dolphin elephant forest girl hamster house kangaroo keyboard lawn_mower lion lizard "
        "lobster mountain mouse mushroom oak_tree orange orchid palm_tree pear pine_tree plate porcupine possum "
        "rabbit raccoon ray road seal shrew skunk skyscraper snake spider squirrel streetcar sunflower tank tiger "
        "train trout tulip turtle willow_tree wolf"
    ),
    "open": (
        "beaver beetle butterfly camel cattle crab crocodile flatfish lamp maple_tree motorcycle otter sea shark "
        "television tractor"
    ),
    "novel": (
        "baby bed bicycle chimpanzee fox leopard man pickup_truck plain poppy rocket rose snail sweet_pepper table "
        "telephone wardrobe whale woman worm"
    ),
}
CIFAR_FS_CLASSES = {part: tuple(names.split()) for part, names in _NAMES.items()}


def _read(root: Path, part: str, split: Split) -> Images:
    every = read_all_cifar100(root)
    check_published_classes(
        f"CIFAR-100 in {root}", every.classes, [name for names in CIFAR_FS_CLASSES.values() for name in names]
    )
    images = every.select_classes(CIFAR_FS_CLASSES[part])
    assert images.labels is not None  # noqa: S101 - CIFAR has labels
    keys = (image.tobytes() for image in images.images.numpy())
    return images.subset(select_split(images.labels, images.classes, keys, split))


def read_cifar_fs(location: str | None = None) -> DataSet:
    """CIFAR-FS from a folder with CIFAR-100: cifar-fs/base:/folder, and open and novel.

    The parts hold the 64 training, 16 validation and 20 test classes of Bertinetto et al. Each class has all its images
    of CIFAR-100, from the training and test splits. A sixth of them (100 of 600) is for validation and a sixth for
    test, chosen by the sha256 of their pixels.

    Args:
        location: base, open or novel, a colon, and the unpacked folder of CIFAR-100 or the one above it. Without colon
            and folder, `cifar-fs` or `cifar100` in GERMLINE_DATA is used.

    Raises:
        UnknownNameError: There is no such part.
        DataError: The part is missing.
        MissingDataError: The folder is missing, or CIFAR-100 is not in it.
    """
    part, folder = split_location(_NAME, location)
    name = f"{_NAME}/{part}"
    placeholder = make_placeholder(name, CIFAR_FS_CLASSES[part], TRAINING * len(CIFAR_FS_CLASSES[part]), side=32)
    root = find_data_folder(name, folder, (_NAME, "cifar100"), placeholder)
    check_cifar100(root, name, placeholder)
    return DataSet(
        name=name,
        read=partial(_read, root, part),
        augmentation=("shift", "mirror"),
        source="classes by L. Bertinetto et al., Meta-learning with differentiable closed-form solvers, ICLR 2019; "
        "images by A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009",
    )
