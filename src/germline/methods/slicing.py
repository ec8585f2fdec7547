"""Methods whose gene is a whole ancestor, and how a descendant takes blocks and elements from one."""

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
from germline.ledger import Ledger, Origin
from germline.methods.assembly import build_descendant
from germline.registry import architecture_of

BlockChoice = Literal["first", "last", "even"]
IMAGE_FIELDS = frozenset({"image_size", "channels", "classes"})


def choose_indices(how: BlockChoice, own: int, wanted: int) -> tuple[int, ...]:
    """Which `wanted` of `own` things in a row are taken; evenly is floor(i x own / wanted), so the first always is."""
    if how == "first":
        return tuple(range(wanted))
    if how == "last":
        return tuple(range(own - wanted, own))
    return tuple(index * own // wanted for index in range(wanted))


def choose_blocks(how: BlockChoice, own: Spec, wanted: Spec) -> tuple[int, ...]:
    """For each block of a descendant the ancestor's that it comes from, chosen stage by stage.

    Where there are several stages, the first block of each is always the ancestor's first, also of the last ones: it
    alone reads the maps of the stage before.

    Raises:
        SettingError: A stage has more blocks than the ancestor's, or there are other stages.
    """
    have, want = stages(own), stages(wanted)
    if len(have) != len(want):
        raise SettingError(
            f"this gene cannot grow {len(want)} stages", f"the ancestor has {len(have)}", "leave their number as it is"
        )
    chosen: list[int] = []
    for first, (blocks, asked) in zip(accumulate((0, *have)), zip(have, want, strict=True), strict=False):
        if asked > blocks:
            raise SettingError(
                f"this gene cannot grow {asked} blocks" + (" in a stage" if len(have) > 1 else ""),
                f"it takes those of its ancestor, which has {blocks}",
                f"ask for {blocks} or fewer",
            )
        lead = how == "last" and len(have) > 1
        places = (0, *choose_indices(how, blocks, asked - 1)) if lead else choose_indices(how, blocks, asked)
        chosen += [first + index for index in places]
    return tuple(chosen)


def stages(spec: Spec) -> tuple[int, ...]:
    """Blocks of each stage; a ViT has one stage."""
    return parts_of(spec).stages


def slice_evenly(tensor: Tensor, shape: Sequence[int]) -> Tensor:
    """Elements of a tensor at even spacing along every dimension; the tensor itself where nothing is left out.

    Parts that lie one behind the other along a dimension, such as query, key and value, are each taken from evenly,
    and rows of one layer and columns of the next that belong together stay together.
    """
    for dimension, (own, wanted) in enumerate(zip(tensor.shape, shape, strict=True)):
        if wanted != own:
            tensor = tensor.index_select(
                dimension, torch.tensor(choose_indices("even", own, wanted), device=tensor.device)
            )
    return tensor


@dataclass(frozen=True)
class SlicePlan:
    """Where each tensor of a descendant comes from, before its pictures are adapted.

    Attributes:
        spec: The descendant's form with the ancestor's channels, picture size and classes.
        parts: Its parts.
        sources: Name of the ancestor's tensor, by name in the descendant.
        shapes: Shapes of the descendant's tensors.
        sliced: Those of them that hold fewer elements than their source.
    """

    spec: Spec
    parts: Parts
    sources: Mapping[str, str]
    shapes: Mapping[str, torch.Size]
    sliced: frozenset[str]


def plan_slices(own: Spec, wanted: Spec, chosen: Sequence[int]) -> SlicePlan:
    """Hold a descendant against its ancestor, tensor by tensor.

    Args:
        own: The ancestor's form.
        wanted: The descendant's.
        chosen: For each of its blocks, which of the ancestor's it comes from.

    Raises:
        SettingError: A tensor is larger than its source, or has none.
    """
    images = own.model_dump(include=set(IMAGE_FIELDS))
    spec = wanted.model_copy(update=images)
    elder, parts = parts_of(own), parts_of(spec)
    sources = {name: name for name in (*parts.stem, *parts.norm, *parts.head)}
    for place, (index, block) in enumerate(zip(chosen, parts.blocks, strict=True)):
        if block.keys() != elder.blocks[index].keys():
            raise SettingError(
                f"this gene cannot grow block {place} as block {index}",
                "one of them has tensors that the other has not",
                "ask for the ancestor's own depths and widths",
            )
        sources |= {full: elder.blocks[index][name] for name, full in block.items()}
    given, shapes = shapes_of(own), shapes_of(spec)
    for name, source in sources.items():
        have, want = given[source], shapes[name]
        if len(have) != len(want) or any(more > less for more, less in zip(want, have, strict=True)):
            raise _no_fit(f"'{name}' of shape {tuple(want)}", f"the ancestor's '{source}' has shape {tuple(have)}")
    sliced = frozenset(name for name, source in sources.items() if given[source] != shapes[name])
    return SlicePlan(spec, parts, sources, shapes, sliced)


def inherit_slices(gene: Learngene, target: Target, chosen: Sequence[int], generator: torch.Generator) -> Descendant:
    """A descendant whose blocks are those chosen of a whole ancestor, all tensors cut to its widths.

    The ledger calls a tensor that lost elements "sliced"; one that was adapted or resized to other pictures after that
    stands under what was done last.

    Args:
        gene: The ancestor.
        target: What to grow.
        chosen: For each of its blocks, which of the ancestor's it comes from.
        generator: Draws a fresh head.

    Raises:
        SettingError: A tensor of the target is larger than its source, or has none.
    """
    how = plan_slices(gene.spec, target.spec, chosen)
    tensors = {name: slice_evenly(gene.tensors[source], how.shapes[name]) for name, source in how.sources.items()}
    names = [full for block in how.parts.blocks for full in block.values()]
    blocks: dict[str, tuple[Tensor, Origin]] = {
        name: (tensors[name].clone(), "sliced" if name in how.sliced else "copied") for name in names
    }
    # To the rest of the house the cut ancestor is a gene of the descendant's own widths.
    cut = replace(gene, spec=how.spec)
    descendant = build_descendant(cut, target, frame=tensors, blocks=blocks, generator=generator)
    _say_sliced(descendant.ledger, how.sliced)
    return descendant


def check_same_spec(method: str, own: Spec, wanted: Spec, *, spare: frozenset[str] = frozenset()) -> None:
    """Refuse a form that differs from the ancestor's in anything but its pictures and what is spared.

    Raises:
        SettingError: Names the key.
    """
    have, want = own.model_dump(), wanted.model_dump()
    for key in sorted(have.keys() - IMAGE_FIELDS - spare):
        if have[key] != want[key]:
            raise SettingError(
                f"{method} cannot grow {key}={want[key]}",
                f"it keeps the ancestor's, which is {have[key]}",
                "leave it out of the size",
            )


def check_not_larger(method: str, own: Spec, wanted: Spec) -> None:
    """Refuse a form that is larger than the ancestor's in any number; what `plan` would find, said in the user's words.

    Raises:
        SettingError: Names the key.
    """
    have, want = own.model_dump(), wanted.model_dump()
    for key in sorted(have.keys() - IMAGE_FIELDS):
        if _exceeds(want[key], have[key]):
            limit = f"{key}={have[key]} or less" if isinstance(have[key], int) else f"{key} nowhere above these"
            raise SettingError(
                f"{method} cannot grow {key}={want[key]}",
                f"it takes what the ancestor has, whose {key} is {have[key]}",
                f"ask for {limit}",
            )


def _exceeds(value: Any, limit: Any) -> bool:
    if isinstance(value, (tuple, list)):
        # Where the depths differ, widths stand side by side only once blocks are chosen.
        return len(value) == len(limit) and any(map(_exceeds, value, limit))
    return isinstance(value, (int, float)) and isinstance(limit, (int, float)) and value > limit


def _no_fit(what: str, why: str) -> SettingError:
    return SettingError(f"this gene cannot grow {what}", why, "ask for a size that is nowhere above the ancestor's")


@lru_cache(maxsize=64)  # a comparison asks for the same few forms again and again
def shapes_of(spec: Spec) -> Mapping[str, torch.Size]:
    """Shapes of all tensors of a network of that form, by name."""
    with on_meta_device():
        return {name: tensor.shape for name, tensor in architecture_of(spec).build(spec).state_dict().items()}


@lru_cache(maxsize=64)
def parts_of(spec: Spec) -> Parts:
    """Names of the tensors of a network of that form."""
    return architecture_of(spec).parts(spec)


def _say_sliced(ledger: Ledger, sliced: frozenset[str]) -> None:
    for name in sliced:
        counts = ledger.entries[name]
        if "copied" in counts:
            counts["sliced"] += counts.pop("copied")
