"""Windows of units: cut out of a collective network, and put in their place in an individual one."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from germline.architectures import VGG, VggSpec

IMPORTANCE_PREFIX = "importance."
UNIT_PREFIX = "unit."


def find_window_starts(collective: VggSpec, individual: VggSpec, size: int, *, keeps_place: bool) -> tuple[int, ...]:
    """First units of the windows that can stand in an individual network, counted from 0.

    Args:
        collective: The whole network.
        individual: The network to be grown.
        size: Units in a window.
        keeps_place: Whether each stands in its own place; else in the last units, which then have to have its widths.
    """
    shapes = [unit[1:] for unit in collective.units]
    last = [unit[1:] for unit in individual.units][-size:]
    return tuple(at for at in range(len(shapes) - size + 1) if keeps_place or shapes[at : at + size] == last)


def collect_units(spec: VggSpec, tensors: Mapping[str, Tensor], importance: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Every unit's tensors and their importance as `unit.<number>.<name within it>`, numbers from 0."""
    found: dict[str, Tensor] = {}
    for index, block in enumerate(VGG.parts(spec).blocks):
        for name, full in block.items():
            found[f"{UNIT_PREFIX}{index}.{name}"] = tensors[full]
            if full in importance:
                found[f"{UNIT_PREFIX}{index}.{IMPORTANCE_PREFIX}{name}"] = importance[full]
    return found


def cut_window(
    units: Mapping[str, Tensor], individual: VggSpec, start: int, size: int, *, keeps_place: bool
) -> dict[str, Tensor]:
    """The tensors of a window under the names that they have in an individual network, and their importance.

    Args:
        units: What `all_units` gives.
        individual: The network to be grown.
        start: First unit, counted from 0.
        size: Units.
        keeps_place: Whether it stands in its own place, or in the last units.
    """
    blocks = VGG.parts(individual).blocks
    first = start if keeps_place else len(blocks) - size
    found: dict[str, Tensor] = {}
    for index in range(size):
        prefix = f"{UNIT_PREFIX}{start + index}."
        for name, tensor in units.items():
            if name.startswith(prefix):
                within = name.removeprefix(prefix)
                weighs = within.startswith(IMPORTANCE_PREFIX)
                full = blocks[first + index][within.removeprefix(IMPORTANCE_PREFIX)]
                found[f"{IMPORTANCE_PREFIX}{full}" if weighs else full] = tensor.clone()
    return found


def inherited_tensors(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Of a gene's tensors those that a descendant inherits."""
    return {name: tensor for name, tensor in tensors.items() if not name.startswith((IMPORTANCE_PREFIX, UNIT_PREFIX))}
