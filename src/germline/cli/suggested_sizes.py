"""Sizes to try around the spec of a network."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Any

from germline.architectures import read_width
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
    first = read_width(spec)

    def change(step: int) -> str:
        return ",".join(f"depth{index}={max(1, depth + step)}" for index, depth in enumerate(depths, 1))

    if "heads" in fields:  # a stitched network, whose widths and heads belong together
        return [change(-1), change(1)]
    if fields.get("stem_type") == "":  # its first stage keeps the width of the stem
        later = [scale_width_keys(fields, factor) for factor in (Fraction(1, 2), Fraction(3, 2), Fraction(2))]
        return [change(-1), change(1), *(",".join(f"{key}={width}" for key, width in keys.items()) for keys in later)]
    widths = [f"width={number}" for number in sorted({first // 2 or 1, first * 3 // 2, first * 2} - {first})]
    return [change(-1), change(1), *widths] if depths else []
