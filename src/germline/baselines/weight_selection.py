"""Weight selection: a smaller network takes elements of a larger network's tensors."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch

from germline.architectures import Spec, Target
from germline.baselines.whole_ancestor import WholeAncestor
from germline.learngene import Descendant, Learngene
from germline.methods.slicing import check_not_larger, choose_blocks, inherit_slices, plan_slices, stage_depths
from germline.traits import Sizes


class WeightSelection(WholeAncestor):
    """Weight selection (Xu et al., ICLR 2024, arXiv 2311.18823).

    A descendant takes the ancestor's first layers and, in each tensor, elements at even spacing along every dimension.

    Source: Xu et al., "Initializing Models with Larger Ones", ICLR 2024, arXiv 2311.18823. Two things differ from the
    public code. First, index i of t always comes from floor(i x s / t) of s. This keeps query, key and value of a fused
    layer apart. If s is no multiple of t, the public code rounds a line from 0 to s instead. Second, the head is sliced
    too if the class names are equal. The public code always draws it.

    Attributes:
        layers: Blocks of a shallower descendant: the `first`, as in the paper, or blocks at `even` spacing.
    """

    name: ClassVar[str] = "weight-selection"
    paper: ClassVar[str] = "arXiv 2311.18823"

    layers: Literal["first", "even"] = "first"

    def inherit(self, gene: Learngene, target: Target, generator: torch.Generator) -> Descendant:
        """Slice every tensor to the target's widths; the frame is adapted, and the head is sliced or fresh."""
        return inherit_slices(gene, target, choose_blocks(self.layers, gene.spec, target.spec), generator)

    def describe_sizes(self, spec: Spec, gene: Learngene | None = None) -> Sizes:
        """Return the sizes: every one up to the ancestor's."""
        return Sizes(f"any size up to the ancestor's own, of at most {' + '.join(map(str, stage_depths(spec)))} blocks")

    def check_size(self, gene: Learngene, spec: Spec) -> None:
        """Refuse a size that exceeds the ancestor's in any number."""
        check_not_larger(self.name, gene.spec, spec)
        plan_slices(gene.spec, spec, choose_blocks(self.layers, gene.spec, spec))
