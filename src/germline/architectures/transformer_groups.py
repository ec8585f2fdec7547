"""Channel groups of networks of Transformer blocks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from germline.architectures.base import Parts
from germline.architectures.channel_groups import ChannelGroup, GroupMember, list_readers, list_writers
from germline.architectures.transformer_spec import SegmentSize

_TABLES = ("cls_token", "reg_token", "pos_embed")
_STITCH = "stitch.weight"
_STREAM_READERS = ("attn.qkv.weight", "mlp.fc1.weight")
# Tensors of a block that hold no channel of the stream: biases of its readers, and norms of the length of one head.
_OUTSIDE_STREAM = ("attn.qkv.bias", "mlp.fc1.bias", "attn.q_norm", "attn.k_norm")


def list_transformer_groups(parts: Parts, sizes: Sequence[SegmentSize], mlp_ratio: float) -> tuple[ChannelGroup, ...]:
    """List the groups: each segment's stream of tokens, and each block's heads and hidden channels.

    Args:
        parts: Names of the tensors.
        sizes: Sizes of the segments. The first block of a later segment reads the stream before it through its stitch.
        mlp_ratio: Hidden channels of an MLP divided by the width.
    """
    streams: list[list[GroupMember]] = [[] for _ in sizes]
    for name in parts.stem:
        # Tokens and positions are [1, count, width].
        streams[0] += list_writers(2 if name in _TABLES else 0, name)
    streams[-1] += list_writers(0, *parts.norm)
    inside: list[ChannelGroup] = []
    segments = [segment for segment, size in enumerate(sizes) for _ in range(size.depth)]
    for index, (block, segment) in enumerate(zip(parts.blocks, segments, strict=True)):
        _, width, heads = sizes[segment]
        if _STITCH in block:
            streams[segment - 1] += list_readers(1, block[_STITCH])
        streams[segment] += list_readers(1, *(block[name] for name in _STREAM_READERS))
        writers = [full for name, full in block.items() if not name.startswith(_STREAM_READERS + _OUTSIDE_STREAM)]
        streams[segment] += list_writers(0, *writers)
        inside += [
            ChannelGroup(f"blocks.{index}.heads", heads, _list_head_members(block, width // heads)),
            ChannelGroup(f"blocks.{index}.hidden", int(width * mlp_ratio), _list_hidden_members(block)),
        ]
    streams[-1] += list_readers(1, *(name for name in parts.head if name.endswith("weight")))
    outer = [
        ChannelGroup("stream" if len(sizes) == 1 else f"streams.{segment}", size.width, tuple(members))
        for segment, (size, members) in enumerate(zip(sizes, streams, strict=True))
    ]
    return (*outer, *inside)


def _list_head_members(block: Mapping[str, str], length: int) -> tuple[GroupMember, ...]:
    qkv = [block[name] for name in ("attn.qkv.weight", "attn.qkv.bias") if name in block]
    return (
        *list_writers(0, *qkv, outer=3, inner=length),
        *list_readers(1, block["attn.proj.weight"], inner=length),
    )


def _list_hidden_members(block: Mapping[str, str]) -> tuple[GroupMember, ...]:
    writers = list_writers(0, block["mlp.fc1.weight"], block["mlp.fc1.bias"])
    return (*writers, *list_readers(1, block["mlp.fc2.weight"]))
