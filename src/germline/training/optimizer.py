"""The optimiser: groups with and without decay, and its state as plain tensors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from germline.training.settings import TrainSettings


def make_optimizer(
    model: nn.Module,
    objective: nn.Module,
    settings: TrainSettings,
    decays: Mapping[str, float],
    rates: Mapping[str, float] | None = None,
    instead: Mapping[str, nn.Parameter] | None = None,
) -> torch.optim.Optimizer:
    """AdamW or SGD over the parameters of the network and of the objective.

    Args:
        model: What is trained.
        objective: Its parameters, if any, are trained along.
        settings: Kind, rate and decay.
        decays: Weight decay by prefix of a parameter's name, where it differs from the settings'.
        rates: Factor of the settings' rate by prefix of a parameter's name, where it is not 1; a group's is its
            `factor`.
        instead: By name, what is trained in place of the network's own parameters, grouped as they are: their stacks.
    """
    standing = instead or {}
    spared: set[str] = getattr(model, "no_weight_decay", set)()
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in [*model.named_parameters(), *objective.named_parameters()]:
        if not parameter.requires_grad:
            continue
        own = _by_prefix(decays, name, settings.weight_decay)
        decay = 0.0 if parameter.ndim <= 1 or name in spared else own
        groups.setdefault((decay, _by_prefix(rates or {}, name, 1.0)), []).append(standing.get(name, parameter))
    listed = [
        {"params": parameters, "weight_decay": decay, "factor": factor}
        for (decay, factor), parameters in groups.items()
    ]
    if settings.optimizer == "adamw":
        return torch.optim.AdamW(listed, lr=settings.lr, fused=True)
    return torch.optim.SGD(listed, lr=settings.lr, momentum=settings.momentum, nesterov=settings.momentum > 0)


def _by_prefix(values: Mapping[str, float], name: str, otherwise: float) -> float:
    return next((value for prefix, value in values.items() if name.startswith(prefix)), otherwise)


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimiser's state as tensors named `<parameter index>.<what>`."""
    state: dict[int, dict[str, Any]] = optimizer.state_dict()["state"]
    return {
        f"{index}.{what}": value
        for index, values in state.items()
        for what, value in values.items()
        if isinstance(value, Tensor)
    }


def load_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Put back what `optimizer_tensors` gave."""
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        index, _, what = name.partition(".")
        state.setdefault(int(index), {})[what] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


class WeightAverage:
    """An exponential average of a network's tensors, warmed up so that it does not remember its start."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.tensors = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Take in the network after `step` steps."""
        decay = min(self.decay, (1 + step) / (10 + step))
        for name, tensor in model.state_dict().items():
            if tensor.is_floating_point():
                self.tensors[name].lerp_(tensor, 1 - decay)
            else:
                self.tensors[name].copy_(tensor)
