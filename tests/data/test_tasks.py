"""K-way tasks: draws, separation of splits, and fixed lists."""

import numpy as np
import pytest
import torch

from germline.data import (
    DataSet,
    Images,
    draw_disjoint_tasks,
    draw_task,
    draw_task_list,
    load_data,
    select_classes,
    split_classes,
)
from germline.data.concat import concat_data_sets
from germline.data.sets import glyphs
from germline.errors import DataError, SettingError

SPLITS = ("train", "val", "test")


@pytest.fixture(scope="module")
def novel():
    return load_data("glyphs/novel")


@pytest.fixture
def numbered():
    """Six classes with 8, 4 and 4 images per split; the pixel of each image is its number."""
    images = torch.arange(96, dtype=torch.uint8).reshape(96, 1, 1, 1)
    labels = torch.arange(96) % 6
    parts = [(images[rows], labels[rows]) for rows in (slice(48), slice(48, 72), slice(72, 96))]
    return load_data(parts[0], val=parts[1], test=parts[2], classes=list("uvwxyz"))


def numbers(images):
    return images.images.flatten().tolist()


def test_draw_task_contains_all_images_of_its_classes(numbered):
    task = draw_task(numbered, 3, None, seed=0, index=0)
    assert len(task.classes) == len(set(task.classes)) == 3
    for split, count in (("train", 8), ("val", 4), ("test", 4)):
        images = task.split(split)
        assert images.classes == task.classes
        assert len(images) == 3 * count
        true = ["uvwxyz"[number % 6] for number in numbers(images)]
        assert [task.classes[label] for label in images.labels.tolist()] == true
        assert set(numbers(images)) <= set(numbers(numbered.split(split)))


def test_draw_task_fewer_shots_are_the_first_of_more(numbered):
    few, more = (draw_task(numbered, 4, shots, seed=3, index=2) for shots in (2, 5))
    assert few.classes == more.classes == draw_task(numbered, 4, None, seed=3, index=2).classes
    assert torch.bincount(few.train.labels).tolist() == [2] * 4
    assert set(numbers(few.train)) < set(numbers(more.train))
    assert len(set(numbers(more.train))) == 20
    assert numbers(few.val) == numbers(more.val)
    assert torch.bincount(few.test.labels).tolist() == [4] * 4


def test_draw_task_orders_classes_by_the_draw(numbered):
    orders = {draw_task(numbered, 6, 1, seed=0, index=index).classes for index in range(20)}
    assert len(orders) == 20
    assert all(sorted(order) == list("uvwxyz") for order in orders)


def test_draw_task_list_depends_only_on_its_seed(numbered):
    short, long, other = (draw_task_list(numbered, 3, 2, count, seed) for count, seed in ((4, 0), (9, 0), (9, 1)))
    facts = [[(task.name, task.classes, numbers(task.train)) for task in tasks] for tasks in (short, long, other)]
    assert facts[0] == facts[1][:4]
    assert [fact[1:] for fact in facts[1]] != [fact[1:] for fact in facts[2]]
    assert len({fact[0] for fact in facts[1] + facts[2]}) == 18
    names = {name for task in long for name in task.classes}
    assert names == set("uvwxyz")


def test_draw_task_keeps_the_facts_of_the_source(novel):
    task = draw_task_list(novel, 5, 10, 4, seed=0)[3]
    assert task.name == "glyphs/novel[5-way 10-shot task 3 of seed 0]"
    assert draw_task(novel, 5, None, 7, 0).name == "glyphs/novel[5-way task 0 of seed 7]"
    assert (task.augmentation, task.licence, task.source) == (novel.augmentation, novel.licence, novel.source)


def fonts(images):
    """Return the fonts that draw each image, by their position in the pack."""
    pack = glyphs._pack()
    fonts_of_image = {}
    for image, font in zip(pack.images, _font_of_row(), strict=True):
        fonts_of_image.setdefault(image.tobytes(), set()).add(int(font))
    return [fonts_of_image[image.tobytes()] for image in images.images.numpy()]


def _font_of_row():
    with (glyphs.files("germline.data") / "packs" / "glyphs.npz").open("rb") as file:
        return np.load(file)["font"]


def test_draw_task_tests_glyphs_on_unseen_fonts(novel):
    task = draw_task(novel, 5, 10, seed=0, index=0)
    known = [fonts(task.split(split)) for split in SPLITS]
    # Several fonts can draw the same dot, so it does not identify a font.
    train, val, test = ({next(iter(one)) for one in each if len(one) == 1} for each in known)
    assert min(len(train), len(val), len(test)) >= 10
    assert not train & val
    assert not train & test
    assert not val & test


def test_draw_task_reads_other_splits_when_first_used(numbered):
    splits_read = []

    def read(split):
        splits_read.append(split)
        return numbered.split(split)

    task = draw_task(DataSet("lazy", read), 2, 1, seed=0, index=0)
    assert splits_read == ["train"]
    assert len(task.train) == 2
    assert splits_read == ["train"]
    assert len(task.test) == 8
    assert splits_read == ["train", "test"]


def test_draw_task_refuses_bad_ways_and_shots(numbered):
    with pytest.raises(SettingError, match=r"ways=1.*ways=2"):
        draw_task(numbered, 1, 1, 0, 0)
    with pytest.raises(SettingError, match=r"shots=0.*shots=1"):
        draw_task(numbered, 2, 0, 0, 0)
    with pytest.raises(SettingError, match="0 tasks"):
        draw_task_list(numbered, 2, 1, 0, 0)
    with pytest.raises(DataError, match=r"given in Python.*6 classes.*7-way.*at most 6 ways"):
        draw_task(numbered, 7, 1, 0, 0)
    with pytest.raises(DataError, match=r"Class '[u-z]' of 'given in Python' has 8 training.*at most 8 shots"):
        draw_task_list(numbered, 2, 9, 1, 0)
    with pytest.raises(DataError, match=r"has no labels"):
        draw_task(load_data((numbered.train.images, None)), 2, 1, 0, 0)


def test_draw_task_names_a_class_without_images(numbered):
    train, empty = numbered.train, numbered.val.subset(torch.arange(0))
    few = Images(train.images[train.labels != 2], train.labels[train.labels != 2], train.classes)
    source = DataSet("thin", {"train": few, "val": empty}.__getitem__)
    with pytest.raises(DataError, match=r"Class 'w' of 'thin' has 0 training images.*Remove that class"):
        draw_task(source, 6, None, 0, 0)
    with pytest.raises(DataError, match=r"'thin' has no val images"):
        _ = draw_task(DataSet("thin", {"train": train, "val": empty}.__getitem__), 2, None, 0, 0).val


def test_select_classes_reorders_labels(numbered):
    chosen = numbered.train.select_classes(("z", "u"))
    assert chosen.classes == ("z", "u")
    assert [number % 6 for number in numbers(chosen)] == [0, 5] * 8
    assert chosen.labels.tolist() == [1, 0] * 8
    with pytest.raises(DataError, match="No class 'a'"):
        numbered.train.select_classes(("u", "a"))
    with pytest.raises(DataError, match="have no labels"):
        Images(numbered.train.images, None, ()).select_classes(("u",))


def test_split_classes_by_seed_share_no_class():
    digits = load_data("digits")
    first, second = split_classes(digits, 0.3, 2, 0)
    assert (len(first.classes), len(second.classes)) == (7, 3)
    assert set(first.classes) | set(second.classes) == set(digits.classes)
    assert split_classes(digits, 0.3, 2, 1)[1].classes != second.classes
    assert len(first.val) + len(second.val) == len(digits.val)
    # Each part has at least so many, for any share.
    assert len(split_classes(digits, 0.01, 4, 0)[1].classes) == 4
    assert len(split_classes(digits, 0.99, 4, 0)[0].classes) == 4
    with pytest.raises(DataError, match="has 10 classes, two parts of 6 are needed"):
        split_classes(digits, 0.3, 6, 0)


def test_disjoint_tasks_share_no_class(pico):
    tasks = draw_disjoint_tasks(pico, 3, 3, 0)
    names = [name for task in tasks for name in task.classes]
    assert len(set(names)) == len(names) == 9
    assert [task.classes for task in draw_disjoint_tasks(pico, 3, 2, 0)] == [task.classes for task in tasks[:2]]
    assert [task.classes for task in draw_disjoint_tasks(pico, 3, 3, 1)] != [task.classes for task in tasks]
    assert len(tasks[0].train) == 36
    with pytest.raises(DataError, match="4 disjoint 3-way tasks need 12"):
        draw_disjoint_tasks(pico, 3, 4, 0)
    with pytest.raises(SettingError, match="0 tasks"):
        draw_disjoint_tasks(pico, 3, 0, 0)


def test_select_classes_of_a_data_set(pico):
    part = select_classes(pico, ("7", "2"))
    assert part.classes == ("7", "2")
    assert part.train.labels.bincount().tolist() == [12, 12]
    assert torch.equal(part.val.images, pico.val.images[torch.isin(pico.val.labels, torch.tensor([2, 7]))])


def test_concat_data_sets():
    both = load_data("glyphs/open+digits")
    one, other = load_data("glyphs/open"), load_data("digits")
    assert both.classes == (*(f"glyphs/open:{n}" for n in one.classes), *(f"digits:{n}" for n in other.classes))
    assert len(both.val) == len(one.val) + len(other.val)
    at = both.classes.index("digits:3")
    assert int((both.val.labels == at).sum()) == int((other.val.labels == 3).sum())
    assert torch.equal(both.train.images[: len(one.train)], one.train.images)
    assert set(both.augmentation) <= set(one.augmentation) & set(other.augmentation)
    with pytest.raises(DataError, match="names a data set twice"):
        load_data("digits+digits")
    with pytest.raises(DataError, match="cannot be joined"):
        concat_data_sets("both", [one, colourful(one)]).train  # noqa: B018


def colourful(source):
    images = source.train.images[:20].repeat(1, 3, 1, 1)
    return load_data((images, torch.arange(20) % 2), classes=("a", "b"))
