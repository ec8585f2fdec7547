"""Fine-tuning: a costly upper bound, with an ancestor of each descendant's own size."""

from __future__ import annotations

from typing import ClassVar

import torch

from germline.architectures import Spec, Target
from germline.learngene import Descendant, Learngene
from germline.methods.slicing import check_same_spec, inherit_slices
from germline.methods.whole_ancestor import WholeAncestor
from germline.registry import architecture_of
from germline.traits import Sizes, Traits


class Finetune(WholeAncestor):
    """All of an ancestor of the descendant's own size; only the head can be fresh."""

    name: ClassVar[str] = "finetune"
    paper: ClassVar[str] = "a control"
    traits: ClassVar[Traits] = Traits(varies_with_seed=False, needs_own_size=True)

    def inherit(self, gene: Learngene, target: Target, generator: torch.Generator) -> Descendant:
        """Copy every block; the frame is adapted, and the head is copied or fresh."""
        blocks = architecture_of(gene.spec).parts(gene.spec).blocks
        return inherit_slices(gene, target, range(len(blocks)), generator)

    def describe_sizes(self, spec: Spec, gene: Learngene | None = None) -> Sizes:
        """Return the sizes: the ancestor's own."""
        return Sizes("the ancestor's own size")

    def check_size(self, gene: Learngene, spec: Spec) -> None:
        """Refuse every other size."""
        check_same_spec(self.name, gene.spec, spec)
