"""Frame: everything of an ancestor but its blocks."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import torch

from germline.architectures import Spec, Target
from germline.data import DataSet
from germline.errors import SettingError
from germline.learngene import Descendant, Learngene
from germline.methods.assembly import build_fresh_descendant
from germline.methods.base import GeneCost
from germline.methods.slicing import check_same_spec, parts_of, shapes_of
from germline.methods.whole_ancestor import WholeAncestor
from germline.network import Network
from germline.training import Run
from germline.traits import Sizes


class Frame(WholeAncestor):
    """An ancestor's stem with its positions, its norm and its head; every block is fresh.

    A control without a paper. What a gene gains over it is what its blocks know. The head is copied if the class names
    are equal, as other methods do. Networks whose first block reads the images have no stem, and are refused.
    """

    name: ClassVar[str] = "frame"
    paper: ClassVar[str] = "a control"
    architectures: ClassVar[tuple[str, ...]] = ("vit", "resnet")

    def condense_spec(self, ancestor: Network | None, data: DataSet) -> Spec:
        """Return the ancestor's spec.

        Raises:
            SettingError: There is no ancestor, or it has no stem.
            ArtefactError: No architecture describes it.
        """
        spec = super().condense_spec(ancestor, data)
        if not parts_of(spec).stem:
            raise SettingError(
                f"Method '{self.name}' has nothing to inherit from this ancestor",
                "Its first block reads the images, so that it has no stem",
                "Use an ancestor of the architecture " + " or ".join(self.architectures),
            )
        return spec

    def cost(self, spec: Spec, images: int, teacher_flops: int) -> GeneCost:
        """Return the cost: nothing is trained, and the frame is stored."""
        shapes = shapes_of(spec)
        return GeneCost(stored={name: shapes[name].numel() for name in _frame_tensors(spec)})

    def condense(self, ancestor: Network | None, data: DataSet, run: Run) -> Learngene:
        """Copy the frame; nothing is trained.

        Raises:
            SettingError: There is no ancestor, or it has no stem.
            ArtefactError: No architecture describes it.
        """
        whole = super().condense(ancestor, data, run)
        return replace(whole, tensors={name: whole.tensors[name] for name in _frame_tensors(whole.spec)})

    def inherit(self, gene: Learngene, target: Target, generator: torch.Generator) -> Descendant:
        """Build fresh blocks within the ancestor's frame."""
        return build_fresh_descendant(gene, target, {}, generator, frame=gene.tensors)

    def describe_sizes(self, spec: Spec, gene: Learngene | None = None) -> Sizes:
        """Return the sizes: any depth."""
        return Sizes("any depth, at the ancestor's width")

    def check_size(self, gene: Learngene, spec: Spec) -> None:
        """Refuse every size in which the frame has another shape."""
        check_same_spec(self.name, gene.spec, spec, spare=frozenset({"depth", "depths"}))


def _frame_tensors(spec: Spec) -> tuple[str, ...]:
    """Return the names of the tensors outside the blocks."""
    parts = parts_of(spec)
    return (*parts.stem, *parts.norm, *parts.head)
