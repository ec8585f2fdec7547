"""The `vmap` engine: members of one shape as one stack, trained together."""

from __future__ import annotations

import time
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from germline.architectures import Preprocess
from germline.data import Batch, ImageFiles, Loader
from germline.network import Network
from germline.randomness import derive
from germline.training.augmentation import make_augment
from germline.training.evaluate import score_model
from germline.training.objectives import Objective
from germline.training.optimizer import make_optimizer
from germline.training.population import Member, Population
from germline.training.progress import PartialProgress
from germline.training.protection import Protection, stack_protections
from germline.training.trainer import TrainingLog, make_not_finite_error


class VmapEngine:
    """Engine with forward and backward under `torch.func.vmap`, over stacked parameters and buffers."""

    name: ClassVar[str] = "vmap"

    def unsupported_reason(self, population: Population) -> str | None:
        """Return why settings, objective or members cannot be stacked, or None."""
        return _refused_settings(population) or _refused_members(population.members)

    def members_at_once(self, population: Population) -> int:
        """Return `together`, or the number of members."""
        return min(population.together or len(population.members), len(population.members))

    def train(self, population: Population, progress: PartialProgress) -> list[tuple[TrainingLog, float]]:
        """Train the members stack by stack; members of a stack have the same number of steps."""
        outcomes: list[tuple[TrainingLog, float]] = [(TrainingLog(), 0.0)] * len(population.members)
        at_once = self.members_at_once(population)
        steps = [population.steps(member) for member in population.members]
        for total in sorted(set(steps)):
            places = [place for place, count in enumerate(steps) if count == total]
            for start in range(0, len(places), at_once):
                chosen = places[start : start + at_once]
                start_time = time.monotonic()
                logs = VmapStack(population, [population.members[place] for place in chosen], total).run(progress)
                seconds = (time.monotonic() - start_time) / len(chosen)
                for place, log in zip(chosen, logs, strict=True):
                    outcomes[place] = (log, seconds)
                progress = progress.starting_after(total * len(chosen))
        return outcomes


def _refused_settings(population: Population) -> str | None:
    settings = population.settings
    refused = {
        "Several processes share the batches": population.fabric.world_size > 1,
        "The precision is below float32": population.precision != "32-true",
        "The objective has parameters or buffers of its own": bool(population.objective.state_dict())
        or any(True for _ in population.objective.parameters()),
        "The objective draws for every step": type(population.objective).before_step is not Objective.before_step,
        "The objective has work to do after every step": type(population.objective).after_step
        is not Objective.after_step,
        "Mixup or cutmix is on": bool(settings.mixup or settings.cutmix),
        f"accumulate={settings.accumulate} splits a batch": settings.accumulate > 1,
        "An average of the weights (ema) is on": settings.ema is not None,
        "torch.compile is on": settings.compile,
        "Activations are computed again (grad_checkpointing)": settings.grad_checkpointing,
    }
    return next((reason for reason, holds in refused.items() if holds), None)


def _refused_members(members: tuple[Member, ...]) -> str | None:
    networks, images = [member.network for member in members], [member.images for member in members]
    if any(network.spec is None for network in networks) or len({_shape_of(network) for network in networks}) > 1:
        return "The members do not have one shape of a known architecture"
    if any(isinstance(each, ImageFiles) for each in images):
        return "Images are decoded from files"
    if any(each.labels is None for each in images):
        return "Some images have no labels"
    if len({(each.channels, each.side) for each in images}) > 1:
        return "The members' images have several sizes"
    if any(_drops_units(module) for network in networks for module in network.model.modules()):
        return "A network drops units or paths at random"
    return None


def _shape_of(network: Network) -> tuple[object, ...]:
    """Return what members of one stack have in common; the statistics of their images may differ."""
    seen = (network.preprocess.channels, network.preprocess.image_size)
    tensors = [(name, tuple(tensor.shape)) for name, tensor in network.model.state_dict().items()]
    trained = [name for name, parameter in network.model.named_parameters() if parameter.requires_grad]
    return type(network.model), str(network.spec), seen, tuple(tensors), tuple(trained)


def _drops_units(module: nn.Module) -> bool:
    share: Any = module.p if isinstance(module, nn.modules.dropout._DropoutNd) else getattr(module, "drop_prob", 0)
    return bool(share)


class VmapStack:
    """Members with the same number of steps, trained as one stack.

    Each has the batches, learning rates, parameter groups and evaluations of its own `Trainer`.
    """

    def __init__(self, population: Population, members: list[Member], total: int) -> None:
        """Stack the tensors [members, ...]; they are copied back to the networks for evaluations and at the end."""
        self._settings, self._objective, self._members, self._total = (
            population.settings,
            population.objective.to(population.fabric.device),
            members,
            total,
        )
        device = self._device = population.fabric.device
        models = [member.network.model.to(device).train() for member in members]
        self._model = models[0]
        self._parameters, self._buffers = stack_module_state(models)
        self._optimizer = make_optimizer(
            self._model, self._objective, self._settings, {}, replacements=self._parameters, device=device
        )
        self._protection = stack_protections([member.protection for member in members], self._parameters)
        self._loaders = [self._loader(member) for member in members]
        preprocess = [member.network.preprocess for member in members]
        self._mean, self._std = (
            torch.tensor(numbers, device=device)[:, None, :, None, None]
            for numbers in ([each.mean for each in preprocess], [each.std for each in preprocess])
        )
        self._resize = _resize_only(preprocess[0])
        self._logs = [TrainingLog() for _ in members]
        self._bad = torch.full((len(members),), -1, device=device)

    def run(self, progress: PartialProgress) -> list[TrainingLog]:
        """Train to the last step.

        Raises:
            TrainingError: A member's loss is not finite.
        """
        self._evaluate(0)
        for step in range(self._total):
            losses = self._step(step)
            self._record(step + 1, losses, progress)
        self._copy_back()
        for member in self._members:
            member.network.model.eval()
        return self._logs

    def _loader(self, member: Member) -> Loader:
        settings = self._settings
        return Loader(
            member.images,
            settings.batch_size,
            derive(member.seed, member.name),
            augment=make_augment(settings, member.augmentation, member.images, member.network.preprocess),
            repeats=settings.repeats,
            device=self._device,
        )

    def _loss(self, parameters: Any, buffers: Any, mean: Tensor, std: Tensor, pixels: Tensor, labels: Tensor) -> Tensor:
        """Compute the scalar loss of one member, for `vmap`."""

        def logits(images: Tensor) -> Tensor:
            normalised = (self._resize(images) - mean) / std
            output: Tensor = functional_call(self._model, (parameters, buffers), (normalised,))
            return output

        return self._objective(logits, Batch(pixels, labels))  # type: ignore[no-any-return]

    def _step(self, step: int) -> Tensor:
        """Make one step of every member; return their detached losses [members]."""
        for group in self._optimizer.param_groups:
            group["lr"] = self._settings.learning_rate(step, self._total)
        batches = [loader.batch(step) for loader in self._loaders]
        pixels = torch.stack([batch.pixels for batch in batches])
        labels = torch.stack([batch.labels for batch in batches if batch.labels is not None])
        losses: Tensor = vmap(self._loss)(self._parameters, self._buffers, self._mean, self._std, pixels, labels)
        losses.sum().backward()  # type: ignore[no-untyped-call]
        if self._settings.clip is not None:
            self._clip(self._settings.clip)
        protection = self._protection or Protection({}, 0)
        before = protection.save_weights(self._parameters, step)
        self._optimizer.step()
        protection.limit_change(self._parameters, before, step)
        self._optimizer.zero_grad()
        losses = losses.detach()
        self._bad = torch.where(torch.isfinite(losses) | (self._bad >= 0), self._bad, step + 1)
        return losses

    def _clip(self, most: float) -> None:
        """Clip each member's gradient by its own norm, as `torch.nn.utils.clip_grad_norm_` does."""
        gradients = [parameter.grad for parameter in self._parameters.values() if parameter.grad is not None]
        norms = torch.stack([gradient.flatten(1).norm(dim=1) for gradient in gradients]).norm(dim=0)
        shares = (most / (norms + 1e-6)).clamp(max=1.0)
        for gradient in gradients:
            gradient.mul_(shares.view(-1, *[1] * (gradient.ndim - 1)))

    def _record(self, step: int, losses: Tensor, progress: PartialProgress) -> None:
        settings, last = self._settings, step == self._total
        regular = last or step % settings.checkpoint_every == 0
        if regular or step % settings.log_every == 0:
            if regular:
                self._check_weights(step)
            self._stop_if_bad()
            for log, value in zip(self._logs, losses.tolist(), strict=True):
                log.losses.append((step, value))
            progress.update(step * len(self._members), float(losses.mean()))
        if step > 0:
            self._evaluate(step)

    def _check_weights(self, step: int) -> None:
        tensors = [t for t in (*self._parameters.values(), *self._buffers.values()) if t.is_floating_point()]
        finite = torch.stack([tensor.detach().flatten(1).isfinite().all(dim=1) for tensor in tensors]).all(dim=0)
        self._bad = torch.where(finite | (self._bad >= 0), self._bad, step)

    def _stop_if_bad(self) -> None:
        for member, step in zip(self._members, self._bad.tolist(), strict=True):
            if step >= 0:
                raise make_not_finite_error(member.name, step, None)

    def _evaluate(self, step: int) -> None:
        if not self._settings.has_evaluation(step, self._total):
            return
        self._copy_back()
        for member, log in zip(self._members, self._logs, strict=True):
            if member.val is not None:
                score = score_model(member.network.model, member.network.logits, member.val, self._device)
                log.scores.append({"step": step, "accuracy": score.accuracy, "loss": score.loss})

    @torch.no_grad()
    def _copy_back(self) -> None:
        for place, member in enumerate(self._members):
            model = member.network.model
            for name, tensor in (*model.named_parameters(), *model.named_buffers()):
                stacked = self._parameters[name] if name in self._parameters else self._buffers[name]
                tensor.copy_(stacked[place])


def _resize_only(preprocess: Preprocess) -> Preprocess:
    """Return a preprocessing of channels and size only; mean and deviation are stacked elsewhere."""
    zeros, ones = (0.0,) * preprocess.channels, (1.0,) * preprocess.channels
    return preprocess.model_copy(update={"mean": zeros, "std": ones})
