"""Fine-tuning: the costly upper line, an ancestor of the target's own size kept whole."""

from __future__ import annotations

from typing import ClassVar

import torch

from germline.architectures import Spec, Target
from germline.baselines.whole_ancestor import WholeAncestor
from germline.learngene import Descendant, Learngene
from germline.methods.slicing import check_same_spec, inherit_slices
from germline.registry import architecture_of
from germline.traits import Sizes, Traits


class Finetune(WholeAncestor):
    """All of an ancestor, handed to a descendant of its own size; only the head may be fresh."""

    name: ClassVar[str] = "finetune"
    paper: ClassVar[str] = "a control"
    traits: ClassVar[Traits] = Traits(varies_with_seed=False, needs_own_size=True)

    def inherit(self, gene: Learngene, target: Target, generator: torch.Generator) -> Descendant:
        """Every block copied; frame adapted; head kept or fresh."""
        blocks = architecture_of(gene.spec).parts(gene.spec).blocks
        return inherit_slices(gene, target, range(len(blocks)), generator)

    def describe_sizes(self, spec: Spec, gene: Learngene | None = None) -> Sizes:
        """Its own."""
        return Sizes("the ancestor's own size")

    def check_size(self, gene: Learngene, spec: Spec) -> None:
        """Refuse every other size."""
        check_same_spec(self.name, gene.spec, spec)
