"""The channel groups of a ViT."""

from __future__ import annotations

from collections.abc import Mapping

from germline.anatomy.base import Parts
from germline.anatomy.channels import Group, Member, read, written

_TABLES = ("cls_token", "reg_token", "pos_embed")
_STREAM_READERS = ("attn.qkv.weight", "mlp.fc1.weight")
# Tensors of a block that lie in no stream: biases of what reads it, and norms of one head's length.
_APART = ("attn.qkv.bias", "mlp.fc1.bias", "attn.q_norm", "attn.k_norm")


def vit_groups(parts: Parts, width: int, heads: int, hidden: int) -> tuple[Group, ...]:
    """One group for the stream of tokens, and for each block one of heads and one of hidden channels."""
    stream: list[Member] = []
    for name in (*parts.stem, *parts.norm):
        # Tokens and positions are [1, count, width].
        stream += written(2 if name in _TABLES else 0, name)
    inside: list[Group] = []
    for index, block in enumerate(parts.blocks):
        stream += read(1, *(block[name] for name in _STREAM_READERS))
        stream += written(0, *(full for name, full in block.items() if not name.startswith(_STREAM_READERS + _APART)))
        inside += [
            Group(f"blocks.{index}.heads", heads, _heads(block, width // heads)),
            Group(f"blocks.{index}.hidden", hidden, _hidden(block)),
        ]
    stream += read(1, *(name for name in parts.head if name.endswith("weight")))
    return (Group("stream", width, tuple(stream)), *inside)


def _heads(block: Mapping[str, str], length: int) -> tuple[Member, ...]:
    qkv = [block[name] for name in ("attn.qkv.weight", "attn.qkv.bias") if name in block]
    return (*written(0, *qkv, outer=3, inner=length), *read(1, block["attn.proj.weight"], inner=length))


def _hidden(block: Mapping[str, str]) -> tuple[Member, ...]:
    return (*written(0, block["mlp.fc1.weight"], block["mlp.fc1.bias"]), *read(1, block["mlp.fc2.weight"]))
