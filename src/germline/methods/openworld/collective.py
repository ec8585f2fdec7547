"""The collective network, which is trained on one task after another and grows between them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Self

import torch
from torch import Tensor, nn

from germline.architectures import VGG, Preprocess, VggSpec
from germline.data import Batch, DataSet
from germline.methods.openworld.earlier_answers import EarlierAnswers, list_earlier_outputs
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
from germline.training import FitResult, Objective, Run
from germline.training.objectives import Forward, compute_label_loss

_IMPORTANCE = "importance/"
_DIGITS = 6  # decimal places of recorded gradient rates


@dataclass(frozen=True)
class CollectiveState:
    """State of the collective after a task.

    Attributes:
        spec: Spec of the network.
        tensors: Weights and statistics.
        importance: Importance of the parameters to all tasks so far; empty without consolidation.
        epsilon: Threshold of the gradient criterion; None before the first task.
        heat: q by task, epoch and unit.
        accuracies: Validation accuracies after each task, on it and all before it, as shares.
        parameters: Number of parameters at each task.
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
        """Return the state as `run.keep` saves it: tensors, and facts as JSON."""
        facts = {
            name: getattr(self, name) for name in ("epsilon", "heat", "accuracies", "parameters", "grown", "results")
        }
        importance = {f"{_IMPORTANCE}{name}": value for name, value in self.importance.items()}
        return {**self.tensors, **importance}, {**facts, "spec": self.spec.model_dump(mode="json")}

    @classmethod
    def from_record(cls, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> CollectiveState:
        """Rebuild the state from the values of `to_record`."""
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
    """Cross entropy over the outputs of one task.

    After each step it counts gradients and takes the proximal step of the EWC penalty.

    Attributes:
        watch: Counter of gradients: those of the cross entropy, and of `answers` if there are any.
        anchor: EWC penalty towards the weights after earlier tasks; None without consolidation.
        answers: Distillation from the network before the task; None without it. It is neither trained nor saved.
    """

    def __init__(
        self,
        columns: Tensor,
        watch: GradientWatch,
        anchor: EwcPenalty | None,
        label_smoothing: float,
        answers: EarlierAnswers | None = None,
    ) -> None:
        super().__init__()
        self.watch, self.anchor, self._smoothing, self._step = watch, anchor, label_smoothing, 0
        self.answers = answers
        self.register_buffer("columns", columns, persistent=False)

    def before_step(self, seed: int, name: str, step: int) -> None:
        """Note the step, which tells the epoch."""
        self._step = step

    def teachers(self) -> tuple[Network, ...]:
        """Return the network before the task, if it is asked."""
        return () if self.answers is None else (self.answers.network,)

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """Move the loss and the network before the task."""
        if self.answers is not None:
            self.answers.to(*args, **kwargs)
        return super().to(*args, **kwargs)

    def forward(self, network: Forward, batch: Batch) -> Tensor:
        """Return the mean cross entropy in nats, with the distillation if there is any."""
        logits = network(batch.pixels)
        loss = compute_label_loss(logits[:, self.get_buffer("columns")], batch, self._smoothing)
        return loss if self.answers is None else loss + self.answers.compute_loss(logits, batch)

    def after_step(self, model: nn.Module, first: torch.optim.Optimizer) -> None:
        """Count the step's gradients, then take the proximal step."""
        self.watch.record_step(model, self._step)
        if self.anchor is not None:
            self.anchor.take_proximal_step(model, learning_rate_of(first))


@dataclass(frozen=True)
class Collective:
    """A growing network with its tasks.

    Attributes:
        rules: Settings of the method.
        run: Run that gives the device and the seed of every draw.
        spec: Spec before the first task.
        growth: Steps of growth, one before each task but the first.
        preprocess: Preprocessing of the network.
        heads: Outputs of each task.
        tasks: Tasks in their order.
    """

    rules: OpenWorldSettings
    run: Run
    spec: VggSpec
    growth: Growth
    preprocess: Preprocess
    heads: Heads
    tasks: Sequence[DataSet]

    def train_all_tasks(self, state: CollectiveState | None = None) -> CollectiveState:
        """Train on all tasks after the last one that was saved.

        Args:
            state: State after the tasks before these; None starts with the first task.
        """
        first, saved = self._load_last_task()
        now = saved or state or CollectiveState(self.spec)
        for number in range(max(first, len(now.accuracies)), len(self.tasks)):
            now = CollectiveState.from_record(
                *self.run.keep(_phase_name(number), partial(self.train_task_and_record, number, now))
            )
            if number > 1:  # the task before stays, in case the last one is damaged
                self.run.forget(_phase_name(number - 2))
        return now

    def _load_last_task(self) -> tuple[int, CollectiveState | None]:
        for number in reversed(range(len(self.tasks))):
            saved = self.run.find_phase(_phase_name(number))
            if saved is not None:
                return number + 1, CollectiveState.from_record(*saved)
        return 0, None

    def train_task_and_record(self, number: int, state: CollectiveState) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Train on a task and return the state as `run.keep` saves it."""
        return self.train_task(number, state).to_record()

    def train_task(self, number: int, state: CollectiveState) -> CollectiveState:
        """Grow the network if a step is due, and train it on a task.

        Args:
            number: Number of the task.
            state: State after the task before.
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
        """Widen a unit if a step is due before that task; return the state and the unit, 0 for none."""
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
        """Build the network of a state; it is freshly drawn before the first task."""
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
        """Measure the accuracy on a task's validation images, as a share."""
        return self._measure_columns(network, self.heads.columns(task, seen), self.tasks[task])

    def measure_tasks(
        self, state: CollectiveState, heads: Heads, tasks: Sequence[DataSet], all_compete: bool
    ) -> list[float]:
        """Measure the accuracies of a finished network on the validation images of other tasks, as shares.

        Args:
            state: State of the network.
            heads: Outputs of these tasks.
            tasks: Tasks to measure.
            all_compete: Whether the classes of all tasks compete, or those of one task alone.
        """
        network, seen = self.build_network(state), len(tasks) if all_compete else 0
        network.model.to(self.run.fabric.device)
        return [self._measure_columns(network, heads.columns(number, seen), task) for number, task in enumerate(tasks)]

    def _measure_columns(self, network: Network, columns: Tensor, task: DataSet) -> float:
        return self.run.evaluate(network, task.val, columns).accuracy

    def estimate_importance(self, number: int, network: Network) -> dict[str, Tensor]:
        """Estimate the normalised importance of each parameter to a task."""
        columns = self.heads.columns(number, number + 1).to(self.run.fabric.device)
        source = generator(self.run.seed, "openworld", "fisher", number)
        information = estimate_fisher(network, columns, self.tasks[number].train, self.rules.fisher_samples, source)
        return {name: value.cpu() for name, value in normalise_importance(information).items()}

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
            anchors = {name: state.tensors[name] for name in state.importance}
            anchor = EwcPenalty(anchors, state.importance, rules.consolidation)
        answers = None
        if rules.distillation and number:
            earlier = list_earlier_outputs(self.heads, number)
            answers = EarlierAnswers(self.build_network(state), earlier, rules.distillation)
        loss = TaskLoss(self.heads.columns(number, number + 1), watch, anchor, settings.label_smoothing, answers)
        augmentation = tuple(task.augmentation)
        name = f"{_phase_name(number)}/training"
        result = self.run.fit(name, network, loss, task.train, settings, augmentation=augmentation)
        return watch.to("cpu"), result

    def _add_importance(self, number: int, network: Network, state: CollectiveState) -> dict[str, Tensor]:
        """Add a task's importance to that of all tasks so far; return nothing without consolidation."""
        if not self.rules.consolidation:
            return {}
        now = self.estimate_importance(number, network)
        return {name: value + state.importance.get(name, torch.zeros(())) for name, value in now.items()}


def _phase_name(number: int) -> str:
    return f"task-{number:03d}"
