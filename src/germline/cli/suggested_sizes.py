"""Sizes to try around the spec of a network."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from germline.architectures import Spec


def suggest_sizes(spec: Spec) -> list[str]:
    """Suggest sizes around a spec: half, one and a half times and twice its depth, half and twice its width."""
    fields: dict[str, Any] = spec.model_dump()
    if "depth" in fields:
        depth, width, heads = fields["depth"], fields["width"], fields.get("heads", 1)
        sizes = [f"depth={number}" for number in sorted({depth // 2 or 1, depth, depth * 3 // 2, depth * 2})]
        sizes += [f"width={width // 2},heads={heads // 2}"] if heads % 2 == 0 and width % 2 == 0 else []
        return [*sizes, f"width={width * 2},heads={heads * 2}"]
    widths = fields.get("widths", ())
    stages = [len(stage) if isinstance(stage, (list, tuple)) else 0 for stage in widths]
    depths = list(fields.get("depths", stages))
    first = widths[0][0] if widths and isinstance(widths[0], (list, tuple)) else widths[0] if widths else 1

    def change(step: int) -> str:
        return ",".join(f"depth{index}={max(1, depth + step)}" for index, depth in enumerate(depths, 1))

    if "heads" in fields:  # a stitched network, whose widths and heads belong together
        return [change(-1), change(1)]
    return [change(-1), change(1), f"width={max(1, first // 2)}", f"width={first * 2}"] if depths else []
