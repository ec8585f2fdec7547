"""Batched augmentation: drawn on the CPU for the global batch, applied on the device of the images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample, pad

from germline.data.dataset import Augmentation
from germline.data.policy import Policy

SHIFT = 1 / 8  # share of the side, as in RandomCrop(32, padding=4)
SCALE = 0.1
ROTATE = math.radians(8)
ERASE = 0.25  # side of the erased square, as a share of the image's side


@dataclass(frozen=True)
class Augment:
    """Random changes of training images, each drawn independently.

    Attributes:
        kinds: Changes to apply: any of shift, scale, rotate, mirror and erase.
        policy: Changes that follow these, with draws of their own; None for no further changes. The loader applies it.
    """

    kinds: Sequence[Augmentation]
    policy: Policy | None = None

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Draw parameters [count, 7], uniform in [0, 1).

        Columns: shift x and y, scale, angle, mirror, erase x and y.
        """
        return torch.rand(count, 7, generator=generator)

    def __call__(self, images: Tensor, draws: Tensor) -> Tensor:
        """Apply the changes to a batch of images.

        Args:
            images: Images, uint8 [B, C, H, W].
            draws: Parameters [B, 7] from `draw`, on any device.

        Returns:
            Changed images, float32 [B, C, H, W] in [0, 1].
        """
        draws = draws.to(images.device, non_blocking=True)
        if {"scale", "rotate"} & set(self.kinds):
            pixels = self._warp(images.float().div_(255), draws)
        elif "shift" in self.kinds:
            pixels = _shift(images, draws).float().div_(255)
        else:
            pixels = images.float().div_(255)
        if "mirror" in self.kinds:
            pixels = torch.where((draws[:, 4] < 0.5).view(-1, 1, 1, 1), pixels, pixels.flip(-1))
        if "erase" in self.kinds:
            pixels = _erase(pixels, draws[:, 5:7])
        return pixels

    def _warp(self, pixels: Tensor, draws: Tensor) -> Tensor:
        """Scale, rotate and shift in one resampling; pixels from outside are black."""
        signed = 2 * draws - 1
        angle = signed[:, 3] * (ROTATE if "rotate" in self.kinds else 0)
        scale = 1 + signed[:, 2] * (SCALE if "scale" in self.kinds else 0)
        # In grid_sample's units the image spans [-1, 1], so a share of the side counts twice.
        shift = 2 * SHIFT * signed[:, :2] if "shift" in self.kinds else torch.zeros_like(signed[:, :2])
        cos, sin = torch.cos(angle) * scale, torch.sin(angle) * scale
        rows = torch.stack((torch.stack((cos, -sin, shift[:, 0]), 1), torch.stack((sin, cos, shift[:, 1]), 1)), 1)
        grid = affine_grid(rows, list(pixels.shape), align_corners=False)
        return grid_sample(pixels, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def _shift(images: Tensor, draws: Tensor) -> Tensor:
    """Crop a window of the image's size from the zero-padded image, by whole pixels."""
    side = images.shape[-1]
    margin = max(1, round(side * SHIFT))
    offsets = (draws[:, :2] * (2 * margin + 1)).long()
    padded = pad(images, (margin,) * 4)
    # Windows are views, so only the chosen ones are copied.
    windows = padded.unfold(2, images.shape[2], 1).unfold(3, side, 1)
    return windows[torch.arange(len(images), device=images.device), :, offsets[:, 1], offsets[:, 0]]


def _erase(pixels: Tensor, places: Tensor) -> Tensor:
    """Set one square per image to zero; its centre can be anywhere."""
    height, width = pixels.shape[-2:]
    reach = ERASE / 2
    rows = (torch.arange(height, device=pixels.device) + 0.5) / height
    columns = (torch.arange(width, device=pixels.device) + 0.5) / width
    inside_y = (rows - places[:, 1:2]).abs() < reach
    inside_x = (columns - places[:, 0:1]).abs() < reach
    return pixels.masked_fill((inside_y[:, :, None] & inside_x[:, None, :]).unsqueeze(1), 0)
