"""The gradient through virtual steps of SGD: how the loss after the steps depends on hyper-parameters of the steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

Tensors = Mapping[str, Tensor]
Loss = Callable[[Tensors, Tensors], Tensor]  # of weights and hyper-parameters, both by name


@dataclass(frozen=True)
class SgdRule:
    """How SGD updates one weight, with the names of `torch.optim.SGD`.

    Attributes:
        lr: Learning rate.
        momentum: Factor of the velocity in the next step.
        dampening: Share of the gradient that does not enter the velocity.
        weight_decay: Factor of the weight that is added to the gradient.
        nesterov: Whether the step uses Nesterov momentum.
    """

    lr: float
    momentum: float = 0.0
    dampening: float = 0.0
    weight_decay: float = 0.0
    nesterov: bool = False


@dataclass(frozen=True)
class SgdState:
    """Weights and optimiser state at one step.

    Attributes:
        weights: Weights by name.
        velocities: Velocities by name, of the weights that have been updated before.
        rules: Update rule of each weight by name.
    """

    weights: Tensors
    velocities: Tensors
    rules: Mapping[str, SgdRule]

    @classmethod
    def of(cls, optimizer: torch.optim.Optimizer, named: Mapping[str, nn.Parameter]) -> SgdState:
        """Return the state of an SGD optimiser in float32 or wider, without changing it or copying what is so already.

        Virtual steps are not taken in half precision: bf16 rounds most of a step away, and its second derivative too.

        Args:
            optimizer: A `torch.optim.SGD`.
            named: Parameters to update, by name.
        """
        keys = ("lr", "momentum", "dampening", "weight_decay", "nesterov")
        rules = {
            id(parameter): SgdRule(**{key: group[key] for key in keys})
            for group in optimizer.param_groups
            for parameter in group["params"]
        }
        state: Any = optimizer.state
        buffers = {name: state[one].get("momentum_buffer") for name, one in named.items() if one in state}
        return cls(
            weights={name: _widen(one).requires_grad_() for name, one in named.items()},
            velocities={name: _widen(one) for name, one in buffers.items() if one is not None},
            rules={name: rules[id(one)] for name, one in named.items()},
        )


def _widen(tensor: Tensor) -> Tensor:
    return tensor.detach().to(torch.promote_types(tensor.dtype, torch.float32))


def take_virtual_step(here: SgdState, gradients: Mapping[str, Tensor | None]) -> SgdState:
    """Take one differentiable step of SGD; weights without a gradient stay, as in torch.

    Args:
        here: State before the step.
        gradients: Gradients by name.
    """
    weights, velocities = dict(here.weights), dict(here.velocities)
    for name, gradient in gradients.items():
        if gradient is None:
            continue
        rule, weight = here.rules[name], here.weights[name]
        moved = gradient + rule.weight_decay * weight
        if rule.momentum:
            before = here.velocities.get(name)
            velocity = moved if before is None else rule.momentum * before + (1 - rule.dampening) * moved
            velocities[name] = velocity
            moved = moved + rule.momentum * velocity if rule.nesterov else velocity
        weights[name] = weight - rule.lr * moved
    return SgdState(weights, velocities, here.rules)


def compute_hypergradient(
    start: SgdState, inner: Sequence[Loss], outer: Loss, hyper: Tensors
) -> tuple[dict[str, Tensor], Tensor]:
    """Compute the gradient of an outer loss by hyper-parameters, through one virtual step on each inner loss.

    The gradient is exact: all steps are unrolled, with momentum and weight decay. Attention uses its mathematical form,
    since the fused forms do not always have a second derivative.

    Args:
        start: State before the first step; it is not changed.
        inner: Loss of each step, in order.
        outer: Loss after the last step.
        hyper: Hyper-parameters by name; the gradient of one that no loss uses is zero.

    Returns:
        The gradient by name, and the outer loss, detached.

    Source: arXiv 2305.02279; the recorded steps of its public code give the same gradient.
    """
    leaves = {name: tensor.detach().requires_grad_() for name, tensor in hyper.items()}
    with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):
        here = start
        for loss in inner:
            names = list(here.weights)
            gradients = torch.autograd.grad(
                loss(here.weights, leaves), list(here.weights.values()), create_graph=True, allow_unused=True
            )
            here = take_virtual_step(here, dict(zip(names, gradients, strict=True)))
        value = outer(here.weights, leaves)
        result = torch.autograd.grad(value, list(leaves.values()), allow_unused=True, materialize_grads=True)
    return dict(zip(leaves, result, strict=True)), value.detach()
