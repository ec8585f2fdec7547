"""K-way tasks: small data sets of a few classes, drawn by seed."""

from __future__ import annotations

from functools import partial

import torch

from germline.data.dataset import AnyImages, DataSet, Split
from germline.errors import DataError, SettingError
from germline.randomness import generator


def draw_task(source: DataSet, ways: int, shots: int | None, seed: int, index: int) -> DataSet:
    """Draw a task: some classes of a data set, with few or all of their training images.

    Training images come from the training split of `source`. Validation and test images are all images that the
    splits of those names have of the classes. So images or fonts that `source` separates are separate in a task.

    The draw reads the training split; other splits are read when first used. The classes depend neither on the number
    of shots nor on other tasks. Fewer shots are the first ones of more shots.

    Args:
        source: Labelled data set, usually one part of a class split.
        ways: Number of classes.
        shots: Training images per class; None for all.
        seed: Random seed of the list of tasks.
        index: Position of the task in the list, from 0.

    Returns:
        A data set with labels 0 to ways - 1, in the order of the draw. Classes keep their names.

    Raises:
        SettingError: There are fewer than two ways, or less than one shot.
        DataError: The source has no labels or too few classes, or a drawn class has too few images.
    """
    _check_settings(ways, shots)
    train = source.train
    if train.labels is None:
        raise DataError(f"'{source.name}' has no labels", "A task is a choice of classes", "Use labelled data")
    if ways > len(train.classes):
        raise DataError(
            f"'{source.name}' has {len(train.classes)} classes, a {ways}-way task needs {ways}",
            fix=f"Use at most {len(train.classes)} ways",
        )
    order = torch.randperm(len(train.classes), generator=generator(seed, "task", index))[:ways].tolist()
    counts = torch.bincount(train.labels, minlength=len(train.classes))
    for label in order:
        if (count := int(counts[label])) < (shots or 1):
            raise DataError(
                f"Class '{train.classes[label]}' of '{source.name}' has {count} training images",
                f"A {shots or 1}-shot task needs {shots or 1}",
                f"Use at most {count} shots" if count else "Remove that class",
            )
    size = f"{ways}-way" if shots is None else f"{ways}-way {shots}-shot"
    name = f"{source.name}[{size} task {index} of seed {seed}]"
    return _part(source, name, tuple(train.classes[label] for label in order), shots, (seed, index))


def draw_disjoint_tasks(source: DataSet, ways: int, count: int, seed: int) -> tuple[DataSet, ...]:
    """Draw tasks that share no class, with all training images.

    A longer list of the same seed begins with the same tasks.

    Args:
        source: Labelled data set.
        ways: Number of classes per task.
        count: Number of tasks.
        seed: Random seed of the list.

    Raises:
        SettingError: There are fewer than two ways or less than one task.
        DataError: The source has no labels, or too few classes.
    """
    _check_settings(ways, None)
    _check_count(count)
    if source.train.labels is None:
        raise DataError(f"'{source.name}' has no labels", "A task is a choice of classes", "Use labelled data")
    classes = source.classes
    if ways * count > len(classes):
        raise DataError(
            f"'{source.name}' has {len(classes)} classes, {count} disjoint {ways}-way tasks need {ways * count}",
            fix=f"Use at most {len(classes) // ways} tasks, or tasks that overlap",
        )
    order = torch.randperm(len(classes), generator=generator(seed, "disjoint tasks")).tolist()
    parts = [tuple(classes[label] for label in order[ways * at : ways * (at + 1)]) for at in range(count)]
    return tuple(
        _part(source, f"{source.name}[disjoint {ways}-way task {at} of seed {seed}]", names, None, (seed, at))
        for at, names in enumerate(parts)
    )


def select_classes(source: DataSet, names: tuple[str, ...]) -> DataSet:
    """Select some classes of a data set; labels become indices into `names`.

    Raises:
        DataError: When a split is first read: a name is not one of the classes.
    """
    return _part(source, f"{source.name}[{len(names)} classes]", names, None, (0, 0))


def _part(source: DataSet, name: str, classes: tuple[str, ...], shots: int | None, key: tuple[int, int]) -> DataSet:
    return DataSet(
        name=name,
        read=partial(_read, source, classes, shots, key),
        augmentation=source.augmentation,
        licence=source.licence,
        source=source.source,
    )


def split_classes(source: DataSet, share: float, least: int, seed: int) -> tuple[DataSet, DataSet]:
    """Split a data set by class, drawn by seed: the larger part, and a share of the classes held out.

    Args:
        source: Labelled data set.
        share: Share of the classes to hold out.
        least: Least number of classes of each part.
        seed: Random seed of the draw.

    Raises:
        DataError: The source has no labels, or too few classes.
    """
    if source.train.labels is None:
        raise DataError(f"'{source.name}' has no labels", "A choice of classes needs them", "Use labelled data")
    classes = source.classes
    if len(classes) < 2 * least:
        raise DataError(
            f"'{source.name}' has {len(classes)} classes, two parts of {least} are needed",
            "Some classes are held out from the others",
            "Use data with more classes, or fewer ways",
        )
    held = min(max(least, round(share * len(classes))), len(classes) - least)
    order = torch.randperm(len(classes), generator=generator(seed, "held-out classes")).tolist()
    parts = (sorted(order[held:]), sorted(order[:held]))
    names = [tuple(classes[index] for index in part) for part in parts]
    larger, held_out = (
        _part(source, f"{source.name}[{len(part)} classes of seed {seed}]", part, None, (seed, 0)) for part in names
    )
    return larger, held_out


def draw_task_list(source: DataSet, ways: int, shots: int | None, count: int, seed: int) -> tuple[DataSet, ...]:
    """Draw a fixed list of tasks; a longer list of the same seed begins with the same tasks.

    Args:
        source: Labelled data set, usually one part of a class split.
        ways: Number of classes per task.
        shots: Training images per class; None for all.
        count: Number of tasks.
        seed: Random seed of the list.

    Raises:
        SettingError: There is less than one task, or a reason that `draw_task` names.
        DataError: A reason that `draw_task` names.
    """
    _check_count(count)
    return tuple(draw_task(source, ways, shots, seed, index) for index in range(count))


def _check_count(count: int) -> None:
    if count < 1:
        raise SettingError(f"{count} tasks", "A list has at least one task", "Use 1 or more")


def _check_settings(ways: int, shots: int | None) -> None:
    if ways < 2:
        raise SettingError(f"ways={ways}", "A task has at least two classes", "Use ways=2 or more")
    if shots is not None and shots < 1:
        raise SettingError(f"shots={shots}", "A class has at least one training image", "Use shots=1 or more")


def _read(
    source: DataSet, classes: tuple[str, ...], shots: int | None, key: tuple[int, int], split: Split
) -> AnyImages:
    images = source.split(split).select_classes(classes)
    if not len(images):
        raise DataError(
            f"'{source.name}' has no {split} images of class '{classes[0]}' and the other classes of a task",
            fix="Use data with images of these classes in every split",
        )
    if split == "train" and shots is not None:
        return images.draw_per_class(shots, generator(key[0], "task", key[1], "pictures"))
    return images
