"""Sizes to try around the spec of a network."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Any

from germline.size_choice import scale_width_keys

if TYPE_CHECKING:
    from germline.architectures import Spec


def suggest_sizes(spec: Spec) -> list[str]:
    """Suggest sizes around a spec: half, one and a half times and twice its depth, and the same of its width.

    Heads keep their length, so that a width can be a little narrower than that.
    """
    fields: dict[str, Any] = spec.model_dump()
    if "depth" in fields:
        depth, width, heads = fields["depth"], fields["width"], fields.get("heads", 1)
        sizes = [f"depth={number}" for number in sorted({depth // 2 or 1, depth, depth * 3 // 2, depth * 2})]
        wanted = [count for count in sorted({heads // 2, heads * 3 // 2, heads * 2}) if count not in (0, heads)]
        return [*sizes, *(f"width={width // heads * count},heads={count}" for count in wanted)]
    widths = fields.get("widths", ())
    stages = [len(stage) if isinstance(stage, (list, tuple)) else 0 for stage in widths]
    depths = list(fields.get("depths", stages))

    def change(step: int) -> str:
        return ",".join(f"depth{index}={max(1, depth + step)}" for index, depth in enumerate(depths, 1))

    own = scale_width_keys(fields, Fraction(1))
    scaled = [scale_width_keys(fields, factor) for factor in (Fraction(1, 2), Fraction(3, 2), Fraction(2))]
    sizes = [",".join(f"{key}={width}" for key, width in keys.items()) for keys in scaled if keys not in (own, {})]
    return [change(-1), change(1), *dict.fromkeys(sizes)] if depths else []
