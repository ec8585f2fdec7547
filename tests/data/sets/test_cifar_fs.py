"""CIFAR-FS on a small CIFAR-100 in its distributed layouts: classes, images and errors."""

import pickle

import numpy as np
import pytest
import torch

from germline.data import list_data_sets, load_data
from germline.data.sets.cifar import _CIFAR100
from germline.data.sets.cifar_fs import CIFAR_FS_CLASSES
from germline.errors import DataError, UnknownNameError

NAMES = _CIFAR100.names
SPLITS = ("train", "val", "test")
EACH = {"train": 10, "test": 2}  # images per class in the two files of the copy


def small_cifar100():
    """Return pixels and labels of the two files. The first byte of an image is its label, the others are random."""
    random = np.random.default_rng(0)
    files = {}
    for stem, count in EACH.items():
        labels = random.permutation(np.repeat(np.arange(100), count))
        pixels = random.integers(0, 256, (len(labels), 3072)).astype(np.uint8)
        pixels[:, 0] = labels
        files[stem] = pixels, labels
    return files


def write(root, files, version="binary", names=NAMES):
    for stem, (pixels, labels) in files.items():
        if version == "binary":
            coarse = np.zeros_like(labels)
            rows = np.concatenate([coarse[:, None], labels[:, None], pixels], axis=1).astype(np.uint8)
            (root / f"{stem}.bin").write_bytes(rows.tobytes())
        else:
            (root / stem).write_bytes(pickle.dumps({b"data": pixels, b"fine_labels": labels.tolist()}, protocol=2))
    if version == "binary":
        (root / "fine_label_names.txt").write_text("\n".join(names) + "\n")
    else:
        (root / "meta").write_bytes(pickle.dumps({b"fine_label_names": [name.encode() for name in names]}))
    return root


@pytest.fixture(scope="module")
def cifar(tmp_path_factory):
    return write(tmp_path_factory.mktemp("cifar"), small_cifar100())


def test_cifar_fs_parts_cover_cifar100():
    assert {part: len(names) for part, names in CIFAR_FS_CLASSES.items()} == {"base": 64, "open": 16, "novel": 20}
    assert sorted(name for names in CIFAR_FS_CLASSES.values() for name in names) == sorted(NAMES)


@pytest.mark.parametrize("part", ["base", "open", "novel"])
def test_read_cifar_fs_contains_every_image_once(cifar, part):
    data = load_data(f"cifar-fs/{part}:{cifar}")
    assert data.classes == CIFAR_FS_CLASSES[part]
    assert tuple(data.augmentation) == ("shift", "mirror")
    seen = set()
    for split, each in (("train", 8), ("val", 2), ("test", 2)):
        images = data.split(split)
        assert images.images.shape == (each * len(data.classes), 3, 32, 32)
        assert torch.bincount(images.labels).tolist() == [each] * len(data.classes)
        named = [NAMES[number] for number in images.images[:, 0, 0, 0].tolist()]
        assert [data.classes[label] for label in images.labels.tolist()] == named
        seen |= {image.tobytes() for image in images.images.numpy()}
    assert len(seen) == 12 * len(data.classes)


def test_read_cifar_fs_splits_use_both_files(cifar):
    files = small_cifar100()
    distributed_as_test = {row.tobytes() for row in files["test"][0]}
    base = load_data(f"cifar-fs/base:{cifar}")
    shares = [
        np.mean([image.tobytes() in distributed_as_test for image in base.split(split).images.numpy()])
        for split in SPLITS
    ]
    assert all(0.05 < share < 0.4 for share in shares), shares


def test_read_cifar_fs_splits_do_not_depend_on_version_or_order(cifar, tmp_path):
    files = {stem: (pixels[::-1], labels[::-1]) for stem, (pixels, labels) in small_cifar100().items()}
    other = load_data(f"cifar-fs/open:{write(tmp_path, files, version='python')}")
    for split in SPLITS:
        one, two = load_data(f"cifar-fs/open:{cifar}").split(split), other.split(split)
        assert {image.tobytes() for image in one.images.numpy()} == {image.tobytes() for image in two.images.numpy()}


def test_select_split_gives_400_100_100_of_600():
    from germline.data.sets.few_shot_splits import select_split

    labels = torch.arange(1200) % 2
    keys = [str(number).encode() for number in range(1200)]
    places = [select_split(labels, ("a", "b"), keys, split) for split in SPLITS]
    assert [torch.bincount(labels[each]).tolist() for each in places] == [[400, 400], [100, 100], [100, 100]]
    assert torch.equal(torch.cat(places).sort().values, torch.arange(1200))


def test_wrong_names_are_refused(cifar):
    with pytest.raises(UnknownNameError, match=r"part of cifar-fs 'bas'. Did you mean base"):
        load_data(f"cifar-fs/bas:{cifar}")
    for name in ("cifar-fs", f"cifar-fs:{cifar}", "cifar-fs/"):
        with pytest.raises(DataError, match=r"Cifar-fs without a part.*cifar-fs/base:/folder"):
            load_data(name)
    for name in ("cifar-fs/novel", "cifar-fs/novel:"):
        with pytest.raises(DataError, match=r"cifar-fs/novel needs a folder.*cifar-fs/novel:/folder"):
            load_data(name)
    assert load_data(f"cifar-fs/open:{cifar}").name == "cifar-fs/open"
    assert "cifar-fs/base:/folder" in list_data_sets()["cifar-fs"]


def test_read_cifar_fs_refuses_a_folder_without_cifar100(tmp_path):
    with pytest.raises(DataError, match=r"No cifar100 in .*Use cifar-fs/base:/folder"):
        load_data(f"cifar-fs/base:{tmp_path}")


def test_read_cifar_fs_refuses_other_classes(tmp_path):
    names = [*NAMES[:-1], "wyrm"]
    with pytest.raises(DataError, match=r"has a class 'wyrm'.*not one of the 100 published"):
        _ = load_data(f"cifar-fs/base:{write(tmp_path, small_cifar100(), names=names)}").train


def test_read_cifar_fs_names_a_class_with_too_few_images(tmp_path):
    files = {stem: (pixels[:20], labels[:20]) for stem, (pixels, labels) in small_cifar100().items()}
    with pytest.raises(DataError, match=r"Class 'apple' has [0-2] images"):
        _ = load_data(f"cifar-fs/base:{write(tmp_path, files)}").train
