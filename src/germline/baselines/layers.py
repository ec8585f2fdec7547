"""Layers: whole blocks of an ancestor, the plainest way to a shallower network."""

from __future__ import annotations

from itertools import accumulate, pairwise
from typing import ClassVar, Literal

import torch
from pydantic import field_validator

from germline.architectures import Spec, Target
from germline.baselines.whole_ancestor import WholeAncestor
from germline.data import DataSet
from germline.errors import SettingError
from germline.learngene import Descendant, Learngene
from germline.methods.slicing import check_same_spec, choose_blocks, inherit_slices, plan_slices, stages
from germline.network import Network
from germline.traits import Sizes

DEPTHS = frozenset({"depth", "depths", "widths"})  # what says how many blocks there are, by architecture


class Layers(WholeAncestor):
    """Whole blocks of an ancestor, copied with its stem and norm; the head is kept or fresh.

    A control without a paper of its own. Where an architecture has stages, blocks are chosen stage by stage.

    Attributes:
        choose: The `first` blocks, the `last`, some at `even` spacing (the first is always among them), or the indices
            of the blocks, counted from 0, rising; then only descendants of just as many blocks are grown.
    """

    name: ClassVar[str] = "layers"
    paper: ClassVar[str] = "a control"

    choose: Literal["first", "last", "even"] | tuple[int, ...] = "first"

    @field_validator("choose")
    @classmethod
    def _rising(cls, value: str | tuple[int, ...]) -> str | tuple[int, ...]:
        if isinstance(value, tuple) and (
            not value or value[0] < 0 or any(one >= other for one, other in pairwise(value))
        ):
            raise ValueError("block indices are counted from 0 and rise")
        return value

    def condense_spec(self, ancestor: Network | None, data: DataSet) -> Spec:
        """The ancestor's own.

        Raises:
            SettingError: There is no ancestor, or a chosen block is not in it.
            ArtefactError: No architecture knows it.
        """
        spec = super().condense_spec(ancestor, data)
        blocks = sum(stages(spec))
        if isinstance(self.choose, tuple) and self.choose[-1] >= blocks:
            raise SettingError(
                f"choose={self.choose}", f"the ancestor has {blocks} blocks", f"indices go from 0 to {blocks - 1}"
            )
        return spec

    def inherit(self, gene: Learngene, target: Target, generator: torch.Generator) -> Descendant:
        """Copy the chosen blocks, stem and norm."""
        return inherit_slices(gene, target, self._chosen(gene.spec, target.spec), generator)

    def describe_sizes(self, spec: Spec, gene: Learngene | None = None) -> Sizes:
        """Depths alone."""
        if isinstance(self.choose, tuple):
            return Sizes(f"the {len(self.choose)} blocks chosen, at the ancestor's width")
        return Sizes(f"at most {' + '.join(map(str, stages(spec)))} blocks, at the ancestor's width")

    def check_size(self, gene: Learngene, spec: Spec) -> None:
        """Refuse more blocks than there are, and every other width."""
        check_same_spec(self.name, gene.spec, spec, spare=DEPTHS)
        how = plan_slices(gene.spec, spec, self._chosen(gene.spec, spec))
        if how.sliced:
            name = min(how.sliced)
            raise SettingError(
                f"layers cannot grow '{name}' of shape {tuple(how.shapes[name])}",
                f"the ancestor's '{how.sources[name]}' is wider, and it copies whole blocks",
                "change depths alone",
            )

    def _chosen(self, own: Spec, wanted: Spec) -> tuple[int, ...]:
        """For each block asked for, which of the ancestor's it is."""
        if not isinstance(self.choose, tuple):
            return choose_blocks(self.choose, own, wanted)
        ends = list(accumulate(stages(own)))
        given = [sum(first <= index < end for index in self.choose) for first, end in pairwise((0, *ends))]
        asked = stages(wanted)
        if list(asked) != given:
            raise SettingError(
                f"this gene cannot grow {' + '.join(map(str, asked))} blocks",
                f"choose={self.choose} names {' + '.join(map(str, given))}",
                "ask for as many, or choose other blocks",
            )
        return self.choose
