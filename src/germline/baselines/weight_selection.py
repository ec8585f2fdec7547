"""Weight selection: a network of another size takes elements of a trained network's tensors."""

from __future__ import annotations

from collections.abc import Mapping
from math import sqrt
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from germline.architectures import Spec, Target
from germline.learngene import Descendant, Learngene
from germline.ledger import Origin
from germline.methods.axis_maps import (
    TensorMaps,
    count_origins,
    divide_by_copies,
    has_larger_axis,
    map_tensors,
    take_elements,
)
from germline.methods.slicing import SlicePlan, build_resized_descendant, choose_blocks, plan_slices, stage_depths
from germline.methods.whole_ancestor import WholeAncestor
from germline.training.stable_dump import StableDump
from germline.traits import Sizes


class WeightSelection(StableDump, WholeAncestor):
    """Weight selection (arXiv 2311.18823): evenly spaced elements of a trained network.

    A smaller descendant takes the ancestor's first layers and, in each tensor, elements at even spacing along every
    dimension. A larger one takes elements several times, which makes it the control named duplication.

    Source: Xu et al., "Initializing Models with Larger Ones", ICLR 2024, arXiv 2311.18823. Two things differ from the
    public code. First, index i of t always comes from floor(i x s / t) of s. This keeps query, key and value of a fused
    layer apart. If s is no multiple of t, the public code rounds a line from 0 to s instead. Second, the head is sliced
    too if the gene knows every class. The public code always draws it. Larger sizes, `unit` and `scale` are ours.

    With the unit `channel`, the same formula chooses attention heads, and apart from them the elements within a head.
    So no head is cut in two, and heads of unchanged length are taken whole. Deeper descendants repeat each block beside
    itself, by the same formula. In a network with stages, the first block of a stage is never repeated.

    `scale` multiplies matrices and kernels that read channels, with s inputs in the ancestor and t in the descendant.
    `fan-in` multiplies by sqrt(s / t), which keeps the variance of outputs if inputs are independent. `divide` divides
    what is read from a channel by the number of the channel's copies. At whole multiples of the width and an unchanged
    head length, the descendant then computes what the ancestor does. `matched` restores the standard deviation of the
    ancestor's tensor.

    Attributes:
        layers: Blocks of a shallower descendant: the `first`, as in the paper, or blocks at `even` spacing.
        unit: What is taken at even spacing: each `element` of a dimension, as published, or each `channel`, such as an
            attention head. None is `channel` if a tensor or the number of heads is larger than the ancestor's.
        scale: Factor of what reads channels: `none`, as published, `fan-in`, `divide` or `matched`.
    """

    name: ClassVar[str] = "weight-selection"
    paper: ClassVar[str] = "arXiv 2311.18823"
    # The settings that came later do not change stored genes and the keys of stores.
    omitted: ClassVar[Mapping[str, Any]] = {"unit": None, "scale": "none"}

    layers: Literal["first", "even"] = "first"
    unit: Literal["element", "channel"] | None = None
    scale: Literal["none", "fan-in", "divide", "matched"] = "none"

    def inherit(self, gene: Learngene, target: Target, generator: torch.Generator) -> Descendant:
        """Take elements of every tensor; the frame is adapted, and the head is taken too or fresh."""
        plan = self._plan(gene.spec, target.spec)
        maps = self._map(gene.spec, plan)
        repeated, tensors = plan.repeated, dict[str, Tensor]()
        origins: dict[str, Mapping[Origin, int]] = {}
        for name, source in plan.sources.items():
            tensors[name], is_scaled = self._resize(gene.tensors[source], maps.get(name, {}))
            origins[name] = count_origins(
                tensors[name].shape,
                maps.get(name, {}),
                is_further=name in repeated,
                divided=self.scale == "divide",
                scaled=is_scaled,
            )
        return build_resized_descendant(gene, target, tensors, origins, generator)

    def describe_sizes(self, spec: Spec, gene: Learngene | None = None) -> Sizes:
        """Return the sizes: every one."""
        stages = stage_depths(spec)
        limit = ", but no deeper stage of one block" if len(stages) > 1 and 1 in stages else ""
        return Sizes(f"any size, smaller or larger than the ancestor's{limit}")

    def check_size(self, gene: Learngene, spec: Spec) -> None:
        """Refuse a size with tensors that the ancestor lacks."""
        self._map(gene.spec, self._plan(gene.spec, spec))

    def _plan(self, ancestor: Spec, wanted: Spec) -> SlicePlan:
        chosen = choose_blocks(self.layers, ancestor, wanted, deeper="even")
        return plan_slices(ancestor, wanted, chosen, is_wider=True)

    def _map(self, ancestor: Spec, plan: SlicePlan) -> dict[str, TensorMaps]:
        is_flat = self.unit == "element" if self.unit else not has_larger_axis(plan, ancestor)
        return map_tensors(plan, ancestor, flat=is_flat)

    def _resize(self, tensor: Tensor, maps: TensorMaps) -> tuple[Tensor, bool]:
        """Take elements of a tensor and scale them; also return whether all of them were multiplied."""
        taken = take_elements(tensor, maps)
        readers = [axis_map for axis_map in maps.values() if axis_map.source.reads]
        if not readers or self.scale == "none":
            return taken, False
        if self.scale == "divide":
            return divide_by_copies(taken, maps), False
        if self.scale == "fan-in":
            (inputs,) = readers
            factor = sqrt(inputs.source.size / len(inputs.indices))
        else:
            before, after = (float(one.std(correction=0)) for one in (tensor, taken))
            factor = before / after if before and after else 1.0
        return (taken, False) if factor == 1 else (taken * factor, True)
