"""The form of a timm ResNet of basic blocks."""

from __future__ import annotations

from typing import Any, Literal

from germline.anatomy.stages import StagedSpec, residual_blocks
from germline.errors import SettingError

PLAIN_STEM = 64  # channels of timm's plain stem, whatever it is asked for
STAGES = 4  # timm's forward pass names them


class ResNetSpec(StagedSpec):
    """All that is needed to build one ResNet of basic blocks; the names are timm's but for depths and widths.

    Attributes:
        depths: Basic blocks of each of the four stages, timm's `layers`.
        widths: Channels of each stage, timm's `channels`.
        stem_type: One 7x7 convolution of 64 channels, or three 3x3 ones (`deep`); both halve the picture, and a pool
            behind them halves it again.
        stem_width: Channels of the first two convolutions of a deep stem, whose last has twice as many.
    """

    depths: tuple[int, ...]
    widths: tuple[int, ...]
    stem_type: Literal["", "deep"] = ""
    stem_width: int = 64

    def model_post_init(self, _: Any) -> None:
        """Refuse what cannot be built."""
        if (len(self.depths), len(self.widths)) != (STAGES, STAGES):
            raise SettingError(
                f"{len(self.depths)} depths and {len(self.widths)} widths", f"timm's ResNet has {STAGES} stages"
            )
        self.check()
        if min(*self.widths, self.stem_width) < 1:
            raise SettingError(
                f"widths={self.widths}, stem_width={self.stem_width}", "a convolution has at least one channel"
            )
        if not self.stem_type and self.stem_width != PLAIN_STEM:
            raise SettingError(
                f"stem_width={self.stem_width}",
                f"timm's plain stem has {PLAIN_STEM} channels",
                "leave it out, or use stem_type=deep",
            )

    @property
    def stages(self) -> tuple[int, ...]:
        """Basic blocks of each stage."""
        return self.depths

    @property
    def features(self) -> int:
        """Channels of the last stage."""
        return self.widths[-1]

    @property
    def halvings(self) -> int:
        """None: maps are halved, but rounded up, so that one place is always left."""
        return 0

    @property
    def stem(self) -> int:
        """Channels that the first block reads."""
        return 2 * self.stem_width if self.stem_type else PLAIN_STEM

    @property
    def blocks(self) -> tuple[tuple[int, int, int], ...]:
        """For each block its stage, the channels that it reads, and those that it writes."""
        return residual_blocks(self.stem, self.depths, self.widths)

    def projects(self, index: int) -> bool:
        """Whether the block at `index` has a convolution on its way past, timm's `downsample`."""
        stage, reads, width = self.blocks[index]
        return reads != width or (stage > 0 and index == sum(self.depths[:stage]))
