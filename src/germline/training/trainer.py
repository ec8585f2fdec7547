"""The training loop."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor

from germline.data import AnyImages, Augmentation, Batch, Loader
from germline.errors import TrainingError
from germline.files import write_text
from germline.network import Network, load_strict
from germline.randomness import derive, seed_device
from germline.training.augmentation import make_augment
from germline.training.checkpoint import Checkpoint, CheckpointFolder
from germline.training.device import ReplicatedStrategy
from germline.training.evaluate import score_model
from germline.training.frozen_precision import use_run_precision
from germline.training.network_options import keep_statistics, use_network_options, uses_channels_last
from germline.training.objectives import Objective
from germline.training.optimizer import WeightAverage, get_optimizer_tensors, load_optimizer, make_optimizer
from germline.training.progress import PartialProgress, Progress
from germline.training.protection import Protection
from germline.training.settings import TrainSettings
from germline.training.teacher_cache import open_teacher_cache


@dataclass
class TrainingLog:
    """History of a phase: losses and evaluations by step.

    Attributes:
        losses: (step, loss) of the logged steps; the loss is the global batch's.
        scores: One entry per evaluation: step, accuracy, loss.
    """

    losses: list[tuple[int, float]] = field(default_factory=list)
    scores: list[dict[str, float]] = field(default_factory=list)

    def write(self, path: Path) -> None:
        """Write the history as JSON lines, in the order of the steps."""
        lines = [{"step": step, "loss": loss} for step, loss in self.losses]
        lines += [{"step": int(s["step"]), "val_accuracy": s["accuracy"], "val_loss": s["loss"]} for s in self.scores]
        lines.sort(key=lambda line: line["step"])
        write_text(path, "".join(json.dumps(line) + "\n" for line in lines))


@dataclass
class Trainer:
    """One phase of training, from its first step or its last checkpoint to its end.

    Attributes:
        name: Name of the phase; part of the key of every random draw.
        fabric: Device, precision and processes.
        network: Network that is trained in place.
        objective: Loss to minimise.
        images: Training images.
        settings: Training settings.
        seed: Random seed of every draw.
        val: Validation images; None for no evaluation.
        augmentation: Augmentation that the data allow.
        decays: Weight decay by prefix of parameter name, if different from the settings.
        rates: Factor of the learning rate by prefix of parameter name, if not 1.
        checkpoints: Folder of the checkpoints; None for no checkpoints.
        log_path: File of the log; None for no file.
        folder: Folder of the run, for outputs of a teacher; None for no folder.
        precision: Precision of the run.
        quiet: Whether no progress is shown.
        progress: Progress of longer work that this phase is a part of; None shows its own.
        protection: Elements that change less; None for no such elements.
    """

    name: str
    fabric: Fabric
    network: Network
    objective: Objective
    images: AnyImages
    settings: TrainSettings
    seed: int
    val: AnyImages | None = None
    augmentation: tuple[Augmentation, ...] = ()
    decays: Mapping[str, float] = field(default_factory=dict)
    rates: Mapping[str, float] = field(default_factory=dict)
    checkpoints: CheckpointFolder | None = None
    log_path: Path | None = None
    folder: Path | None = None
    precision: str = "32-true"
    quiet: bool = False
    progress: PartialProgress | None = None
    protection: Protection | None = None

    def run(self) -> tuple[TrainingLog, float]:
        """Train to the last step.

        Returns:
            The log, and the wall time of this call in seconds.

        Raises:
            TrainingError: The loss is not finite.
        """
        start = time.monotonic()
        with (
            torch.random.fork_rng(),
            use_run_precision(self.objective.teachers(), self.fabric, self.network.model),
            use_network_options(self.network, self.settings, self.fabric.device),
        ):
            self._prepare()
            self._resume()
            step = self._done
            quiet = self.quiet or self.fabric.global_rank > 0
            shown = self.progress or Progress(self.name, self._total, step, quiet=quiet)
            with self._cached_teacher(), shown as progress:
                if step == 0:
                    self._evaluate(0)
                while step < self._total:
                    loss = self._step(step)
                    step += 1
                    self._record(step, loss, progress)
            self._finish()
        return self.log, time.monotonic() - start

    def _prepare(self) -> None:
        settings, fabric = self.settings, self.fabric
        model = self.network.model.train()
        self._total = settings.total_steps(len(self.images))
        self._is_channels_last = uses_channels_last(model, settings, fabric.device)
        self.objective.to(fabric.device)
        self._raw_optimizer = make_optimizer(
            model, self.objective, settings, self.decays, self.rates, device=fabric.device
        )
        if isinstance(fabric.strategy, ReplicatedStrategy):
            fabric.strategy.may_skip_parameters = self.objective.may_skip_parameters
        self._module, self._optimizer = fabric.setup(model, self._raw_optimizer)
        self._loader = Loader(
            self.images,
            settings.batch_size,
            derive(self.seed, self.name),
            augment=make_augment(settings, self.augmentation, self.images, self.network.preprocess),
            mixup=settings.mixup,
            cutmix=settings.cutmix,
            repeats=settings.repeats,
            device=fabric.device,
            rank=fabric.global_rank,
            world=fabric.world_size,
        )
        self._average = WeightAverage(model, settings.ema) if settings.ema else None
        self._bad = torch.full((), -1, device=fabric.device)
        self._done, self.log = 0, TrainingLog()

    @contextmanager
    def _cached_teacher(self) -> Iterator[None]:
        """Save the teacher's outputs for all images, if that is set and something is left to train."""
        with_teacher = self.objective.find_cacheable() if self.settings.cache_teacher else None
        if with_teacher is None or self._done == self._total:
            yield
            return
        with_teacher.cache = open_teacher_cache(
            with_teacher,
            self.images,
            math.ceil(self.settings.batch_size / self.fabric.world_size / self.settings.accumulate),
            self.fabric,
            precision=self.precision,
            folder=self.folder,
            quiet=self.quiet or self.fabric.global_rank > 0 or self.progress is not None,
        )
        try:
            yield
        finally:
            with_teacher.cache = None  # other trainings have other images

    def _logits(self, pixels: Tensor) -> Tensor:
        images = self.network.preprocess(pixels)
        if self._is_channels_last:
            images = images.to(memory_format=torch.channels_last)
        logits: Tensor = self._module(images)
        return logits

    def _step(self, step: int) -> Tensor:
        """Make one optimiser step; return the detached mean loss of this process's share."""
        for group in self._raw_optimizer.param_groups:
            group["lr"] = group["factor"] * self.settings.learning_rate(step, self._total)
        # Drop path uses the global generator. Its seed depends on the step, so a resumed run draws the same.
        seed_device(derive(self.seed, self.name, "drop", step, self.fabric.global_rank), self.fabric.device)
        self.objective.before_step(self.seed, self.name, step)
        parts = _split(self._loader.batch(step), self.settings.accumulate)
        size = sum(len(part.pixels) for part in parts)
        losses: list[Tensor] = []
        for index, part in enumerate(parts):
            last = index == len(parts) - 1
            with self.fabric.no_backward_sync(self._module, enabled=not last):
                loss = self.objective(self._logits, part)
                if len(parts) > 1:
                    loss = loss * (len(part.pixels) / size)
                self._backward(loss)
            losses.append(loss.detach())
        total = losses[0]
        for loss in losses[1:]:
            total = total + loss
        self._average_objective_gradients()
        if self.settings.clip is not None:
            # Gradients that are not finite break the weights, which the loop reports. A check here makes a GPU wait.
            clip = self.settings.clip
            self.fabric.clip_gradients(self._module, self._optimizer, max_norm=clip, error_if_nonfinite=False)
        self._optimizer_step(step)
        with torch.no_grad():
            self.objective.after_step(self.network.model, self._raw_optimizer)
        self._optimizer.zero_grad()
        self._step_own_optimizer()
        if self._average is not None:
            self._average.update(self.network.model, step + 1)
        # The value stays on the device until a loss is logged, so a GPU need not wait at every step.
        self._bad = torch.where(torch.isfinite(total) | (self._bad >= 0), self._bad, step + 1)
        return total

    def _backward(self, loss: Tensor) -> None:
        if not self.settings.grad_checkpointing:
            self.fabric.backward(loss)
            return
        with keep_statistics(self.network.model):
            self.fabric.backward(loss)

    def _optimizer_step(self, step: int) -> None:
        if self.protection is None:
            self._optimizer.step()
            return
        parameters = dict(self.network.model.named_parameters())
        before = self.protection.save_weights(parameters, step)
        self._optimizer.step()
        self.protection.limit_change(parameters, before, step)

    def _step_own_optimizer(self) -> None:
        second = self.objective.optimizer
        if second is not None:
            self._average_objective_gradients()
            second.step()
            second.zero_grad()

    def _average_objective_gradients(self) -> None:
        """Average gradients of the objective's own parameters over processes; DDP does so for the network."""
        if self.fabric.world_size > 1:
            for parameter in self.objective.parameters():
                if parameter.grad is not None:
                    parameter.grad = self.fabric.all_reduce(parameter.grad, reduce_op="mean")

    def _record(self, step: int, loss: Tensor, progress: Progress | PartialProgress) -> None:
        last = step == self._total
        if last or step % self.settings.log_every == 0 or step % self.settings.checkpoint_every == 0:
            if last or step % self.settings.checkpoint_every == 0:
                self._check_weights(step)
            self._stop_if_bad()
            value = float(self.fabric.all_reduce(loss, reduce_op="mean"))
            self.log.losses.append((step, value))
            progress.update(step, value)
        if self.settings.has_evaluation(step, self._total) and not (last and self._average is not None):
            self._evaluate(step)
        if step % self.settings.checkpoint_every == 0 and not last:
            self._save(step)

    def _check_weights(self, step: int) -> None:
        # A step can break the weights although its loss was finite. Such weights must not be saved.
        weights = [tensor for tensor in self.network.model.state_dict().values() if tensor.is_floating_point()]
        if int(self._bad) < 0 and not all(bool(torch.isfinite(tensor).all()) for tensor in weights):
            self._bad.fill_(step)

    def _stop_if_bad(self) -> None:
        step = int(self.fabric.all_reduce(self._bad.float(), reduce_op="max"))
        if step < 0:
            return
        raise self._not_finite_error(step)

    def _not_finite_error(self, step: int) -> TrainingError:
        return make_not_finite_error(self.name, step, self.checkpoints.latest_path() if self.checkpoints else None)

    def _evaluate(self, step: int) -> None:
        if self.val is not None and (step > 0 or self.settings.has_evaluation(0, self._total)):
            score = score_model(self.network.model, self._logits, self.val, self.fabric.device)
            if not math.isfinite(score.loss):  # weights can be finite and too large to compute with
                raise self._not_finite_error(step)
            self.log.scores.append({"step": step, "accuracy": score.accuracy, "loss": score.loss})

    def _finish(self) -> None:
        if self._average is not None:
            self.network.model.load_state_dict(self._average.tensors)
            self._evaluate(self._total)
        self.network.model.eval()
        self._write_log()

    def _write_log(self) -> None:
        if self.log_path is not None and self.fabric.is_global_zero:
            self.log.write(self.log_path)

    def _save(self, step: int) -> None:
        if self.checkpoints is None:
            return
        if self.fabric.is_global_zero:
            tensors = {
                "model": self.network.model.state_dict(),
                "optimizer": get_optimizer_tensors(self._raw_optimizer),
            }
            tensors["objective"] = self.objective.state_dict()
            if self.objective.optimizer is not None:
                tensors["second"] = get_optimizer_tensors(self.objective.optimizer)
            if self._average is not None:
                tensors["average"] = self._average.tensors
            facts: dict[str, Any] = {"losses": self.log.losses, "scores": self.log.scores}
            self.checkpoints.save(Checkpoint(step, tensors, facts))
        self._write_log()
        self.fabric.barrier()

    def _resume(self) -> None:
        """Restore the last checkpoint, if there is one.

        Raises:
            ArtefactError: It is of another network.
        """
        saved = self.checkpoints.load_latest() if self.checkpoints else None
        if saved is None:
            return
        for part, group in ((self.network.model, "model"), (self.objective, "objective")):
            load_strict(part, dict(saved.tensors[group]), saved.origin)
        load_optimizer(self._raw_optimizer, saved.tensors["optimizer"])
        if self.objective.optimizer is not None:
            load_optimizer(self.objective.optimizer, saved.tensors["second"])
        if self._average is not None:
            self._average.tensors = {k: t.to(self.fabric.device) for k, t in saved.tensors["average"].items()}
        self._done = saved.step
        self.log = TrainingLog([(int(s), float(v)) for s, v in saved.facts["losses"]], list(saved.facts["scores"]))


def make_not_finite_error(name: str, step: int, checkpoint: Path | None) -> TrainingError:
    """Build the error of a phase that broke at `step`; `checkpoint` is the last good one."""
    return TrainingError(
        f"The loss or the weights of '{name}' are not finite numbers at step {step}",
        f"The last good checkpoint is '{checkpoint}'" if checkpoint else "There is no checkpoint before it",
        "Use a lower lr, clip=1.0, or a higher precision",
    )


def _split(batch: Batch, parts: int) -> list[Batch]:
    if parts == 1:
        return [batch]
    chunks = batch.pixels.chunk(parts)
    labels = [None] * len(chunks) if batch.labels is None else batch.labels.chunk(parts)
    partners = [None] * len(chunks) if batch.partner_labels is None else batch.partner_labels.chunk(parts)
    indices = [None] * len(chunks) if batch.indices is None else batch.indices.chunk(parts)
    pieces = zip(chunks, labels, partners, indices, strict=True)
    return [Batch(pixels, own, other, batch.share, rows) for pixels, own, other, rows in pieces]
