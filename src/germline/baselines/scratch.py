"""Scratch: controls that inherit nothing."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import nn

from germline.architectures import Spec, Target, count_elements
from germline.baselines.fresh_start import FreshStart
from germline.data import DataSet
from germline.errors import SettingError
from germline.learngene import Descendant, Learngene
from germline.ledger import Ledger
from germline.network import Network
from germline.randomness import use_generator
from germline.registry import architecture_of
from germline.training import Run
from germline.traits import AncestorUse, Sizes, Traits


class Scratch(FreshStart):
    """A network of the target's spec with the architecture's own random weights."""

    name: ClassVar[str] = "scratch"
    paper: ClassVar[str] = "a control"
    ancestor: ClassVar[AncestorUse] = "none"
    architectures: ClassVar[tuple[str, ...]] = ("vit", "vgg", "resnet12", "resnet")
    traits: ClassVar[Traits] = Traits(has_gene=False, inherits_head=False)

    def condense_spec(self, ancestor: Network | None, data: DataSet) -> Spec:
        """Refuse to condense: there is no gene.

        Raises:
            SettingError: Always.
        """
        raise self._no_gene_error()

    def condense(self, ancestor: Network | None, data: DataSet, run: Run) -> Learngene:
        """Refuse to condense: there is no gene.

        Raises:
            SettingError: Always.
        """
        raise self._no_gene_error()

    def _no_gene_error(self) -> SettingError:
        return SettingError(
            f"Method '{self.name}' has no gene",
            "It is a control that inherits nothing",
            "Use it as an arm of `germline compare`",
        )

    def inherit(self, gene: Learngene, target: Target, generator: torch.Generator) -> Descendant:
        """Initialise the target; every element is fresh. The gene is not used."""
        with use_generator(generator):
            model = architecture_of(target.spec).build(target.spec)
        self.set_start(model, target.spec)
        ledger, sizes = Ledger(), count_elements(model)
        for name, count in sizes.items():
            ledger.add(name, "fresh", count)
        ledger.check(sizes, fresh_allowed=sizes)
        network = Network(model.eval(), target.preprocess, target.classes, spec=target.spec, source="random weights")
        return Descendant(network, ledger)

    def describe_sizes(self, spec: Spec, gene: Learngene | None = None) -> Sizes:
        """Return the sizes: every one."""
        return Sizes("any size")

    def check_size(self, gene: Learngene, spec: Spec) -> None:
        """Accept every size that can have the initial values."""
        self.check_start(spec)


class Xavier(Scratch):
    """Scratch with Xavier initialisation of the blocks' matrices (Glorot and Bengio, 2010).

    timm draws the linear layers of a ViT with a standard deviation of 0.02 at every width, which is small for narrow
    networks. This control shows how much of a gain over `scratch` such a scale explains. Kernels of convolutions,
    biases, norms, stem and head are as in `scratch`.

    Source: Glorot and Bengio, "Understanding the difficulty of training deep feedforward neural networks", 2010.
    """

    name: ClassVar[str] = "xavier"

    def inherit(self, gene: Learngene, target: Target, generator: torch.Generator) -> Descendant:
        """Initialise the target, then draw the blocks' matrices again; every element is fresh."""
        child = super().inherit(gene, target, generator)
        parameters = dict(child.model.named_parameters())
        with use_generator(generator):
            for block in architecture_of(target.spec).parts(target.spec).blocks:
                for name in block.values():
                    if name in parameters and parameters[name].ndim == 2:
                        nn.init.xavier_uniform_(parameters[name])
        return child
