"""Channel groups: dimensions of tensors that hold the same channels and have to keep the same ones."""

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
        tensor: Full name of the tensor.
        dim: Index of the dimension.
        role: Whether the tensor makes these channels (`written`) or takes them from another tensor (`read`).
        outer: Number of times that the channels repeat along the dimension (3 if queries, keys and values share a
            matrix).
        inner: Number of neighbouring elements of the dimension that belong to one channel (the length of an attention
            head).
    """

    tensor: str
    dim: int
    role: Literal["written", "read"]
    outer: int = 1
    inner: int = 1


@dataclass(frozen=True)
class ChannelGroup:
    """Channels that all members have in common; a residual stream is one group.

    Attributes:
        name: Name of the group, unique in a network.
        width: Number of channels.
        members: Dimensions of tensors that hold these channels.
        stage: Index of the stage that the channels lie in; a ViT has one stage.
    """

    name: str
    width: int
    members: tuple[GroupMember, ...]
    stage: int = 0


def list_writers(dim: int, *names: str, outer: int = 1, inner: int = 1) -> tuple[GroupMember, ...]:
    """List members that make the channels, all along the same dimension."""
    return tuple(GroupMember(name, dim, "written", outer, inner) for name in names)


def list_readers(dim: int, *names: str, outer: int = 1, inner: int = 1) -> tuple[GroupMember, ...]:
    """List members that take the channels, all along the same dimension."""
    return tuple(GroupMember(name, dim, "read", outer, inner) for name in names)


def select_channels(
    tensors: Mapping[str, Tensor], groups: Iterable[ChannelGroup], indices: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Select channels of each group, in the given order, in all tensors that have them.

    Args:
        tensors: Tensors by full name; tensors that are in no group do not change.
        groups: Channel groups of the network that the tensors belong to.
        indices: Channels to keep, int64 [kept], by group name; a group that is left out keeps all its channels.
    """
    selected = dict(tensors)
    for group in groups:
        if group.name not in indices:
            continue
        for member in group.members:
            if member.tensor in selected:
                rows = channel_indices(member, group.width, indices[group.name])
                selected[member.tensor] = selected[member.tensor].index_select(member.dim, rows)
    return selected


def channel_indices(member: GroupMember, width: int, channels: Tensor) -> Tensor:
    """Return the indices of the given channels along the member's dimension."""
    table = torch.arange(member.outer * width * member.inner).view(member.outer, width, member.inner)
    return table[:, channels].flatten()
