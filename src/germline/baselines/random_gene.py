"""Random gene: another method's gene with shuffled elements."""

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
    """Another method's gene with the elements of each tensor shuffled.

    The control separates structure from knowledge. Names, shapes and the elements of each tensor are those of the
    gene; only their order is random. Integer tensors are not shuffled.

    Attributes:
        method: Name of the method whose gene is shuffled.
        settings: Settings of that method.
    """

    name: ClassVar[str] = "random-gene"
    paper: ClassVar[str] = "a control"
    ancestor: ClassVar[AncestorUse] = delegated(lambda method: method.ancestor, "optional")
    traits: ClassVar[Traits] = delegated(lambda method: replace(method.traits, varies_with_seed=True), Traits())

    method: str = "tleg"
    settings: dict[str, Any] = Field(default={}, validate_default=True)

    @field_validator("settings")
    @classmethod
    def _fill_in_settings(cls, value: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        # In full, so that a gene has all its settings and equal ones compare equal.
        return (
            _build_other_method(info.data["method"], value).model_dump(mode="json") if "method" in info.data else value
        )

    def delegate(self) -> Method:
        """Return the method whose gene is shuffled, with its settings.

        Raises:
            UnknownNameError: No method has that name.
            SettingError: The method is this one, or one of its settings is wrong.
        """
        return _build_other_method(self.method, self.settings)

    def derived_from(self) -> Method:
        """Return the method whose gene is shuffled."""
        return self.delegate()

    def derive(self, gene: Learngene, generator: torch.Generator) -> Learngene:
        """Shuffle a gene of the other method.

        Args:
            gene: Gene of the other method; not changed.
            generator: Source of the order of each tensor's elements, in the order of the tensors' names.

        Returns:
            A gene of this method, without the other gene's metrics and records.
        """
        return replace(
            gene,
            method=self.name,
            settings=RandomGene(method=gene.method, settings=dict(gene.settings)).model_dump(mode="json"),
            tensors={name: _shuffled(tensor, generator) for name, tensor in sorted(gene.tensors.items())},
            provenance=gene.provenance.model_copy(update={"metrics": {}, "record": {}}),
        )

    def condense_spec(self, ancestor: Network | None, data: DataSet) -> Spec:
        """Return the other method's spec."""
        return self.delegate().condense_spec(ancestor, data)

    def condense(self, ancestor: Network | None, data: DataSet, run: Run) -> Learngene:
        """Condense with the other method, then shuffle with the run's seed."""
        gene = self.delegate().condense(ancestor, data, run)
        return self.derive(gene, generator(run.seed, self.name))


def _build_other_method(name: str, settings: dict[str, Any]) -> Method:
    if name == RandomGene.name:
        raise SettingError(
            f"method={name} shuffles itself", "A random gene is another method's gene", "Set method=tleg"
        )
    return build_method(name, settings)


def _shuffled(tensor: Tensor, generator: torch.Generator) -> Tensor:
    if not tensor.is_floating_point():
        return tensor.clone()
    order = torch.randperm(tensor.numel(), generator=generator)
    return tensor.flatten()[order].view(tensor.shape)
