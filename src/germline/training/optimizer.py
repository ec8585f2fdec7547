"""The optimiser, its state as plain tensors, and the average of weights."""

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
    replacements: Mapping[str, nn.Parameter] | None = None,
    device: torch.device | None = None,
) -> torch.optim.Optimizer:
    """Build AdamW or SGD for the parameters of network and objective.

    Args:
        model: Trained model.
        objective: Objective; its parameters are trained too.
        settings: Kind of optimiser, learning rate and weight decay.
        decays: Weight decay by prefix of parameter name, if different from the settings.
        rates: Factor of the learning rate by prefix of parameter name, if not 1; stored as `factor` of a group.
        replacements: Tensors to train in place of parameters of these names, such as stacks of several members.
        device: Device of the training; None for the CPU. SGD is fused on CUDA alone, where it rounds otherwise.
    """
    replacements = replacements or {}
    undecayed: set[str] = getattr(model, "no_weight_decay", set)()
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in [*model.named_parameters(), *objective.named_parameters()]:
        if not parameter.requires_grad:
            continue
        decay = _by_prefix(decays, name, settings.weight_decay)
        decay = 0.0 if parameter.ndim <= 1 or name in undecayed else decay
        groups.setdefault((decay, _by_prefix(rates or {}, name, 1.0)), []).append(replacements.get(name, parameter))
    listed = [
        {"params": parameters, "weight_decay": decay, "factor": factor}
        for (decay, factor), parameters in groups.items()
    ]
    if settings.optimizer == "adamw":
        return torch.optim.AdamW(listed, lr=settings.lr, fused=settings.fused)
    is_fused = settings.fused and device is not None and device.type == "cuda"
    options: dict[str, Any] = {"momentum": settings.momentum, "nesterov": settings.momentum > 0}
    return torch.optim.SGD(listed, lr=settings.lr, **options, **({"fused": True} if is_fused else {}))


def _by_prefix(values: Mapping[str, float], name: str, otherwise: float) -> float:
    return next((value for prefix, value in values.items() if name.startswith(prefix)), otherwise)


def get_optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return the optimiser's state as tensors named `<parameter index>.<name>`."""
    state: dict[int, dict[str, Any]] = optimizer.state_dict()["state"]
    return {
        f"{index}.{what}": value
        for index, values in state.items()
        for what, value in values.items()
        if isinstance(value, Tensor)
    }


def load_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Restore the state that `get_optimizer_tensors` returned, in the memory formats of the parameters."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        index, _, what = name.partition(".")
        state.setdefault(int(index), {})[what] = _arrange_like(tensor, parameters[int(index)])
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def _arrange_like(tensor: Tensor, parameter: Tensor) -> Tensor:
    """Return a tensor with the strides of a parameter of its shape.

    Files hold row order. Fused steps walk through parameter and state in the order of memory, or refuse other strides.
    """
    if tensor.shape != parameter.shape or tensor.stride() == parameter.stride():
        return tensor
    return torch.empty_like(parameter, dtype=tensor.dtype, device=tensor.device).copy_(tensor)


class WeightAverage:
    """Exponential average of a network's tensors, with a warm-up that forgets the first weights."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.tensors = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Add the network after `step` steps to the average."""
        decay = min(self.decay, (1 + step) / (10 + step))
        for name, tensor in model.state_dict().items():
            if tensor.is_floating_point():
                self.tensors[name].lerp_(tensor, 1 - decay)
            else:
                self.tensors[name].copy_(tensor)
