"""Last layers: the last blocks of an ancestor, with about as many parameters as a circuit."""

from __future__ import annotations

from dataclasses import replace
from itertools import accumulate
from typing import ClassVar

import torch
from pydantic import Field

from germline.architectures import Spec, Target, on_meta_device
from germline.data import DataSet
from germline.learngene import Descendant, Learngene
from germline.methods.assembly import build_fresh_descendant, copy_tensors
from germline.methods.base import GeneCost
from germline.methods.slicing import check_same_spec, shapes_of
from germline.methods.whole_ancestor import WholeAncestor
from germline.network import Network
from germline.registry import architecture_of
from germline.training import Run
from germline.traits import Sizes, Traits


class LastLayers(WholeAncestor):
    """The last blocks of an ancestor, up to a share of its parameters.

    As many blocks are kept, at least one, as have the number of parameters nearest to that share. A control without a
    paper. Everything else of a descendant is drawn: stem, earlier blocks, norm and head.

    Attributes:
        share: Share of the ancestor's parameters, the head left out.
    """

    name: ClassVar[str] = "last-layers"
    paper: ClassVar[str] = "a control"
    traits: ClassVar[Traits] = Traits(varies_with_seed=False, inherits_head=False)

    share: float = Field(default=0.2, gt=0, le=1)

    def cost(self, spec: Spec, images: int, teacher_flops: int) -> GeneCost:
        """Return the cost: nothing is trained, and the last blocks are stored."""
        shapes = shapes_of(spec)
        return GeneCost(stored={name: shapes[name].numel() for name in self._last_block_tensors(spec)})

    def condense(self, ancestor: Network | None, data: DataSet, run: Run) -> Learngene:
        """Copy the last blocks; nothing is trained.

        Raises:
            SettingError: There is no ancestor.
            ArtefactError: No architecture describes it.
        """
        whole = super().condense(ancestor, data, run)
        return replace(
            whole, tensors={name: whole.tensors[name] for name in self._last_block_tensors(whole.spec)}, classes=None
        )

    def inherit(self, gene: Learngene, target: Target, generator: torch.Generator) -> Descendant:
        """Build a fresh network with the ancestor's last blocks in it."""
        return build_fresh_descendant(gene, target, copy_tensors(gene.tensors), generator)

    def describe_sizes(self, spec: Spec, gene: Learngene | None = None) -> Sizes:
        """Return the sizes: the ancestor's own."""
        return Sizes("the ancestor's own size")

    def check_size(self, gene: Learngene, spec: Spec) -> None:
        """Refuse every other size."""
        check_same_spec(self.name, gene.spec, spec)

    def _last_block_tensors(self, form: Spec) -> list[str]:
        """Return the names of the tensors of the last blocks, buffers included."""
        architecture = architecture_of(form)
        parts = architecture.parts(form)
        with on_meta_device():
            sizes = {name: value.numel() for name, value in architecture.build(form).named_parameters()}
        backbone = sum(size for name, size in sizes.items() if name not in parts.head)
        behind = accumulate(sum(sizes.get(name, 0) for name in block.values()) for block in reversed(parts.blocks))
        distances = [abs(total - self.share * backbone) for total in behind]
        first = len(parts.blocks) - 1 - distances.index(min(distances))
        return [name for block in parts.blocks[first:] for name in block.values()]
