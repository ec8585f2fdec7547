"""The search path of data sets, and placeholders of missing ones."""

import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from germline.data import MissingDataError, load_data, load_data_or_placeholder
from germline.data.search_path import find_folder, list_data_folders
from germline.errors import DataError, UnknownNameError

RANDOM = np.random.default_rng(0)


def write_idx(path, array):
    path.write_bytes(b"\0\0\x08" + bytes([array.ndim]) + np.array(array.shape, ">u4").tobytes() + array.tobytes())


def write_fashion(folder):
    """A copy of Fashion-MNIST's layout with 60 training and 10 test images."""
    folder.mkdir(parents=True)
    for stem, count in (("train", 60), ("t10k", 10)):
        write_idx(folder / f"{stem}-images-idx3-ubyte", RANDOM.integers(0, 256, (count, 28, 28)).astype(np.uint8))
        write_idx(folder / f"{stem}-labels-idx1-ubyte", (np.arange(count) % 10).astype(np.uint8))


def write_cifar10(folder):
    """A copy of CIFAR-10's binary layout with 20 images in each file."""
    folder.mkdir(parents=True)
    for stem in (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"):
        rows = RANDOM.integers(0, 256, (20, 1 + 3 * 32 * 32)).astype(np.uint8)
        rows[:, 0] = np.arange(20) % 10
        (folder / f"{stem}.bin").write_bytes(rows.tobytes())


def test_data_folders_follow_the_variable_in_order(monkeypatch, tmp_path):
    monkeypatch.setenv("GERMLINE_DATA", os.pathsep.join(["/a", "", str(tmp_path)]))
    assert list_data_folders() == (Path("/a"), tmp_path)
    monkeypatch.setenv("GERMLINE_DATA", "")
    assert list_data_folders() == (Path("/usr/share/datasets"),)
    monkeypatch.delenv("GERMLINE_DATA")
    assert list_data_folders() == (Path("/usr/share/datasets"),)


def test_find_folder_takes_the_first_that_exists(monkeypatch, tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    monkeypatch.setenv("GERMLINE_DATA", f"{first}{os.pathsep}{second}")
    assert find_folder("cifar-fs", "cifar100") is None
    (second / "cifar-fs").mkdir(parents=True)
    assert find_folder("cifar-fs", "cifar100") == second / "cifar-fs"
    (first / "cifar100").mkdir(parents=True)
    assert find_folder("cifar-fs", "cifar100") == first / "cifar100"


def test_load_data_finds_sets_in_the_search_path(monkeypatch, tmp_path):
    monkeypatch.setenv("GERMLINE_DATA", f"/nonexistent{os.pathsep}{tmp_path}")
    write_fashion(tmp_path / "fashion-mnist")
    write_cifar10(tmp_path / "cifar10")
    for name, counts in (("fashion-mnist", (50, 10, 10)), ("cifar10", (90, 10, 20))):
        found, missing = load_data_or_placeholder(name)
        assert missing == ()
        named, placed = load_data(name), load_data(f"{name}:{tmp_path / name}")
        assert found.fingerprint() == named.fingerprint() == placed.fingerprint()
        assert tuple(len(found.split(split)) for split in ("train", "val", "test")) == counts


@pytest.mark.parametrize(
    ("name", "classes", "images", "channels", "side"),
    [
        ("fashion-mnist", 10, 50_000, 1, 32),
        ("fashion-mnist:/missing", 10, 50_000, 1, 32),
        ("fashion-mnist@112", 10, 50_000, 1, 112),
        ("cifar10", 10, 45_000, 3, 32),
        ("cifar100:/missing", 100, 45_000, 3, 32),
        ("cifar10+cifar100", 110, 90_000, 3, 32),
        ("cifar-fs/base", 64, 25_600, 3, 32),
        ("cifar-fs/open:/missing", 16, 6_400, 3, 32),
        ("cifar-fs/novel", 20, 8_000, 3, 32),
        ("mini-imagenet/base:/missing", 64, 25_600, 3, 84),
        ("mini-imagenet/novel:/missing@96", 20, 8_000, 3, 96),
    ],
)
def test_placeholder_has_the_published_numbers(name, classes, images, channels, side):
    found, missing = load_data_or_placeholder(name)
    train = found.train
    assert (len(train.classes), len(train), train.channels, train.side) == (classes, images, channels, side)
    assert found.name == name.replace(":/missing", "")
    assert len(missing) == name.count("+") + 1
    assert all("needs a folder" in str(error) or "/missing" in str(error) for error in missing)
    with pytest.raises(MissingDataError) as caught:
        load_data(name)
    assert str(caught.value) == str(missing[0])


def test_placeholders_have_class_names_and_equal_classes():
    train = load_data_or_placeholder("fashion-mnist")[0].train
    assert train.classes[9] == "Ankle boot"
    assert torch.bincount(train.labels).tolist() == [5_000] * 10
    joined = load_data_or_placeholder("digits@32+fashion-mnist@32")[0].train
    assert (joined.classes[0], joined.classes[10]) == ("digits@32:0", "fashion-mnist@32:T-shirt/top")
    assert Counter(joined.labels.tolist())[19] == 5_000


def test_load_data_or_placeholder_covers_roles():
    found, missing = load_data_or_placeholder("cifar-fs/base,held_out=cifar-fs/open")
    assert (len(found.train), len(found.roles["held_out"].train)) == (25_600, 6_400)
    assert len(missing) == 2


def test_load_data_or_placeholder_refuses_wrong_names_and_damage(tmp_path):
    with pytest.raises(UnknownNameError):
        load_data_or_placeholder("cifar-fs/bse")
    with pytest.raises(DataError, match="without a part"):
        load_data_or_placeholder("cifar-fs")
    write_fashion(tmp_path / "fashion")
    (tmp_path / "fashion" / "train-labels-idx1-ubyte").write_bytes(b"scrap")
    found, missing = load_data_or_placeholder(f"fashion-mnist:{tmp_path / 'fashion'}")
    assert missing == ()
    with pytest.raises(DataError, match="train-labels"):
        _ = found.train
