"""Take blocks and elements of a whole ancestor: which tensors a descendant gets, and how they are sliced."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import accumulate
from typing import Literal

import torch
from torch import Tensor

from germline.architectures import Parts, Size, Spec, Target, on_meta_device
from germline.errors import SettingError
from germline.learngene import Descendant, Learngene
from germline.ledger import Origin
from germline.methods.assembly import TensorWithOrigin, build_descendant
from germline.registry import architecture_of

BlockChoice = Literal["first", "last", "even"]
RepeatOrder = Literal["even", "stacked"]
IMAGE_FIELDS = frozenset({"image_size", "channels", "classes"})


def choose_indices(choice: BlockChoice, available: int, wanted: int) -> tuple[int, ...]:
    """Choose `wanted` of `available` indices; `even` takes floor(i x available / wanted), index 0 among them."""
    if choice == "first":
        return tuple(range(wanted))
    if choice == "last":
        return tuple(range(available - wanted, available))
    return tuple(index * available // wanted for index in range(wanted))


def repeat_indices(order: RepeatOrder, available: int, wanted: int) -> tuple[int, ...]:
    """List `wanted` of `available` indices: neighbouring copies (`even`), or whole rows (`stacked`)."""
    if order == "even":
        return choose_indices("even", available, wanted)
    return tuple(index % available for index in range(wanted))


def choose_blocks(
    choice: BlockChoice, ancestor: Spec, wanted: Spec, *, deeper: RepeatOrder | None = None
) -> tuple[int, ...]:
    """Choose the ancestor's block for each block of a descendant, stage by stage.

    With several stages, the first block of each stage is always the ancestor's first one, also for `last`. Only this
    block can read the maps of the stage before. It is therefore never repeated.

    Args:
        choice: Blocks of a stage that is not deeper than the ancestor's.
        ancestor: Spec of the ancestor.
        wanted: Spec of the descendant.
        deeper: Order in which a deeper stage repeats blocks; None refuses it.

    Raises:
        SettingError: A stage has too many blocks, or the number of stages differs.
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
            chosen += [start + index for index in _repeat_blocks(deeper, available, count, len(depths) > 1)]
            continue
        keeps_first = choice == "last" and len(depths) > 1
        indices = (0, *choose_indices(choice, available, count - 1)) if keeps_first else None
        chosen += [start + index for index in indices or choose_indices(choice, available, count)]
    return tuple(chosen)


def _repeat_blocks(order: RepeatOrder | None, available: int, count: int, has_stages: bool) -> tuple[int, ...]:
    if order is None:
        raise SettingError(
            f"This gene cannot grow {count} blocks" + (" in a stage" if has_stages else ""),
            f"It takes those of its ancestor, which has {available}",
            f"Use {available} or fewer",
        )
    if not has_stages:
        return repeat_indices(order, available, count)
    if available == 1:
        raise SettingError(
            f"This gene cannot grow {count} blocks in a stage",
            "The ancestor's stage has one block, which also reads the stage before, so it cannot be repeated",
            "Use one block in this stage",
        )
    return (0, *(1 + index for index in repeat_indices(order, available - 1, count - 1)))


def stage_depths(spec: Spec) -> tuple[int, ...]:
    """Return the number of blocks of each stage; a ViT has one stage."""
    return parts_of(spec).stages


def keep_head_length(spec: Spec, size: Size) -> Size:
    """Add the number of heads of unchanged length to a size that gives the width alone, if they fit."""
    fields = spec.model_dump()
    if "width" not in size or "heads" in size or "heads" not in fields:
        return size
    heads, rest = divmod(size["width"], fields["width"] // fields["heads"])
    return size if rest else Size(**size, heads=heads)


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
        chosen: Index of the ancestor's block for each block of the descendant.
        sliced: Names of tensors whose shape differs from their source's.
    """

    spec: Spec
    parts: Parts
    sources: Mapping[str, str]
    shapes: Mapping[str, torch.Size]
    chosen: tuple[int, ...]
    sliced: frozenset[str]

    @property
    def repeated_blocks(self) -> tuple[Mapping[str, str], ...]:
        """Blocks whose source is the source of an earlier block too: full tensor name by name within the block."""
        return tuple(
            block
            for place, (index, block) in enumerate(zip(self.chosen, self.parts.blocks, strict=True))
            if index in self.chosen[:place]
        )

    @property
    def repeated(self) -> frozenset[str]:
        """Names of all tensors of repeated blocks."""
        return frozenset(full for block in self.repeated_blocks for full in block.values())


def keep_images(wanted: Spec, source: Spec) -> Spec:
    """Return a spec with the image size, channels and classes of another one."""
    spec: Spec = wanted.model_copy(update=source.model_dump(include=set(IMAGE_FIELDS)))
    return spec


def _suggest_widths(ancestor: Spec, wanted: Spec) -> str:
    """Say which sizes have the ancestor's tensors. A first stage as wide as the stem has no shortcut to copy."""
    before, after = (spec.model_dump().get("widths", ()) for spec in (ancestor, wanted))
    if len(after) < 2 or before[:1] == after[:1]:
        return "Use the ancestor's own depths and widths"
    later = ",".join(f"width{stage}={width}" for stage, width in enumerate(after[1:], 2))
    return f"Use {later} alone: the first stage has the width of the stem, {before[0]}"


def plan_slices(ancestor: Spec, wanted: Spec, chosen: Sequence[int], *, is_wider: bool = False) -> SlicePlan:
    """Find the source of every tensor of a descendant.

    Args:
        ancestor: Spec of the ancestor.
        wanted: Spec of the descendant.
        chosen: Index of the ancestor's block for each block of the descendant.
        is_wider: Whether tensors may be larger than their sources.

    Raises:
        SettingError: A tensor is larger than its source and may not be, or it has none.
    """
    spec = keep_images(wanted, ancestor)
    ancestor_parts, parts = parts_of(ancestor), parts_of(spec)
    sources = {name: name for name in (*parts.stem, *parts.norm, *parts.head)}
    for place, (index, block) in enumerate(zip(chosen, parts.blocks, strict=True)):
        source_block = ancestor_parts.blocks[index]
        if block.keys() != source_block.keys():
            raise SettingError(
                f"This gene cannot grow block {place} as block {index}",
                "One of them has tensors that the other one lacks",
                _suggest_widths(ancestor, spec),
            )
        sources |= {full: source_block[name] for name, full in block.items()}
    given, shapes = shapes_of(ancestor), shapes_of(spec)
    for name, source in sources.items():
        available, needed = given[source], shapes[name]
        if len(available) != len(needed) or (
            not is_wider and any(more > less for more, less in zip(needed, available, strict=True))
        ):
            raise SettingError(
                f"This gene cannot grow '{name}' of shape {tuple(needed)}",
                f"The ancestor's '{source}' has shape {tuple(available)}",
                "Use a size with no number above the ancestor's",
            )
    sliced = frozenset(name for name, source in sources.items() if given[source] != shapes[name])
    return SlicePlan(spec, parts, sources, shapes, tuple(chosen), sliced)


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
    origins: dict[str, Mapping[Origin, int]] = {name: {"sliced": tensors[name].numel()} for name in plan.sliced}
    return build_resized_descendant(gene, target, tensors, origins, generator)


def build_resized_descendant(
    gene: Learngene,
    target: Target,
    tensors: Mapping[str, Tensor],
    origins: Mapping[str, Mapping[Origin, int]],
    generator: torch.Generator,
) -> Descendant:
    """Build a descendant from all tensors of a network with its widths, and record their origins.

    If a tensor is adapted or resized to other images afterwards, only that later step is recorded.

    Args:
        gene: Gene that the tensors are made from.
        target: Network to build.
        tensors: All tensors with the descendant's shapes, for images and classes of the gene.
        origins: Number of elements by origin, for each tensor that is not a plain copy.
        generator: Source of a fresh head.
    """
    spec = keep_images(target.spec, gene.spec)
    names = [full for block in parts_of(spec).blocks for full in block.values()]
    blocks: dict[str, TensorWithOrigin] = {
        name: (tensor, "copied") for name, tensor in _own_tensors(tensors, names, gene).items()
    }
    # All further steps see the tensors as a gene of the descendant's own size.
    resized_gene = replace(gene, spec=spec)
    descendant = build_descendant(resized_gene, target, frame=tensors, blocks=blocks, generator=generator)
    for name, counts in origins.items():
        if "copied" in descendant.ledger.entries[name]:
            descendant.ledger.entries[name] = Counter(counts)
    return descendant


def _own_tensors(tensors: Mapping[str, Tensor], names: Iterable[str], gene: Learngene) -> dict[str, Tensor]:
    """Copy the named tensors that share memory with the gene or with each other; the others are used as they are."""
    taken = {tensor.untyped_storage().data_ptr() for tensor in gene.tensors.values()}
    result = {}
    for name in names:
        tensor = tensors[name]
        storage = tensor.untyped_storage()
        is_alone = tensor.is_contiguous() and storage.nbytes() == tensor.nbytes and storage.data_ptr() not in taken
        taken.add(storage.data_ptr())
        result[name] = tensor if is_alone else tensor.clone()
    return result


def check_same_spec(method: str, ancestor: Spec, wanted: Spec, *, spare: frozenset[str] = frozenset()) -> None:
    """Refuse a spec that differs from the ancestor's in anything but images, classes and the keys in `spare`.

    Dropped paths belong to a training, so they may differ too.

    Raises:
        SettingError: Names the field, and the keys of a size that change it.
    """
    fields, wanted_fields = ancestor.model_dump(), wanted.model_dump()
    # Some fields follow a width. The widths of a VGG also give its depths.
    keys = {
        "hidden": "widths",
        "stem_width": "widths",
        "widths": "widths" if "depths" in fields else "depths and widths",
    }
    for key in sorted(fields.keys() - IMAGE_FIELDS - spare - {"drop_path"}):
        if fields[key] != wanted_fields[key]:
            raise SettingError(
                f"Method '{method}' cannot grow {key}={wanted_fields[key]}",
                f"It keeps the ancestor's {key}={fields[key]}",
                f"Remove {keys.get(key, key)} from the size",
            )


@lru_cache(maxsize=64)  # a comparison asks for the same few specs again and again
def shapes_of(spec: Spec) -> Mapping[str, torch.Size]:
    """Return the shapes of all tensors of a network of that spec by name."""
    with on_meta_device():
        return {name: tensor.shape for name, tensor in architecture_of(spec).build(spec).state_dict().items()}


@lru_cache(maxsize=64)
def parts_of(spec: Spec) -> Parts:
    """Return the names of the tensors of a network of that spec."""
    return architecture_of(spec).parts(spec)
