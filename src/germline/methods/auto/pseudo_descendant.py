"""The pseudo descendant learns a task while a meta-network learns which layers of the ancestor help it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

import torch
from torch import Tensor, nn
from torch.func import functional_call

from germline.architectures import Preprocess, Spec
from germline.data import AnyImages, Augment, Batch, DataSet, Loader
from germline.methods.auto.bilevel import Loss, SgdState, Tensors, compute_hypergradient
from germline.methods.auto.layer_selection import LayerScores
from germline.methods.auto.meta_network import (
    AncestorFeatures,
    AncestorOutputs,
    FeatureSpec,
    MetaForm,
    MetaNetwork,
    ProjectedNetwork,
    compute_matching_loss,
)
from germline.methods.feature_targets import TargetSettings, find_token_module
from germline.network import Network
from germline.randomness import derive, generator, use_generator
from germline.registry import architecture_of
from germline.training import FeatureDistillation, Run, TrainSettings
from germline.training.augmentation import make_augment
from germline.training.feature_distillation import compute_feature_loss
from germline.training.objectives import Forward, Objective, compute_label_loss


def score_layers(
    ancestor: AncestorFeatures,
    spec: Spec,
    taps: Sequence[str],
    task: DataSet,
    run: Run,
    settings: TrainSettings,
    bilevel: BilevelSettings,
    outer_share: float,
    features: TargetSettings,
) -> LayerScores:
    """Train a pseudo descendant and score each layer of the ancestor by its matching weights.

    Args:
        ancestor: Features of the ancestor.
        spec: Spec of the pseudo descendant.
        taps: Names of its modules whose outputs are matched.
        task: Data that it learns; its validation images are only evaluated.
        run: Run that trains it, as the phase `pseudo`.
        settings: Settings of its training.
        bilevel: Settings of the meta-network.
        outer_share: Share of the training images that is used for the outer loss.
        features: Settings of the target, which replaces the labels unless it is logits.
    """
    images, name = task.train, "auto"
    with use_generator(generator(run.seed, name, "pseudo descendant")):
        model = architecture_of(spec).build(spec).to(run.fabric.device)
        classes = task.classes if spec.classes else ()
        network = Network(model, Preprocess.from_images(images.sample()), classes, spec=spec)
        side = FeatureSpec.of(model, spec, taps, network.preprocess)
        student = ProjectedNetwork(network, side, ancestor.side, ancestor.grid)
    inner, outer = _split_images(images, outer_share, run.seed)
    augment = make_augment(settings, task.augmentation, images, network.preprocess)
    learnt_on = PseudoTask(inner, outer, augment, derive(run.seed, name))
    distillation = _make_distillation(ancestor.network, student, spec, features, run.seed)
    steps = settings.total_steps(len(inner))
    objective = PseudoDescendant(ancestor, student, learnt_on, bilevel, steps, distillation)
    val = task.val if classes else None
    result = run.fit("pseudo", network, objective, inner, settings, val=val, augmentation=task.augmentation)
    dead = float(objective.dead) / max(1, result.steps)
    accuracy = {"pseudo descendant (val)": result.accuracy} if classes else {}
    return LayerScores(
        matrix=objective.scores().tolist(),
        against=side.taps,
        history=[(step, matrix.tolist()) for step, matrix in objective.history()],
        results=[result],
        metrics={**accuracy, "steps with every pair dead": dead},
    )


def _make_distillation(
    ancestor: Network, student: ProjectedNetwork, spec: Spec, features: TargetSettings, seed: int
) -> FeatureDistillation | None:
    """Make the loss of features or tokens, and let the student answer with them; None for logits."""
    kind = features.feature_kind()
    if kind is None:
        return None
    model: Any = student.model
    width = model.num_features
    source = generator(seed, "auto", "feature map")
    distillation = features.feature_objective(ancestor, [width], spec, source)
    student.answer_features(distillation.maps[str(width)], find_token_module(spec) if kind == "tokens" else None)
    return distillation


def _split_images(images: AnyImages, outer_share: float, seed: int) -> tuple[AnyImages, AnyImages]:
    """Split images into those of the training steps and those of the outer loss."""
    order = torch.randperm(len(images), generator=generator(seed, "auto", "held-out pictures"))
    outer = max(1, round(outer_share * len(images)))
    return images.subset(order[outer:].sort().values), images.subset(order[:outer].sort().values)


_LOGGER = logging.getLogger("germline")
RECORDED_POINTS = 12  # of a training, at which weights are saved


@dataclass(frozen=True)
class BilevelSettings:
    """Settings of the meta-network's learning.

    Attributes:
        form: Function of the meta-network.
        inner: Number of virtual steps on the matching loss, before one on the labels.
        gamma: Weight of the matching loss in the real step.
        lr: Learning rate of the meta-network's Adam.
        weight_decay: Weight decay of the meta-network's Adam.
        batches: `separate`: each step draws a new meta batch, and the outer loss uses other images. `fixed`: one meta
            batch serves all steps, and the outer loss uses the batch of the step, as in the public code.
        absolute: Whether the matching loss uses absolute differences.
        batch_size: Number of images in each meta batch and each outer batch.
        label_smoothing: Label smoothing of the classification loss.
    """

    form: MetaForm
    inner: int
    gamma: float
    lr: float
    weight_decay: float
    batches: Literal["separate", "fixed"]
    absolute: bool
    batch_size: int
    label_smoothing: float = 0.0


@dataclass(frozen=True)
class PseudoTask:
    """Data of the pseudo descendant.

    Attributes:
        train: Images of the real and the virtual steps.
        outer: Images of the outer loss, disjoint from the others.
        augment: Augmentation of the steps' images; None for unchanged ones.
        seed: Random seed of the order and augmentation of meta batches and outer batches.
    """

    train: AnyImages
    outer: AnyImages
    augment: Augment | None
    seed: int


class PseudoDescendant(Objective):
    """Loss of labels + gamma x matching, with an update of the meta-network after each step.

    The update follows the gradient through virtual steps of the training's own SGD. Some steps use the matching loss of
    the meta batch. One more uses the labels of the step's batch. The outer loss is the label loss after these steps.

    Source: arXiv 2305.02279. Its public code uses one fixed meta batch, and computes the outer loss on the batch of the
    virtual steps (`batches="fixed"`). The loss of the ancestor's features in place of labels is ours.

    Attributes:
        meta: The meta-network, updated by the second optimiser.
        projections: Projections of the pseudo descendant's maps to the ancestor's widths, trained with it.
        sums: Weights [parts of the training, taps of the pseudo descendant, the ancestor's taps], averaged over images
            and summed over the steps of each part.
        counts: Number of steps in each part.
        dead: Number of steps in which every weight was 0.
        distillation: Loss of the ancestor's features in place of the labels' loss; None for labels.
    """

    calls_with_other_weights: ClassVar[bool] = True

    def __init__(
        self,
        ancestor: AncestorFeatures,
        student: ProjectedNetwork,
        task: PseudoTask,
        settings: BilevelSettings,
        steps: int,
        distillation: FeatureDistillation | None = None,
    ) -> None:
        """Create the meta-network and its optimiser.

        Args:
            ancestor: Features of the ancestor.
            student: The pseudo descendant.
            task: Data of the pseudo descendant.
            settings: Settings of the meta-network.
            steps: Number of steps of the training.
            distillation: Loss of the ancestor's features in place of the labels' loss. Its map is the student's.
        """
        super().__init__()
        # A tuple keeps both networks out of this module's parameters.
        self._networks = (ancestor, student)
        self._task, self._settings, self._steps = task, settings, max(1, steps)
        self.projections = student.projections
        self.distillation = distillation
        widths, others = ancestor.side.widths, len(student.projections)
        self.meta = MetaNetwork(settings.form, widths, others)
        self.optimizer = torch.optim.Adam(self.meta.parameters(), lr=settings.lr, weight_decay=settings.weight_decay)
        self.sums: Tensor
        self.counts: Tensor
        self.dead: Tensor
        self.register_buffer("sums", torch.zeros(min(RECORDED_POINTS, self._steps), others, len(widths)))
        self.register_buffer("counts", torch.zeros(len(self.sums)))
        self.register_buffer("dead", torch.zeros(()))
        self._loaders: tuple[Loader, Loader] | None = None
        self._step, self._has_warned = 0, False

    def teachers(self) -> tuple[Network, ...]:
        """Return the ancestor."""
        return (self._networks[0].network,)

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """Move this loss and the ancestor to a device."""
        self._networks[0].network.model.to(*args, **kwargs)
        return super().to(*args, **kwargs)

    def before_step(self, seed: int, name: str, step: int) -> None:
        """Draw the meta batch and compute the ancestor's maps of it."""
        ancestor, student = self._networks
        if self._loaders is None:
            self._loaders = self._make_loaders()
            self._sizes = student.sizes(self._loaders[0].batch(step).pixels)
        self._step = step
        fixed = self._settings.batches == "fixed"
        if not (fixed and hasattr(self, "_meta_batch")):
            self._meta_batch = self._loaders[0].batch(0 if fixed else step)
            self._outputs = ancestor.extract(self._meta_batch.pixels, self._sizes)

    def forward(self, network: Forward, batch: Batch) -> Tensor:
        """Compute the loss of the real step: cross entropy in nats plus gamma times the matching loss."""
        self._batch = batch
        if self.distillation is None:
            labels = compute_label_loss(network(batch.pixels), batch, self._settings.label_smoothing)
        else:
            answers, _ = self._networks[1].extract(batch.pixels, network)
            labels = self._task_loss(batch)(answers)
        _, projected = self._networks[1].extract(self._meta_batch.pixels, network)
        return labels + self._settings.gamma * self._match(projected, self.meta(self._outputs.pooled), self._outputs)

    def after_step(self, model: nn.Module, first: torch.optim.Optimizer) -> None:
        """Set the meta-network's gradients from the outer loss, and record the weights of the pairs."""
        student, settings = self._networks[1], self._settings
        trained = {name: one for name, one in student.named_parameters() if one.requires_grad}
        inner = [self._virtual_matching_loss] * settings.inner + [self._virtual_label_loss(self._batch)]
        outer = self._batch if settings.batches == "fixed" else self._outer_batch()
        hyper = dict(self.meta.named_parameters())
        gradients, _ = compute_hypergradient(SgdState.of(first, trained), inner, self._virtual_label_loss(outer), hyper)
        for name, parameter in hyper.items():
            parameter.grad = gradients[name]
        self._record_weights()

    def scores(self) -> Tensor:
        """Return mean weights of the last quarter of the steps [the ancestor's taps, taps of the pseudo descendant]."""
        last = slice(3 * len(self.sums) // 4, None)
        return (self.sums[last].sum(dim=0) / self.counts[last].sum().clamp(min=1)).T.cpu()

    def history(self) -> list[tuple[int, Tensor]]:
        """Return (steps done, mean weights [the ancestor's taps, taps of the pseudo descendant]) over the training."""
        bins = len(self.sums)
        means = self.sums / self.counts.clamp(min=1)[:, None, None]
        return [(-(-(part + 1) * self._steps // bins), mean.T.cpu()) for part, mean in enumerate(means)]

    def _make_loaders(self) -> tuple[Loader, Loader]:
        """Make the loaders of meta batches and of outer batches."""
        task, device = self._task, self.sums.device
        size = self._settings.batch_size
        meta = Loader(task.train, size, derive(task.seed, "meta"), augment=task.augment, device=device)
        return meta, Loader(task.outer, size, derive(task.seed, "held"), device=device)

    def _outer_batch(self) -> Batch:
        assert self._loaders is not None  # noqa: S101 - `begin` makes them
        return self._loaders[1].batch(self._step)

    def _match(self, projected: Sequence[Tensor], weights: Tensor, outputs: AncestorOutputs) -> Tensor:
        return compute_matching_loss(projected, outputs, weights, self.meta.owner, absolute=self._settings.absolute)

    def _virtual_matching_loss(self, weights: Tensors, hyper: Tensors) -> Tensor:
        _, projected = self._call_with(weights, self._meta_batch.pixels)
        return self._match(projected, functional_call(self.meta, dict(hyper), (self._outputs.pooled,)), self._outputs)

    def _virtual_label_loss(self, batch: Batch) -> Loss:
        compute = self._task_loss(batch)

        def loss(weights: Tensors, _: Tensors) -> Tensor:
            return compute(self._call_with(weights, batch.pixels)[0])

        return loss

    def _task_loss(self, batch: Batch) -> Callable[[Tensor], Tensor]:
        """Return the loss of the student's answers: with the labels, or with the ancestor's features."""
        if (distillation := self.distillation) is None:
            return lambda answers: compute_label_loss(answers, batch, self._settings.label_smoothing)
        wanted = distillation.teacher_outputs(batch)
        return lambda answers: compute_feature_loss(answers, wanted, distillation.feature_loss)

    def _call_with(self, weights: Tensors, pixels: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Call the pseudo descendant with other float32 weights, and copies of its running statistics."""
        student = self._networks[1]
        copies = {name: _to_float32(buffer.clone()) for name, buffer in student.named_buffers()}
        fixed = {name: one.float() for name, one in student.named_parameters() if one.dtype != torch.float32}
        state: Mapping[str, Tensor] = {**fixed, **weights, **copies}
        result: tuple[Tensor, list[Tensor]] = functional_call(student, dict(state), (pixels,))
        return result

    @torch.no_grad()
    def _record_weights(self) -> None:
        part = self._step * len(self.sums) // self._steps
        weights = self.meta(self._outputs.pooled)
        self.sums[part] += weights.mean(dim=0)
        self.counts[part] += 1
        self.dead += (weights.amax() == 0).float()
        last = (self._step + 1) * len(self.sums) // self._steps > part
        if last and not self._has_warned and bool(self.dead):
            self._has_warned = True
            _LOGGER.warning("All pairs of layers had weight 0 in %d steps. Use meta=softplus.", int(self.dead))


def _to_float32(buffer: Tensor) -> Tensor:
    return buffer.float() if buffer.is_floating_point() else buffer
