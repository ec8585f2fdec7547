"""Base class of methods whose gene is a closed circuit of channels."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

import torch
from pydantic import Field

from germline.architectures import Architecture, Spec, StagedSpec, Target, count_elements, on_meta_device
from germline.errors import SettingError
from germline.learngene import Descendant, Learngene
from germline.methods.assembly import build_descendant
from germline.methods.base import GeneCost, Method
from germline.methods.checks import check_architecture
from germline.methods.gtl.circuits import circuit_spec, remove_head, require_convolutional
from germline.methods.gtl.transplant import mark_inherited, transplant_circuit
from germline.randomness import use_generator
from germline.registry import architecture_of
from germline.training import CrossEntropy, Objective
from germline.training.protection import Protection
from germline.traits import Sizes, Traits


class CircuitGene(Method):
    """Gene that is a closed circuit of channels through all convolutions.

    The spec of the gene is its host's. Its tensors are those of the circuit alone, a narrow network without a head. In
    a descendant the circuit has the first channels of every group, see `transplant.transplant_circuit`. All else is
    freshly drawn, and so is the head.

    Attributes:
        share: Share of the backbone's parameters in the circuit, convolutions and norms.
        protected_steps: First steps of a training in which the rate of inherited weights rises from 0.
        inherited_rate: Factor of the learning rate of inherited weights after these steps.
    """

    architectures: ClassVar[tuple[str, ...]] = ("vgg", "resnet12")
    traits: ClassVar[Traits] = Traits(can_cross_architectures=True, inherits_head=False)

    share: float = Field(default=0.2, gt=0, le=1)
    protected_steps: int = Field(default=0, ge=0)
    inherited_rate: float = Field(default=1.0, ge=0, le=1)

    def cost(self, spec: Spec, images: int, teacher_flops: int) -> GeneCost:
        """The tensors of the narrow network are stored."""
        narrow = circuit_spec(spec, self.share)
        with on_meta_device():
            stored = count_elements(require_convolutional(narrow).build(narrow))
        return replace(super().cost(spec, images, teacher_flops), stored=stored)

    def inherit(self, gene: Learngene, target: Target, generator: torch.Generator) -> Descendant:
        """Transplant the circuit into a fresh network."""
        architecture: Architecture[Any] = architecture_of(target.spec)
        with use_generator(generator):
            fresh = architecture.build(remove_head(target.spec)).state_dict()
        tensors, counts = transplant_circuit(fresh, gene.tensors, circuit_spec(gene.spec, self.share), target.spec)
        blocks = {name: (tensor, counts[name]) for name, tensor in tensors.items()}
        return build_descendant(gene, target, frame={}, blocks=blocks, generator=generator, fresh=tensors)

    def objective(self, gene: Learngene, descendant: Descendant) -> Objective | None:
        """Return cross entropy that protects the inherited weights; None if the settings do not protect them."""
        network = descendant.network
        if (self.protected_steps == 0 and self.inherited_rate == 1) or network.spec is None:
            return None
        narrow = circuit_spec(gene.spec, self.share)
        masks = mark_inherited(network.model.state_dict(), gene.tensors, narrow, network.spec)
        loss = CrossEntropy(label_smoothing=None)
        loss.protection = Protection(masks, self.protected_steps, self.inherited_rate)
        return loss

    def describe_sizes(self, spec: Spec, gene: Learngene | None = None) -> Sizes:
        """All sizes of both architectures."""
        return Sizes(f"any width and depth of a {' or a '.join(self.architectures)}")

    def check_size(self, gene: Learngene, spec: Spec) -> None:
        """Refuse other architectures, and another number of stages in the gene's own.

        Raises:
            SettingError: The gene cannot grow this spec.
        """
        check_architecture(self, spec, "grow")
        gene_stages, stages = _count_stages(gene.spec), _count_stages(spec)
        if architecture_of(spec).name == gene.architecture and gene_stages != stages:
            raise SettingError(
                f"the method {self.name} cannot grow {stages} stages",
                f"The gene has {gene_stages}",
                f"Use a size with {gene_stages} stages",
            )


def _count_stages(spec: Spec) -> int:
    return len(spec.stages) if isinstance(spec, StagedSpec) else 1
