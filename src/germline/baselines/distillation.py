"""Distillation: random weights, and the ancestor as teacher while the descendant is trained."""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from germline.architectures import Spec, Target, on_meta_device
from germline.baselines.scratch import Scratch
from germline.baselines.whole_ancestor import WholeAncestor
from germline.data import Batch
from germline.learngene import Descendant, Learngene
from germline.network import Network, load_strict
from germline.randomness import generator, use_generator
from germline.registry import architecture_of
from germline.training import Distillation, Objective
from germline.training.objectives import Forward, compute_label_loss
from germline.traits import Sizes, Traits


class Distil(WholeAncestor):
    """Random weights trained under the ancestor's eye: what a teacher at hand is worth without any inheritance.

    Source: Hinton et al., "Distilling the Knowledge in a Neural Network", arXiv 1503.02531. Where the descendant's
    classes are not the teacher's, an auxiliary linear head on the descendant's pooled features learns the teacher's
    distribution over the teacher's own classes, beside the labels; it is thrown away after training. That part is ours.

    Attributes:
        alpha: Weight of the teacher. With the teacher's classes the labels weigh 1 - alpha, with other classes 1.
        temperature: Divides the logits of teacher and student; the teacher's loss is multiplied by its square.
        label_smoothing: Of the labels' part.
    """

    name: ClassVar[str] = "distil"
    paper: ClassVar[str] = "arXiv 1503.02531"
    traits: ClassVar[Traits] = Traits(varies_with_seed=False, needs_teacher=True, inherits_head=False)

    alpha: float = Field(default=0.5, ge=0, le=1)
    temperature: float = Field(default=2.0, gt=0)
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)

    def inherit(self, gene: Learngene, target: Target, generator: torch.Generator) -> Descendant:
        """Freshly initialised, all of it entered as fresh."""
        return Scratch().inherit(gene, target, generator)

    def objective(self, gene: Learngene, descendant: Descendant) -> Objective:
        """Teacher and labels; the auxiliary head, where there is one, is drawn by the descendant's own seed."""
        teacher = _teacher(gene)
        if teacher.classes == descendant.network.classes:
            return Distillation(
                teacher, alpha=self.alpha, temperature=self.temperature, label_smoothing=self.label_smoothing
            )
        return OtherClasses(
            teacher,
            descendant.model,
            alpha=self.alpha,
            temperature=self.temperature,
            label_smoothing=self.label_smoothing,
            source=generator(int(descendant.gene.get("seed", 0)), self.name, "auxiliary head"),
        )

    def describe_sizes(self, spec: Spec, gene: Learngene | None = None) -> Sizes:
        """Every size."""
        return Sizes(f"any size of the anatomy {architecture_of(spec).name}")

    def check_size(self, gene: Learngene, spec: Spec) -> None:
        """Every size will do."""


class OtherClasses(Distillation):
    """Labels of one's own, and a teacher's word about its own classes: labels + alpha x teacher.

    The student's body is run once: its classifier's input, the pooled features [B, features], is taken on the way.

    Attributes:
        head: Maps the student's pooled features to the teacher's classes; trained along.
    """

    def __init__(
        self,
        teacher: Network,
        student: nn.Module,
        *,
        alpha: float,
        temperature: float,
        label_smoothing: float,
        source: torch.Generator,
    ) -> None:
        """Set up.

        Args:
            teacher: Whom to follow.
            student: The network that is trained with this objective; a timm classifier.
            alpha: Weight of the teacher.
            temperature: Divides both logits; the teacher's loss is multiplied by its square.
            label_smoothing: Of the labels' part.
            source: Draws the head.
        """
        super().__init__(teacher, alpha=alpha, temperature=temperature, label_smoothing=label_smoothing)
        classifier = student.get_classifier()  # type: ignore[operator]
        # In a tuple, so that the student's weights are no part of this module.
        self._classifier: tuple[nn.Linear] = (classifier,)
        with use_generator(source):
            self.head = nn.Linear(classifier.in_features, len(teacher.classes))

    def forward(self, network: Forward, batch: Batch) -> Tensor:
        """The weighted loss, in nats."""
        word = self.teacher_logits(batch)
        logits, features = self._look_inside(network, batch.pixels)
        # Under lower precision the features are not of the head's.
        aside = self.head(features.to(self.head.weight.dtype))
        return compute_label_loss(logits, batch, self.label_smoothing) + self.alpha * self._teacher_loss(aside, word)

    def _look_inside(self, network: Forward, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Logits [B, classes] and pooled features [B, features]."""
        seen: list[Tensor] = []

        def keep(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            seen.append(inputs[0])

        hook = self._classifier[0].register_forward_pre_hook(keep)
        try:
            logits = network(pixels)
        finally:
            hook.remove()
        return logits, seen[-1]


def _teacher(gene: Learngene) -> Network:
    with on_meta_device():
        model = architecture_of(gene.spec).build(gene.spec)
    load_strict(model, {name: tensor.clone() for name, tensor in gene.tensors.items()}, "the gene", assign=True)
    classes = gene.classes or ()
    return Network(model.eval(), gene.preprocess, classes, spec=gene.spec, source=gene.provenance.ancestor)
