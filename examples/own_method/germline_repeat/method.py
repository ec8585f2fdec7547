"""The method `repeat`: its setting, `condense` and `inherit`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from germline.architectures import Spec, Target
from germline.data import DataSet
from germline.errors import SettingError
from germline.learngene import Descendant, Learngene
from germline.methods.assembly import build_descendant
from germline.methods.base import GeneCost, Method
from germline.methods.checks import require_ancestor
from germline.methods.provenance import make_provenance
from germline.methods.slicing import check_same_spec
from germline.network import Network
from germline.registry import architecture_of
from germline.training import Run
from germline.traits import Sizes, Traits


class Repeat(Method):
    """An example without a paper: block i of a descendant is block i modulo `keep` of the ancestor.

    Attributes:
        keep: Number of blocks of the gene.
    """

    name: ClassVar[str] = "repeat"
    paper: ClassVar[str] = "an example"
    architectures: ClassVar[tuple[str, ...]] = ("vit",)
    traits: ClassVar[Traits] = Traits(varies_with_seed=False)
    reports: ClassVar[Mapping[str, str]] = {"repeat": "germline_repeat.report"}

    keep: int = Field(default=2, ge=1)

    def condense_spec(self, ancestor: Network | None, data: DataSet) -> Spec:
        """Return the spec of the ancestor.

        Raises:
            SettingError: There is no ancestor, or it has fewer blocks than `keep`.
        """
        spec = require_ancestor(self.name, ancestor)[1]
        depth = len(architecture_of(spec).parts(spec).blocks)
        if depth < self.keep:
            raise SettingError(
                f"keep={self.keep} is too large", f"The ancestor has {depth} blocks", "Use a smaller one"
            )
        return spec

    def condense(self, ancestor: Network | None, data: DataSet, run: Run) -> Learngene:
        """Keep the first blocks, the stem, the norm and the head of the ancestor."""
        network, spec = require_ancestor(self.name, ancestor)
        self.condense_spec(ancestor, data)
        parts = architecture_of(spec).parts(spec)
        names = {*parts.stem, *parts.norm, *parts.head}
        names |= {name for block in parts.blocks[: self.keep] for name in block.values()}
        state = network.model.state_dict()
        record = {"repeat": {"kept": self.keep, "ancestor_depth": len(parts.blocks)}}
        return Learngene(
            method=self.name,
            settings=self.model_dump(mode="json"),
            architecture=architecture_of(spec).name,
            spec=spec,
            tensors={name: state[name].detach().cpu().clone() for name in sorted(names)},
            preprocess=network.preprocess,
            classes=network.classes,
            provenance=make_provenance(network, data, run, results=(), metrics={}, record=record),
        )

    def inherit(self, gene: Learngene, target: Target, generator: torch.Generator) -> Descendant:
        """Build a descendant whose blocks repeat the gene's."""
        sources = architecture_of(gene.spec).parts(gene.spec).blocks[: self.keep]
        blocks: dict[str, tuple[Tensor, str]] = {}
        for index, block in enumerate(architecture_of(target.spec).parts(target.spec).blocks):
            source = sources[index % self.keep]
            blocks |= {name: (gene.tensors[source[key]].clone(), "copied") for key, name in block.items()}
        return build_descendant(gene, target, frame=gene.tensors, blocks=blocks, generator=generator)

    def describe_sizes(self, spec: Spec, gene: Learngene | None = None) -> Sizes:
        """Return the sizes: any depth, at the ancestor's width."""
        return Sizes("any depth, at the ancestor's width")

    def check_size(self, gene: Learngene, spec: Spec) -> None:
        """Refuse every other width."""
        check_same_spec(self.name, gene.spec, spec, spare=frozenset({"depth"}))

    def cost(self, spec: Spec, images: int, teacher_flops: int) -> GeneCost:
        """Return the cost: nothing is trained."""
        return GeneCost()
