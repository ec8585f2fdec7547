"""Choose the size of a descendant under a cap of its parameters or operations.

A method says which sizes it grows, so one rule serves all methods that do not list their sizes by name.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from functools import lru_cache
from math import floor
from typing import Any, NamedTuple

from germline.architectures import Size, Spec, on_meta_device
from germline.architectures.size import CAPS
from germline.errors import SettingError
from germline.registry import architecture_of

LARGEST_GROWTH = 4  # times the gene's own depth and width
_STAGE_STEPS = 8  # steps of a network with stages, up to its own size

# Returns the spec of a size that a gene grows, and raises SettingError for every other size.
SpecOfSize = Callable[[Size], Spec]


class SpecCost(NamedTuple):
    """Size and cost of a network.

    Attributes:
        parameters: Number of all parameters, the head included.
        flops: Operations of the forward pass of one image; a multiply-add counts as two.
    """

    parameters: int
    flops: int

    def fits(self, caps: Size) -> bool:
        """Return whether the network is within all caps."""
        return self.parameters <= caps.get(CAPS[0], self.parameters) and self.flops <= caps.get(CAPS[1], self.flops)


def measure_spec(spec: Spec) -> SpecCost:
    """Count the parameters and operations of a network; no memory is allocated for them."""
    depth = getattr(spec, "depth", 1)
    if depth > 2:  # equal blocks are counted once: building a deep network takes seconds
        one, two = (_count_parameters(spec.model_copy(update={"depth": blocks})) for blocks in (1, 2))
        parameters = one + (depth - 1) * (two - one)
    else:
        parameters = _count_parameters(spec)
    return SpecCost(parameters, architecture_of(spec).flops(spec))


@lru_cache(maxsize=256)
def _count_parameters(spec: Spec) -> int:
    with on_meta_device():
        return sum(parameter.numel() for parameter in architecture_of(spec).build(spec).parameters())


def has_caps(size: Size) -> bool:
    """Return whether a size is given by caps.

    Raises:
        SettingError: It is given by caps and other keys.
    """
    others = sorted(set(size) - set(CAPS))
    if len(others) < len(size) and others:
        raise SettingError(
            f"size '{size}'", "a cap chooses the whole size", f"remove {', '.join(others)}, or remove the caps"
        )
    return bool(size) and not others


def choose_size(spec: Spec, caps: Size, build: SpecOfSize) -> Size:
    """Choose the largest size under all caps that a gene grows.

    Sizes are tried on three lines, each from the smallest to four times the gene's own size:

    1. depth and width in the gene's own ratio, with heads of the gene's own length,
    2. depth alone,
    3. width alone.

    The first line on which another size than the gene's own is chosen decides. On a line every size is larger than the
    one before, so that there are no ties. If no line has one, the gene's own size is chosen if it is under the caps.

    Args:
        spec: Spec of the gene's own size, with the images and classes of the descendant.
        caps: `max_params`, `max_flops` or both.
        build: Function that returns the spec of a size, and refuses sizes that the gene does not grow.

    Raises:
        SettingError: No size is under the caps; the message names the smallest one.
    """
    lines = list_size_lines(spec)
    for line in lines:
        under = line[: bisect_left(line, True, key=lambda size: not _is_under(spec, size, caps))]
        for size, found in _list_grown(reversed(under), build):
            if found == spec:
                break
            if measure_spec(found).fits(caps):
                return size
    if any(measure_spec(found).fits(caps) for _, found in _list_grown((Size(),), build)):
        return Size()
    smallest = [next(_list_grown(line, build), None) for line in (*lines, (Size(),))]
    costs = {size: measure_spec(found) for size, found in filter(None, smallest)}
    if not costs:
        raise SettingError(f"this gene cannot grow {caps}", "it grows no size of its own network", "remove the cap")
    least = min(costs, key=lambda size: costs[size])
    raise make_cap_error(caps, f"size, {least or 'its own'}", costs[least])


def find_size_beyond(spec: Spec, chosen: Size, caps: Size, build: SpecOfSize) -> Size | None:
    """Find a size that is under all caps, but larger than the sizes that `choose_size` tries.

    Args:
        spec: As for `choose_size`.
        chosen: Size that it chose.
        caps: As for `choose_size`.
        build: As for `choose_size`.

    Returns:
        The next size that the gene grows; None if `chosen` is not the last of its line, or the caps exclude the next.
    """
    for tried, longer in zip(list_size_lines(spec), list_size_lines(spec, LARGEST_GROWTH + 1), strict=True):
        if tried[-1:] == (chosen,):
            size, found = next(_list_grown(longer[len(tried) :], build), (None, spec))
            return size if measure_spec(found).fits(caps) else None
    return None


def make_cap_error(caps: Size, smallest: str, cost: SpecCost) -> SettingError:
    """Build the error of caps that every size of a gene exceeds.

    Args:
        caps: `max_params`, `max_flops` or both.
        smallest: What the gene's smallest size is called, and its name.
        cost: Its size and cost.
    """
    return SettingError(
        f"this gene cannot grow {caps}",
        f"its smallest {smallest}, has {cost.parameters:,} parameters and takes {cost.flops:,} operations per image",
        "set a higher cap",
    )


def _is_under(spec: Spec, size: Size, caps: Size) -> bool:
    """Return whether a network can be built at a size and is within all caps."""
    try:
        return measure_spec(architecture_of(spec).resize(spec, size)).fits(caps)
    except SettingError:  # larger than any network that germline builds
        return False


def _list_grown(sizes: Iterator[Size] | Sequence[Size], build: SpecOfSize) -> Iterator[tuple[Size, Spec]]:
    for size in sizes:
        try:
            yield size, build(size)
        except SettingError:
            continue


def list_size_lines(spec: Spec, most: int = LARGEST_GROWTH) -> tuple[tuple[Size, ...], ...]:
    """List sizes around a spec, smallest first: depth and width in proportion, depth alone, width alone.

    Steps are single blocks and single heads, and eighths for networks with stages.

    Args:
        spec: Spec of the gene's own size.
        most: Largest factor of its depth and width.
    """
    fields: dict[str, Any] = spec.model_dump()
    if "depth" in fields:
        steps = {"depth": fields["depth"], "width": fields["heads"]}
    else:
        steps = dict.fromkeys(("depth", "width"), _STAGE_STEPS)
    factors = {key: {Fraction(count, step) for count in range(1, most * step + 1)} for key, step in steps.items()}
    depths = {factor: scale_depth(fields, factor) for factor in factors["depth"] | factors["width"]}
    widths = {factor: scale_width_keys(fields, factor) for factor in depths}
    own = Fraction(1)
    # Near the gene's own size, a rounded step can change the depth alone. The next line has that size.
    both = [
        {**depths[factor], **widths[factor]}
        for factor in sorted(depths)
        if (depths[factor] == depths[own]) == (widths[factor] == widths[own])
    ]
    alone = [[sizes[factor] for factor in sorted(sizes)] for sizes in (depths, widths)]
    # Neighbouring factors can give the same size.
    return tuple(tuple(dict.fromkeys(Size(**keys) for keys in line if keys)) for line in (both, *alone))


def scale_depth(fields: dict[str, Any], factor: Fraction) -> dict[str, int]:
    """Return the keys of a network with its number of blocks multiplied, in every stage; at least one block.

    Args:
        fields: Fields of the network's spec.
        factor: Factor of the number of blocks.
    """
    if "depth" in fields:
        return {"depth": _scale(fields["depth"], factor)}
    stages = fields.get("depths") or [len(stage) for stage in fields.get("widths", ())]
    return {f"depth{number}": _scale(depth, factor) for number, depth in enumerate(stages, 1)}


def scale_width_keys(fields: dict[str, Any], factor: Fraction) -> dict[str, int]:
    """Return the keys of a network with its width multiplied; none if its widths belong together.

    Heads keep their length, and there is at least one. Channels of all stages change in proportion. The first stage of
    a ResNet with timm's plain stem keeps those of the stem, since no gene has a shortcut for others.

    Args:
        fields: Fields of the network's spec.
        factor: Factor of the width.
    """
    if "depth" in fields:
        heads = _scale(fields["heads"], factor)
        return {"width": fields["width"] // fields["heads"] * heads, "heads": heads}
    if "heads" in fields or not fields.get("widths"):  # the widths of a stitched network belong to its stitches
        return {}
    if fields.get("stem_type") == "":
        return {f"width{number}": _scale(width, factor) for number, width in enumerate(fields["widths"][1:], 2)}
    first = fields["widths"][0]
    return {"width": _scale(first[0] if isinstance(first, (list, tuple)) else first, factor)}


def _scale(count: int, factor: Fraction) -> int:
    """Multiply a count, rounded half up; at least 1."""
    return max(1, floor(count * factor + Fraction(1, 2)))
