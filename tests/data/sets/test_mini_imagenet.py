"""miniImageNet on small copies in its two layouts: classes, images and errors."""

import numpy as np
import pytest
import torch
from PIL import Image

from germline.data import ImageFiles, draw_task, iterate_batches, load_data
from germline.data.sets.mini_imagenet import LIST_STEMS, MINI_IMAGENET_CLASSES
from germline.errors import DataError, UnknownNameError

SPLITS = ("train", "val", "test")
EACH = 6


def names(wnid):
    return [f"{wnid}{number:08d}.jpg" for number in range(EACH)]


def paint(path, level):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((70, 90, 3), level, np.uint8)).save(path)


@pytest.fixture
def folders(tmp_path):
    """The folder layout of the 16 open classes; the grey level of an image is ten times its class index."""
    for place, wnid in enumerate(MINI_IMAGENET_CLASSES["open"]):
        for name in names(wnid):
            paint(tmp_path / "val" / wnid / name, 10 * place)
    return tmp_path


@pytest.fixture
def lists(tmp_path):
    """The list layout of the same classes; rows of a class are not adjacent."""
    rows = []
    for place, wnid in enumerate(MINI_IMAGENET_CLASSES["open"]):
        for name in names(wnid):
            paint(tmp_path / "images" / name, 10 * place)
            rows.append(f"{name},{wnid}")
    (tmp_path / "val.csv").write_text("\n".join(["filename,label", *sorted(rows, key=lambda row: row[::-1])]) + "\n")
    return tmp_path


def test_mini_imagenet_parts_have_a_hundred_classes():
    assert {part: len(wnids) for part, wnids in MINI_IMAGENET_CLASSES.items()} == {"base": 64, "open": 16, "novel": 20}
    assert len({wnid for wnids in MINI_IMAGENET_CLASSES.values() for wnid in wnids}) == 100
    assert all(list(wnids) == sorted(wnids) for wnids in MINI_IMAGENET_CLASSES.values())
    # house finch, goose, nematode
    assert MINI_IMAGENET_CLASSES["base"][0] == "n01532829"
    assert MINI_IMAGENET_CLASSES["open"][0] == "n01855672"
    assert MINI_IMAGENET_CLASSES["novel"][0] == "n01930112"
    assert LIST_STEMS == {"base": "train", "open": "val", "novel": "test"}


@pytest.mark.parametrize("layout", ["folders", "lists"])
def test_read_mini_imagenet_gives_the_same_images_in_both_layouts(layout, request):
    root = request.getfixturevalue(layout)
    data = load_data(f"mini-imagenet/open:{root}")
    assert (data.name, data.classes) == ("mini-imagenet/open", MINI_IMAGENET_CLASSES["open"])
    seen = []
    for split, each in (("train", 4), ("val", 1), ("test", 1)):
        images = data.split(split)
        assert isinstance(images, ImageFiles)
        assert images.side == 84
        assert torch.bincount(images.labels).tolist() == [each] * 16
        assert [data.classes[label] for label in images.labels.tolist()] == [path.name[:9] for path in images.paths]
        seen += [path.name for path in images.paths]
    assert sorted(seen) == sorted(name for wnid in MINI_IMAGENET_CLASSES["open"] for name in names(wnid))


@pytest.mark.parametrize("part", ["base", "novel"])
@pytest.mark.parametrize("layout", ["folders", "lists"])
def test_read_mini_imagenet_uses_published_names(part, layout, tmp_path):
    files = [(wnid, name) for wnid in MINI_IMAGENET_CLASSES[part] for name in names(wnid)[:3]]
    places = [tmp_path / LIST_STEMS[part] / wnid / name if layout == "folders" else tmp_path / "images" / name
              for wnid, name in files]  # fmt: skip
    for place in places:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.touch()
    if layout == "lists":
        rows = ["filename,label", *(f"{name},{wnid}" for wnid, name in files)]
        (tmp_path / f"{LIST_STEMS[part]}.csv").write_text("\n".join(rows))
    data = load_data(f"mini-imagenet/{part}:{tmp_path}")
    assert sorted(path for split in SPLITS for path in data.split(split).paths) == sorted(places)
    assert data.test.classes == MINI_IMAGENET_CLASSES[part]


def test_read_mini_imagenet_splits_both_layouts_equally(folders, lists):
    of_folders = load_data(f"mini-imagenet/open:{folders}")
    found = [{path.name for path in of_folders.split(split).paths} for split in SPLITS]
    assert all(path.is_relative_to(folders / "val") for path in of_folders.train.paths)
    (folders / "val").rename(folders / "aside")
    of_lists = load_data(f"mini-imagenet/open:{lists}")
    assert [{path.name for path in of_lists.split(split).paths} for split in SPLITS] == found


def test_read_mini_imagenet_keeps_labels_with_images(lists):
    test = load_data(f"mini-imagenet/open:{lists}@32").test
    (batch,) = iterate_batches(test, 16)
    assert batch.pixels.shape == (16, 3, 32, 32)
    levels = (batch.pixels.mean(dim=(1, 2, 3)) * 255).round() / 10
    assert levels.round().long().tolist() == batch.labels.tolist()
    assert load_data(f"mini-imagenet/open:{lists}@32").name == "mini-imagenet/open@32"


def test_draw_task_from_image_files(folders):
    task = draw_task(load_data(f"mini-imagenet/open:{folders}"), 5, 2, seed=0, index=0)
    assert [len(task.split(split)) for split in SPLITS] == [10, 5, 5]
    assert [task.classes[label] for label in task.train.labels.tolist()] == [path.name[:9] for path in task.train.paths]
    assert not set(task.train.paths) & set(task.test.paths)


def test_wrong_names_are_refused(folders):
    with pytest.raises(UnknownNameError, match=r"part of mini-imagenet 'opne'. Did you mean open"):
        load_data(f"mini-imagenet/opne:{folders}")
    with pytest.raises(DataError, match=r"Mini-imagenet without a part.*mini-imagenet/base:/folder"):
        load_data(f"mini-imagenet:{folders}")
    with pytest.raises(DataError, match=r"mini-imagenet/open needs a folder"):
        load_data("mini-imagenet/open")


def test_read_mini_imagenet_refuses_a_missing_part(folders, lists, tmp_path):
    with pytest.raises(DataError, match=r"No mini-imagenet/novel in .*folder test .*nor test\.csv"):
        load_data(f"mini-imagenet/novel:{tmp_path}")
    (tmp_path / "test.csv").write_text("filename,label\n")
    (tmp_path / "images").rename(tmp_path / "photos")
    with pytest.raises(DataError, match=r"has no folder 'images'.*test\.csv"):
        load_data(f"mini-imagenet/novel:{tmp_path}")


def test_read_mini_imagenet_refuses_other_classes(folders):
    wnid = MINI_IMAGENET_CLASSES["open"][3]
    (folders / "val" / wnid).rename(folders / "aside")
    with pytest.raises(DataError, match=rf"val has no images of class '{wnid}'.*1 of the 16 published"):
        _ = load_data(f"mini-imagenet/open:{folders}").train
    (folders / "aside").rename(folders / "val" / "n01532829")
    with pytest.raises(DataError, match=r"val has a class 'n01532829'.*not one of the 16"):
        _ = load_data(f"mini-imagenet/open:{folders}").train


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("filename,label\n", "", r"val\.csv begins 'n0.*columns are filename,label"),
        ("filename,label\n", "class_name,image_name\n", r"val\.csv begins 'class_name,image_name'"),
        (
            "n0185567200000002.jpg,n01855672",
            "n0185567200000002.jpg",
            r"val\.csv: line \d+ is not a file name and a label",
        ),
        ("n0185567200000002.jpg,", "n0185567200000009.jpg,", r"n0185567200000009\.jpg is missing.*Line \d+ of"),
        ("n0185567200000002.jpg,", "n0185567200000001.jpg,", r"line \d+ names n0185567200000001\.jpg again"),
        (",n09256479", ",n09256470", r"val\.csv has a class 'n09256470'"),
        ("n0185567200000002.jpg", "\udcff", r"val\.csv cannot be read"),
    ],
)
def test_read_mini_imagenet_refuses_changed_lists(lists, old, new, message):
    path = lists / "val.csv"
    changed = path.read_text().replace(old, new)
    path.write_bytes(changed.encode("utf-8", "surrogateescape"))
    with pytest.raises(DataError, match=message):
        _ = load_data(f"mini-imagenet/open:{lists}").train


def test_read_mini_imagenet_refuses_too_few_images(lists):
    path = lists / "val.csv"
    rows = path.read_text().splitlines(keepends=True)
    path.write_text("".join(row for row in rows if "n0185567200000" not in row or int(row[16]) < 2))
    with pytest.raises(DataError, match=r"Class 'n01855672' has 2 images.*3 or more"):
        _ = load_data(f"mini-imagenet/open:{lists}").train
    path.write_text("")
    with pytest.raises(DataError, match=r"val\.csv begins ''"):
        _ = load_data(f"mini-imagenet/open:{lists}").train
