"""Distillation: random weights, with the ancestor as teacher of every descendant."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from germline.architectures import Spec, Target, extract_features, extract_input, on_meta_device
from germline.baselines.fresh_start import FreshStart
from germline.baselines.scratch import Scratch
from germline.data import Batch, DataSet
from germline.learngene import Descendant, Learngene
from germline.methods.checks import require_ancestor
from germline.methods.feature_targets import TargetSettings, find_token_module
from germline.methods.whole_ancestor import WholeAncestor
from germline.network import Network, load_strict
from germline.randomness import generator, use_generator
from germline.registry import architecture_of
from germline.training import Distillation, Objective
from germline.training.objectives import Forward, compute_label_loss
from germline.traits import Sizes, Traits


class Distil(TargetSettings, FreshStart, WholeAncestor):
    """Knowledge distillation into random weights (Hinton et al., arXiv 1503.02531).

    The control shows what a teacher is worth without inheritance. With features or tokens as target, the loss is
    labels + alpha x features.

    Source: Hinton et al., "Distilling the Knowledge in a Neural Network", arXiv 1503.02531. One part is ours. If the
    descendant has other classes than the teacher, an auxiliary linear head on its pooled features learns the teacher's
    distribution over the teacher's classes. It is trained beside the labels, and removed after training.

    Attributes:
        alpha: Weight of the teacher. The labels' weight is 1 - alpha with the teacher's classes, and 1 with others or
            with features.
        temperature: Divisor of the logits of teacher and student; the teacher's loss is multiplied by its square.
        label_smoothing: Label smoothing of the labels' loss.
    """

    name: ClassVar[str] = "distil"
    paper: ClassVar[str] = "arXiv 1503.02531"
    traits: ClassVar[Traits] = Traits(varies_with_seed=False, needs_teacher=True, inherits_head=False)

    alpha: float = Field(default=0.5, ge=0, le=1)
    temperature: float = Field(default=2.0, gt=0)
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)

    def condense_spec(self, ancestor: Network | None, data: DataSet) -> Spec:
        """Return the ancestor's spec.

        Raises:
            SettingError: There is no ancestor, or it has no head and logits are the target.
            ArtefactError: No architecture describes it, or its features cannot be read.
        """
        network, spec = require_ancestor(self.name, ancestor)
        self.check_target(self.name, network)
        return spec

    def inherit(self, gene: Learngene, target: Target, generator: torch.Generator) -> Descendant:
        """Initialise the target; every element is fresh."""
        start = Scratch(positions=self.positions, layer_scale=self.layer_scale)
        return start.inherit(gene, target, generator)

    def objective(self, gene: Learngene, descendant: Descendant) -> Objective:
        """Return the loss of teacher and labels; the seed in the descendant's facts draws an auxiliary head or map."""
        teacher = _teacher(gene)
        self.check_target(self.name, teacher)
        source = generator(int(descendant.gene.get("seed", 0)), self.name, "auxiliary head")
        if self.target != "logits":
            return self._feature_objective(teacher, descendant, source)
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
            source=source,
        )

    def _feature_objective(self, teacher: Network, descendant: Descendant, source: torch.Generator) -> Objective:
        model: Any = descendant.model
        spec, classifier = descendant.network.spec, model.get_classifier()
        assert spec is not None  # noqa: S101 - descendants are built from a spec
        tap = find_token_module(spec)

        def read(network: Forward, pixels: Tensor) -> tuple[Tensor, Tensor]:
            if self.target == "features":
                return extract_input(classifier, network, pixels)
            outputs, features = extract_features(model, (tap,), pixels, run=network)
            return outputs, features[tap]

        width = classifier.in_features if self.target == "features" else model.num_features
        labels = {"alpha": self.alpha, "with_labels": True, "label_smoothing": self.label_smoothing}
        return self.feature_objective(teacher, [width], spec, source, read, **labels)

    def describe_sizes(self, spec: Spec, gene: Learngene | None = None) -> Sizes:
        """Return the sizes: every one of the ancestor's architecture."""
        return Sizes(f"any size of the architecture {architecture_of(spec).name}")

    def check_size(self, gene: Learngene, spec: Spec) -> None:
        """Accept every size that can have the initial values."""
        self.check_start(spec)


class OtherClasses(Distillation):
    """Loss of labels and of a teacher with other classes: labels + alpha x teacher.

    One forward pass of the student gives both its logits and the input of its classifier, the pooled features
    [B, features].

    Attributes:
        head: Linear layer from the student's pooled features to the teacher's classes; trained with the student.
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
        """Draw the auxiliary head.

        Args:
            teacher: Network whose distribution is learnt.
            student: Network that is trained with this loss; a timm classifier.
            alpha: Weight of the teacher.
            temperature: Divisor of both logits; the teacher's loss is multiplied by its square.
            label_smoothing: Label smoothing of the labels' loss.
            source: Generator of the head.
        """
        super().__init__(teacher, alpha=alpha, temperature=temperature, label_smoothing=label_smoothing)
        classifier = student.get_classifier()  # type: ignore[operator]
        # A tuple hides the student from torch: its weights must not be part of this module.
        self._classifier: tuple[nn.Linear] = (classifier,)
        with use_generator(source):
            self.head = nn.Linear(classifier.in_features, len(teacher.classes))

    def forward(self, network: Forward, batch: Batch) -> Tensor:
        """Return the weighted loss, in nats."""
        word = self.recall_teacher(batch)
        logits, features = extract_input(self._classifier[0], network, batch.pixels)
        # Features of lower precision do not have the head's type.
        aside = self.head(features.to(self.head.weight.dtype))
        return compute_label_loss(logits, batch, self.label_smoothing) + self.alpha * self._teacher_loss(aside, word)


def _teacher(gene: Learngene) -> Network:
    with on_meta_device():
        model = architecture_of(gene.spec).build(gene.spec)
    load_strict(model, {name: tensor.clone() for name, tensor in gene.tensors.items()}, "the gene", assign=True)
    classes = gene.classes or ()
    return Network(model.eval(), gene.preprocess, classes, spec=gene.spec, source=gene.provenance.ancestor)
