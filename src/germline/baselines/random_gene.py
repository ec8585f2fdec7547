"""The random gene: the shape of another method's gene, without what it knows."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

import torch
from pydantic import Field, ValidationInfo, field_validator
from torch import Tensor

from germline.architectures import Spec
from germline.baselines.wrapper import DelegatingMethod, build_method, delegated
from germline.data import DataSet
from germline.errors import SettingError
from germline.learngene import Learngene
from germline.methods.base import DerivedMethod, Method
from germline.network import Network
from germline.randomness import generator
from germline.training import Run
from germline.traits import AncestorUse, Traits


class RandomGene(DelegatingMethod, DerivedMethod):
    """Another method's gene with the elements of each tensor shuffled among themselves.

    The control that tells structure from knowledge: form, sizes and every tensor's distribution are the gene's own, to
    the element; where each element stands is drawn. Tensors of whole numbers stay as they are.

    Attributes:
        method: The inner method, whose gene is shuffled.
        settings: Its settings; those left out take its defaults.
    """

    name: ClassVar[str] = "random-gene"
    paper: ClassVar[str] = "a control"
    ancestor: ClassVar[AncestorUse] = delegated(lambda method: method.ancestor, "optional")
    traits: ClassVar[Traits] = delegated(lambda method: replace(method.traits, varies_with_seed=True), Traits())

    method: str = "tleg"
    settings: dict[str, Any] = Field(default={}, validate_default=True)

    @field_validator("settings")
    @classmethod
    def _whole(cls, value: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        # Written out in full, so that a gene tells its settings and equal ones compare equal.
        return _inner(info.data["method"], value).model_dump(mode="json") if "method" in info.data else value

    def delegate(self) -> Method:
        """The method whose gene is shuffled, with its settings.

        Raises:
            UnknownNameError: Nobody registered a method of that name.
            SettingError: It is this one, or a setting of it is not allowed.
        """
        return _inner(self.method, self.settings)

    def derived_from(self) -> Method:
        """The inner method."""
        return self.delegate()

    def derive(self, gene: Learngene, generator: torch.Generator) -> Learngene:
        """A gene of the inner method, shuffled.

        Args:
            gene: What the inner method condensed; stays as it is.
            generator: Draws the order of each tensor's elements, tensor by tensor in the order of their names.

        Returns:
            A gene of this method; it keeps no metrics and no record, which were the other's.
        """
        return replace(
            gene,
            method=self.name,
            settings=RandomGene(method=gene.method, settings=dict(gene.settings)).model_dump(mode="json"),
            tensors={name: _shuffled(tensor, generator) for name, tensor in sorted(gene.tensors.items())},
            provenance=gene.provenance.model_copy(update={"metrics": {}, "record": {}}),
        )

    def condense_spec(self, ancestor: Network | None, data: DataSet) -> Spec:
        """The inner gene's."""
        return self.delegate().condense_spec(ancestor, data)

    def condense(self, ancestor: Network | None, data: DataSet, run: Run) -> Learngene:
        """Condense by the inner method, then shuffle by a draw of the run's seed."""
        gene = self.delegate().condense(ancestor, data, run)
        return self.derive(gene, generator(run.seed, self.name))


def _inner(name: str, settings: dict[str, Any]) -> Method:
    if name == RandomGene.name:
        raise SettingError(f"method={name}", "a random gene is that of another method", "name that one, such as tleg")
    return build_method(name, settings)


def _shuffled(tensor: Tensor, generator: torch.Generator) -> Tensor:
    if not tensor.is_floating_point():
        return tensor.clone()
    order = torch.randperm(tensor.numel(), generator=generator)
    return tensor.flatten()[order].view(tensor.shape)
