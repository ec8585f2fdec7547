"""Windows of units that are cut out of a collective network for an individual network."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from germline.architectures import VGG, VggSpec

IMPORTANCE_PREFIX = "importance."
UNIT_PREFIX = "unit."


def find_window_starts(collective: VggSpec, individual: VggSpec, size: int, *, keeps_place: bool) -> tuple[int, ...]:
    """Find the first units of the windows that fit an individual network, counted from 0.

    Args:
        collective: Spec of the collective.
        individual: Spec of the individual.
        size: Number of units in a window.
        keeps_place: Whether a window keeps its place. Else it becomes the last units, which must have its widths.
    """
    unit_shapes = [unit[1:] for unit in collective.units]
    last_shapes = [unit[1:] for unit in individual.units][-size:]
    starts = range(len(unit_shapes) - size + 1)
    return tuple(at for at in starts if keeps_place or unit_shapes[at : at + size] == last_shapes)


def collect_units(spec: VggSpec, tensors: Mapping[str, Tensor], importance: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Collect the tensors and importance of all units as `unit.<number>.<name within it>`, numbers from 0."""
    units: dict[str, Tensor] = {}
    for index, block in enumerate(VGG.parts(spec).blocks):
        for name, full in block.items():
            units[f"{UNIT_PREFIX}{index}.{name}"] = tensors[full]
            if full in importance:
                units[f"{UNIT_PREFIX}{index}.{IMPORTANCE_PREFIX}{name}"] = importance[full]
    return units


def extract_window(
    units: Mapping[str, Tensor], individual: VggSpec, start: int, size: int, *, keeps_place: bool
) -> dict[str, Tensor]:
    """Extract a window from all units: its tensors and importance, under their names in an individual network.

    Args:
        units: Tensors from `collect_units`.
        individual: Spec of the individual.
        start: First unit, counted from 0.
        size: Number of units.
        keeps_place: Whether the window keeps its place, or becomes the last units.
    """
    blocks = VGG.parts(individual).blocks
    first = start if keeps_place else len(blocks) - size
    window: dict[str, Tensor] = {}
    for index in range(size):
        prefix = f"{UNIT_PREFIX}{start + index}."
        for name, tensor in units.items():
            if name.startswith(prefix):
                within = name.removeprefix(prefix)
                is_importance = within.startswith(IMPORTANCE_PREFIX)
                full = blocks[first + index][within.removeprefix(IMPORTANCE_PREFIX)]
                window[f"{IMPORTANCE_PREFIX}{full}" if is_importance else full] = tensor.clone()
    return window


def inherited_tensors(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Select those of a gene's tensors that a descendant inherits."""
    return {name: tensor for name, tensor in tensors.items() if not name.startswith((IMPORTANCE_PREFIX, UNIT_PREFIX))}
