"""Readers of data sets, on tiny copies in the same layouts, and their errors for bad input."""

import gzip
import os
import pickle

import numpy as np
import pytest
import torch
from PIL import Image

from germline.data import load_data
from germline.data.sets.cifar import read_cifar10, read_cifar100
from germline.data.sets.digits import read_digits
from germline.data.sets.fashion_mnist import read_fashion_mnist, read_idx
from germline.data.sets.folder import read_folder
from germline.errors import DataError, UnknownNameError

RANDOM = np.random.default_rng(0)


def encode_idx(array):
    return b"\0\0\x08" + bytes([array.ndim]) + np.array(array.shape, ">u4").tobytes() + array.tobytes()


@pytest.fixture
def fashion(tmp_path):
    for stem, count in (("train", 60), ("t10k", 10)):
        pixels = RANDOM.integers(0, 256, (count, 28, 28)).astype(np.uint8)
        labels = (np.arange(count) % 10).astype(np.uint8)
        (tmp_path / f"{stem}-images-idx3-ubyte.gz").write_bytes(gzip.compress(encode_idx(pixels)))
        (tmp_path / f"{stem}-labels-idx1-ubyte").write_bytes(encode_idx(labels))
    return tmp_path


def test_read_fashion_mnist_pads_and_splits(fashion):
    data = read_fashion_mnist(str(fashion))
    assert (len(data.train), len(data.val), len(data.test)) == (50, 10, 10)
    raw = torch.from_numpy(read_idx(fashion / "train-images-idx3-ubyte.gz"))
    assert torch.equal(data.val.images[:, 0, 2:-2, 2:-2], raw[50:])
    assert data.val.images.shape[1:] == (1, 32, 32)
    assert data.val.images[:, :, :2].sum() == 0
    assert data.test.labels.tolist() == list(range(10))
    assert data.classes[9] == "Ankle boot"
    assert tuple(data.augmentation) == ("shift", "mirror")


def test_read_fashion_mnist_finds_the_layout_of_torchvision(fashion):
    raw = fashion / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    for path in fashion.glob("*ubyte*"):
        path.rename(raw / path.name)
    assert len(read_fashion_mnist(str(fashion)).train) == 50


def test_read_fashion_mnist_error_names_the_source_of_files(tmp_path):
    with pytest.raises(DataError, match="dataset-fashion-mnist") as caught:
        read_fashion_mnist(str(tmp_path))
    assert "fashion-mnist:/folder" in str(caught.value)
    assert "GERMLINE_DATA" in str(caught.value)
    assert "torchvision" in str(caught.value)


@pytest.mark.parametrize("damage", [lambda c: c[:-7], lambda c: c + b"x", lambda c: b"", lambda c: b"\0\0\x0d" + c[3:]])
def test_read_idx_names_a_damaged_file(fashion, damage):
    path = fashion / "t10k-labels-idx1-ubyte"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError, match=path.name):
        _ = read_fashion_mnist(str(fashion)).test


def test_read_idx_names_a_truncated_gzip_file(fashion):
    path = fashion / "train-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(DataError, match=path.name):
        _ = read_fashion_mnist(str(fashion)).train


def test_read_digits_splits_every_class_equally():
    data = read_digits()
    sizes = [len(data.split(split)) for split in ("train", "val", "test")]
    assert sum(sizes) == 1797
    assert sizes[0] == pytest.approx(1078, abs=5)
    assert sizes[1] == pytest.approx(359, abs=6)
    assert data.train.images.shape[1:] == (1, 32, 32)
    assert data.train.images.max() == 255
    counts = torch.bincount(data.test.labels)
    assert counts.min() >= 34
    assert counts.max() <= 38
    assert torch.equal(data.train.images[:, :, ::4, ::4], data.train.images[:, :, 3::4, 3::4])
    with pytest.raises(DataError, match="embedded"):
        read_digits("/somewhere")


def cifar_rows(count):
    return RANDOM.integers(0, 256, (count, 3072)).astype(np.uint8), np.arange(count) % 10


def write_cifar10(root, version):
    names = [f"data_batch_{number}" for number in range(1, 6)] + ["test_batch"]
    folder = root / ("cifar-10-batches-bin" if version == "binary" else "cifar-10-batches-py")
    folder.mkdir()
    written = {}
    for name in names:
        pixels, labels = cifar_rows(20)
        written[name] = pixels
        if version == "binary":
            rows = np.concatenate([labels[:, None].astype(np.uint8), pixels], axis=1)
            (folder / f"{name}.bin").write_bytes(rows.tobytes())
        else:
            batch = {b"data": pixels, b"labels": labels.tolist(), b"batch_label": name.encode(), b"filenames": []}
            (folder / name).write_bytes(pickle.dumps(batch, protocol=2))
    return folder, written


@pytest.mark.parametrize("version", ["binary", "python"])
@pytest.mark.parametrize("inside", [True, False])
def test_read_cifar10(tmp_path, version, inside):
    folder, written = write_cifar10(tmp_path, version)
    data = read_cifar10(str(folder if inside else tmp_path))
    assert (len(data.train), len(data.val), len(data.test)) == (90, 10, 20)
    assert np.array_equal(data.test.images.numpy().reshape(20, -1), written["test_batch"])
    assert np.array_equal(data.val.images.numpy().reshape(10, -1), written["data_batch_5"][10:])
    assert data.test.labels.tolist() == [index % 10 for index in range(20)]
    assert data.classes[0] == "airplane"
    assert data.classes[9] == "truck"


def test_read_cifar10_of_old_numpy_with_text_keys(tmp_path):
    folder, written = write_cifar10(tmp_path, "python")
    path = folder / "test_batch"
    path.write_bytes(path.read_bytes().replace(b"numpy._core.multiarray", b"numpy.core.multiarray"))
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": list("abcdefghij")}, protocol=4))
    data = read_cifar10(str(tmp_path))
    assert np.array_equal(data.test.images.numpy().reshape(20, -1), written["test_batch"])
    assert data.test.classes == tuple("abcdefghij")


@pytest.mark.parametrize("version", ["binary", "python"])
def test_read_cifar100_takes_the_fine_label(tmp_path, version):
    names = [f"class{index}" for index in range(100)]
    for stem in ("train", "test"):
        pixels, _ = cifar_rows(40)
        fine, coarse = np.arange(40) + 60, np.arange(40) % 20
        if version == "binary":
            rows = np.concatenate([coarse[:, None], fine[:, None], pixels], axis=1).astype(np.uint8)
            (tmp_path / f"{stem}.bin").write_bytes(rows.tobytes())
            (tmp_path / "fine_label_names.txt").write_text("\n".join(names) + "\n")
        else:
            batch = {b"data": pixels, b"fine_labels": fine.tolist(), b"coarse_labels": coarse.tolist()}
            (tmp_path / stem).write_bytes(pickle.dumps(batch, protocol=2))
            (tmp_path / "meta").write_bytes(pickle.dumps({b"fine_label_names": [n.encode() for n in names]}))
    data = read_cifar100(str(tmp_path))
    assert (len(data.train), len(data.val), data.test.labels.tolist()) == (36, 4, list(range(60, 100)))
    assert data.classes == tuple(names)


class Malicious:
    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_read_plain_pickle_refuses_malicious_pickles(tmp_path, protocol):
    folder, _ = write_cifar10(tmp_path, "python")
    (folder / "test_batch").write_bytes(pickle.dumps({b"data": Malicious(tmp_path / "ran")}, protocol=protocol))
    with pytest.raises(DataError, match=r"test_batch.*mkdir"):
        _ = read_cifar10(str(tmp_path)).test
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "content", [b"cnumpy\nload\n.", b"cbuiltins\neval\n.", b"cnumpy\nndarray.dump\n.", b"", b"\x80\x04"]
)
def test_read_plain_pickle_refuses_other_names_and_fragments(tmp_path, content):
    folder, _ = write_cifar10(tmp_path, "python")
    (folder / "test_batch").write_bytes(content)
    with pytest.raises(DataError, match="test_batch"):
        _ = read_cifar10(str(tmp_path)).test


@pytest.mark.parametrize(
    "batch",
    [
        [1, 2],
        {b"data": np.zeros((2, 3072), np.uint8)},
        {b"data": np.zeros((2, 3072)), b"labels": [0, 1]},
        {b"data": np.zeros((2, 3072), np.uint8), b"labels": [0]},
        {b"data": np.zeros((2, 3072), np.uint8), b"labels": ["a", "b"]},
        {b"data": np.zeros((2, 3072), np.uint8), b"labels": [0, 10]},
    ],
)
def test_read_cifar10_refuses_invalid_batches(tmp_path, batch):
    folder, _ = write_cifar10(tmp_path, "python")
    (folder / "test_batch").write_bytes(pickle.dumps(batch))
    with pytest.raises(DataError):
        _ = read_cifar10(str(tmp_path)).test


def test_read_cifar10_names_truncated_and_missing_files(tmp_path):
    folder, _ = write_cifar10(tmp_path, "binary")
    path = folder / "data_batch_3.bin"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match=r"data_batch_3\.bin"):
        _ = read_cifar10(str(tmp_path)).train
    path.unlink()
    with pytest.raises(DataError, match=r"data_batch_3\.bin"):
        _ = read_cifar10(str(tmp_path)).train
    with pytest.raises(DataError, match="cifar100:/folder"):
        read_cifar100(str(tmp_path))
    with pytest.raises(DataError, match="cifar10:/folder"):
        read_cifar10()


def paint(path, size=(16, 16), mode="RGB", grey=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, grey if mode == "L" else (grey, 10, 20)).save(path)


def test_read_folder_with_splits(tmp_path):
    for split, classes in (("train", "ab"), ("val", "b")):
        for name in classes:
            for number in range(3):
                paint(tmp_path / split / name / f"{number}.png", grey=number)
    (tmp_path / "train" / ".hidden").mkdir()
    (tmp_path / "train" / "a" / ".thumb.png").write_bytes(b"no picture")
    (tmp_path / "train" / "a" / "notes.txt").write_text("no picture")
    data = read_folder(str(tmp_path))
    assert data.classes == ("a", "b")
    assert data.train.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert data.val.labels.tolist() == [1, 1, 1]
    assert data.val.classes == ("a", "b")
    assert data.train.images.shape == (6, 3, 16, 16)
    assert data.train.images[:, 0, 0, 0].tolist() == [0, 1, 2, 0, 1, 2]
    assert data.test.labels.tolist() == [1, 1, 1]
    paint(tmp_path / "val" / "c" / "0.png")
    with pytest.raises(DataError, match="class 'c'"):
        _ = read_folder(str(tmp_path)).val


def test_read_folder_splits_classes_by_file_names(tmp_path):
    for name in "ab":
        for number in range(100):
            paint(tmp_path / name / f"{number}.png", size=(8, 8), mode="L", grey=number)
    data = read_folder(str(tmp_path))
    sizes = [len(data.split(split)) for split in ("train", "val", "test")]
    assert sum(sizes) == 200
    assert 145 <= sizes[0] <= 175
    assert min(sizes[1:]) >= 8
    assert data.train.images.shape[1:] == (1, 8, 8)
    before = {(int(k), int(g)) for k, g in zip(data.val.labels, data.val.images[:, 0, 0, 0], strict=True)}
    for number in range(100, 150):
        paint(tmp_path / "a" / f"{number}.png", size=(8, 8), mode="L", grey=number)
    after = read_folder(str(tmp_path)).val
    assert before <= {(int(k), int(g)) for k, g in zip(after.labels, after.images[:, 0, 0, 0], strict=True)}


def test_read_folder_without_classes_has_no_labels(tmp_path):
    for number in range(40):
        paint(tmp_path / f"{number}.png", size=(8, 8))
    train = read_folder(str(tmp_path)).train
    assert train.labels is None
    assert train.classes == ()
    assert 20 <= len(train) <= 39


def test_read_folder_names_the_faulty_file(tmp_path):
    for number in range(3):
        paint(tmp_path / "train" / "a" / f"{number}.png")
        paint(tmp_path / "train" / "b" / f"{number}.png")
    bad = tmp_path / "train" / "a" / "bad.png"
    bad.write_bytes((tmp_path / "train" / "a" / "0.png").read_bytes()[:40])
    with pytest.raises(DataError, match=r"bad\.png"):
        _ = read_folder(str(tmp_path)).train
    paint(bad, size=(16, 25))
    with pytest.raises(DataError, match=r"bad\.png.*one size.*@224"):
        _ = read_folder(str(tmp_path)).train
    paint(bad, size=(65, 16))
    with pytest.raises(DataError, match=r"bad\.png.*65x16.*@224"):
        _ = read_folder(str(tmp_path)).train
    with pytest.raises(DataError, match="not a folder"):
        read_folder(str(tmp_path / "nowhere"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="No images"):
        _ = read_folder(str(tmp_path / "empty")).train


def test_load_data_with_further_roles():
    named = load_data("glyphs/base,held_out=glyphs/open")
    plain, held_out = load_data("glyphs/base"), load_data("glyphs/open")
    assert named.name == "glyphs/base,held_out=glyphs/open"
    assert named.classes == plain.classes
    assert named.roles["held_out"].classes == held_out.classes
    assert named.fingerprint() not in (plain.fingerprint(), held_out.fingerprint())
    with pytest.raises(UnknownNameError, match="glyph"):
        load_data("glyphs/base,held_out=glyfs/open")
