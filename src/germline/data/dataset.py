"""What every data set is, once read: splits of labelled pictures, and what may be done to them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, Self

import torch
from torch import Tensor

from germline.errors import DataError

Split = Literal["train", "val", "test"]
Role = Literal["held_out", "stream"]
Augmentation = Literal["shift", "scale", "rotate", "mirror", "erase"]


@dataclass(frozen=True)
class LabelledImages:
    """Labels and class names of pictures, wherever the pictures lie.

    Attributes:
        labels: int64 [N], indices into `classes`; None for pictures without labels.
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
                f"labels of shape {tuple(labels.shape)} and type {labels.dtype} for {len(self)} pictures",
                "labels are int64, one a picture",
            )
        if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < len(self.classes):
            raise DataError(f"labels reach {int(labels.max())} but there are {len(self.classes)} class names")

    def __len__(self) -> int:
        raise NotImplementedError

    def subset(self, indices: Tensor) -> Self:
        """The pictures at `indices` (int64 [M]), in that order."""
        raise NotImplementedError

    def draw_per_class(self, count: int, generator: torch.Generator) -> Self:
        """Draw `count` pictures of every class without replacement.

        Raises:
            DataError: A class has fewer than `count` pictures, or there are no labels.
        """
        if self.labels is None:
            raise DataError("pictures without labels", "a draw per class needs them")
        chosen = []
        for index, name in enumerate(self.classes):
            members = torch.nonzero(self.labels == index).flatten()
            if len(members) < count:
                raise DataError(
                    f"class '{name}' has {len(members)} pictures, {count} are asked for",
                    fix=f"ask for at most {len(members)} images a class",
                )
            chosen.append(members[torch.randperm(len(members), generator=generator)[:count]])
        return self.subset(torch.cat(chosen))

    def select_classes(self, names: Sequence[str]) -> Self:
        """The pictures of some classes, in their order; labels then count in `names`.

        Raises:
            DataError: A name is none of the classes, or there are no labels.
        """
        if self.labels is None:
            raise DataError("pictures without labels", "a choice of classes needs them")
        if unknown := [name for name in names if name not in self.classes]:
            raise DataError(f"no class '{unknown[0]}'", f"there are {len(self.classes)} others")
        relabelled = torch.full((len(self.classes),), -1, dtype=torch.int64)
        relabelled[[self.classes.index(name) for name in names]] = torch.arange(len(names))
        labels = relabelled[self.labels]
        kept = torch.nonzero(labels >= 0).flatten()
        return replace(self.subset(kept), labels=labels[kept], classes=tuple(names))

    def _digest(self, *facts: object) -> str:
        digest = hashlib.sha256(repr((*facts, self.classes)).encode("utf-8", "surrogateescape"))
        if self.labels is not None:
            digest.update(self.labels.numpy().tobytes())
        return digest.hexdigest()


@dataclass(frozen=True)
class Images(LabelledImages):
    """Pictures held in memory.

    Attributes:
        images: uint8 [N, C, H, W], C is 1 or 3.
    """

    images: Tensor

    def __init__(self, images: Tensor, labels: Tensor | None, classes: tuple[str, ...]) -> None:
        if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] not in (1, 3):
            raise DataError(
                f"pictures of shape {tuple(images.shape)} and type {images.dtype}",
                "pictures in memory are uint8 [N, 1 or 3, height, width]",
                "convert them, for example (x * 255).to(torch.uint8)",
            )
        object.__setattr__(self, "images", images)
        super().__init__(labels, classes)

    def __len__(self) -> int:
        return len(self.images)

    @property
    def channels(self) -> int:
        """1 for grey, 3 for colour."""
        return int(self.images.shape[1])

    @property
    def side(self) -> int:
        """Height in pixels."""
        return int(self.images.shape[2])

    def subset(self, indices: Tensor) -> Images:
        """The pictures at `indices` (int64 [M]), in that order."""
        return Images(self.images[indices], None if self.labels is None else self.labels[indices], self.classes)

    def sample(self) -> Tensor:
        """uint8 pictures [M, C, H, W] to take statistics from: all of them."""
        return self.images

    def fingerprint(self) -> str:
        """sha256 over the pictures, labels and class names."""
        pixels = hashlib.sha256(self.images.contiguous().numpy().tobytes()).hexdigest()
        return self._digest(tuple(self.images.shape), pixels)


@dataclass(frozen=True)
class ImageFiles(LabelledImages):
    """Pictures on disk, decoded as batches need them: for more than 64 pixels.

    Attributes:
        paths: One file a picture.
        side: Height and width to bring them to, in pixels.
    """

    paths: tuple[Path, ...]
    side: int = 224
    channels: int = 3

    def __len__(self) -> int:
        return len(self.paths)

    def subset(self, indices: Tensor) -> ImageFiles:
        """The pictures at `indices` (int64 [M]), in that order."""
        paths = tuple(self.paths[index] for index in indices.tolist())
        return replace(self, paths=paths, labels=None if self.labels is None else self.labels[indices])

    def sample(self) -> Tensor:
        """uint8 pictures [M, 3, side, side] to take statistics from: at most 256, evenly spaced."""
        from germline.data.image_files import decode_images

        paths = self.paths[:: max(1, len(self) // 256)]
        return torch.cat([(pixels * 255).round().to(torch.uint8) for pixels in decode_images(paths, self.side, 64)])

    def fingerprint(self) -> str:
        """sha256 over names and sizes of the files, labels and class names; the pictures are not opened."""
        return self._digest(self.side, [(path.name, path.stat().st_size) for path in self.paths])


AnyImages = Images | ImageFiles


@dataclass(frozen=True)
class DataSet:
    """A named set: its splits, read when first asked for.

    Attributes:
        name: The name it was asked for by, such as `glyphs/base`.
        read: Gives one split; called at most once a split.
        augmentation: What may be done to a training picture without changing its label.
        licence: Licence of the pictures, or "unknown".
        source: Where the pictures come from, in one sentence.
        roles: Further sets that a method reads beside this one, by what for.
    """

    name: str
    read: Callable[[Split], AnyImages]
    augmentation: Sequence[Augmentation] = ("shift",)
    licence: str = "unknown"
    source: str = "unknown"
    roles: Mapping[Role, DataSet] = field(default_factory=dict)
    _cache: dict[Split, AnyImages] = field(default_factory=dict, repr=False, compare=False)

    def split(self, split: Split) -> AnyImages:
        """The pictures of one split.

        Raises:
            DataError: The set cannot be read or lacks that split.
        """
        if split not in self._cache:
            self._cache[split] = self.read(split)
        return self._cache[split]

    @property
    def train(self) -> AnyImages:
        """The training split."""
        return self.split("train")

    @property
    def val(self) -> AnyImages:
        """The validation split: for tuning and for looking."""
        return self.split("val")

    @property
    def test(self) -> AnyImages:
        """The test split: read it once, at the end."""
        return self.split("test")

    @property
    def classes(self) -> tuple[str, ...]:
        """Ordered class names."""
        return self.train.classes

    def fingerprint(self) -> str:
        """sha256 over the training pictures, labels and class names, those of further sets included."""
        own = self.train.fingerprint()
        if not self.roles:
            return own
        others = sorted((role, other.fingerprint()) for role, other in self.roles.items())
        return hashlib.sha256(repr((own, others)).encode()).hexdigest()
