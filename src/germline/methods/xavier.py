"""Scratch with initial weights of another scale: what of a gain is no more than a better start for the optimiser."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import nn

from germline.anatomy import Target
from germline.learngene import Descendant, Learngene
from germline.methods.scratch import Scratch
from germline.randomness import seeded
from germline.registry import anatomy_of


class Xavier(Scratch):
    """A network of the target's form whose blocks' matrices are drawn by Glorot and Bengio's uniform rule.

    timm draws the linear layers of a ViT with a deviation of 0.02 whatever their width, which is small for narrow
    networks; this control says how much of a gain over `scratch` goes away with a draw that fits the width. Kernels of
    convolutions, biases, norms, stem and head are as in `scratch`.

    Source: Glorot and Bengio, "Understanding the difficulty of training deep feedforward neural networks", 2010.
    """

    name: ClassVar[str] = "xavier"

    def inherit(self, gene: Learngene | None, target: Target, generator: torch.Generator) -> Descendant:
        """Freshly initialised, all of it entered as fresh."""
        child = super().inherit(gene, target, generator)
        parameters = dict(child.model.named_parameters())
        with seeded(generator):
            for block in anatomy_of(target.spec).parts(target.spec).blocks:
                for name in block.values():
                    if name in parameters and parameters[name].ndim == 2:
                        nn.init.xavier_uniform_(parameters[name])
        return child
