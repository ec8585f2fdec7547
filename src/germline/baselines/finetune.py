"""Fine-tuning: the costly upper line, an ancestor of the target's own size kept whole."""

from __future__ import annotations

from typing import ClassVar

import torch

from germline.architectures import Spec, Target
from germline.baselines.whole_ancestor import WholeAncestor
from germline.learngene import Descendant, Learngene
from germline.methods.slicing import check_same_spec, inherit_slices
from germline.registry import architecture_of


class Finetune(WholeAncestor):
    """All of an ancestor, handed to a descendant of its own size; only the head may be fresh."""

    name: ClassVar[str] = "finetune"
    paper: ClassVar[str] = "a control"
    own_size: ClassVar[bool] = True

    def inherit(self, gene: Learngene, target: Target, generator: torch.Generator) -> Descendant:
        """Every block copied; frame adapted; head kept or fresh."""
        blocks = architecture_of(gene.spec).parts(gene.spec).blocks
        return inherit_slices(gene, target, range(len(blocks)), generator)

    def sizes(self, gene: Learngene) -> str:
        """Its own."""
        return "the ancestor's own size"

    def check_size(self, gene: Learngene, spec: Spec) -> None:
        """Refuse every other size."""
        check_same_spec(self.name, gene.spec, spec)
