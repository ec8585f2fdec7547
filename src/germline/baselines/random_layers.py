"""Random layers: blocks of an ancestor, chosen at random for each descendant."""

from __future__ import annotations

from itertools import accumulate
from typing import ClassVar

import torch

from germline.architectures import Spec, Target
from germline.baselines.layers import DEPTHS, check_whole_blocks
from germline.learngene import Descendant, Learngene
from germline.methods.slicing import (
    check_same_spec,
    choose_blocks,
    inherit_slices,
    plan_slices,
    stage_depths,
)
from germline.methods.whole_ancestor import WholeAncestor
from germline.traits import Sizes


class RandomLayers(WholeAncestor):
    """Blocks of an ancestor at random, in rising order, with its stem and norm; the head is copied or fresh.

    A control without a paper, for methods that choose layers. Each descendant has a choice of its own, drawn with its
    other random elements, so that a comparison has one per seed and size. In an architecture with stages, blocks are
    drawn stage by stage, and the first block of each stage is always the ancestor's first. Only this block can read the
    maps of the stage before.
    """

    name: ClassVar[str] = "random-layers"
    paper: ClassVar[str] = "a control"

    def inherit(self, gene: Learngene, target: Target, generator: torch.Generator) -> Descendant:
        """Copy blocks at random, stem and norm."""
        chosen = draw_blocks(stage_depths(gene.spec), stage_depths(target.spec), generator)
        return inherit_slices(gene, target, chosen, generator)

    def describe_sizes(self, spec: Spec, gene: Learngene | None = None) -> Sizes:
        """Return the sizes: depths up to the ancestor's."""
        return Sizes(f"at most {' + '.join(map(str, stage_depths(spec)))} blocks, at the ancestor's width")

    def check_size(self, gene: Learngene, spec: Spec) -> None:
        """Refuse more blocks than the ancestor has, and every other width."""
        check_same_spec(self.name, gene.spec, spec, spare=DEPTHS)
        # Blocks of a stage behind its first one are alike, so the first ones answer for every choice.
        check_whole_blocks(self.name, plan_slices(gene.spec, spec, choose_blocks("first", gene.spec, spec)))


def draw_blocks(available: tuple[int, ...], wanted: tuple[int, ...], generator: torch.Generator) -> tuple[int, ...]:
    """Draw the index of an ancestor's block for each block of a descendant, stage by stage, in rising order.

    Args:
        available: Number of blocks of each of the ancestor's stages.
        wanted: Number of blocks of each of the descendant's stages.
        generator: Source of the choice.
    """
    chosen: list[int] = []
    fixed = int(len(available) > 1)
    for start, count, number in zip(accumulate((0, *available)), available, wanted, strict=False):
        order = torch.randperm(count - fixed, generator=generator)[: number - fixed]
        chosen += [*range(start, start + fixed), *(start + fixed + int(index) for index in sorted(order.tolist()))]
    return tuple(chosen)
