"""Preprocessing of images for one network: channels, size, mean and standard deviation."""

from __future__ import annotations

import math
from typing import Any

import torch
from pydantic import ConfigDict, field_validator
from torch import Tensor
from torch.nn.functional import interpolate

from germline.arguments import check_type
from germline.errors import SettingError
from germline.setting_problems import CheckedSettings


class Preprocess(CheckedSettings):
    """Converts pixels in [0, 1] to the inputs of one network.

    Attributes:
        channels: Channels of the network's input: 1 for grey, 3 for colour.
        image_size: Height and width of the network's input, in pixels.
        mean: Number that is subtracted, one per channel, in units of [0, 1].
        std: Divisor, one per channel.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    channels: int
    image_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @field_validator("mean", "std")
    @classmethod
    def _check_finite(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if not all(map(math.isfinite, value)):
            raise ValueError("means and standard deviations are finite numbers")
        return value

    @field_validator("std")
    @classmethod
    def _check_std(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if any(number <= 0 for number in value):
            raise ValueError("standard deviations are positive")
        return value

    def model_post_init(self, _: Any) -> None:
        """Compare the number of statistics with the number of channels."""
        if not len(self.mean) == len(self.std) == self.channels:
            raise SettingError(
                f"{len(self.mean)} means and {len(self.std)} deviations for {self.channels} channels",
                "each channel has one mean and one deviation",
                f"give {self.channels} of each",
            )

    @classmethod
    def from_images(cls, images: Tensor, image_size: int | None = None) -> Preprocess:
        """Compute the statistics of uint8 images [N, C, H, W], from at most about 10,000 of them.

        Raises:
            SettingError: The images are no tensor of bytes.
        """
        fix = "Use for example data.train.sample()"
        check_type("images", images, Tensor, "Statistics are those of a tensor of uint8 images", fix)
        if images.dtype != torch.uint8:
            what = f"images= has the type {images.dtype}"
            raise SettingError(what, "Statistics are those of uint8 images", "Use (images * 255).to(torch.uint8)")
        sample = images[:: max(1, len(images) // 10_000)].float() / 255
        std = sample.std(dim=(0, 2, 3)).clamp_min(1e-3)
        return cls(
            channels=images.shape[1],
            image_size=image_size or images.shape[-1],
            mean=tuple(round(float(value), 6) for value in sample.mean(dim=(0, 2, 3))),
            std=tuple(round(float(value), 6) for value in std),
        )

    def __call__(self, pixels: Tensor) -> Tensor:
        """Normalise pixels [B, C, H, W] in [0, 1]; convert channels and size if they differ.

        Raises:
            SettingError: The pixels are whole numbers, such as bytes, or have channels that cannot be converted.
        """
        if not pixels.is_floating_point():
            what = f"pixels= has the type {pixels.dtype}"
            raise SettingError(what, "Pixels are numbers from 0 to 1", "Use for example pixels.float() / 255")
        if pixels.shape[1] != self.channels:
            if 1 not in (pixels.shape[1], self.channels):
                what = f"pixels= has {pixels.shape[1]} channels"
                why = f"The network reads {self.channels}, and only grey and colour are converted"
                raise SettingError(what, why, f"Use images of {self.channels} channels, or of 1")
            # Grey is repeated and colour is averaged, so that both conversions keep the range [0, 1].
            pixels = (
                pixels.expand(-1, self.channels, -1, -1) if pixels.shape[1] == 1 else pixels.mean(dim=1, keepdim=True)
            )
        if pixels.shape[-2:] != (self.image_size, self.image_size):
            pixels = interpolate(pixels, size=(self.image_size,) * 2, mode="bicubic", antialias=True).clamp(0, 1)
        mean, std = (_move_numbers(numbers, pixels).view(1, -1, 1, 1) for numbers in (self.mean, self.std))
        return (pixels - mean) / std

    def adapt(self, channels: int, image_size: int) -> Preprocess:
        """Return the same statistics for other channels and another image size.

        Grey gets the mean over the colours' statistics; each colour gets the statistics of grey.
        """
        mean, std = self.mean, self.std
        if channels != self.channels:
            mean, std = (
                (sum(numbers) / len(numbers),) * channels if len(numbers) > 1 else numbers * channels
                for numbers in (mean, std)
            )
        return Preprocess(channels=channels, image_size=image_size, mean=mean, std=std)


def _move_numbers(numbers: tuple[float, ...], like: Tensor) -> Tensor:
    """Return numbers with the type and on the device of a tensor."""
    if like.device.type != "cuda":
        return torch.tensor(numbers, device=like.device, dtype=like.dtype)
    # Otherwise the host would wait for all earlier work of the GPU, in every step.
    return torch.tensor(numbers, dtype=like.dtype).to(like.device, non_blocking=True)
