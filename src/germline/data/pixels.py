"""Pixels of any type as bytes: scaled where the range is known, and refused elsewhere."""

from __future__ import annotations

import logging
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from germline.errors import DataError

_LOGGER = logging.getLogger("germline")
_GREY = {"1", "L", "LA", "La"}
_COLOUR = {"RGB", "RGBA", "RGBX", "RGBa", "P", "PA", "CMYK", "YCbCr", "HSV"}
GREY_MODES = {*_GREY, "I", "F", "I;16", "I;16B", "I;16L", "I;16N"}
_SIXTEEN = {"I;16", "I;16B", "I;16L", "I;16N"}
_SIXTEEN_FORMATS = {"PNG", "PPM"}  # Pillow opens their 16-bit images in mode I, scaled to 65535
FULL_16_BIT = 4096  # 16-bit images below this value come from a camera of 12 bits or fewer


@cache
def warn_once(text: str) -> None:
    """Log a warning unless the same text was logged before."""
    _LOGGER.warning("%s", text)


class PixelReader:
    """Converts the images of one split to bytes, and checks them as a whole.

    Args:
        source: Name of the split for messages.
    """

    def __init__(self, source: str) -> None:
        self._source = source
        self._largest, self._transparent, self._frames = -1, 0, 0

    @property
    def has_16_bits(self) -> bool:
        """Whether a 16-bit image was read."""
        return self._largest >= 0

    def note_frames(self, count: int) -> None:
        """Count an image of several frames."""
        self._frames += count > 1

    def read_image(self, image: Image.Image, where: str, *, image_format: str | None = None) -> Image.Image:
        """Return a PIL image in mode L or RGB.

        Palettes become colours, transparency is dropped, and 16-bit and float images are scaled.

        Raises:
            DataError: The range of the image's values is unknown.
        """
        mode = image.mode
        if not image.width * image.height:
            raise DataError(f"{where} has no pixels", f"It is {image.width}x{image.height} px", "Remove it")
        if mode in _SIXTEEN or (mode == "I" and image_format in _SIXTEEN_FORMATS):
            return Image.fromarray(self._scale_16_bit(np.asarray(image).astype(np.uint16)))
        if mode == "F":
            return Image.fromarray(_scale_floats(torch.from_numpy(np.array(image)), where).numpy())
        if mode not in _GREY | _COLOUR:
            raise DataError(
                f"{where} is an image of mode {mode}",
                "The range of its values is unknown",
                "Use images of 8 or 16 bits per channel, or floats in [0, 1]",
            )
        self._note_transparency(image)
        if mode in {"RGBa", "La", "PA"}:
            image = image.convert("LA" if mode == "La" else "RGBA")
        return image.convert("L" if mode in _GREY else "RGB")

    def read_pixels(self, pixels: Tensor, where: str) -> Tensor:
        """Return pixels of any shape as uint8.

        Booleans become 0 and 255. 16-bit values and floats in [0, 1] are scaled.

        Raises:
            DataError: The pixels are of another type, or their range is unknown.
        """
        if pixels.layout != torch.strided or pixels.is_quantized or pixels.is_complex() or pixels.is_meta:
            raise DataError(
                f"{where} has pixels of type {pixels.dtype} in layout {pixels.layout} on device {pixels.device}",
                "Pixels are plain numbers",
                "Pass uint8 pixels, or floats in [0, 1]",
            )
        pixels = pixels.detach().cpu()
        if pixels.dtype == torch.uint8:
            return pixels
        if pixels.dtype == torch.bool:
            return pixels.to(torch.uint8) * 255
        if pixels.dtype == torch.uint16:
            return torch.from_numpy(self._scale_16_bit(pixels.numpy()))
        if pixels.is_floating_point():
            return _scale_floats(pixels, where)
        raise DataError(
            f"{where} has pixels of type {str(pixels.dtype).removeprefix('torch.')}",
            "The range of such numbers is unknown",
            "Pass uint8 pixels in [0, 255], uint16 pixels in [0, 65535], or floats in [0, 1]",
        )

    def check_range(self) -> None:
        """Check what needs all images: 16-bit images must fill their range.

        Raises:
            DataError: No 16-bit value is above 4095, so the images would be almost black.
        """
        if 0 < self._largest < FULL_16_BIT:
            raise DataError(
                f"16-bit images of {self._source} reach {self._largest} of 65535",
                "Their camera has fewer bits, and they would be read as black",
                "Use images of 8 bits, or multiply the values so that white is 65535",
            )
        if self._transparent:
            warn_once(
                f"Images of {self._source} are transparent in places ({self._transparent} of those looked at). "
                "Their stored colours are read, without a background."
            )
        if self._frames:
            warn_once(
                f"Images of {self._source} have several frames ({self._frames} of those looked at). "
                "The first one is read."
            )

    def _scale_16_bit(self, values: NDArray[Any]) -> NDArray[np.uint8]:
        self._largest = max(self._largest, int(values.max(initial=0)))
        return ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)

    def _note_transparency(self, image: Image.Image) -> None:
        if image.mode in {"RGBA", "LA", "PA"}:
            self._transparent += image.getchannel("A").getextrema()[0] != 255
        elif "transparency" in image.info:
            self._transparent += 1


def _scale_floats(pixels: Tensor, where: str) -> Tensor:
    if not pixels.numel():
        return pixels.to(torch.uint8)
    low, high = float(pixels.min()), float(pixels.max())
    if not bool(torch.isfinite(pixels).all()):
        raise DataError(
            f"{where} has pixels that are not finite numbers",
            "An image has no NaN and no infinity",
            "Remove the image, or replace such pixels",
        )
    if low < 0:
        raise DataError(
            f"{where} has float pixels from {low:.4g} to {high:.4g}",
            "Images are uint8, or floats in [0, 1] without normalisation",
            "Remove normalisation from the transform: the network's Preprocess does it",
        )
    if high > 1:
        raise DataError(
            f"{where} has float pixels up to {high:.4g}",
            "Images are uint8, or floats in [0, 1] without normalisation",
            "Pass uint8 pixels if they are in [0, 255]; else divide them by the value of white",
        )
    return (pixels * 255).round().to(torch.uint8)
