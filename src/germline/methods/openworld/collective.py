"""The collective network: trained on one task after another, and grown between them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from germline.architectures import VGG, Preprocess, VggSpec
from germline.data import Batch, DataSet
from germline.methods.openworld.ewc import EwcPenalty, estimate_fisher, learning_rate_of, normalise_importance
from germline.methods.openworld.gradient_criterion import GradientWatch, unit_weight_names
from germline.methods.openworld.net2wider import (
    add_noise_to_copies,
    draw_widening,
    group_of_unit,
    widen_spec,
    widen_tensors,
)
from germline.methods.openworld.settings import OpenWorldSettings
from germline.methods.openworld.task_stream import Growth, Heads
from germline.network import Network, load_strict
from germline.randomness import generator, use_generator
from germline.training import FitResult, Objective, Run, evaluate
from germline.training.objectives import Forward, label_loss

_IMPORTANCE = "importance/"
_DIGITS = 6  # of what is told of gradients


@dataclass(frozen=True)
class CollectiveState:
    """Where the collective stands after a task.

    Attributes:
        spec: Its form.
        tensors: Its weights and statistics.
        importance: Of its parameters to all tasks so far; empty without consolidation.
        epsilon: Threshold of the criterion; None before the first task.
        heat: q by task, epoch and unit.
        accuracies: After each task those on validation pictures of it and all before it, as shares.
        parameters: At each task.
        grown: Unit, counted from 1, that grew before each task; 0 for none.
        results: Steps, samples and seconds so far.
    """

    spec: VggSpec
    tensors: Mapping[str, Tensor] = field(default_factory=dict)
    importance: Mapping[str, Tensor] = field(default_factory=dict)
    epsilon: float | None = None
    heat: tuple[Any, ...] = ()
    accuracies: tuple[tuple[float, ...], ...] = ()
    parameters: tuple[int, ...] = ()
    grown: tuple[int, ...] = ()
    results: tuple[float, float, float] = (0, 0, 0)

    def to_record(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """As it is kept: tensors, and facts as JSON."""
        own = {
            name: getattr(self, name) for name in ("epsilon", "heat", "accuracies", "parameters", "grown", "results")
        }
        importance = {f"{_IMPORTANCE}{name}": value for name, value in self.importance.items()}
        return {**self.tensors, **importance}, {**own, "spec": self.spec.model_dump(mode="json")}

    @classmethod
    def from_record(cls, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> CollectiveState:
        """What `to_record` gave."""
        importance = {n.removeprefix(_IMPORTANCE): t for n, t in tensors.items() if n.startswith(_IMPORTANCE)}
        return cls(
            spec=VggSpec.model_validate(facts["spec"]),
            tensors={name: value for name, value in tensors.items() if not name.startswith(_IMPORTANCE)},
            importance=importance,
            epsilon=facts["epsilon"],
            heat=tuple(facts["heat"]),
            accuracies=tuple(tuple(row) for row in facts["accuracies"]),
            parameters=tuple(facts["parameters"]),
            grown=tuple(facts["grown"]),
            results=tuple(facts["results"]),
        )


class TaskLoss(Objective):
    """Cross entropy over the outputs that answer a task; after each step gradients are noted and weights held.

    Attributes:
        watch: Of the gradients, which are those of the cross entropy alone.
        anchor: To the weights after earlier tasks; None for none.
    """

    def __init__(
        self, columns: Tensor, watch: GradientWatch, anchor: EwcPenalty | None, label_smoothing: float
    ) -> None:
        super().__init__()
        self.watch, self.anchor, self._smoothing, self._step = watch, anchor, label_smoothing, 0
        self.register_buffer("columns", columns, persistent=False)

    def begin(self, seed: int, name: str, step: int) -> None:
        """Which step it is says which epoch it is."""
        self._step = step

    def forward(self, network: Forward, batch: Batch) -> Tensor:
        """The mean cross entropy, in nats."""
        return label_loss(network(batch.pixels)[:, self.get_buffer("columns")], batch, self._smoothing)

    def after(self, model: nn.Module, first: torch.optim.Optimizer) -> None:
        """Note the step's gradients, then pull."""
        self.watch.record_step(model, self._step)
        if self.anchor is not None:
            self.anchor.take_proximal_step(model, learning_rate_of(first))


@dataclass(frozen=True)
class Collective:
    """A growing network by the rules of some settings.

    Attributes:
        rules: The method's settings.
        run: Where it computes, and the seed of every draw.
        spec: Form that it begins with.
        growth: Steps of growth, one before each task but the first.
        preprocess: How it sees pictures.
        heads: Which outputs answer which task.
        tasks: In their order.
    """

    rules: OpenWorldSettings
    run: Run
    spec: VggSpec
    growth: Growth
    preprocess: Preprocess
    heads: Heads
    tasks: Sequence[DataSet]

    def train_all_tasks(self, state: CollectiveState | None = None) -> CollectiveState:
        """Train on all tasks, from the last one that was kept on.

        Args:
            state: After the tasks before these; None begins.
        """
        first, found = self._load_last_task()
        now = found or state or CollectiveState(self.spec)
        for number in range(max(first, len(now.accuracies)), len(self.tasks)):
            now = CollectiveState.from_record(
                *self.run.keep(_phase_name(number), partial(self.train_task_and_record, number, now))
            )
            if number > 1:  # the last but one stays, for where the last is damaged
                self.run.forget(_phase_name(number - 2))
        return now

    def _load_last_task(self) -> tuple[int, CollectiveState | None]:
        for number in reversed(range(len(self.tasks))):
            found = self.run.kept(_phase_name(number))
            if found is not None:
                return number + 1, CollectiveState.from_record(*found)
        return 0, None

    def train_task_and_record(self, number: int, state: CollectiveState) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """The state after the next task, as it is kept."""
        return self.train_task(number, state).to_record()

    def train_task(self, number: int, state: CollectiveState) -> CollectiveState:
        """Grow, where that is due, and train on a task.

        Args:
            number: Of the task.
            state: After the one before.
        """
        state, unit = self.grow(number, state)
        network = self.build_network(state)
        watch, result = self._fit_task(number, network, state)
        state = replace(state, tensors=dict(network.model.state_dict()))
        network.model.to(self.run.fabric.device)
        rates = [[round(value, _DIGITS) for value in epoch] for epoch in watch.rates()]
        done = replace(
            state,
            importance=self._add_importance(number, network, state),
            epsilon=float(watch.epsilon),
            heat=(*state.heat, rates),
            accuracies=(
                *state.accuracies,
                tuple(self.measure_accuracy(network, at, number + 1) for at in range(number + 1)),
            ),
            parameters=(*state.parameters, sum(value.numel() for value in network.model.parameters())),
            grown=(*state.grown, unit),
            results=(
                state.results[0] + result.steps,
                state.results[1] + result.samples,
                round(state.results[2] + result.seconds, 3),
            ),
        )
        network.model.to("cpu")
        return done

    def grow(self, number: int, state: CollectiveState) -> tuple[CollectiveState, int]:
        """The state with a unit made wider, where one is due before that task, and which; 0 for none."""
        if not 0 < number <= len(self.growth):
            return state, 0
        unit, added = self.growth[number - 1]
        source = generator(self.run.seed, "openworld", "growth", number)
        step = draw_widening(group_of_unit(VGG, state.spec, unit - 1), added, source)
        tensors = add_noise_to_copies(widen_tensors(state.tensors, step), step, self.rules.noise, source)
        importance = widen_tensors(state.importance, step, "squares")
        return replace(
            state, spec=widen_spec(state.spec, unit - 1, added), tensors=tensors, importance=importance
        ), unit

    def build_network(self, state: CollectiveState) -> Network:
        """The network of a state; freshly drawn before the first task."""
        with use_generator(generator(self.run.seed, "openworld", "initial weights")):
            model = VGG.build(state.spec)
        if state.tensors:
            load_strict(model, dict(state.tensors), "the collective")
        for part in model.modules():
            if isinstance(part, nn.Dropout):
                part.p = self.rules.dropout
        names = tuple(f"output-{index}" for index in range(self.heads.outputs))
        return Network(model, self.preprocess, names, spec=state.spec)

    def measure_accuracy(self, network: Network, task: int, seen: int) -> float:
        """On a task's validation pictures, as a share."""
        device = self.run.fabric.device
        columns = self.heads.columns(task, seen).to(device)

        def logits(pixels: Tensor) -> Tensor:
            answers: Tensor = network.model(network.preprocess(pixels))[:, columns]
            return answers

        return evaluate(network.model, logits, self.tasks[task].val, device).accuracy

    def estimate_importance(self, number: int, network: Network) -> dict[str, Tensor]:
        """The importance of each parameter to a task, normalised."""
        columns = self.heads.columns(number, number + 1).to(self.run.fabric.device)
        source = generator(self.run.seed, "openworld", "fisher", number)
        found = estimate_fisher(network, columns, self.tasks[number].train, self.rules.fisher_samples, source)
        return {name: value.cpu() for name, value in normalise_importance(found).items()}

    def _fit_task(self, number: int, network: Network, state: CollectiveState) -> tuple[GradientWatch, FitResult]:
        rules, task = self.rules, self.tasks[number]
        settings = rules.training
        watch = GradientWatch(
            unit_weight_names(state.spec),
            steps=settings.total_steps(len(task.train)),
            epoch=max(1, -(-len(task.train) // settings.batch_size)),
            epsilon=rules.epsilon if state.epsilon is None else state.epsilon,
            rule=rules.criterion,
        )
        anchor = None
        if state.importance:
            held = {name: state.tensors[name] for name in state.importance}
            anchor = EwcPenalty(held, state.importance, rules.consolidation)
        loss = TaskLoss(self.heads.columns(number, number + 1), watch, anchor, settings.label_smoothing)
        augmentation = tuple(task.augmentation)
        name = f"{_phase_name(number)}/training"
        result = self.run.fit(name, network, loss, task.train, settings, augmentation=augmentation)
        return watch.to("cpu"), result

    def _add_importance(self, number: int, network: Network, state: CollectiveState) -> dict[str, Tensor]:
        """To all tasks so far: every task adds as much; nothing where nothing is consolidated."""
        if not self.rules.consolidation:
            return {}
        now = self.estimate_importance(number, network)
        return {name: value + state.importance.get(name, torch.zeros(())) for name, value in now.items()}


def _phase_name(number: int) -> str:
    return f"task-{number:03d}"
