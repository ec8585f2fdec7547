"""Take blocks and elements of a whole ancestor: which tensors a descendant gets, and how they are sliced."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import accumulate
from typing import Any, Literal

import torch
from torch import Tensor

from germline.architectures import Parts, Spec, Target, on_meta_device
from germline.errors import SettingError
from germline.learngene import Descendant, Learngene
from germline.ledger import Ledger
from germline.methods.assembly import TensorWithOrigin, build_descendant
from germline.registry import architecture_of

BlockChoice = Literal["first", "last", "even"]
IMAGE_FIELDS = frozenset({"image_size", "channels", "classes"})


def choose_indices(choice: BlockChoice, available: int, wanted: int) -> tuple[int, ...]:
    """Choose `wanted` of `available` indices; `even` takes floor(i x available / wanted), index 0 among them."""
    if choice == "first":
        return tuple(range(wanted))
    if choice == "last":
        return tuple(range(available - wanted, available))
    return tuple(index * available // wanted for index in range(wanted))


def choose_blocks(choice: BlockChoice, ancestor: Spec, wanted: Spec) -> tuple[int, ...]:
    """Choose the ancestor's block for each block of a descendant, stage by stage.

    With several stages, the first block of each stage is always the ancestor's first one, also for `last`. Only this
    block can read the maps of the stage before.

    Raises:
        SettingError: A stage has more blocks than the ancestor's, or the number of stages differs.
    """
    depths, wanted_depths = stage_depths(ancestor), stage_depths(wanted)
    if len(depths) != len(wanted_depths):
        raise SettingError(
            f"This gene cannot grow {len(wanted_depths)} stages",
            f"The ancestor has {len(depths)}",
            "Give no other number of stages",
        )
    chosen: list[int] = []
    starts = accumulate((0, *depths))
    for start, (available, count) in zip(starts, zip(depths, wanted_depths, strict=True), strict=False):
        if count > available:
            raise SettingError(
                f"This gene cannot grow {count} blocks" + (" in a stage" if len(depths) > 1 else ""),
                f"It takes those of its ancestor, which has {available}",
                f"Use {available} or fewer",
            )
        keeps_first = choice == "last" and len(depths) > 1
        indices = (0, *choose_indices(choice, available, count - 1)) if keeps_first else None
        chosen += [start + index for index in indices or choose_indices(choice, available, count)]
    return tuple(chosen)


def stage_depths(spec: Spec) -> tuple[int, ...]:
    """Return the number of blocks of each stage; a ViT has one stage."""
    return parts_of(spec).stages


def slice_evenly(tensor: Tensor, shape: Sequence[int]) -> Tensor:
    """Take elements at even spacing along every dimension; a tensor of that shape is returned as it is.

    Parts that follow each other along a dimension, such as query, key and value, are each sliced evenly. Rows of one
    layer and columns of the next that belong together stay together.
    """
    for dimension, (size, wanted) in enumerate(zip(tensor.shape, shape, strict=True)):
        if wanted != size:
            indices = torch.tensor(choose_indices("even", size, wanted), device=tensor.device)
            tensor = tensor.index_select(dimension, indices)
    return tensor


@dataclass(frozen=True)
class SlicePlan:
    """Source of each tensor of a descendant, before tensors that read images are adapted.

    Attributes:
        spec: The descendant's spec, with the ancestor's channels, image size and classes.
        parts: Names of its tensors.
        sources: Name of the ancestor's tensor by name in the descendant.
        shapes: Shapes of the descendant's tensors by name.
        sliced: Names of tensors that have fewer elements than their source.
    """

    spec: Spec
    parts: Parts
    sources: Mapping[str, str]
    shapes: Mapping[str, torch.Size]
    sliced: frozenset[str]


def plan_slices(ancestor: Spec, wanted: Spec, chosen: Sequence[int]) -> SlicePlan:
    """Find the source of every tensor of a descendant.

    Args:
        ancestor: Spec of the ancestor.
        wanted: Spec of the descendant.
        chosen: Index of the ancestor's block for each block of the descendant.

    Raises:
        SettingError: A tensor is larger than its source, or has none.
    """
    spec = wanted.model_copy(update=ancestor.model_dump(include=set(IMAGE_FIELDS)))
    ancestor_parts, parts = parts_of(ancestor), parts_of(spec)
    sources = {name: name for name in (*parts.stem, *parts.norm, *parts.head)}
    for place, (index, block) in enumerate(zip(chosen, parts.blocks, strict=True)):
        source_block = ancestor_parts.blocks[index]
        if block.keys() != source_block.keys():
            raise SettingError(
                f"This gene cannot grow block {place} as block {index}",
                "One of them has tensors that the other one lacks",
                "Use the ancestor's own depths and widths",
            )
        sources |= {full: source_block[name] for name, full in block.items()}
    given, shapes = shapes_of(ancestor), shapes_of(spec)
    for name, source in sources.items():
        available, needed = given[source], shapes[name]
        if len(available) != len(needed) or any(more > less for more, less in zip(needed, available, strict=True)):
            raise SettingError(
                f"This gene cannot grow '{name}' of shape {tuple(needed)}",
                f"The ancestor's '{source}' has shape {tuple(available)}",
                "Use a size with no number above the ancestor's",
            )
    sliced = frozenset(name for name, source in sources.items() if given[source] != shapes[name])
    return SlicePlan(spec, parts, sources, shapes, sliced)


def inherit_slices(gene: Learngene, target: Target, chosen: Sequence[int], generator: torch.Generator) -> Descendant:
    """Build a descendant from chosen blocks of a whole ancestor, with all tensors sliced to its widths.

    Sliced tensors are recorded as "sliced". If a tensor is adapted or resized afterwards, only that later step is
    recorded.

    Args:
        gene: Gene that holds the whole ancestor.
        target: Network to build.
        chosen: Index of the ancestor's block for each block of the descendant.
        generator: Source of a fresh head.

    Raises:
        SettingError: A tensor of the target is larger than its source, or has none.
    """
    plan = plan_slices(gene.spec, target.spec, chosen)
    tensors = {name: slice_evenly(gene.tensors[source], plan.shapes[name]) for name, source in plan.sources.items()}
    names = [full for block in plan.parts.blocks for full in block.values()]
    blocks: dict[str, TensorWithOrigin] = {
        name: (tensors[name].clone(), "sliced" if name in plan.sliced else "copied") for name in names
    }
    # All further steps see the sliced ancestor as a gene of the descendant's own widths.
    sliced_gene = replace(gene, spec=plan.spec)
    descendant = build_descendant(sliced_gene, target, frame=tensors, blocks=blocks, generator=generator)
    _record_sliced(descendant.ledger, plan.sliced)
    return descendant


def check_same_spec(method: str, ancestor: Spec, wanted: Spec, *, spare: frozenset[str] = frozenset()) -> None:
    """Refuse a spec that differs from the ancestor's in anything but images, classes and the keys in `spare`.

    Raises:
        SettingError: Names the key.
    """
    fields, wanted_fields = ancestor.model_dump(), wanted.model_dump()
    for key in sorted(fields.keys() - IMAGE_FIELDS - spare):
        if fields[key] != wanted_fields[key]:
            raise SettingError(
                f"Method '{method}' cannot grow {key}={wanted_fields[key]}",
                f"It keeps the ancestor's {key}={fields[key]}",
                f"Remove {key} from the size",
            )


def check_not_larger(method: str, ancestor: Spec, wanted: Spec) -> None:
    """Refuse a spec that is larger than the ancestor's in any number; `plan_slices` would name a tensor instead.

    Raises:
        SettingError: Names the key.
    """
    fields, wanted_fields = ancestor.model_dump(), wanted.model_dump()
    for key in sorted(fields.keys() - IMAGE_FIELDS):
        if _exceeds(wanted_fields[key], fields[key]):
            limit = (
                f"{key}={fields[key]} or less" if isinstance(fields[key], int) else f"no number of {key} above these"
            )
            raise SettingError(
                f"Method '{method}' cannot grow {key}={wanted_fields[key]}",
                f"It takes tensors of the ancestor, which has {key}={fields[key]}",
                f"Use {limit}",
            )


def _exceeds(value: Any, limit: Any) -> bool:
    if isinstance(value, (tuple, list)):
        # With other depths, widths can be compared only after blocks are chosen.
        return len(value) == len(limit) and any(map(_exceeds, value, limit))
    return isinstance(value, (int, float)) and isinstance(limit, (int, float)) and value > limit


@lru_cache(maxsize=64)  # a comparison asks for the same few specs again and again
def shapes_of(spec: Spec) -> Mapping[str, torch.Size]:
    """Return the shapes of all tensors of a network of that spec by name."""
    with on_meta_device():
        return {name: tensor.shape for name, tensor in architecture_of(spec).build(spec).state_dict().items()}


@lru_cache(maxsize=64)
def parts_of(spec: Spec) -> Parts:
    """Return the names of the tensors of a network of that spec."""
    return architecture_of(spec).parts(spec)


def _record_sliced(ledger: Ledger, sliced: frozenset[str]) -> None:
    for name in sliced:
        counts = ledger.entries[name]
        if "copied" in counts:
            counts["sliced"] += counts.pop("copied")
