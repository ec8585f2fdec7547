"""What the specs of plain and stitched ViTs share, and what neither takes."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Literal

from germline.anatomy.base import Spec
from germline.errors import SettingError

if TYPE_CHECKING:
    from germline.anatomy.vit import VitSpec

MAX_DEPTH = 1000


class TransformerSpec(Spec, ABC):
    """What plain and stitched ViTs have besides their size; the names are timm's where timm has one.

    Attributes:
        patch_size: Side of a patch, in pixels.
        init_values: LayerScale's first value; None for no LayerScale.
        norm_first: Final norm before pooling (ours and the auxiliary model's); False pools first, timm's `fc_norm`.
    """

    patch_size: int
    mlp_ratio: float = 4.0
    qkv_bias: bool = True
    qk_norm: bool = False
    class_token: bool = False
    reg_tokens: int = 0
    no_embed_class: bool = False
    global_pool: Literal["avg", "token"] = "avg"
    init_values: float | None = None
    norm_first: bool = True
    drop_path: float = 0.0

    @property
    @abstractmethod
    def segments(self) -> tuple[VitSpec, ...]:
        """The plain ViTs whose blocks stand one after another; a plain ViT is its own only one."""

    @property
    @abstractmethod
    def _sizes(self) -> tuple[tuple[int, int, int], ...]:
        """Depth, width and heads of each segment."""

    def model_post_init(self, _: Any) -> None:
        """Refuse what cannot be built."""
        several = len(self._sizes) > 1
        for number, size in enumerate(self._sizes, 1):
            _check_size(*size, str(number) if several else "")
        _check(
            self.image_size % self.patch_size == 0 and self.image_size >= self.patch_size,
            f"image_size={self.image_size} with patch_size={self.patch_size}",
            "a picture is a whole number of patches",
            f"the least size is {self.patch_size}, the next {math.ceil(self.image_size / self.patch_size)} patches",
        )
        _check(
            self.class_token or self.global_pool != "token",
            "global_pool=token without a class token",
            fix="use global_pool=avg",
        )

    @property
    def tokens(self) -> int:
        """Tokens in a block, class and register tokens included."""
        return (self.image_size // self.patch_size) ** 2 + int(self.class_token) + self.reg_tokens

    @property
    def starts(self) -> tuple[int, ...]:
        """Index of the first block of each segment; from the second on it begins with a stitch."""
        return (0, *accumulate(depth for depth, _, _ in self._sizes[:-1]))


def _check_size(depth: int, width: int, heads: int, number: str) -> None:
    """Refuse one segment's size; `number` is behind its keys where there are several."""
    _check(1 <= depth <= MAX_DEPTH, f"depth{number}={depth}", f"a depth is between 1 and {MAX_DEPTH}")
    _check(width >= 1 and heads >= 1, f"width{number}={width}, heads{number}={heads}", "both are at least 1")
    near = max(heads, round(width / heads) * heads)
    _check(
        width % heads == 0,
        f"width{number}={width} with heads{number}={heads}",
        "the width is not divisible by the heads",
        f"use for example width{number}={near}",
    )


def _check(good: bool, what: str, why: str = "", fix: str = "") -> None:
    if not good:
        raise SettingError(what, why, fix)
