"""The channel groups of a ViT, plain or stitched."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from germline.anatomy.base import Parts
from germline.anatomy.channels import Group, Member, read, written

_TABLES = ("cls_token", "reg_token", "pos_embed")
_STITCH = "stitch.weight"
_STREAM_READERS = ("attn.qkv.weight", "mlp.fc1.weight")
# Tensors of a block that lie in no stream: biases of what reads it, and norms of one head's length.
_APART = ("attn.qkv.bias", "mlp.fc1.bias", "attn.q_norm", "attn.k_norm")


def vit_groups(parts: Parts, sizes: Sequence[tuple[int, int, int, int]]) -> tuple[Group, ...]:
    """One group for each segment's stream of tokens, and for each block one of heads and one of hidden channels.

    Args:
        parts: Names of the tensors.
        sizes: Depth, width, heads and hidden channels of each segment; where there are several, the first block of a
            later one reads the stream before it through its stitch.
    """
    streams: list[list[Member]] = [[] for _ in sizes]
    for name in parts.stem:
        # Tokens and positions are [1, count, width].
        streams[0] += written(2 if name in _TABLES else 0, name)
    streams[-1] += written(0, *parts.norm)
    inside: list[Group] = []
    places = [place for place, (depth, *_) in enumerate(sizes) for _ in range(depth)]
    for index, (block, place) in enumerate(zip(parts.blocks, places, strict=True)):
        _, width, heads, hidden = sizes[place]
        if _STITCH in block:
            streams[place - 1] += read(1, block[_STITCH])
        streams[place] += read(1, *(block[name] for name in _STREAM_READERS))
        makers = [full for name, full in block.items() if not name.startswith(_STREAM_READERS + _APART)]
        streams[place] += written(0, *makers)
        inside += [
            Group(f"blocks.{index}.heads", heads, _heads(block, width // heads)),
            Group(f"blocks.{index}.hidden", hidden, _hidden(block)),
        ]
    streams[-1] += read(1, *(name for name in parts.head if name.endswith("weight")))
    outer = [
        Group("stream" if len(sizes) == 1 else f"streams.{place}", size[1], tuple(members))
        for place, (size, members) in enumerate(zip(sizes, streams, strict=True))
    ]
    return (*outer, *inside)


def _heads(block: Mapping[str, str], length: int) -> tuple[Member, ...]:
    qkv = [block[name] for name in ("attn.qkv.weight", "attn.qkv.bias") if name in block]
    return (*written(0, *qkv, outer=3, inner=length), *read(1, block["attn.proj.weight"], inner=length))


def _hidden(block: Mapping[str, str]) -> tuple[Member, ...]:
    return (*written(0, block["mlp.fc1.weight"], block["mlp.fc1.bias"]), *read(1, block["mlp.fc2.weight"]))
