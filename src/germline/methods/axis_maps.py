"""Index maps along the axes of tensors: which source element each element of a narrower or wider network takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from math import prod

import torch
from torch import Tensor

from germline.architectures import Spec
from germline.errors import SettingError
from germline.ledger import Origin
from germline.methods.slicing import RepeatOrder, SlicePlan, repeat_indices, shapes_of
from germline.registry import architecture_of


@dataclass(frozen=True)
class Axis:
    """One dimension of a tensor, of `outer` x `width` x `inner` elements.

    Attributes:
        width: Number of channels; attention heads are channels.
        outer: Number of times that the channels repeat (3 for queries, keys and values in one matrix).
        inner: Number of neighbouring elements of one channel (the length of a head, or of a flattened map).
        reads: Whether the dimension takes channels that another tensor makes.
        group: Name of the channel group; empty for a dimension in no group.
    """

    width: int
    outer: int = 1
    inner: int = 1
    reads: bool = False
    group: str = field(default="", compare=False)

    @property
    def size(self) -> int:
        """Number of elements along the dimension."""
        return self.outer * self.width * self.inner


@dataclass(frozen=True)
class AxisMap:
    """Source of each element along one dimension.

    Attributes:
        indices: Index of the source element, int64 [size].
        source: Axis that the elements are taken from.
    """

    indices: Tensor
    source: Axis

    @property
    def copies(self) -> Tensor:
        """Number of elements that share the source of each element, itself included, int64 [size]."""
        return torch.bincount(self.indices, minlength=self.source.size)[self.indices]

    @property
    def is_further(self) -> Tensor:
        """Whether an earlier element has the same source, bool [size]."""
        first = torch.full((self.source.size,), len(self.indices))
        first.scatter_reduce_(0, self.indices, torch.arange(len(self.indices)), "amin")
        return first[self.indices] != torch.arange(len(self.indices))

    @property
    def loses_elements(self) -> bool:
        """Whether a source element is not taken at all."""
        return int(torch.bincount(self.indices, minlength=self.source.size).min()) == 0


TensorMaps = Mapping[int, AxisMap]


def map_axis(source: Axis, target: Axis, order: RepeatOrder = "even") -> AxisMap:
    """Map the channels of an axis, and apart from them the elements within each channel.

    Index i of t comes from index floor(i x s / t) of s (`even`) or from i mod s (`stacked`). A channel is never cut in
    two: all its elements come from one channel of the source.
    """
    channels = torch.tensor(repeat_indices(order, source.width, target.width))
    elements = torch.tensor(repeat_indices(order, source.inner, target.inner))
    table = torch.arange(source.size).view(source.outer, source.width, source.inner)
    return AxisMap(table[:, channels][:, :, elements].flatten(), source)


def map_tensors(
    plan: SlicePlan, ancestor: Spec, order: RepeatOrder = "even", *, flat: bool = False
) -> dict[str, TensorMaps]:
    """Map every dimension of every tensor of a plan that does not take its source as it is.

    All tensors that share channels get the same map, since both networks have the same channel groups. A dimension in
    no group is an axis of single elements.

    Args:
        plan: Sources and shapes of the descendant's tensors.
        ancestor: Spec of the ancestor.
        order: Order of the sources along an axis.
        flat: Whether elements are mapped along a whole dimension, across heads and flattened maps.

    Returns:
        Maps by dimension, by name in the descendant; a tensor without maps is equal to its source.

    Raises:
        SettingError: A dimension without channels would have to grow.
    """
    shapes, axes, wider_axes = shapes_of(ancestor), axes_of(ancestor), axes_of(plan.spec)
    maps: dict[str, TensorMaps] = {}
    for name, source in plan.sources.items():
        changed: dict[int, AxisMap] = {}
        for dim, (size, wanted) in enumerate(zip(shapes[source], plan.shapes[name], strict=True)):
            before, after = axes.get((source, dim)), wider_axes.get((name, dim))
            if wanted > size and before is None and name not in plan.parts.head and len(shapes[source]) > 1:
                raise SettingError(
                    f"This gene cannot grow '{name}' of shape {tuple(plan.shapes[name])}",
                    f"The ancestor's '{source}' has shape {tuple(shapes[source])}, and dimension {dim} has no channels",
                    "Use a size that changes depth, widths and heads alone",
                )
            if flat or before is None or after is None:
                reads = dim == 1 if before is None else before.reads
                before, after = Axis(size, reads=reads), Axis(wanted, reads=reads)
            if before != after:
                changed[dim] = map_axis(before, after, order)
        if changed:
            maps[name] = changed
    return maps


@lru_cache(maxsize=64)  # a comparison asks for the same few specs again and again
def axes_of(spec: Spec) -> Mapping[tuple[str, int], Axis]:
    """Return every dimension that holds channels of a group, by tensor and index of the dimension."""
    return {
        (member.tensor, member.dim): Axis(group.width, member.outer, member.inner, member.role == "read", group.name)
        for group in architecture_of(spec).groups(spec)
        for member in group.members
    }


def has_larger_axis(plan: SlicePlan, ancestor: Spec) -> bool:
    """Whether a tensor of a plan is longer than its source in a dimension, or has more channels, such as heads."""
    shapes, axes, wider_axes = shapes_of(ancestor), axes_of(ancestor), axes_of(plan.spec)
    return any(
        wanted > size or ((name, dim) in wider_axes and wider_axes[name, dim].width > axes[source, dim].width)
        for name, source in plan.sources.items()
        for dim, (size, wanted) in enumerate(zip(shapes[source], plan.shapes[name], strict=True))
    )


def take_elements(tensor: Tensor, maps: TensorMaps) -> Tensor:
    """Take the mapped elements of a tensor along every dimension that has a map."""
    if maps.keys() == {0, 1}:
        # Both at once: a tensor that is wider along one dimension alone would leave holes in the memory.
        rows, columns = (maps[dim].indices.to(tensor.device) for dim in (0, 1))
        return tensor[rows[:, None], columns]
    for dim, axis_map in maps.items():
        tensor = tensor.index_select(dim, axis_map.indices.to(tensor.device))
    return tensor


def divide_by_copies(tensor: Tensor, maps: TensorMaps) -> Tensor:
    """Divide in place what is read from each channel by the number of the channel's copies.

    The copies of a channel add up to the channel again, so that a layer computes what it did.

    Args:
        tensor: Result of `take_elements`, which is a copy wherever there are maps.
        maps: The same maps by dimension.
    """
    for dim, axis_map in maps.items():
        if axis_map.source.reads:
            shape = [1] * tensor.ndim
            shape[dim] = -1
            tensor.div_(axis_map.copies.to(tensor).view(shape))
    return tensor


def count_origins(
    shape: torch.Size, maps: TensorMaps, *, is_further: bool = False, divided: bool = False, scaled: bool = False
) -> dict[Origin, int]:
    """Count the elements of a mapped tensor by origin.

    The first copy of an element is "copied", or "sliced" if the tensor loses others. Further ones are "repeated".
    Elements that were multiplied are "divided".

    Args:
        shape: Shape of the tensor.
        maps: Maps of its dimensions.
        is_further: Whether the tensor's source is in an earlier block too.
        divided: Whether what is read from a channel is divided by the channel's copies.
        scaled: Whether every element is multiplied by a number.
    """
    total = shape.numel()
    if scaled:
        return {"divided": total}
    rest = total // prod(len(axis_map.indices) for axis_map in maps.values())
    whole = [
        axis_map.copies == 1
        if divided and axis_map.source.reads
        else torch.ones_like(axis_map.indices, dtype=torch.bool)
        for axis_map in maps.values()
    ]
    undivided = rest * prod(int(mask.sum()) for mask in whole)
    first = rest * prod(
        int((mask & ~axis_map.is_further).sum()) for mask, axis_map in zip(whole, maps.values(), strict=True)
    )
    if is_further:
        first = 0
    is_sliced = any(axis_map.loses_elements for axis_map in maps.values())
    counts: dict[Origin, int] = {"sliced" if is_sliced else "copied": first}
    counts |= {"repeated": undivided - first, "divided": total - undivided}
    return {origin: count for origin, count in counts.items() if count}
