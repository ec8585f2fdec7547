"""Specs of networks of Transformer blocks: what plain and stitched ViTs have in common."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate
from typing import Any, Literal, NamedTuple

from germline.architectures.base import MAX_ELEMENTS, MAX_IMAGE_SIZE, MAX_WIDTH, Spec, check_elements, check_most
from germline.errors import SettingError

MAX_DEPTH, MAX_MLP_RATIO = 1000, 1000


class SegmentSize(NamedTuple):
    """Size of a row of blocks that have one width.

    Attributes:
        depth: Number of blocks.
        width: Length of a token.
        heads: Number of attention heads.
    """

    depth: int
    width: int
    heads: int


class TransformerSpec(Spec, ABC):
    """Fields of plain and stitched ViTs besides their size; the names are timm's if timm has one.

    Attributes:
        patch_size: Side of a patch, in pixels.
        init_values: Initial value of LayerScale; None for no LayerScale.
        norm_first: Whether the final norm comes before pooling, as in our networks and in the auxiliary model. If not,
            tokens are pooled first, as with timm's `fc_norm`.
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
    def segment_sizes(self) -> tuple[SegmentSize, ...]:
        """Sizes of the segments, in order; a plain ViT has one."""

    def model_post_init(self, _: Any) -> None:
        """Refuse a network that cannot be built."""
        _check(self.patch_size >= 1, f"patch_size={self.patch_size}", "a patch has a pixel", "use 4, 8 or 16")
        _check(self.mlp_ratio > 0, f"mlp_ratio={self.mlp_ratio}", "an MLP has hidden units", "use for example 4")
        _check(self.reg_tokens >= 0, f"reg_tokens={self.reg_tokens}", "a number is not below 0", "use 0 or more")
        _check(0 <= self.drop_path < 1, f"drop_path={self.drop_path}", "it is a share below 1", "use 0 to 0.9")
        _check(
            self.init_values is None or math.isfinite(self.init_values),
            f"init_values={self.init_values}",
            "it is not a finite number",
            "use for example 1e-5, or remove it",
        )
        for index in range(len(self.segment_sizes)):
            self._check_segment(index)
        patches = max(1, math.ceil(self.image_size / self.patch_size))
        _check(
            self.image_size == patches * self.patch_size,
            f"image_size={self.image_size} with patch_size={self.patch_size}",
            "the image size is not a multiple of the patch size",
            f"use image_size={patches * self.patch_size}, or another patch_size",
        )
        check_most("mlp_ratio", self.mlp_ratio, MAX_MLP_RATIO)
        check_most("reg_tokens", self.reg_tokens, MAX_IMAGE_SIZE)
        check_elements(self._estimate_elements(self.segment_sizes))
        _check(
            self.class_token or self.global_pool != "token",
            "global_pool=token without a class token",
            "there is no token to read",
            "use global_pool=avg, or class_token=true",
        )

    def _check_segment(self, index: int) -> None:
        """Refuse a segment that cannot be built. Limits are searched only for the message of a refusal."""
        depth, width, heads = self.segment_sizes[index]
        number = str(index + 1) if len(self.segment_sizes) > 1 else ""
        if not 1 <= depth <= MAX_DEPTH:
            deepest = 1 if depth < 1 else self.find_largest_depth(index)
            raise SettingError(
                f"depth{number}={depth}",
                f"a depth is between 1 and {MAX_DEPTH}",
                f"use depth{number}={deepest}" if deepest else "use a smaller size",
            )
        _check(
            width >= 1 and heads >= 1,
            f"width{number}={width}, heads{number}={heads}",
            "both are at least 1",
            f"use for example width{number}=64, heads{number}=2",
        )
        if width > MAX_WIDTH:
            widest = self.find_largest_width(index)
            raise SettingError(
                f"width{number}={width}",
                f"germline builds networks of at most {MAX_WIDTH:,}",
                f"use for example width{number}={widest}" if widest else "use a smaller width",
            )
        if width % heads:
            near = min(max(heads, round(width / heads) * heads), self.find_largest_width(index))
            raise SettingError(
                f"width{number}={width} with heads{number}={heads}",
                "the width is not divisible by the number of heads",
                f"use for example width{number}={near}" if near else "use fewer heads",
            )

    def find_largest_width(self, index: int = 0) -> int:
        """Find the largest width of a segment that can be built with its heads; 0 if there is none.

        Args:
            index: Index of the segment; the sizes of others stay.
        """
        heads = max(1, self.segment_sizes[index].heads)
        return self._find_largest(index, "width", range(heads, MAX_WIDTH + 1, heads))

    def find_largest_depth(self, index: int = 0) -> int:
        """Find the largest depth of a segment that can be built; 0 if there is none.

        Args:
            index: Index of the segment; the sizes of others stay.
        """
        return self._find_largest(index, "depth", range(1, MAX_DEPTH + 1))

    def _find_largest(self, index: int, key: str, values: range) -> int:
        sizes = list(self.segment_sizes)

        def is_too_large(value: int) -> bool:
            sizes[index] = sizes[index]._replace(**{key: value})
            return self._estimate_elements(sizes) > MAX_ELEMENTS

        return values.step * bisect_left(values, True, key=is_too_large)

    def _estimate_elements(self, sizes: Sequence[SegmentSize]) -> float:
        """Estimate the elements of the tensors; biases and norms are left out."""
        blocks = sum(depth * width**2 * (4 + 2 * self.mlp_ratio) for depth, width, _ in sizes)
        most = max(width for _, width, _ in sizes)
        return blocks + most * (self.tokens + self.classes + self.channels * self.patch_size**2)

    @property
    def prefix_tokens(self) -> int:
        """Number of tokens before those of the patches: class and register tokens."""
        return int(self.class_token) + self.reg_tokens

    @property
    def tokens(self) -> int:
        """Number of tokens in a block, class and register tokens included."""
        return (self.image_size // self.patch_size) ** 2 + self.prefix_tokens

    @property
    def segment_starts(self) -> tuple[int, ...]:
        """Index of the first block of each segment; the first block of every later segment begins with a stitch."""
        return (0, *accumulate(size.depth for size in self.segment_sizes[:-1]))


def choose_heads(width: int, source: SegmentSize, number: str = "", most: int = MAX_WIDTH) -> int:
    """Choose the attention heads of a width that is given without heads.

    Their number stays if it divides the width. Otherwise the length of a head stays, if that divides the width.

    Args:
        width: Length of a token.
        source: Size that the heads start from.
        number: End of the keys of this segment; empty if there is one segment.
        most: Largest width that can be built. The number of heads stays for a larger one, which the spec refuses.

    Raises:
        SettingError: Neither divides the width; the message names the nearest widths.
    """
    length = source.width // source.heads
    if width % source.heads == 0 or width > most:
        return source.heads
    if width % length == 0:
        return width // length
    near = [count * length for count in (width // length, width // length + 1) if 0 < count * length <= most]
    example = f"use for example {' or '.join(f'width{number}={each}' for each in near)}, or pass" if near else "pass"
    raise SettingError(
        f"width{number}={width} with heads{number}={source.heads}",
        f"the width is not divisible by the number of heads, nor by their length, {length}",
        f"{example} heads{number} too",
    )


def _check(good: bool, what: str, why: str, fix: str) -> None:
    if not good:
        raise SettingError(what, why, fix)
