"""Data sets: splits of labelled images, and the augmentation that they allow."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import NoneType
from typing import Literal, Self, get_args

import torch
from torch import Tensor

from germline.arguments import check_class_list, check_seed, check_type, check_whole_number
from germline.errors import DataError, UnknownNameError
from germline.randomness import generator

Split = Literal["train", "val", "test"]
Role = Literal["held_out", "stream"]
Augmentation = Literal["shift", "scale", "rotate", "mirror", "erase"]


@dataclass(frozen=True)
class LabelledImages:
    """Labels and class names of images in memory or in files.

    Attributes:
        labels: int64 [N], indices into `classes`; None for images without labels.
        classes: Ordered class names; empty without labels.
    """

    labels: Tensor | None
    classes: tuple[str, ...]

    def __post_init__(self) -> None:
        labels = self.labels
        if labels is None:
            return
        if labels.shape != (len(self),) or labels.dtype != torch.int64:
            raise DataError(
                f"Labels of shape {tuple(labels.shape)} and type {labels.dtype} for {len(self)} images",
                "Labels are int64, one per image",
                "Pass an int64 tensor with one label per image",
            )
        if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < len(self.classes):
            raise DataError(
                f"Labels reach {int(labels.max())} but there are {len(self.classes)} class names",
                "A label is the index of a class name, from 0",
                "Pass a name for every class",
            )

    def __len__(self) -> int:
        raise NotImplementedError

    def subset(self, indices: Tensor) -> Self:
        """Return the images at `indices` (int64 [M]), in that order."""
        raise NotImplementedError

    def draw_per_class(self, count: int, generator: torch.Generator) -> Self:
        """Draw `count` images of every class without replacement.

        Raises:
            DataError: A class has fewer than `count` images, or there are no labels.
            SettingError: The count is not a whole number of at least 1.
        """
        count = check_whole_number("count", count, 1, example=5)
        if self.labels is None:
            raise DataError("The images have no labels", "A draw per class needs them", "Use labelled images")
        chosen = []
        for index, name in enumerate(self.classes):
            members = torch.nonzero(self.labels == index).flatten()
            if len(members) < count:
                raise DataError(
                    f"Class '{name}' has {len(members)} images, {count} are needed",
                    fix=f"Use at most {len(members)} images per class",
                )
            chosen.append(members[torch.randperm(len(members), generator=generator)[:count]])
        return self.subset(torch.cat(chosen))

    def select_classes(self, names: Sequence[str]) -> Self:
        """Return the images of some classes, in their order; labels become indices into `names`.

        Raises:
            DataError: A name is not one of the classes, or there are no labels.
        """
        if self.labels is None:
            raise DataError("The images have no labels", "A choice of classes needs them", "Use labelled images")
        if unknown := [name for name in names if name not in self.classes]:
            raise DataError(
                f"No class '{unknown[0]}'", f"There are {len(self.classes)} other classes", "Use one of their names"
            )
        relabelled = torch.full((len(self.classes),), -1, dtype=torch.int64)
        relabelled[[self.classes.index(name) for name in names]] = torch.arange(len(names))
        labels = relabelled[self.labels]
        selected = torch.nonzero(labels >= 0).flatten()
        return replace(self.subset(selected), labels=labels[selected], classes=tuple(names))

    def _digest(self, *facts: object) -> str:
        digest = hashlib.sha256(repr((*facts, self.classes)).encode("utf-8", "surrogateescape"))
        if self.labels is not None:
            digest.update(self.labels.numpy().tobytes())
        return digest.hexdigest()


@dataclass(frozen=True)
class Images(LabelledImages):
    """Images in memory.

    Attributes:
        images: uint8 [N, C, H, W], C is 1 or 3.
    """

    images: Tensor

    def __init__(self, images: Tensor, labels: Tensor | None, classes: tuple[str, ...]) -> None:
        fix = "Use gl.load_data for data of other types"
        check_type("images", images, Tensor, "Images in memory are a tensor", fix)
        check_type("labels", labels, (Tensor, NoneType), "Labels in memory are a tensor, or None", fix)
        if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] not in (1, 3):
            raise DataError(
                f"Images of shape {tuple(images.shape)} and type {images.dtype}",
                "Images in memory are uint8 [N, 1 or 3, height, width]",
                "Pass uint8 images, for example (x * 255).to(torch.uint8)",
            )
        object.__setattr__(self, "images", images)
        super().__init__(labels, check_class_list(classes))

    def __len__(self) -> int:
        return len(self.images)

    @property
    def channels(self) -> int:
        """Number of channels: 1 for grey, 3 for colour."""
        return int(self.images.shape[1])

    @property
    def side(self) -> int:
        """Height in pixels."""
        return int(self.images.shape[2])

    def subset(self, indices: Tensor) -> Images:
        """Return the images at `indices` (int64 [M]), in that order."""
        return Images(self.images[indices], None if self.labels is None else self.labels[indices], self.classes)

    def sample(self) -> Tensor:
        """Return uint8 images [M, C, H, W] for statistics: all of them."""
        return self.images

    def fingerprint(self) -> str:
        """Return the sha256 of the images, labels and class names."""
        pixels = hashlib.sha256(self.images.contiguous().numpy().tobytes()).hexdigest()
        return self._digest(tuple(self.images.shape), pixels)


@dataclass(frozen=True)
class ImageFiles(LabelledImages):
    """Images on disk, decoded batch by batch: for sides above 64 pixels.

    Attributes:
        paths: One file per image.
        side: Height and width of the decoded images in pixels.
        channels: Number of channels of the decoded images.
    """

    paths: tuple[Path, ...]
    side: int = 224
    channels: int = 3

    def __len__(self) -> int:
        return len(self.paths)

    def subset(self, indices: Tensor) -> ImageFiles:
        """Return the images at `indices` (int64 [M]), in that order."""
        paths = tuple(self.paths[index] for index in indices.tolist())
        return replace(self, paths=paths, labels=None if self.labels is None else self.labels[indices])

    def sample(self) -> Tensor:
        """Return uint8 images [M, 3, side, side] for statistics: about 256, evenly spaced."""
        from germline.data.file_stream import decode_images

        paths = self.paths[:: max(1, len(self) // 256)]
        return torch.cat([(pixels * 255).round().to(torch.uint8) for pixels in decode_images(paths, self.side, 64)])

    def fingerprint(self) -> str:
        """Return the sha256 of file names, file sizes, labels and class names, without opening the images."""
        return self._digest(self.side, [(path.name, path.stat().st_size) for path in self.paths])


AnyImages = Images | ImageFiles


@dataclass(frozen=True)
class DataSet:
    """A named data set whose splits are read when first used.

    Attributes:
        name: Name as given by the user, such as `glyphs/base`.
        read: Function that reads one split; called at most once per split.
        augmentation: Changes that keep the label of a training image.
        licence: Licence of the images, or "unknown".
        source: Origin of the images, in one sentence.
        roles: Further data sets that a method reads, by their role.
    """

    name: str
    read: Callable[[Split], AnyImages]
    augmentation: Sequence[Augmentation] = ("shift",)
    licence: str = "unknown"
    source: str = "unknown"
    roles: Mapping[Role, DataSet] = field(default_factory=dict)
    _cache: dict[Split, AnyImages] = field(default_factory=dict, repr=False, compare=False)

    def split(self, split: Split) -> AnyImages:
        """Return the images of one split.

        Raises:
            DataError: The data set cannot be read or has no such split.
            UnknownNameError: There are no splits of that name.
        """
        if split not in get_args(Split):
            raise UnknownNameError.with_nearest("split", str(split), get_args(Split))
        if split not in self._cache:
            self._cache[split] = self.read(split)
        return self._cache[split]

    def draw_per_class(self, count: int, seed: int = 0) -> DataSet:
        """Draw `count` training images of every class without replacement; the other splits stay whole.

        Raises:
            DataError: A class has fewer than `count` images, or there are no labels.
        """
        seed = check_seed(seed)
        few = self.train.draw_per_class(count, generator(seed, "images per class"))
        return replace(
            self,
            name=f"{self.name}, {count} per class",
            read=lambda split: few if split == "train" else self.split(split),
            _cache={},
        )

    @property
    def train(self) -> AnyImages:
        """The training split."""
        return self.split("train")

    @property
    def val(self) -> AnyImages:
        """The validation split, for tuning and for monitoring."""
        return self.split("val")

    @property
    def test(self) -> AnyImages:
        """The test split; read it once, at the end."""
        return self.split("test")

    @property
    def classes(self) -> tuple[str, ...]:
        """Ordered class names."""
        return self.train.classes

    def fingerprint(self) -> str:
        """Return the sha256 of training images, labels and class names, including those of `roles`."""
        training = self.train.fingerprint()
        if not self.roles:
            return training
        others = sorted((role, other.fingerprint()) for role, other in self.roles.items())
        return hashlib.sha256(repr((training, others)).encode()).hexdigest()
