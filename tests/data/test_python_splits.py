"""Subsets, samplers and class names of Python data: splits have their own images and consistent labels."""

import logging

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from torch.utils.data import (
    BatchSampler,
    ConcatDataset,
    DataLoader,
    Dataset,
    RandomSampler,
    SequentialSampler,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
    random_split,
)
from torch.utils.data.distributed import DistributedSampler
from torchvision.datasets import ImageFolder

import germline as gl
from germline.errors import DataError

NUMBERS = torch.arange(60)
PIXELS = NUMBERS.view(60, 1, 1, 1).expand(60, 3, 8, 8).to(torch.uint8).contiguous()
BASE = TensorDataset(PIXELS, NUMBERS % 5)
OTHER = TensorDataset(PIXELS + 100, NUMBERS % 5)


def numbers(images):
    return images.images[:, 0, 0, 0].tolist()


@pytest.fixture(autouse=True)
def _clear_warnings():
    from germline.data.pixels import warn_once

    warn_once.cache_clear()


SUBSETS = {
    "subset": (lambda: Subset(BASE, [3, 1, 40]), [3, 1, 40]),
    "nested": (lambda: Subset(Subset(BASE, list(range(20, 40))), [0, 5, 7]), [20, 25, 27]),
    "three-deep": (lambda: Subset(Subset(Subset(BASE, range(10, 50)), range(5, 20)), [0, 1]), [15, 16]),
    "of-joined": (lambda: Subset(ConcatDataset([BASE, OTHER]), [1, 59, 60, 119]), [1, 59, 100, 159]),
    "joined-subsets": (lambda: ConcatDataset([Subset(BASE, [2, 4]), Subset(OTHER, [6])]), [2, 4, 106]),
    "tensor-indices": (lambda: Subset(BASE, torch.tensor([5, 9])), [5, 9]),
    "array-indices": (lambda: Subset(BASE, np.array([5, 9])), [5, 9]),
    "loader": (lambda: DataLoader(Subset(BASE, [5, 9]), batch_size=2), [5, 9]),
    "loader-of-nested": (lambda: DataLoader(Subset(Subset(BASE, range(30, 40)), [1, 2])), [31, 32]),
    "loader-shuffle": (lambda: DataLoader(Subset(BASE, [5, 9, 7]), shuffle=True), [5, 9, 7]),
    "loader-drop-last": (lambda: DataLoader(Subset(BASE, [5, 9, 7]), batch_size=2, drop_last=True), [5, 9, 7]),
    "loader-unbatched": (lambda: DataLoader(Subset(BASE, [5, 9]), batch_size=None), [5, 9]),
    "loader-subset-sampler": (lambda: DataLoader(BASE, sampler=SubsetRandomSampler([8, 2, 6])), [2, 6, 8]),
    "loader-both": (lambda: DataLoader(Subset(BASE, range(50, 60)), sampler=SubsetRandomSampler([3, 1])), [51, 53]),
    "loader-batches": (
        lambda: DataLoader(BASE, batch_sampler=BatchSampler(SubsetRandomSampler([9, 4]), 2, False)),
        [4, 9],
    ),
    "loader-in-order": (lambda: DataLoader(Subset(BASE, [4, 3]), sampler=SequentialSampler(range(2))), [4, 3]),
}


@pytest.mark.parametrize(("make", "expected"), SUBSETS.values(), ids=SUBSETS)
def test_subset_gives_exactly_its_images(make, expected):
    train = gl.load_data(make(), val=OTHER, classes=["a", "b", "c", "d", "e"]).train
    assert numbers(train) == expected
    assert train.labels.tolist() == [number % 100 % 5 for number in expected]


@pytest.mark.parametrize("seed", range(5))
def test_random_split_leaks_no_image(seed, caplog):
    parts = random_split(BASE, [30, 18, 12], generator=torch.Generator().manual_seed(seed))
    data = gl.load_data(parts[0], val=parts[1], test=parts[2])
    groups = [numbers(data.split(split)) for split in ("train", "val", "test")]
    assert [len(group) for group in groups] == [30, 18, 12]
    assert sorted(groups[0] + groups[1] + groups[2]) == list(range(60))
    assert not caplog.text


def test_tenth_of_a_subset_is_for_validation():
    data = gl.load_data(Subset(BASE, range(20, 40)))
    assert sorted(numbers(data.train) + numbers(data.val)) == list(range(20, 40))
    assert len(data.val) == 2


def test_shared_images_are_counted(caplog):
    gl.load_data(Subset(BASE, range(40)), val=Subset(BASE, range(35, 60)))
    assert "5 of 25 validation images are training images too" in caplog.text


class Twice(torch.utils.data.Sampler):
    def __init__(self):
        pass

    def __iter__(self):
        return iter([0, 0])

    def __len__(self):
        return 2


def stack(batch):
    return batch


class Stream(torch.utils.data.IterableDataset):
    def __iter__(self):
        return iter(BASE)


LOADERS = {
    "weights": (lambda: DataLoader(BASE, sampler=WeightedRandomSampler([1.0] * 60, 60)), "WeightedRandomSampler"),
    "replacement": (lambda: DataLoader(BASE, sampler=RandomSampler(BASE, replacement=True)), "RandomSampler"),
    "fewer": (lambda: DataLoader(BASE, sampler=RandomSampler(BASE, num_samples=10)), "RandomSampler"),
    "own-sampler": (lambda: DataLoader(BASE, sampler=Twice()), "Twice"),
    "list-sampler": (lambda: DataLoader(BASE, sampler=[1, 2]), "list"),
    "distributed": (lambda: DataLoader(BASE, sampler=DistributedSampler(BASE, 2, 0)), "DistributedSampler"),
    "batches-of-draws": (
        lambda: DataLoader(BASE, batch_sampler=BatchSampler(WeightedRandomSampler([1.0] * 60, 9), 2, False)),
        "WeightedRandomSampler",
    ),
    "own-batches": (lambda: DataLoader(BASE, batch_sampler=[[0, 1], [2]]), "list"),
    "collate": (lambda: DataLoader(BASE, collate_fn=stack), "'stack'"),
    "stream": (lambda: DataLoader(Stream()), "Stream"),
}


@pytest.mark.parametrize(("make", "name"), LOADERS.values(), ids=LOADERS)
def test_loader_that_chooses_images_is_refused(make, name):
    with pytest.raises(DataError, match=name) as caught:
        gl.load_data(make(), val=OTHER)
    assert caught.value.fix.startswith("Pass")


def test_subset_index_out_of_range_is_named():
    with pytest.raises(DataError, match=r"Item 1 of the training images cannot be read\. IndexError"):
        gl.load_data(Subset(BASE, [0, 99]), val=OTHER)


def test_wrapper_with_a_data_set_inside_gives_its_own_items():
    class Brighter(Dataset):
        def __init__(self, dataset):
            self.dataset = dataset

        def __len__(self):
            return 4

        def __getitem__(self, index):
            return self.dataset[index][0] + 50, 4 - index

    train = gl.load_data(Brighter(BASE), val=OTHER).train
    assert numbers(train) == [50, 51, 52, 53]
    assert train.labels.tolist() == [4, 3, 2, 1]


class Animals(Dataset):
    """One image per label, with class names in one of the usual attributes."""

    def __init__(self, names, labels, attribute="classes"):
        self.labels = labels
        if attribute == "classes":
            self.classes = list(names)
        elif attribute == "class_to_idx":
            self.class_to_idx = {name: index for index, name in enumerate(names)}
        elif attribute == "features":
            self.features = {"label": type("ClassLabel", (), {"names": list(names)})()}

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        pixels = PIXELS[self.labels[index] + 10]
        return (
            {"image": pixels, "label": self.labels[index]}
            if hasattr(self, "features")
            else (pixels, self.labels[index])
        )


@pytest.mark.parametrize("attribute", ["classes", "class_to_idx", "features"])
@pytest.mark.parametrize(
    "wrap", [lambda d: d, lambda d: Subset(d, range(len(d))), lambda d: ConcatDataset([d, d]), DataLoader]
)
def test_labels_are_aligned_by_class_name(attribute, wrap):
    train = Animals(["cat", "dog", "owl"], [0, 1, 2], attribute)
    val = wrap(Animals(["cat", "owl"], [0, 1, 1], attribute))
    data = gl.load_data(train, val=val, test=wrap(Animals(["owl", "dog", "cat", "yak"], [0, 1, 2], attribute)))
    assert data.classes == data.val.classes == data.test.classes == ("cat", "dog", "owl")
    assert data.val.labels.tolist()[:3] == [0, 2, 2]
    assert data.test.labels.tolist()[:3] == [2, 1, 0]


def test_given_class_names_rename_the_declared_ones():
    train, val = Animals(["n1", "n2", "n3"], [0, 1, 2]), Animals(["n1", "n3"], [0, 1])
    data = gl.load_data(train, val=val, classes=["cat", "dog", "owl"])
    assert data.classes == ("cat", "dog", "owl")
    assert data.val.labels.tolist() == [0, 2]
    with pytest.raises(DataError, match="names 2 classes, the training images name 3"):
        gl.load_data(train, val=val, classes=["cat", "dog"])


def test_text_labels_are_matched_to_declared_names():
    texts = [(PIXELS[0], "owl"), (PIXELS[1], "cat")]
    data = gl.load_data(Animals(["cat", "dog", "owl"], [0, 1, 2]), val=texts)
    assert data.val.labels.tolist() == [2, 0]
    with pytest.raises(DataError, match="class 'dog'"):
        gl.load_data(texts, val=Animals(["cat", "dog", "owl"], [0, 1, 2]))


def test_texts_of_digits_are_class_names_where_there_are_such_names():
    class Named(list):
        classes = ("0", "1", "10", "2")  # in the order of sorted folders

    texts = [(PIXELS[0], "2"), (PIXELS[1], "10")]
    assert gl.load_data(Animals(Named.classes, [0, 1, 2, 3]), val=texts).val.labels.tolist() == [3, 2]
    data = gl.load_data(Named(texts), val=texts, test=texts[:1])
    assert [split.labels.tolist() for split in (data.train, data.val, data.test)] == [[3, 2], [3, 2], [3]]
    mixed = [(PIXELS[index], name) for index, name in enumerate(["1", "2", "x"])]
    assert gl.load_data(mixed, val=[(PIXELS[3], "2")]).val.labels.tolist() == [1]
    with pytest.raises(DataError, match="class '3'"):
        gl.load_data(mixed, val=[(PIXELS[3], "2"), (PIXELS[4], "3")])


def test_numbers_index_the_declared_names():
    data = gl.load_data(Animals(["cat", "dog", "owl"], [0, 1, 2]), val=(PIXELS[:2], [2, 1]))
    assert data.val.labels.tolist() == [2, 1]
    assert data.val.classes == ("cat", "dog", "owl")


class Outer(Dataset):
    """A wrapper that passes items on and declares nothing."""

    def __init__(self, inner):
        self.inner = inner

    def __len__(self):
        return len(self.inner)

    def __getitem__(self, index):
        return self.inner[index]


def make_changed(names, labels):
    data = Animals(names, labels)
    data.target_transform = lambda label: label
    return data


MISFITS = {
    "val-has-more": (Animals("ab", [0, 1]), Animals("abc", [0, 2]), "validation images have a class 'c'"),
    "val-disjoint": (Animals("ab", [0, 1]), Animals("cd", [0, 1]), "class 'c'"),
    "numbers-then-names": ((PIXELS, NUMBERS % 3), Animals(["cat", "dog"], [0, 1]), "class 'cat'"),
    "val-label-above": ((PIXELS, NUMBERS % 3), (PIXELS, NUMBERS % 4), "reach 3 but there are 3"),
    "names-too-few": (Animals("ab", [0, 1, 2]), (PIXELS, NUMBERS % 2), "reach 2 but the data set names 2"),
    "joined-differently": (
        ConcatDataset([Animals("ab", [0, 1]), Animals("ac", [0, 1])]),
        (PIXELS, NUMBERS % 2),
        "name their classes differently: a, b and a, c",
    ),
    "wrapped-differently": (Outer(Animals("abc", [0, 1, 2])), Outer(Animals("ac", [0, 1])), "attribute `classes`"),
    "wrapped-once": (Animals("abc", [0, 1, 2]), Outer(Animals("ac", [0, 1])), "attribute `classes`"),
    "changed-targets": (make_changed("abc", [0, 1, 2]), make_changed("ac", [0, 1]), "attribute `classes`"),
    "val-labelled-alone": (PIXELS, (PIXELS, NUMBERS % 2), "have labels, the training images have none"),
    "val-size": ((PIXELS, NUMBERS % 3), (PIXELS[..., :6, :6], NUMBERS % 3), "(3, 6, 6)"),
    "val-channels": ((PIXELS[:, :1], NUMBERS % 3), (PIXELS, NUMBERS % 3), "(1, 8, 8)"),
    "val-name": ((PIXELS, NUMBERS % 3), "/photos", "'/photos' is a name"),
    "val-empty": ((PIXELS, NUMBERS % 3), [], "list of the validation images is empty"),
    "val-wide": ((PIXELS, NUMBERS % 3), (PIXELS[..., :6], NUMBERS % 3), "Validation images are 6x8"),
    "val-normalised": ((PIXELS, NUMBERS % 3), (PIXELS / 9 - 1, NUMBERS % 3), "The validation images has float"),
}


@pytest.mark.parametrize(("train", "val", "message"), MISFITS.values(), ids=MISFITS)
def test_splits_that_do_not_fit_are_refused(train, val, message):
    with pytest.raises(DataError) as caught:
        gl.load_data(train, val=val)
    assert message.lower() in str(caught.value).lower()


def test_equal_wrappers_with_equal_names_are_read():
    data = gl.load_data(Outer(Animals("ab", [0, 1])), val=Outer(Animals("ab", [1])))
    assert (data.classes, data.val.labels.tolist()) == (("0", "1"), [1])


def test_image_folders_of_torchvision_are_aligned(tmp_path, caplog):
    for split, names in {"train": ("cat", "dog", "owl"), "val": ("cat", "owl")}.items():
        for name in names:
            (tmp_path / split / name).mkdir(parents=True)
            for index in range(3):
                level = ("cat", "dog", "owl").index(name) * 50 + index + 10 * (split == "val")
                Image.new("RGB", (8, 8), (level, 0, 0)).save(tmp_path / split / name / f"{index}.png")
    train, val = ImageFolder(tmp_path / "train"), ImageFolder(tmp_path / "val")
    data = gl.load_data(train, val=val)
    assert data.classes == ("cat", "dog", "owl")
    assert data.val.labels.tolist() == [0, 0, 0, 2, 2, 2]
    assert numbers(data.val) == [10, 11, 12, 110, 111, 112]
    part = gl.load_data(Subset(train, [0, 4, 8]), val=Subset(val, [5]))
    assert (part.train.labels.tolist(), part.val.labels.tolist()) == ([0, 1, 2], [2])
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_image_data_sets_of_timm_are_aligned(tmp_path):
    for split, names in {"train": ("cat", "dog", "owl"), "val": ("cat", "owl")}.items():
        for index, name in enumerate(names):
            (tmp_path / split / name).mkdir(parents=True)
            for number in range(2):
                level = (index, number, len(split))
                Image.new("RGB", (8, 8), level).save(tmp_path / split / name / f"{number}.png")
    parts = [timm.data.ImageDataset(str(tmp_path / split)) for split in ("train", "val")]
    data = gl.load_data(parts[0], val=parts[1])
    assert data.classes == ("cat", "dog", "owl")
    assert data.val.labels.tolist() == [0, 0, 2, 2]
    with pytest.raises(DataError, match="attribute `classes`"):
        gl.load_data(Outer(parts[0]), val=Outer(parts[1]))


class Noisy(Dataset):
    def __len__(self):
        return 40

    def __getitem__(self, index):
        return torch.randint(0, 255, (3, 8, 8), dtype=torch.uint8), index % 2


def test_random_transforms_are_named_and_keep_their_draws(caplog):
    torch.manual_seed(0)
    data = gl.load_data(Noisy(), val=Noisy())
    torch.manual_seed(0)
    expected = torch.stack([Noisy()[index][0] for index in range(80)])
    assert torch.equal(torch.cat([data.train.images, data.val.images]), expected)
    assert "Items of the training images differ when they are read again" in caplog.text
    assert "Items of the validation images differ" in caplog.text
