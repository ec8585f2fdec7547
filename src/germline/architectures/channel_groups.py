"""Channel groups: which dimensions of which tensors stand for the same channels and have to keep the same ones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor


@dataclass(frozen=True)
class GroupMember:
    """One dimension of one tensor.

    Attributes:
        tensor: Full name.
        dim: Which dimension.
        role: Whether the tensor makes these channels (`written`) or takes them from another (`read`).
        outer: How many times the channels stand one after another in the dimension (3 where queries, keys and values
            share a matrix).
        inner: Neighbouring elements of the dimension that belong to one channel (the length of an attention head).
    """

    tensor: str
    dim: int
    role: Literal["written", "read"]
    outer: int = 1
    inner: int = 1


@dataclass(frozen=True)
class ChannelGroup:
    """Channels that every member has in common; a residual stream is one group.

    Attributes:
        name: Of the group, unique in a network.
        width: Number of channels.
        members: Where they stand.
        stage: Which stage they lie in, counted from 0; a ViT has one.
    """

    name: str
    width: int
    members: tuple[GroupMember, ...]
    stage: int = 0


def list_writers(dim: int, *names: str, outer: int = 1, inner: int = 1) -> tuple[GroupMember, ...]:
    """Members that make the channels, along the same dimension."""
    return tuple(GroupMember(name, dim, "written", outer, inner) for name in names)


def list_readers(dim: int, *names: str, outer: int = 1, inner: int = 1) -> tuple[GroupMember, ...]:
    """Members that take the channels, along the same dimension."""
    return tuple(GroupMember(name, dim, "read", outer, inner) for name in names)


def select_channels(
    tensors: Mapping[str, Tensor], groups: Iterable[ChannelGroup], indices: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Keep the given channels of each group, in the given order, in all tensors that have them.

    Args:
        tensors: By full name; those of no group stay as they are.
        groups: Of the network that they belong to.
        indices: Channels to keep, int64 [kept], by group name; a group that is left out keeps all.
    """
    kept = dict(tensors)
    for group in groups:
        if group.name not in indices:
            continue
        for member in group.members:
            if member.tensor in kept:
                at = channel_indices(member, group.width, indices[group.name])
                kept[member.tensor] = kept[member.tensor].index_select(member.dim, at)
    return kept


def channel_indices(member: GroupMember, width: int, channels: Tensor) -> Tensor:
    """Indices along the member's dimension of the channels named."""
    table = torch.arange(member.outer * width * member.inner).view(member.outer, width, member.inner)
    return table[:, channels].flatten()
