"""The loader: it builds the batch of any step, so a resumed run sees the same batches."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from germline.data.augment import Augment
from germline.data.dataset import AnyImages, ImageFiles, Images
from germline.data.file_stream import FileStream, decode_images
from germline.errors import SettingError
from germline.randomness import derive, generator

CUTMIX_CHANCE = 0.5  # probability of cutmix if mixup and cutmix are both on


@dataclass(frozen=True)
class Batch:
    """One process's share of a global batch.

    Attributes:
        pixels: float32 [B, C, H, W] in [0, 1], augmented, not normalised.
        labels: int64 [B]; None for images without labels.
        partner_labels: int64 [B], labels of the images mixed in; None if nothing is mixed.
        share: Share of the first label in a mixed batch; one number per batch.
        indices: Positions of the images in the training set, int64 [B] on the CPU; None if there is no training set.
    """

    pixels: Tensor
    labels: Tensor | None
    partner_labels: Tensor | None = None
    share: float = 1.0
    indices: Tensor | None = None


class _Schedule:
    """The image indices of every step, and the seeds and partners of their places in the batch.

    It holds no reference to its loader: a stream of files that is part of a cycle stops its processes seconds late.
    """

    def __init__(
        self, count: int, batch_size: int, seed: int, repeats: int, own_share: slice, *, is_mixed: bool
    ) -> None:
        self._count, self._batch_size, self._seed, self._repeats = count, batch_size, seed, repeats
        self._own_share, self._is_mixed = own_share, is_mixed
        self._order: tuple[int, Tensor] = (-1, torch.empty(0, dtype=torch.int64))

    def partners(self, step: int) -> Tensor | None:
        """Draw the mixing partner of each position of the global batch [batch_size]; None if nothing is mixed."""
        if not self._is_mixed:
            return None
        return torch.randperm(self._batch_size, generator=self.generator_of("partners", step))

    def plan(self, step: int) -> list[tuple[int, int]]:
        """List the images of `places`, each with the seed of its augmentation."""
        indices, places = self.indices(step), self.places(step).tolist()
        return [(int(indices[place]), derive(self._seed, "augment", step, place)) for place in places]

    def places(self, step: int) -> Tensor:
        """List the places of the global batch that this process needs: its share, then partners of other shares."""
        mine, partners = torch.arange(self._batch_size)[self._own_share], self.partners(step)
        if partners is None:
            return mine
        others = partners[self._own_share]
        return torch.cat((mine, others[(others < mine[0]) | (others > mine[-1])]))

    def generator_of(self, purpose: str, step: int) -> torch.Generator:
        return generator(self._seed, purpose, step)

    def indices(self, step: int) -> Tensor:
        """Return the image indices [batch_size] of a step from the stream of permutations, with repeats."""
        first, offset = divmod(step * self._batch_size, self._repeats)
        distinct = -(-(offset + self._batch_size) // self._repeats)
        repeated = self._read_stream(first, distinct).repeat_interleave(self._repeats)
        return repeated[offset : offset + self._batch_size]

    def _read_stream(self, start: int, wanted: int) -> Tensor:
        """Return the image indices [wanted] of the stream of permutations from position `start`."""
        count, pieces = self._count, []
        while wanted:
            epoch, offset = divmod(start, count)
            piece = self._permutation(epoch)[offset : offset + wanted]
            pieces.append(piece)
            start, wanted = start + len(piece), wanted - len(piece)
        return torch.cat(pieces)

    def _permutation(self, epoch: int) -> Tensor:
        if self._order[0] != epoch:
            order = torch.randperm(self._count, generator=generator(self._seed, "order", epoch))
            self._order = (epoch, order)
        return self._order[1]


class Loader:
    """Training batches of images that are on the device or in files.

    The order is an endless stream of permutations, one per epoch, cut into global batches; nothing is dropped.
    With `repeats` each image of the stream occurs that often in a row, so its copies are in one batch or two. An epoch
    of as many images then has fewer different ones, and a permutation lasts for `repeats` epochs.
    All random draws are made for the global batch and then cut. So they do not depend on the number of processes.
    """

    def __init__(
        self,
        images: AnyImages,
        batch_size: int,
        seed: int,
        *,
        augment: Augment | None = None,
        mixup: float = 0.0,
        cutmix: float = 0.0,
        repeats: int = 1,
        device: torch.device | str = "cpu",
        rank: int = 0,
        world: int = 1,
    ) -> None:
        if batch_size % world:
            raise SettingError(
                f"batch_size={batch_size} on {world} processes",
                "Processes share the global batch evenly",
                f"Use for example batch_size={math.ceil(batch_size / world) * world}",
            )
        if not len(images):
            raise SettingError(
                "No images to train on", "A batch has at least one image", "Use a training split with images"
            )
        self._device = torch.device(device)
        self._images = images.images.to(device) if isinstance(images, Images) else None
        self._labels = None if images.labels is None else images.labels.to(device)
        self._augment, self._mixup, self._cutmix = augment, mixup, cutmix
        self._batch_size, self._seed, share = batch_size, seed, batch_size // world
        self._own_share = slice(rank * share, (rank + 1) * share)
        is_mixed = bool(mixup or cutmix)
        self._schedule = _Schedule(len(images), batch_size, seed, repeats, self._own_share, is_mixed=is_mixed)
        self._stream = None
        if isinstance(images, ImageFiles):
            kinds, policy = (augment.kinds, augment.policy) if augment is not None else ((), None)
            self._stream = FileStream(
                images.paths,
                images.side,
                self._schedule.plan,
                min(2 * share, batch_size) if is_mixed else share,  # other processes may have all partners
                training=augment is not None,
                mirror="mirror" in kinds,
                policy=policy,
                device=device,
            )

    def batch(self, step: int) -> Batch:
        """Return this process's share of the global batch of `step`, counted from 0."""
        indices, partners = self._schedule.indices(step), self._schedule.partners(step)
        places, own = self._schedule.places(step), indices[self._own_share]
        pixels = self._pixels(step, indices, places)
        if partners is None:
            return Batch(pixels, self._labels_of(own), indices=own)
        # An image is changed once per step, so a partner looks as it does at its own place.
        partners, rows = partners[self._own_share], torch.empty(self._batch_size, dtype=torch.int64)
        rows[places] = torch.arange(len(places))
        other = pixels.index_select(0, self._move(rows[partners]))
        pixels, share = self._mix(pixels[: len(own)], other, self._schedule.generator_of("mix", step))
        return Batch(pixels, self._labels_of(own), self._labels_of(indices[partners]), share, own)

    def _pixels(self, step: int, indices: Tensor, places: Tensor) -> Tensor:
        """Return augmented pixels of some positions of the global batch of a step."""
        if self._images is None:
            assert self._stream is not None  # noqa: S101 - images are in memory or in files
            return self._stream.pixels(step)
        images = self._images.index_select(0, self._move(indices[places]))
        if self._augment is None:
            return images.float().div_(255)
        draws = self._augment.draw(self._batch_size, self._schedule.generator_of("augment", step))
        pixels = self._augment(images, draws[places])
        if self._augment.policy is None:
            return pixels
        return self._augment.policy(pixels, [derive(self._seed, "policy", step, place) for place in places.tolist()])

    def _labels_of(self, indices: Tensor) -> Tensor | None:
        return None if self._labels is None else self._labels[self._move(indices)]

    def _move(self, indices: Tensor) -> Tensor:
        # The host need not wait for the GPU: unpinned memory has been read when the call returns.
        return indices.to(self._device, non_blocking=self._device.type == "cuda")

    def _mix(self, pixels: Tensor, other: Tensor, keyed: torch.Generator) -> tuple[Tensor, float]:
        switch, side_x, side_y = torch.rand(3, generator=keyed).tolist()
        cut = self._cutmix and (not self._mixup or switch < CUTMIX_CHANCE)
        share = _beta(self._cutmix if cut else self._mixup, keyed)
        if not cut:
            return pixels * share + other * (1 - share), share
        height, width = pixels.shape[-2:]
        reach = math.sqrt(1 - share) / 2
        top, bottom = (round(min(max(side_y + sign * reach, 0), 1) * height) for sign in (-1, 1))
        left, right = (round(min(max(side_x + sign * reach, 0), 1) * width) for sign in (-1, 1))
        pixels[..., top:bottom, left:right] = other[..., top:bottom, left:right]
        return pixels, 1 - (bottom - top) * (right - left) / (height * width)


def _beta(alpha: float, keyed: torch.Generator) -> float:
    """Draw once from Beta(alpha, alpha) with Johnk's rejection, in logarithms for small alpha."""
    while True:
        first, second = (torch.rand(2, generator=keyed, dtype=torch.float64).log() / alpha).tolist()
        total = math.log(math.exp(first - max(first, second)) + math.exp(second - max(first, second)))
        total += max(first, second)
        if total <= 0:
            return math.exp(first - total)


def iterate_batches(images: AnyImages, batch_size: int, device: torch.device | str = "cpu") -> Iterator[Batch]:
    """Yield all images once, in order and unchanged, for evaluation."""
    start = 0
    for pixels in _unchanged(images, batch_size, device):
        chosen = slice(start, start + len(pixels))
        labels = None if images.labels is None else images.labels[chosen].to(device)
        start += len(pixels)
        yield Batch(pixels, labels)


def _unchanged(images: AnyImages, batch_size: int, device: torch.device | str) -> Iterator[Tensor]:
    if isinstance(images, ImageFiles):
        yield from decode_images(images.paths, images.side, batch_size, device)
    else:
        for start in range(0, len(images), batch_size):
            yield images.images[start : start + batch_size].to(device).float().div_(255)
