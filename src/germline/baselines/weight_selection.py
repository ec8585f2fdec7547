"""Weight selection: a smaller network takes elements of a larger one's tensors."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch

from germline.architectures import Spec, Target
from germline.baselines.whole_ancestor import WholeAncestor
from germline.learngene import Descendant, Learngene
from germline.methods.slicing import check_not_larger, choose_blocks, inherit_slices, plan_slices, stages
from germline.traits import Sizes


class WeightSelection(WholeAncestor):
    """Elements of an ancestor at even spacing along every dimension of every tensor.

    Source: Xu et al., "Initializing Models with Larger Ones", ICLR 2024, arXiv 2311.18823: the ancestor's first layers
    and, in each tensor, elements at uniform spacing.

    Departures: index i of t comes from floor(i x s / t) of s also where s is no multiple of t (the public code rounds a
    line from 0 to s there), so that query, key and value of a fused layer keep to their own; and the head is
    taken too where the class names are equal (the public code always draws it).

    Attributes:
        layers: Which blocks a shallower descendant takes: the `first`, as in the paper, or at `even` spacing.
    """

    name: ClassVar[str] = "weight-selection"
    paper: ClassVar[str] = "arXiv 2311.18823"

    layers: Literal["first", "even"] = "first"

    def inherit(self, gene: Learngene, target: Target, generator: torch.Generator) -> Descendant:
        """Cut every tensor to the target's widths; the frame is adapted, the head kept or fresh."""
        return inherit_slices(gene, target, choose_blocks(self.layers, gene.spec, target.spec), generator)

    def describe_sizes(self, spec: Spec, gene: Learngene | None = None) -> Sizes:
        """Everything up to the ancestor."""
        return Sizes(f"any size up to the ancestor's own, of at most {' + '.join(map(str, stages(spec)))} blocks")

    def check_size(self, gene: Learngene, spec: Spec) -> None:
        """Refuse what is larger than the ancestor in any way."""
        check_not_larger(self.name, gene.spec, spec)
        plan_slices(gene.spec, spec, choose_blocks(self.layers, gene.spec, spec))
