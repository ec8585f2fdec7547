"""Fine-tuning: the costly upper line, an ancestor of the target's own size kept whole."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from germline.anatomy import Spec, Target
from germline.data import DataSet
from germline.errors import ArtefactError, SettingError
from germline.learngene import Descendant, Learngene, Provenance
from germline.ledger import Origin
from germline.methods.base import Method
from germline.methods.inheriting import descend
from germline.network import Network
from germline.registry import anatomy_of
from germline.training import Run


class Finetune(Method):
    """All of an ancestor, handed to a descendant of its own size; only the head may be fresh."""

    name: ClassVar[str] = "finetune"
    paper: ClassVar[str] = "a control"
    own_size: ClassVar[bool] = True
    anatomies: ClassVar[tuple[str, ...]] = ("vit", "vgg", "resnet12")

    def form(self, ancestor: Network | None, data: DataSet) -> Spec:
        """The ancestor's own.

        Raises:
            SettingError: There is no ancestor.
            ArtefactError: No anatomy knows it.
        """
        if ancestor is None:
            raise SettingError("finetune without an ancestor", fix="pass --ancestor")
        if ancestor.spec is None:
            raise ArtefactError("this ancestor cannot be rebuilt", "no anatomy knows it")
        return ancestor.spec

    def condense(self, ancestor: Network | None, data: DataSet, run: Run) -> Learngene:
        """Keep the ancestor whole.

        Raises:
            SettingError: There is no ancestor.
            ArtefactError: No anatomy knows it.
        """
        spec = self.form(ancestor, data)
        assert ancestor is not None  # noqa: S101 - said above, repeated for the type checker
        return Learngene(
            method=self.name,
            settings=self.dump(),
            anatomy=anatomy_of(spec).name,
            spec=spec,
            tensors={name: tensor.detach().cpu().clone() for name, tensor in ancestor.model.state_dict().items()},
            preprocess=ancestor.preprocess,
            classes=ancestor.classes,
            provenance=Provenance(
                ancestor=ancestor.source, ancestor_licence=ancestor.licence, data=data.name, data_licence=data.licence
            ),
        )

    def inherit(self, gene: Learngene, target: Target, generator: torch.Generator) -> Descendant:
        """Every block copied; frame adapted; head kept or fresh."""
        parts = anatomy_of(target.spec).parts(target.spec)
        names = [full for block in parts.blocks for full in block.values()]
        blocks: dict[str, tuple[Tensor, Origin]] = {name: (gene.tensors[name].clone(), "copied") for name in names}
        return descend(gene, target, frame=gene.tensors, blocks=blocks, generator=generator)

    def sizes(self, gene: Learngene) -> str:
        """Its own."""
        return "the ancestor's own size"

    def check_size(self, gene: Learngene, spec: Spec) -> None:
        """Refuse every other size."""
        own, wanted = gene.spec.model_dump(), spec.model_dump()
        for key in set(own) - {"image_size", "channels", "classes"}:
            if own[key] != wanted[key]:
                raise SettingError(
                    f"finetune cannot grow {key}={wanted[key]}",
                    f"it keeps the ancestor whole, whose {key} is {own[key]}",
                    "leave the size out",
                )
