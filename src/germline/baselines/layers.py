"""Layers: whole blocks of an ancestor, the simplest way to a shallower network."""

from __future__ import annotations

from itertools import accumulate, pairwise
from typing import ClassVar, Literal

import torch
from pydantic import field_validator

from germline.architectures import Spec, Target
from germline.data import DataSet
from germline.errors import SettingError
from germline.learngene import Descendant, Learngene
from germline.methods.slicing import (
    SlicePlan,
    check_same_spec,
    choose_blocks,
    inherit_slices,
    plan_slices,
    stage_depths,
)
from germline.methods.whole_ancestor import WholeAncestor
from germline.network import Network
from germline.traits import Sizes

DEPTHS = frozenset({"depth", "depths", "widths"})  # fields that give the number of blocks, by architecture


class Layers(WholeAncestor):
    """Whole blocks of an ancestor, with its stem and norm; the head is copied or fresh.

    A control without a paper. In an architecture with stages, blocks are chosen stage by stage.

    Attributes:
        choose: The `first` blocks, the `last` ones, or blocks at `even` spacing, the first among them. Or rising block
            indices, counted from 0; descendants then have exactly as many blocks.
    """

    name: ClassVar[str] = "layers"
    paper: ClassVar[str] = "a control"

    choose: Literal["first", "last", "even"] | tuple[int, ...] = "first"

    @field_validator("choose")
    @classmethod
    def _check_indices(cls, value: str | tuple[int, ...]) -> str | tuple[int, ...]:
        if isinstance(value, tuple) and (
            not value or value[0] < 0 or any(one >= other for one, other in pairwise(value))
        ):
            raise ValueError("Block indices are counted from 0 and rise")
        return value

    def condense_spec(self, ancestor: Network | None, data: DataSet) -> Spec:
        """Return the ancestor's spec.

        Raises:
            SettingError: There is no ancestor, or it lacks a chosen block.
            ArtefactError: No architecture describes it.
        """
        spec = super().condense_spec(ancestor, data)
        blocks = sum(stage_depths(spec))
        if isinstance(self.choose, tuple) and self.choose[-1] >= blocks:
            raise SettingError(
                f"choose={self.choose} names a block that is missing",
                f"The ancestor has {blocks} blocks",
                f"Use indices from 0 to {blocks - 1}",
            )
        return spec

    def inherit(self, gene: Learngene, target: Target, generator: torch.Generator) -> Descendant:
        """Copy the chosen blocks, stem and norm."""
        return inherit_slices(gene, target, self._choose_blocks(gene.spec, target.spec), generator)

    def describe_sizes(self, spec: Spec, gene: Learngene | None = None) -> Sizes:
        """Return the sizes: depths up to the ancestor's."""
        if isinstance(self.choose, tuple):
            return Sizes(f"the {len(self.choose)} blocks chosen, at the ancestor's width")
        return Sizes(f"at most {' + '.join(map(str, stage_depths(spec)))} blocks, at the ancestor's width")

    def check_size(self, gene: Learngene, spec: Spec) -> None:
        """Refuse more blocks than the ancestor has, and every other width."""
        check_same_spec(self.name, gene.spec, spec, spare=DEPTHS)
        plan = plan_slices(gene.spec, spec, self._choose_blocks(gene.spec, spec))
        check_whole_blocks(self.name, plan)

    def _choose_blocks(self, ancestor: Spec, wanted: Spec) -> tuple[int, ...]:
        """Return the index of the ancestor's block for each block of a descendant."""
        if not isinstance(self.choose, tuple):
            return choose_blocks(self.choose, ancestor, wanted)
        ends = list(accumulate(stage_depths(ancestor)))
        given = [sum(first <= index < end for index in self.choose) for first, end in pairwise((0, *ends))]
        depths = stage_depths(wanted)
        if list(depths) != given:
            raise SettingError(
                f"This gene cannot grow {' + '.join(map(str, depths))} blocks",
                f"choose={self.choose} names {' + '.join(map(str, given))}",
                "Use as many blocks, or choose others",
            )
        return self.choose


def check_whole_blocks(method: str, plan: SlicePlan) -> None:
    """Refuse a plan that slices a tensor.

    Raises:
        SettingError: Names the tensor.
    """
    if plan.sliced:
        name = min(plan.sliced)
        raise SettingError(
            f"Method '{method}' cannot grow '{name}' of shape {tuple(plan.shapes[name])}",
            f"The ancestor's '{plan.sources[name]}' is wider, and only whole blocks are copied",
            "Choose another depth only",
        )
