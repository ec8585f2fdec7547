"""Shared names contain no path of the machine that made them."""

from pathlib import Path

import pytest

from germline.sharing import hide_all, hide_places, name_argument, name_data, name_place, name_source


@pytest.fixture(autouse=True)
def working_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("given", "shared"),
    [
        ("cifar100:/home/x/data", "cifar100"),
        ("cifar100:data@64", "cifar100@64"),
        ("cifar-fs/base:/data", "cifar-fs/base"),
        ("folder:/home/x y/my photos@64", "folder:my photos@64"),
        ("folder:photos", "folder:photos"),
        ("folder:../photos", "folder:photos"),
        ("folder:/x/photos[5-way task 1 of seed 0]", "folder:photos[5-way task 1 of seed 0]"),
        ("glyphs/base+cifar10:/x/y,held_out=folder:/home/b/c", "glyphs/base+cifar10,held_out=folder:c"),
        ("given in Python", "given in Python"),
    ],
)
def test_name_data(given, shared):
    assert name_data(given) == shared


@pytest.mark.parametrize(
    ("given", "shared"),
    [
        ("grown by tleg from /home/a/vit (read without hashes)", "grown by tleg from vit (read without hashes)"),
        ("cannot read '/home/a/my pictures/x.png'. It is", "cannot read 'x.png'. It is"),
        ("on cifar100:/home/x/data.", "on cifar100."),
        ("local-dir:/home/x/net", "local-dir:net"),
        ("--out=/home/x/y and ~/z", "--out=y and z"),
        ("C:\\Users\\a\\net", "net"),
        ("file:///home/a/net", "net"),
        # Texts that only look like a path stay: addresses, fractions, names of classes, buckets.
        *[
            (same, same)
            for same in ("https://a.org/home/b", "and/or 3/4 a / b", "/m/01g317", "s3://b/home", "timm/x.y")
        ],
    ],
)
def test_hide_places(given, shared):
    assert hide_places(given) == shared


def test_path_below_the_working_folder_stays_relative_to_it(working_folder):
    assert name_place(working_folder / "runs/a") == "runs/a"
    assert name_place("runs/a") == "runs/a"
    assert hide_places(f"from {working_folder}/runs/my net") == "from runs/my net"
    assert hide_places(str(working_folder)) == working_folder.name
    assert name_place(Path.home() / "models/vit") == name_place("~/models/vit") == "vit"


@pytest.mark.parametrize(
    ("given", "shared"),
    [
        ("/home/my runs/a", "a"),
        ("--set=data=cifar10:/my data/x", "--set=data=cifar10"),
        ("lr=4e-3", "lr=4e-3"),
        ("s3://bucket/store", "s3://bucket/store"),
    ],
)
def test_name_argument(given, shared):
    assert name_argument(given) == shared


def test_source_outside_the_working_folder_has_a_hash(tmp_path, monkeypatch):
    (tmp_path / "net.pth").write_bytes(b"weights")
    assert name_source(tmp_path / "net.pth") == "net.pth"
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert name_source(tmp_path / "net.pth") == "net.pth (sha256 9a129038d9a0)"
    assert name_source(tmp_path / "folder") == "folder"
    assert name_source(tmp_path / "folder", digest="0123456789abcdef") == "folder (sha256 0123456789ab)"


def test_hide_all_follows_keys_and_leaves_numbers():
    recipe = {"data": "cifar10:/my data", "arms": {"a": {"gene": "/my genes/tleg", "lr": 0.1, "sizes": ["*", None]}}}
    assert hide_all(recipe) == {"data": "cifar10", "arms": {"a": {"gene": "tleg", "lr": 0.1, "sizes": ["*", None]}}}
