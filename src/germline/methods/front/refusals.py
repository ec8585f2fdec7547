"""Refusals of sizes that have tensors without a source, by the axis of the size and its possible values."""

from __future__ import annotations

from collections.abc import Callable

from germline.architectures import Size, Spec, read_width
from germline.errors import SettingError
from germline.methods.slicing import stage_depths
from germline.registry import architecture_of

_MOST_TRIED = 2  # times a stage's own depth


def make_size_error(ancestor: Spec, wanted: Spec, role: str, reason: str, accepts: Callable[[Spec], bool]) -> Exception:
    """Build the error of a size; it names the axis that cannot change so, and the values that it can have.

    Args:
        ancestor: Spec of the ancestor.
        wanted: Spec of the descendant.
        role: Name of the role without a source, such as `stages.1.rest.conv.weight`.
        reason: Why a change of width is impossible.
        accepts: Function that says whether the gene grows a spec.
    """
    stage = int(role.split(".")[1]) if role.startswith("stages.") else None
    before, after = stage_depths(ancestor), stage_depths(wanted)
    if stage is not None and before[stage] != after[stage]:
        return _make_depth_error(ancestor, stage, before[stage], after[stage], accepts)
    key = "width" if stage is None else f"width{stage + 1}"
    own, other = (read_width(spec, stage or 0) for spec in (ancestor, wanted))
    fix = f"Use {key}={own}"
    if stage is not None and _accepts_size(ancestor, Size(width=2 * read_width(ancestor, 0)), accepts):
        fix += ", or width alone, which changes all stages in proportion"
    return SettingError(f"This gene cannot grow {key}={other}", reason, fix)


def _make_depth_error(
    ancestor: Spec, stage: int, before: int, after: int, accepts: Callable[[Spec], bool]
) -> Exception:
    key = f"depth{stage + 1}"
    possible = [n for n in range(1, _MOST_TRIED * before + 1) if _accepts_size(ancestor, Size(**{key: n}), accepts)]
    reason = (
        f"Stage {stage + 1} of the ancestor has one block, and a stage's first block is apart from its others"
        if before == 1
        else f"Blocks of stage {stage + 1} have several shapes, so that they are not stacked along depth"
    )
    return SettingError(
        f"This gene cannot grow {key}={after}", reason, "Use " + " or ".join(f"{key}={number}" for number in possible)
    )


def _accepts_size(spec: Spec, size: Size, accepts: Callable[[Spec], bool]) -> bool:
    try:
        resized: Spec = architecture_of(spec).resize(spec, size)
    except SettingError:
        return False
    return accepts(resized)
