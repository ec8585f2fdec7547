"""What a user says about a network whose source does not say it: its model, entry, and preprocessing."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from germline.architectures import Preprocess
from germline.arguments import describe_argument, read_whole_number
from germline.errors import SettingError
from germline.loading.assume import ASSUMED, describe_preprocess, make_preprocess

_WORDS: dict[str, Any] = {"true": True, "false": False, "none": None, "null": None}


@dataclass(frozen=True)
class ModelRequest:
    """A model and fields of its spec, as in `vit,heads=3`.

    Attributes:
        name: Architecture, preset, or name in timm.
        fields: Fields of the spec, or arguments of timm's function.
        entry: Entry or prefix of the weights in their file; None to find it.
    """

    name: str
    fields: dict[str, Any] = field(default_factory=dict)
    entry: str | None = None

    @classmethod
    def parse(cls, text: str) -> ModelRequest:
        """Parse a name with `key=value` parts behind commas.

        Raises:
            SettingError: A part is not key=value, or is given twice.
        """
        name, *parts = (part.strip() for part in text.split(","))
        fields: dict[str, Any] = {}
        for part in parts:
            key, equals, value = (piece.strip() for piece in part.partition("="))
            if not (key and equals and value) or key in fields:
                reason = f"'{key}' is given twice" if key in fields else f"'{part}' is not key=value"
                raise SettingError(f"model '{text}'", reason, "use for example --model vit,heads=3")
            fields[key] = _read_value(value)
        if not name:
            raise SettingError(f"model '{text}'", "it has no name", "use for example --model vit,heads=3")
        entry = fields.pop("entry", None)
        return cls(name, fields, None if entry is None else str(entry))


def _read_value(text: str) -> Any:
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    for kind in (int, float):
        try:
            number = kind(text)
        except ValueError:
            continue
        return number if math.isfinite(number) else text
    return text


@dataclass(frozen=True)
class ImageRequest:
    """The preprocessing that a user gives; None for what is not given.

    Attributes:
        image_size: Height and width of the network's images, in pixels.
        mean: Mean per channel, in units of [0, 1].
        std: Standard deviation per channel, in units of [0, 1].
    """

    image_size: int | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if self.image_size is not None and read_whole_number(self.image_size) is None:
            fix = "use for example image_size=32"
            raise SettingError(describe_argument("image_size", self.image_size), "it is a number of pixels", fix)
        if self.image_size is not None and not 1 <= self.image_size <= 4096:
            raise SettingError(f"image_size={self.image_size}", "images have 1 to 4096 pixels", "use image_size=32")
        if (self.mean is None) != (self.std is None):
            given, other = ("mean", "std") if self.std is None else ("std", "mean")
            raise SettingError(f"{given} without {other}", "both normalise the images", f"pass --{other} too")
        for name, values in (("mean", self.mean), ("std", self.std)):
            if values is not None and (len(values) not in (1, 3) or not all(map(math.isfinite, values))):
                text = ",".join(map(str, values))
                raise SettingError(f"{name}={text}", "it has one number for grey or three for colour", "use three")
        if self.std is not None and not all(0 < value <= 10 for value in self.std):
            raise SettingError(f"std={self.std}", "deviations are above 0, in units of [0, 1]", "use for example 0.25")
        if self.mean is not None and not all(-1 <= value <= 1.5 for value in self.mean):
            raise SettingError(
                f"mean={','.join(map(str, self.mean))}", "means are in units of [0, 1]", "divide them by 255"
            )

    @property
    def is_empty(self) -> bool:
        """Whether nothing is given."""
        return self.image_size is None and self.mean is None

    def complete(
        self,
        channels: int,
        image_size: int,
        statistics: tuple[tuple[float, ...], tuple[float, ...]],
        *,
        is_fixed: bool,
    ) -> tuple[Preprocess, tuple[str, ...], frozenset[str]]:
        """Fill what is not given.

        Args:
            channels: Channels that the network reads.
            image_size: Image size that is assumed if none is given.
            statistics: Mean and std that are assumed if none are given.
            is_fixed: Whether the network reads images of `image_size` alone.

        Returns:
            The preprocessing, what was assumed in one sentence, and the names of what was assumed.

        Raises:
            SettingError: Another image size is given than the only one that the network reads.
        """
        if is_fixed and self.image_size not in (None, image_size):
            raise SettingError(
                f"image_size={self.image_size}",
                f"the weights are for images of {image_size} pixels",
                f"use image_size={image_size}, or remove it",
            )
        mean, std = statistics if self.mean is None or self.std is None else (self.mean, self.std)
        chosen = make_preprocess(channels, self.image_size or image_size, mean, std)
        names = {"image_size": self.image_size is None and not is_fixed, "statistics": self.mean is None}
        assumed = frozenset(name for name, is_assumed in names.items() if is_assumed)
        text = {"image_size": "image size", "statistics": "mean and std"}
        what = " and ".join(text[name] for name in names if name in assumed)
        note = (f"{ASSUMED} {describe_preprocess(chosen)}; {what} are not in the file",) if assumed else ()
        return chosen, note, assumed
