"""Roles of tensors: which tensors are transformed together, and along which of their axes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, NamedTuple

import torch

from germline.architectures import ChannelGroup, GroupMember, Parts, Spec
from germline.methods.front.refusals import make_size_error
from germline.methods.slicing import keep_images, parts_of, shapes_of
from germline.registry import architecture_of

HiddenRule = Literal["transform", "units"]
AxisKind = Literal["depth", "written", "read", "taken", "divided", "fixed"]


class RoleAxis(NamedTuple):
    """One axis of the stacked tensors of a role.

    Attributes:
        size: Number of elements along the axis.
        kind: What happens to it. The cosine transform acts on `depth` and on channels that the tensor writes or reads
            (`written`, `read`). An index map acts on `taken`, and on `divided`, where copies are divided by their
            number. A `fixed` axis has one size.
    """

    size: int
    kind: AxisKind

    @property
    def is_transformed(self) -> bool:
        """Whether the cosine transform acts on the axis."""
        return self.kind in ("depth", "written", "read")


@dataclass(frozen=True)
class TensorRole:
    """Tensors that are one stack.

    Attributes:
        names: Full names of the tensors, in order of depth.
        shape: Shape of each of them.
        axes: Axes of the stack. Query, key and value are three elements of a fixed axis. Heads have an axis before the
            one of their channels.
    """

    names: tuple[str, ...]
    shape: torch.Size
    axes: tuple[RoleAxis, ...]

    @property
    def is_weight(self) -> bool:
        """Whether the tensors write channels and read channels, by the transform or by an index map."""
        kinds = {axis.kind for axis in self.axes}
        return bool(kinds & {"written", "taken"}) and bool(kinds & {"read", "divided"})

    @property
    def is_matrix(self) -> bool:
        """Whether both the channels that are written and those that are read are transformed."""
        return {"written", "read"} <= {axis.kind for axis in self.axes}

    @property
    def is_computed(self) -> bool:
        """Whether elements of a descendant are not plain copies."""
        return any(axis.is_transformed or axis.kind == "divided" for axis in self.axes)

    @property
    def is_variance(self) -> bool:
        """Whether the values are running variances, which have to stay positive."""
        return self.names[0].endswith("running_var")


@lru_cache(maxsize=64)  # a comparison asks for the same few specs again and again
def list_roles(spec: Spec, hidden: HiddenRule) -> Mapping[str, TensorRole]:
    """List the roles of all tensors of a network by name.

    Args:
        spec: Spec of the network.
        hidden: Whether hidden channels of MLPs are transformed, or are whole units of an index map.
    """
    parts, shapes = parts_of(spec), shapes_of(spec)
    members = {
        (member.tensor, member.dim): (group, member)
        for group in architecture_of(spec).groups(spec)
        for member in group.members
    }

    def list_axes(name: str, *, in_block: bool) -> Iterator[RoleAxis]:
        shape = shapes[name]
        for dim, size in enumerate(shape):
            if (name, dim) in members:
                yield from _split_axis(*members[name, dim], hidden)
            else:
                # A block's vector in no group has the length of a head: the norm of queries or keys.
                yield RoleAxis(size, "written" if in_block and len(shape) == 1 else "fixed")

    roles = {
        name: TensorRole((name,), shapes[name], tuple(list_axes(name, in_block=False)))
        for name in (*parts.stem, *parts.norm, *parts.head)
    }
    for prefix, blocks in _list_runs(parts, shapes):
        for name, first in blocks[0].items():
            # A tensor without dimensions counts batches. It is no signal along depth.
            depth = RoleAxis(len(blocks), "depth" if shapes[first] else "taken")
            names = tuple(block[name] for block in blocks)
            axes = (depth, *list_axes(first, in_block=True))
            roles[f"{prefix}.{name}"] = TensorRole(names, shapes[first], axes)
    return roles


def match_roles(ancestor: Spec, wanted: Spec, hidden: HiddenRule) -> Mapping[str, tuple[TensorRole, TensorRole]]:
    """Return the ancestor's role and the descendant's own, for each role of a descendant.

    Raises:
        SettingError: The descendant has a role that the ancestor lacks, loses one, or changes a fixed axis.
    """
    sources, roles = list_roles(ancestor, hidden), list_roles(keep_images(wanted, ancestor), hidden)
    refusal = _find_refusal(sources, roles)
    if refusal is not None:
        raise make_size_error(ancestor, wanted, *refusal, lambda spec: _has_sources(ancestor, spec, hidden))
    return {key: (sources[key], role) for key, role in roles.items()}


def _has_sources(ancestor: Spec, wanted: Spec, hidden: HiddenRule) -> bool:
    return _find_refusal(list_roles(ancestor, hidden), list_roles(keep_images(wanted, ancestor), hidden)) is None


def _find_refusal(sources: Mapping[str, TensorRole], roles: Mapping[str, TensorRole]) -> tuple[str, str] | None:
    """Return the first role that has no source or is lost, and the reason; None if there is no such role."""
    for key, role in roles.items():
        name = role.names[0]
        if key not in sources:
            return key, f"The descendant needs '{name}', and the ancestor has no tensor of that role"
        if _fixed_sizes(sources[key]) != _fixed_sizes(role):
            return key, (
                f"It gives '{name}' the shape {tuple(role.shape)} in place of {tuple(sources[key].shape)}, along an "
                "axis that is not transformed"
            )
    runs = {_run_name(key) for key in roles}
    for key, role in sources.items():
        # A stage that is cut to its first block has no further run at all.
        if key not in roles and _run_name(key) in runs:
            return key, f"The descendant has no '{role.names[0]}', and the function of the ancestor's would be lost"
    return None


def _split_axis(group: ChannelGroup, member: GroupMember, hidden: HiddenRule) -> Iterator[RoleAxis]:
    """Yield the axes that one dimension of a tensor consists of."""
    if member.outer > 1:
        yield RoleAxis(member.outer, "fixed")
    if hidden == "units" and group.name.endswith(".hidden"):
        yield RoleAxis(group.width, "taken" if member.role == "written" else "divided")
        return
    yield RoleAxis(group.width, member.role)
    if group.name.endswith(".heads"):
        yield RoleAxis(member.inner, member.role)
    elif member.inner > 1:  # positions of a map that a dense layer reads
        yield RoleAxis(member.inner, "fixed")


def _list_runs(parts: Parts, shapes: Mapping[str, torch.Size]) -> Iterator[tuple[str, Sequence[Mapping[str, str]]]]:
    """Yield the blocks that are stacked along depth, with a name for each run of them.

    A block that reads the images is apart, also in a network of one stage.
    """
    if len(parts.stages) == 1 and not {*parts.image_kernels} & {*parts.blocks[0].values()}:
        yield "blocks", parts.blocks
        return
    start = 0
    for stage, depth in enumerate(parts.stages):
        first, *rest = parts.blocks[start : start + depth]
        start += depth
        yield f"stages.{stage}.first", [first]
        forms = [{name: shapes[full] for name, full in block.items()} for block in rest]
        if all(form == forms[0] for form in forms):
            yield from [(f"stages.{stage}.rest", rest)] if rest else []
        else:
            yield from ((f"stages.{stage}.{index}", [block]) for index, block in enumerate(rest, 1))


def _run_name(key: str) -> str:
    """Return the run of a role, such as `stages.0.first`; a role outside stages is a run of its own."""
    words = key.split(".")
    return ".".join(words[:3]) if words[0] == "stages" else words[0]


def _fixed_sizes(role: TensorRole) -> list[RoleAxis | AxisKind]:
    """List the kinds of all axes, with the sizes of fixed ones."""
    return [axis if axis.kind == "fixed" else axis.kind for axis in role.axes]
