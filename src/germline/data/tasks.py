"""K-way tasks: a few classes of a data set, drawn by seed, as small data sets of their own."""

from __future__ import annotations

from functools import partial

import torch

from germline.data.dataset import AnyImages, DataSet, Split
from germline.errors import DataError, SettingError
from germline.randomness import generator


def draw_task(source: DataSet, ways: int, shots: int | None, seed: int, index: int) -> DataSet:
    """Draw a task: some classes of a set, with few or all of their training pictures.

    Training pictures come from the training split of `source`, validation and test pictures from the splits of those
    names, all that they have of the classes; so whatever `source` keeps apart (pictures, fonts) is apart in a task.
    The draw reads the training split; others are read when they are first asked for. Neither the number of shots nor
    any other task changes the classes, and fewer shots are the first of more.

    Args:
        source: A labelled set, as a rule one part of a class split.
        ways: Classes in the task.
        shots: Training pictures a class; None for all.
        seed: Of the list of tasks.
        index: Of the task in the list, from 0.

    Returns:
        A set with labels 0 to ways - 1, in the order in which the classes were drawn, which keep their names.

    Raises:
        SettingError: There are fewer than two ways or less than one shot.
        DataError: The source has no labels, fewer classes than `ways`, or a drawn class with fewer than `shots`
            pictures.
    """
    _check_settings(ways, shots)
    train = source.train
    if train.labels is None:
        raise DataError(f"'{source.name}' has no labels", "a task is a choice of classes")
    if ways > len(train.classes):
        raise DataError(
            f"'{source.name}' has {len(train.classes)} classes, a {ways}-way task takes {ways}",
            fix=f"ask for at most {len(train.classes)} ways",
        )
    order = torch.randperm(len(train.classes), generator=generator(seed, "task", index))[:ways].tolist()
    counts = torch.bincount(train.labels, minlength=len(train.classes))
    for label in order:
        if (count := int(counts[label])) < (shots or 1):
            raise DataError(
                f"class '{train.classes[label]}' of '{source.name}' has {count} training pictures",
                f"a {shots or 1}-shot task takes {shots or 1}",
                f"ask for at most {count} shots" if count else "leave that class out",
            )
    size = f"{ways}-way" if shots is None else f"{ways}-way {shots}-shot"
    name = f"{source.name}[{size} task {index} of seed {seed}]"
    return _part(source, name, tuple(train.classes[label] for label in order), shots, (seed, index))


def disjoint_tasks(source: DataSet, ways: int, count: int, seed: int) -> tuple[DataSet, ...]:
    """Draw tasks no two of which share a class, with all training pictures; a longer list begins with the same tasks.

    Args:
        source: A labelled set.
        ways: Classes in a task.
        count: Tasks in the list.
        seed: Of the list.

    Raises:
        SettingError: There are fewer than two ways or less than one task.
        DataError: The source has no labels, or too few classes.
    """
    _check_settings(ways, None)
    _check_count(count)
    if source.train.labels is None:
        raise DataError(f"'{source.name}' has no labels", "a task is a choice of classes")
    classes = source.classes
    if ways * count > len(classes):
        raise DataError(
            f"'{source.name}' has {len(classes)} classes, {count} disjoint {ways}-way tasks take {ways * count}",
            fix=f"ask for at most {len(classes) // ways} tasks, or for tasks that overlap",
        )
    order = torch.randperm(len(classes), generator=generator(seed, "disjoint tasks")).tolist()
    parts = [tuple(classes[label] for label in order[ways * at : ways * (at + 1)]) for at in range(count)]
    return tuple(
        _part(source, f"{source.name}[disjoint {ways}-way task {at} of seed {seed}]", names, None, (seed, at))
        for at, names in enumerate(parts)
    )


def select_classes(source: DataSet, names: tuple[str, ...]) -> DataSet:
    """The pictures of some classes of a set, whose labels then count in `names`.

    Raises:
        DataError: A name is none of the classes, when a split is first read.
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
    """Two sets of the same pictures' classes, drawn by seed: the larger part, and a share of them held out.

    Args:
        source: A labelled set.
        share: Of the classes that is held out.
        least: Classes that each part has at least.
        seed: Of the draw.

    Raises:
        DataError: The source has no labels, or too few classes.
    """
    if source.train.labels is None:
        raise DataError(f"'{source.name}' has no labels", "a choice of classes needs them")
    classes = source.classes
    if len(classes) < 2 * least:
        raise DataError(
            f"'{source.name}' has {len(classes)} classes, two parts of {least} are needed",
            "some classes are held out from the others",
            "use data with more classes, or fewer ways",
        )
    held = min(max(least, round(share * len(classes))), len(classes) - least)
    order = torch.randperm(len(classes), generator=generator(seed, "held-out classes")).tolist()
    parts = (sorted(order[held:]), sorted(order[:held]))
    names = [tuple(classes[index] for index in part) for part in parts]
    kept, apart = (
        _part(source, f"{source.name}[{len(part)} classes of seed {seed}]", part, None, (seed, 0)) for part in names
    )
    return kept, apart


def task_list(source: DataSet, ways: int, shots: int | None, count: int, seed: int) -> tuple[DataSet, ...]:
    """Draw a fixed list of tasks; a longer list of the same seed begins with the same tasks.

    Args:
        source: A labelled set, as a rule one part of a class split.
        ways: Classes in a task.
        shots: Training pictures a class; None for all.
        count: Tasks in the list.
        seed: Of the list.

    Raises:
        SettingError: There is less than one task, or as by `draw_task`.
        DataError: As by `draw_task`.
    """
    _check_count(count)
    return tuple(draw_task(source, ways, shots, seed, index) for index in range(count))


def _check_count(count: int) -> None:
    if count < 1:
        raise SettingError(f"{count} tasks", "a list has at least one", "ask for 1 or more")


def _check_settings(ways: int, shots: int | None) -> None:
    if ways < 2:
        raise SettingError(f"ways={ways}", "a task tells at least two classes apart", "use ways=2 or more")
    if shots is not None and shots < 1:
        raise SettingError(f"shots={shots}", "a class has at least one training picture", "use shots=1 or more")


def _read(
    source: DataSet, classes: tuple[str, ...], shots: int | None, key: tuple[int, int], split: Split
) -> AnyImages:
    images = source.split(split).select_classes(classes)
    if not len(images):
        raise DataError(f"'{source.name}' has no {split} pictures of '{classes[0]}' and the others of a task")
    if split == "train" and shots is not None:
        return images.draw_per_class(shots, generator(key[0], "task", key[1], "pictures"))
    return images
