"""Random changes of the papers, by timm's operations, each image with draws of its own."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch
from PIL import Image
from timm.data import create_transform
from timm.data.random_erasing import RandomErasing
from torch import Tensor


@contextmanager
def protect_random_state() -> Iterator[None]:
    """Restore the global generators of Python, numpy and torch (CPU) after the block."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])


def seed_random_state(seed: int) -> None:
    """Seed the global generators of Python, numpy and torch (CPU)."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.default_generator.manual_seed(seed)


@dataclass(frozen=True)
class Patch:
    """A rectangle of noise that replaces pixels of one image.

    Attributes:
        top: First row.
        left: First column.
        noise: New values, float32 [C, height, width].
    """

    top: int
    left: int
    noise: Tensor

    def write(self, pixels: Tensor, noise: Tensor | None = None) -> None:
        """Write the noise into pixels [C, H, W]; `noise` is its copy on their device, where that is another one."""
        height, width = self.noise.shape[1:]
        values = self.noise if noise is None else noise.view(self.noise.shape)
        pixels[:, self.top : self.top + height, self.left : self.left + width] = values


@dataclass(frozen=True)
class Policy:
    """RandAugment or colour jitter, then random erasing, as timm defines them.

    timm's operations draw from global generators. These are seeded per image and restored afterwards.

    Attributes:
        side: Height and width of the images in pixels.
        mean: Mean of the network's inputs, one per channel of the images, in units of [0, 1]; it fills empty corners.
        std: Deviation of the network's inputs; with `mean` it turns noise for inputs into noise for pixels.
        randaugment: RandAugment in timm's notation; None is off.
        color_jitter: Strength of random brightness, contrast and saturation; 0 is off. timm leaves it out beside
            RandAugment. On grey images the saturation changes nothing.
        erasing: Probability that a rectangle is replaced by normal noise; 0 is off.
    """

    side: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    randaugment: str | None = None
    color_jitter: float = 0.0
    erasing: float = 0.0

    def __call__(self, pixels: Tensor, seeds: Sequence[int]) -> Tensor:
        """Change a batch.

        Args:
            pixels: Images, float32 [B, C, H, W] in [0, 1]. They are computed on the CPU, in steps of 1/255 if
                RandAugment or colour jitter is on.
            seeds: One seed per image.

        Returns:
            Changed images on the device of `pixels`. The noise of erased rectangles leaves [0, 1].
        """
        images = pixels.cpu()
        with protect_random_state():
            changed = [self._change_pixels(image, seed) for image, seed in zip(images, seeds, strict=True)]
        return torch.stack(changed).to(pixels.device)

    def change_colours(self, image: Image.Image) -> Image.Image:
        """Apply RandAugment or colour jitter to an RGB image, with draws from the global generators."""
        changed: Image.Image = self._colours(image)
        return changed

    def erase(self, pixels: Tensor) -> Tensor:
        """Replace a rectangle of pixels [C, H, W] by noise, with draws from the global generators."""
        patch = self.draw_patch(pixels.shape)
        if patch is None:
            return pixels
        erased = pixels.clone()
        patch.write(erased)
        return erased

    def draw_patch(self, shape: Sequence[int]) -> Patch | None:
        """Draw the rectangle that replaces pixels of an image [C, H, W]; None if nothing is erased."""
        if not self.erasing:
            return None
        # timm erases normalised images. Here the network normalises later, so the noise is scaled instead.
        noise = self._eraser(torch.full(tuple(shape), torch.nan))
        erased = ~noise[0].isnan()
        rows, columns = erased.any(1).nonzero().flatten().tolist(), erased.any(0).nonzero().flatten().tolist()
        if not rows:
            return None
        mean, std = (torch.tensor(numbers).view(-1, 1, 1) for numbers in (self.mean, self.std))
        inside = noise[:, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        return Patch(rows[0], columns[0], inside * std + mean)

    def _change_pixels(self, pixels: Tensor, seed: int) -> Tensor:
        seed_random_state(seed)
        if not (self.randaugment or self.color_jitter):
            return self.erase(pixels)
        array = (pixels * 255).round().to(torch.uint8).permute(1, 2, 0).expand(-1, -1, 3).numpy()
        changed = torch.from_numpy(np.array(self.change_colours(Image.fromarray(array)))).permute(2, 0, 1)
        # The operations treat channels alike, so the channels of a grey image remain equal.
        return self.erase(changed[: len(pixels)].float().div_(255))

    @cached_property
    def _colours(self) -> Any:
        mean = self.mean if len(self.mean) == 3 else self.mean[:1] * 3
        colours: Any = create_transform(
            self.side,
            is_training=True,
            auto_augment=self.randaugment,
            color_jitter=self.color_jitter or None,
            interpolation="bicubic",
            mean=mean,
            separate=True,
        )[1]
        for operation in (one for change in colours.transforms for one in getattr(change, "ops", ())):
            if operation.name.startswith("Posterize"):
                operation.level_fn = partial(_keep_a_bit, operation.level_fn)
        return colours

    @cached_property
    def _eraser(self) -> Any:
        return RandomErasing(self.erasing, mode="pixel", device="cpu")


def _keep_a_bit(level_function: Any, level: float, settings: Any) -> tuple[int]:
    """Return timm's number of bits that posterising keeps, but at least one: new versions of Pillow refuse none."""
    return (max(1, level_function(level, settings)[0]),)
