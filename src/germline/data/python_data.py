"""Data sets from images that are given in Python."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from germline.data.batch_order import open_data_loader
from germline.data.class_names import Names, align_labels, find_class_names, find_inner_names
from germline.data.dataset import Images, Split
from germline.data.items import read_items, stack_images, to_bytes
from germline.data.labels import read_labels
from germline.data.pixels import PixelReader, warn_once
from germline.errors import DataError
from germline.randomness import generator

VALIDATION_SHARE = 0.1


@dataclass(frozen=True)
class PythonImages:
    """Images that are given in Python, before their labels are those of the training classes.

    Attributes:
        images: uint8 [N, C, H, W].
        labels: int64 [N]; None without labels.
        names: Class names that the labels index; None if the data declare none.
        count: Number of classes that the labels imply.
        inner: Class names of a data set somewhere inside; None if there is none.
        are_digits: Whether the labels were texts that are all digits, and no class names were found for them.
    """

    images: Tensor
    labels: Tensor | None
    names: Names | None
    count: int
    inner: Names | None
    are_digits: bool = False


def read_python_splits(source: Any, val: Any, test: Any, classes: Names) -> dict[Split, Images]:
    """Read splits that are given in Python; labels of all splits mean the same classes.

    Args:
        source: Training images: a pair of tensors, a map-style Dataset, or a DataLoader of one.
        val: Validation images; None takes a tenth of the training images.
        test: Test images; None for none.
        classes: Ordered class names, checked; empty for those that the data declare, or numbers.

    Raises:
        DataError: A source is of another form, or its labels do not fit those of the training images.
    """
    read = read_python_images(source, "the training images")
    if classes and read.names and read.labels is not None and len(classes) != len(read.names):
        raise DataError(
            f"classes= names {len(classes)} classes, the training images name {len(read.names)}",
            "The names would belong to other classes",
            "Pass one name per class of the data, or none",
        )
    train = Images(
        read.images, read.labels, () if read.labels is None else classes or read.names or _number(read.count)
    )
    if len(train.classes) == 1:
        raise DataError(
            f"All training images are of one class, '{train.classes[0]}'",
            "A classifier needs at least two classes",
            "Pass images of other classes too, or None as labels",
        )
    splits: dict[Split, Images] = {"train": train}
    others: tuple[tuple[Split, str, Any], ...] = (("val", "validation", val), ("test", "test", test))
    for split, word, other in others:
        if other is not None:
            splits[split] = _fit(read_python_images(other, f"the {word} images"), read, train, word)
            _warn_of_shared_images(train, splits[split], word)
    _warn_of_empty_classes(train, classes or read.names)
    if val is None:
        splits["train"], splits["val"] = _split_validation(train)
        _warn_of_shared_images(splits["train"], splits["val"], "validation")
    return splits


def read_python_images(source: Any, name: str) -> PythonImages:
    """Read images that are given in Python.

    Args:
        source: Pair of tensors, map-style Dataset, DataLoader, or `Images`.
        name: Name of the images for messages.

    Raises:
        DataError: The source is of another form, or its images are not square or differ in size.
    """
    if isinstance(source, Images):
        names = source.classes if source.labels is not None else None
        return PythonImages(_check_square(source.images, name), source.labels, names, len(source.classes), names)
    if isinstance(source, (str, bytes, PurePath)):
        source = source.decode(errors="replace") if isinstance(source, bytes) else source
        raise DataError(
            f"'{source}' is a name", "Other splits are given in Python", f'Use load_data("folder:{source}") alone'
        )
    if isinstance(source, DataLoader):
        source = open_data_loader(source)
    key = None
    if isinstance(source, (Tensor, np.ndarray)):
        images, given = _read_array(source, name), None
    elif isinstance(source, tuple) and source and isinstance(source[0], (Tensor, np.ndarray)):
        images, given = _read_pair(source, name)
    else:
        images, given, key = read_items(source, name)
    labels = None if given is None else read_labels(given, name)
    _check_square(images, name)
    if labels is not None and len(labels.numbers) != len(images):
        raise _refuse_count(len(labels.numbers), len(images))
    if labels is None:
        return PythonImages(images, None, None, 0, None)
    names = labels.names or find_class_names(source, key)
    if names is not None and labels.are_digits and _list_digits(labels.numbers) <= set(names):
        numbers = align_labels(labels.numbers, _number(labels.count), names, name)
        return PythonImages(images, numbers, names, len(names), names)
    if names is not None and labels.count > len(names):
        raise DataError(
            f"Labels of {name} reach {labels.count - 1} but the data set names {len(names)} classes",
            "A label is the index of a class name, from 0",
            "Use a data set whose `classes` name every label",
        )
    inner = names or find_inner_names(source)
    return PythonImages(images, labels.numbers, names, labels.count, inner, labels.are_digits and names is None)


def _read_pair(pair: tuple[Any, ...], name: str) -> tuple[Tensor, Any]:
    if len(pair) != 2:
        raise DataError(
            f"A tuple of {len(pair)} is not a data set", "A pair has images and labels", "Pass (images, labels)"
        )
    images, labels = _read_array(pair[0], name), pair[1]
    count = -1 if not hasattr(labels, "__len__") or getattr(labels, "ndim", 1) == 0 else len(labels)
    if count not in (-1, len(images)):
        raise _refuse_count(count, len(images))
    return images, labels


def _refuse_count(labels: int, images: int) -> DataError:
    return DataError(
        f"{labels} labels for {images} images", "There is one label per image", "Pass as many labels as images"
    )


def _read_array(images: Tensor | np.ndarray[Any, Any], name: str) -> Tensor:
    """Read images of one array: [N, C, H, W], or with channels last or without channels in a NumPy array."""
    if images.ndim not in ((4,) if isinstance(images, Tensor) else (3, 4)) or not len(images):
        raise DataError(
            f"Images of shape {tuple(images.shape)}",
            "Images are [N, 1 or 3, height, width]",
            "Pass images[:, None] for grey images without channels" if images.ndim == 3 else "Pass at least one image",
        )
    reader = PixelReader(name)
    if isinstance(images, Tensor) and images.shape[1] in (1, 3):
        stacked = reader.read_pixels(images.as_subclass(Tensor), name.capitalize())
    else:
        stacked = stack_images(
            [to_bytes(image, reader, f"Image {index} of {name}") for index, image in enumerate(images)], name
        )
    reader.check_range()
    return stacked


def _check_square(images: Tensor, name: str) -> Tensor:
    height, width = images.shape[-2:]
    if not height * width:
        raise DataError(f"{name.capitalize()} are {width}x{height} px", "They have no pixels", "Use images with pixels")
    if height != width:
        raise DataError(
            f"{name.capitalize()} are {width}x{height} px",
            "Networks take square images, and germline neither stretches nor cuts them unasked",
            "Use a transform that resizes or crops them to a square",
        )
    return images


def _number(count: int) -> Names:
    return tuple(str(index) for index in range(count))


def _list_digits(labels: Tensor) -> set[str]:
    return {str(label) for label in set(labels.tolist())}


def _fit(read: PythonImages, training: PythonImages, train: Images, word: str) -> Images:
    """Give images of another split the training classes."""
    if read.images.shape[1:] != training.images.shape[1:]:
        shapes = f"{tuple(read.images.shape[1:])}, the training images {tuple(training.images.shape[1:])}"
        raise DataError(
            f"The {word} images have shape {shapes}", "All splits have one size and number of channels",
            "Use the same transform for all splits",
        )  # fmt: skip
    if read.labels is None or train.labels is None:
        if read.labels is not None:
            raise DataError(
                f"The {word} images have labels, the training images have none",
                "Labels mean the training classes",
                "Pass labels for both, or for neither",
            )
        return Images(read.images, None, ())
    if training.names is not None and read.are_digits and _list_digits(read.labels) & set(training.names):
        # The texts are class names here, not places in the list of names.
        labels = align_labels(read.labels, _number(read.count), training.names, word)
        return Images(read.images, labels, train.classes)
    if read.names is None or training.names is None:
        if read.inner and training.inner and read.inner != training.inner:
            raise DataError(
                f"The {word} images have {len(read.inner)} classes inside, the training images {len(training.inner)}",
                "Their labels may mean different classes, and the outer data set declares no `classes`",
                "Give both data sets an attribute `classes` with the names of their labels",
            )
        if read.names is None and read.count > len(train.classes):
            raise DataError(
                f"Labels of the {word} images reach {read.count - 1} but there are {len(train.classes)} classes",
                f"The training images have labels from 0 to {training.count - 1}",
                "Pass the names of all classes as classes=, or remove the other images",
            )
        names = train.classes if read.names is None else read.names
        return Images(read.images, align_labels(read.labels, names, train.classes, word), train.classes)
    return Images(read.images, align_labels(read.labels, read.names, training.names, word), train.classes)


def _warn_of_empty_classes(train: Images, named: Names | None) -> None:
    if train.labels is None:
        return
    counts = torch.bincount(train.labels, minlength=len(train.classes))
    empty = [name for name, count in zip(train.classes, counts.tolist(), strict=True) if not count]
    if empty:
        kind = "classes" if named else "labels"
        warn_once(
            f"{len(empty)} of {len(train.classes)} {kind} have no training images, such as '{empty[0]}'. "
            "Remove them if they are no classes."
        )


def _warn_of_shared_images(train: Images, other: Images, word: str) -> None:
    known = {hash(image.numpy().tobytes()) for image in train.images}
    shared = sum(hash(image.numpy().tobytes()) in known for image in other.images)
    if shared:
        warn_once(
            f"{shared} of {len(other)} {word} images are training images too. "
            "Accuracy on them says little about new images."
        )


def _split_validation(images: Images) -> tuple[Images, Images]:
    if len(images) < 2:
        raise DataError(
            "One training image", "A tenth of the images is for validation", "Pass val=, or more training images"
        )
    order = torch.randperm(len(images), generator=generator(0, "validation"))
    held = max(1, round(len(images) * VALIDATION_SHARE))
    return images.subset(order[held:].sort().values), images.subset(order[:held].sort().values)


def read_split_of(splits: dict[Split, Images]) -> Callable[[Split], Images]:
    """Return the reader of a `DataSet` whose splits are in memory."""

    def read(split: Split) -> Images:
        if split not in splits:
            raise DataError(f"No {split} images were given", fix=f"Pass {split}= to germline.load_data")
        return splits[split]

    return read
