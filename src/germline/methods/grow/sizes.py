"""Sizes that exact growth reaches, and the tensors that silence an added block."""

from __future__ import annotations

from typing import Any, NoReturn

from germline.architectures import ChannelGroup, Size, Spec
from germline.errors import SettingError
from germline.methods.axis_maps import Axis, axes_of, map_tensors
from germline.methods.slicing import SlicePlan, stage_depths
from germline.registry import architecture_of

# Last layers of a block's branches by architecture, names within a block. If they are zero, the block adds nothing.
_LAST_LAYERS = {
    "vit": ("attn.proj.weight", "attn.proj.bias", "mlp.fc2.weight", "mlp.fc2.bias"),
    "resnet": ("bn2.weight", "bn2.bias"),
}
_LAYER_SCALES = ("ls1.gamma", "ls2.gamma")


def list_silent_tensors(plan: SlicePlan) -> frozenset[str]:
    """List the tensors of added blocks that are zero: LayerScale, or the last layers of the branches."""
    silent: set[str] = set()
    last_layers = _LAST_LAYERS.get(architecture_of(plan.spec).name, ())
    for block in plan.repeated_blocks:
        has_scales = _LAYER_SCALES[0] in block
        silent |= {full for name, full in block.items() if name in (_LAYER_SCALES if has_scales else last_layers)}
    return frozenset(silent)


def can_add_identity(spec: Spec) -> bool:
    """Whether networks of this architecture have blocks that can pass their input on unchanged."""
    return architecture_of(spec).name in _LAST_LAYERS


def check_stages(ancestor: Spec, wanted: Spec, *, can_change: bool) -> None:
    """Refuse a stage with fewer blocks than the ancestor's, and added blocks that would change the function.

    Args:
        ancestor: Spec of the ancestor.
        wanted: Spec of the descendant.
        can_change: Whether added blocks may change what the network computes.

    Raises:
        SettingError: Names the stage, the reason, and what is possible.
    """
    depths, architecture = stage_depths(ancestor), architecture_of(ancestor).name
    for number, (before, after) in enumerate(zip(depths, stage_depths(wanted), strict=False), 1):
        key = "depth" if "depth" in ancestor.model_dump() else f"depth{number}"
        if after < before:
            raise SettingError(
                f"Method 'grow' cannot grow {key}={after}",
                f"It takes every block of the ancestor, which has {before}",
                f"Use {key}={before} or more" if can_change or can_add_identity(ancestor) else f"Use {key}={before}",
            )
        if after > before and not can_change and not can_add_identity(ancestor):
            raise SettingError(
                f"Method 'grow' cannot grow {key}={after}",
                f"A block of a {architecture} changes its input, so an added one would not keep the function",
                f"Use {key}={before}, or set depth=repeat, which does not keep the function",
            )


def check_stage_widths(ancestor: Spec, wanted: Spec) -> None:
    """Refuse widths of whole stages that are no multiples of the ancestor's, before tensors are matched.

    Raises:
        SettingError: Names the stage's width, and the nearest possible ones.
    """
    before, after = (spec.model_dump().get("widths", ()) for spec in (ancestor, wanted))
    for stage, (old, new) in enumerate(zip(before, after, strict=False), 1):
        if isinstance(old, int) and new % old:
            _refuse_width(wanted, f"width{stage}", old, new)


def _refuse_width(wanted: Spec, key: str, before: int, after: int, end: str = "") -> NoReturn:
    """Refuse a width; `end` ends the advice."""
    multiples = [before * number for number in (after // before, after // before + 1) if number]
    nearest = [f"{key}={number}" for number in multiples if number < after or _is_possible(wanted, key, number)]
    raise SettingError(
        f"Method 'grow' cannot grow {key}={after}",
        f"It repeats all {before} channels of the ancestor a whole number of times",
        f"Use {' or '.join(nearest)}{end}",
    )


def _is_possible(spec: Spec, key: str, width: int) -> bool:
    """Return whether a network of a larger width is within germline's limits; heads keep their number."""
    try:
        architecture_of(spec).resize(spec, Size(**{key: width}))
    except SettingError:
        return False
    return True


def check_multiples(plan: SlicePlan, ancestor: Spec) -> None:
    """Refuse widths that are no whole multiples of the ancestor's, and heads of another length.

    Raises:
        SettingError: Names the width, and the nearest possible ones.
    """
    axes = axes_of(ancestor)
    for group in architecture_of(plan.spec).groups(plan.spec):
        for member in group.members:
            before = axes.get((plan.sources[member.tensor], member.dim))
            if before is not None:
                _check_channels(group, before, Axis(group.width, member.outer, member.inner), plan.spec, ancestor)
    for name, maps in map_tensors(plan, ancestor, "stacked").items():
        for dim, axis_map in maps.items():
            if len(axis_map.indices) % axis_map.source.size:
                raise SettingError(
                    f"Method 'grow' cannot grow '{name}' of shape {tuple(plan.shapes[name])}",
                    f"The ancestor has {axis_map.source.size} elements in dimension {dim}, to be repeated as a whole",
                    "Use a whole multiple of the ancestor's widths",
                )


def _check_channels(group: ChannelGroup, before: Axis, after: Axis, wanted: Spec, ancestor: Spec) -> None:
    fields: dict[str, Any] = wanted.model_dump()
    if "heads" in fields and before.inner != after.inner:
        width, heads = fields["width"], fields["heads"]
        raise SettingError(
            f"Method 'grow' cannot grow width={width},heads={heads}",
            f"Attention heads keep the ancestor's length of {before.inner}, and these have {after.inner}",
            f"Use width={width},heads={width // before.inner}, or remove heads from the size",
        )
    if after.width % before.width == 0:
        return
    key = ("width" if group.name == "stream" else "") if "heads" in fields else f"width{group.stage + 1}"
    if key:
        own = ancestor.model_dump()
        # Without heads in the size, heads keep their length; or their number, if the length does not divide the width.
        has_other_heads = "heads" in fields and fields["width"] * own["heads"] != own["width"] * fields["heads"]
        end = ", without heads in the size" if has_other_heads else ""
        _refuse_width(wanted, key, before.width, after.width, end)
    raise SettingError(
        f"Method 'grow' cannot grow {after.width} channels in '{group.name}'",
        f"It repeats all {before.width} channels of the ancestor a whole number of times",
        "Use another width",
    )
