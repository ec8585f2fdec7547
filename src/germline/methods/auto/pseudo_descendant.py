"""The pseudo descendant: a network that learns a held-out task while a meta-network learns which layers help it."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

import torch
from torch import Tensor, nn
from torch.func import functional_call

from germline.architectures import Preprocess, Spec
from germline.data import AnyImages, Augment, Augmentation, Batch, DataSet, Loader
from germline.methods.auto.bilevel import Loss, Start, Tensors, hypergradient
from germline.methods.auto.layer_selection import Scores
from germline.methods.auto.meta_network import Elder, Look, Matched, MetaForm, MetaNetwork, Side, matching_loss
from germline.network import Network
from germline.randomness import derive, generator, use_generator
from germline.registry import architecture_of
from germline.training import Run, TrainSettings
from germline.training.objectives import Forward, Objective, label_loss


def lean(
    elder: Elder,
    form: Spec,
    taps: Sequence[str],
    task: DataSet,
    run: Run,
    settings: TrainSettings,
    bilevel: BilevelSettings,
    held: float,
) -> Scores:
    """Train a pseudo descendant and its meta-network, and read the weights of the pairs.

    Args:
        elder: The ancestor.
        form: Of the pseudo descendant.
        taps: Names of its modules.
        task: What it learns; its validation pictures are only looked at.
        run: Trains it, as the phase `pseudo`.
        settings: How it is trained.
        bilevel: How the meta-network is.
        held: Share of the training pictures that is held out for the outer loss.
    """
    images, name = task.train, "auto"
    with use_generator(generator(run.seed, name, "pseudo descendant")):
        model = architecture_of(form).build(form).to(run.fabric.device)
        network = Network(model, Preprocess.from_images(images.sample()), task.classes, spec=form)
        side = Side.of(model, form, taps, network.preprocess)
        matched = Matched(network, side, elder.side, elder.grid)
    kept, apart = _set_apart(images, held, run.seed)
    learnt_on = Task(kept, apart, task.augmentation if settings.augment else (), derive(run.seed, name))
    objective = PseudoDescendant(elder, matched, learnt_on, bilevel, settings.total_steps(len(kept)))
    result = run.fit("pseudo", network, objective, kept, settings, val=task.val, augmentation=task.augmentation)
    dead = float(objective.dead) / max(1, result.steps)
    return Scores(
        matrix=objective.scores().tolist(),
        against=side.taps,
        history=[(step, matrix.tolist()) for step, matrix in objective.history()],
        results=[result],
        metrics={"pseudo descendant (val)": result.accuracy, "steps with every pair dead": dead},
    )


def _set_apart(images: AnyImages, share: float, seed: int) -> tuple[AnyImages, AnyImages]:
    """Pictures to learn from, and those of the outer loss."""
    order = torch.randperm(len(images), generator=generator(seed, "auto", "held-out pictures"))
    held = max(1, round(share * len(images)))
    return images.subset(order[held:].sort().values), images.subset(order[:held].sort().values)


LOGGER = logging.getLogger("germline")
LOOKS = 12  # at how many times of the training the weights are kept


@dataclass(frozen=True)
class BilevelSettings:
    """How the meta-network learns.

    Attributes:
        form: Of the meta-network.
        inner: Virtual steps on the matching loss; one on the labels follows.
        gamma: Weight of the matching loss in the real step.
        lr: Rate of the meta-network's Adam.
        weight_decay: Its weight decay.
        batches: `separate` draws a new meta batch each step and takes the outer loss on held-out pictures; `fixed` is
            the literal form, one meta batch for all, and the outer loss on the batch of the step.
        absolute: Whether maps differ by the absolute difference.
        batch_size: Pictures of each meta batch and of each held-out one.
        label_smoothing: Of the labels' part.
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
class Task:
    """What the pseudo descendant learns on.

    Attributes:
        train: Pictures of the real and the virtual steps.
        held: Pictures of the outer loss; none of them is among the others.
        augmentation: What may be done to those of the steps.
        seed: Of the order and the augmentation of the meta batches and of the held-out ones.
    """

    train: AnyImages
    held: AnyImages
    augmentation: Sequence[Augmentation]
    seed: int


class PseudoDescendant(Objective):
    """Labels + gamma x matching; after each step the meta-network is moved by the gradient through virtual steps.

    The virtual steps are those of the loop's own SGD: some on the matching loss of the meta batch, then one on the
    labels of the step's batch. The outer loss is that of the labels after them.

    Source: arXiv 2305.02279; its public code takes one fixed meta batch, and the outer loss on the batch that the
    virtual steps have just seen (`batches="fixed"`).

    Attributes:
        meta: The meta-network, moved by the second optimiser.
        projections: What leads the pseudo descendant's maps to the ancestor's widths, trained along.
        sums: Weights, summed over steps and averaged over pictures [looks, taps of the pseudo descendant, the
            ancestor's taps], at so many times of the training.
        counts: Steps of each sum.
        dead: Steps at which every pair weighed nothing.
    """

    def __init__(self, elder: Elder, matched: Matched, task: Task, settings: BilevelSettings, steps: int) -> None:
        """Set up.

        Args:
            elder: The ancestor.
            matched: The pseudo descendant.
            task: What it learns on.
            settings: How the meta-network learns.
            steps: Of the whole training.
        """
        super().__init__()
        # In a tuple, so that neither network is a part of this module.
        self._networks = (elder, matched)
        self._task, self._settings, self._steps = task, settings, max(1, steps)
        self.projections = matched.projections
        widths, others = elder.side.widths, len(matched.projections)
        self.meta = MetaNetwork(settings.form, widths, others)
        self.optimizer = torch.optim.Adam(self.meta.parameters(), lr=settings.lr, weight_decay=settings.weight_decay)
        self.sums: Tensor
        self.counts: Tensor
        self.dead: Tensor
        self.register_buffer("sums", torch.zeros(min(LOOKS, self._steps), others, len(widths)))
        self.register_buffer("counts", torch.zeros(len(self.sums)))
        self.register_buffer("dead", torch.zeros(()))
        self._loaders: tuple[Loader, Loader] | None = None
        self._step, self._told_dead = 0, False

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """Move the ancestor along."""
        self._networks[0].network.model.to(*args, **kwargs)
        return super().to(*args, **kwargs)

    def begin(self, seed: int, name: str, step: int) -> None:
        """Draw the meta batch, and let the ancestor look at it."""
        elder, matched = self._networks
        if self._loaders is None:
            self._loaders = self._make_loaders()
            self._sizes = matched.sizes(self._loaders[0].batch(step).pixels)
        self._step = step
        fixed = self._settings.batches == "fixed"
        if not (fixed and hasattr(self, "_meta_batch")):
            self._meta_batch = self._loaders[0].batch(0 if fixed else step)
            self._look = elder.look(self._meta_batch.pixels, self._sizes)

    def forward(self, network: Forward, batch: Batch) -> Tensor:
        """The loss of the real step: nats, plus gamma times mean differences."""
        self._batch = batch
        labels = label_loss(network(batch.pixels), batch, self._settings.label_smoothing)
        _, projected = self._networks[1].look(self._meta_batch.pixels, network)
        return labels + self._settings.gamma * self._match(projected, self.meta(self._look.pooled), self._look)

    def after(self, model: nn.Module, first: torch.optim.Optimizer) -> None:
        """Put the gradient of the outer loss on the meta-network, and note what the pairs weigh."""
        matched, settings = self._networks[1], self._settings
        trained = {name: one for name, one in matched.named_parameters() if one.requires_grad}
        inner = [self._matching] * settings.inner + [self._labels_of(self._batch)]
        outer = self._batch if settings.batches == "fixed" else self._held()
        told = dict(self.meta.named_parameters())
        gradients, _ = hypergradient(Start.of(first, trained), inner, self._labels_of(outer), told)
        for name, parameter in told.items():
            parameter.grad = gradients[name]
        self._note()

    def scores(self) -> Tensor:
        """Mean weights of the last quarter of the steps [the ancestor's taps, taps of the pseudo descendant]."""
        last = slice(3 * len(self.sums) // 4, None)
        return (self.sums[last].sum(dim=0) / self.counts[last].sum().clamp(min=1)).T.cpu()

    def history(self) -> list[tuple[int, Tensor]]:
        """(steps done, mean weights [the ancestor's taps, taps of the pseudo descendant]) over the training."""
        bins = len(self.sums)
        means = self.sums / self.counts.clamp(min=1)[:, None, None]
        return [(-(-(at + 1) * self._steps // bins), mean.T.cpu()) for at, mean in enumerate(means)]

    def _make_loaders(self) -> tuple[Loader, Loader]:
        """Of meta batches, and of held-out ones."""
        task, device = self._task, self.sums.device
        augment = Augment(tuple(task.augmentation)) if task.augmentation else None
        size = self._settings.batch_size
        meta = Loader(task.train, size, derive(task.seed, "meta"), augment=augment, device=device)
        return meta, Loader(task.held, size, derive(task.seed, "held"), device=device)

    def _held(self) -> Batch:
        assert self._loaders is not None  # noqa: S101 - `begin` has made them
        return self._loaders[1].batch(self._step)

    def _match(self, projected: Sequence[Tensor], weights: Tensor, look: Look) -> Tensor:
        return matching_loss(projected, look, weights, self.meta.owner, absolute=self._settings.absolute)

    def _matching(self, weights: Tensors, told: Tensors) -> Tensor:
        _, projected = self._virtually(weights, self._meta_batch.pixels)
        return self._match(projected, functional_call(self.meta, dict(told), (self._look.pooled,)), self._look)

    def _labels_of(self, batch: Batch) -> Loss:
        def loss(weights: Tensors, _: Tensors) -> Tensor:
            return label_loss(self._virtually(weights, batch.pixels)[0], batch, self._settings.label_smoothing)

        return loss

    def _virtually(self, weights: Tensors, pixels: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The pseudo descendant with other weights; its running statistics are copies that nobody reads."""
        matched = self._networks[1]
        copies = {name: buffer.clone() for name, buffer in matched.named_buffers()}
        state: Mapping[str, Tensor] = {**weights, **copies}
        found: tuple[Tensor, list[Tensor]] = functional_call(matched, dict(state), (pixels,))
        return found

    @torch.no_grad()
    def _note(self) -> None:
        at = self._step * len(self.sums) // self._steps
        weights = self.meta(self._look.pooled)
        self.sums[at] += weights.mean(dim=0)
        self.counts[at] += 1
        self.dead += (weights.amax() == 0).float()
        last = (self._step + 1) * len(self.sums) // self._steps > at
        if last and not self._told_dead and bool(self.dead):
            self._told_dead = True
            LOGGER.warning("every pair of layers weighs nothing: %d steps so far; try meta=softplus", int(self.dead))
