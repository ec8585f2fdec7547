"""What every data set is, once read: splits of labelled pictures, and what may be done to them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from torch import Tensor

from germline.errors import DataError

Split = Literal["train", "val", "test"]
Augmentation = Literal["shift", "scale", "rotate", "mirror", "erase"]


@dataclass(frozen=True)
class Pictures:
    """Pictures held in memory.

    Attributes:
        images: uint8 [N, C, H, W], C is 1 or 3.
        labels: int64 [N], indices into `classes`; None for pictures without labels.
        classes: Ordered class names; empty without labels.
    """

    images: Tensor
    labels: Tensor | None
    classes: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.images.dtype != torch.uint8 or self.images.ndim != 4 or self.images.shape[1] not in (1, 3):
            raise DataError(
                f"pictures of shape {tuple(self.images.shape)} and type {self.images.dtype}",
                "pictures in memory are uint8 [N, 1 or 3, height, width]",
                "convert them, for example (x * 255).to(torch.uint8)",
            )
        if self.labels is not None:
            self._check_labels(self.labels)

    def _check_labels(self, labels: Tensor) -> None:
        if labels.shape != (len(self.images),) or labels.dtype != torch.int64:
            raise DataError(
                f"labels of shape {tuple(labels.shape)} and type {labels.dtype} for {len(self.images)} pictures",
                "labels are int64, one a picture",
            )
        if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < len(self.classes):
            raise DataError(f"labels reach {int(labels.max())} but there are {len(self.classes)} class names")

    def __len__(self) -> int:
        return len(self.images)

    def subset(self, indices: Tensor) -> Pictures:
        """The pictures at `indices` (int64 [M]), in that order."""
        labels = None if self.labels is None else self.labels[indices]
        return replace(self, images=self.images[indices], labels=labels)

    def per_class(self, count: int, generator: torch.Generator) -> Pictures:
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


@dataclass(frozen=True)
class DataSet:
    """A named set: its splits, read when first asked for.

    Attributes:
        name: The name it was asked for by, such as `glyphs/base`.
        read: Gives one split; called at most once a split.
        augmentation: What may be done to a training picture without changing its label.
        licence: Licence of the pictures, or "unknown".
        source: Where the pictures come from, in one sentence.
    """

    name: str
    read: Callable[[Split], Pictures]
    augmentation: Sequence[Augmentation] = ("shift",)
    licence: str = "unknown"
    source: str = "unknown"
    _cache: dict[Split, Pictures] = field(default_factory=dict, repr=False, compare=False)

    def split(self, split: Split) -> Pictures:
        """The pictures of one split.

        Raises:
            DataError: The set cannot be read or lacks that split.
        """
        if split not in self._cache:
            self._cache[split] = self.read(split)
        return self._cache[split]

    @property
    def train(self) -> Pictures:
        """The training split."""
        return self.split("train")

    @property
    def val(self) -> Pictures:
        """The validation split: for tuning and for looking."""
        return self.split("val")

    @property
    def test(self) -> Pictures:
        """The test split: read it once, at the end."""
        return self.split("test")

    @property
    def classes(self) -> tuple[str, ...]:
        """Ordered class names."""
        return self.train.classes

    def fingerprint(self) -> str:
        """sha256 over the training pictures, labels and class names."""
        digest = hashlib.sha256(repr((tuple(self.train.images.shape), self.classes)).encode())
        digest.update(self.train.images.contiguous().numpy().tobytes())
        if self.train.labels is not None:
            digest.update(self.train.labels.numpy().tobytes())
        return digest.hexdigest()
