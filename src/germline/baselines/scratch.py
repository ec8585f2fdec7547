"""Scratch: the control that inherits nothing but the form."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import nn

from germline.architectures import Spec, Target, count_elements
from germline.data import DataSet
from germline.errors import SettingError
from germline.learngene import Descendant, Learngene
from germline.ledger import Ledger
from germline.methods.base import Method
from germline.network import Network
from germline.randomness import use_generator
from germline.registry import architecture_of
from germline.training import Run
from germline.traits import AncestorUse, Sizes, Traits


class Scratch(Method):
    """A network of the target's form with the architecture's own initial weights."""

    name: ClassVar[str] = "scratch"
    paper: ClassVar[str] = "a control"
    ancestor: ClassVar[AncestorUse] = "none"
    architectures: ClassVar[tuple[str, ...]] = ("vit", "vgg", "resnet12", "resnet")
    traits: ClassVar[Traits] = Traits(has_gene=False, inherits_head=False)

    def condense_spec(self, ancestor: Network | None, data: DataSet) -> Spec:
        """There is none.

        Raises:
            SettingError: Always.
        """
        raise SettingError(f"{self.name} has no gene", "it is a control that inherits nothing", "use it in `compare`")

    def condense(self, ancestor: Network | None, data: DataSet, run: Run) -> Learngene:
        """Nothing to condense.

        Raises:
            SettingError: Always.
        """
        raise SettingError(f"{self.name} has no gene", "it is a control that inherits nothing", "use it in `compare`")

    def inherit(self, gene: Learngene, target: Target, generator: torch.Generator) -> Descendant:
        """Freshly initialised, all of it entered as fresh."""
        with use_generator(generator):
            model = architecture_of(target.spec).build(target.spec)
        ledger, sizes = Ledger(), count_elements(model)
        for name, count in sizes.items():
            ledger.add(name, "fresh", count)
        ledger.check(sizes, fresh_allowed=sizes)
        network = Network(model.eval(), target.preprocess, target.classes, spec=target.spec, source="random weights")
        return Descendant(network, ledger)

    def describe_sizes(self, spec: Spec, gene: Learngene | None = None) -> Sizes:
        """Every size."""
        return Sizes("any size")

    def check_size(self, gene: Learngene, spec: Spec) -> None:
        """Every size will do."""


class Xavier(Scratch):
    """A network of the target's form whose blocks' matrices are drawn by Glorot and Bengio's uniform rule.

    timm draws the linear layers of a ViT with a deviation of 0.02 whatever their width, which is small for narrow
    networks; this control says how much of a gain over `scratch` goes away with a draw that fits the width. Kernels of
    convolutions, biases, norms, stem and head are as in `scratch`.

    Source: Glorot and Bengio, "Understanding the difficulty of training deep feedforward neural networks", 2010.
    """

    name: ClassVar[str] = "xavier"

    def inherit(self, gene: Learngene, target: Target, generator: torch.Generator) -> Descendant:
        """Freshly initialised, all of it entered as fresh."""
        child = super().inherit(gene, target, generator)
        parameters = dict(child.model.named_parameters())
        with use_generator(generator):
            for block in architecture_of(target.spec).parts(target.spec).blocks:
                for name in block.values():
                    if name in parameters and parameters[name].ndim == 2:
                        nn.init.xavier_uniform_(parameters[name])
        return child
