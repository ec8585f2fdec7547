"""The gradient through virtual steps: how a loss after some steps of SGD changes with what those steps were told."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

Tensors = Mapping[str, Tensor]
Loss = Callable[[Tensors, Tensors], Tensor]  # of weights and of what is told, both by name


@dataclass(frozen=True)
class Rule:
    """How SGD moves one weight, as `torch.optim.SGD` has it.

    Attributes:
        lr: Rate.
        momentum: What is kept of the velocity.
        dampening: What is left out of the gradient as it enters the velocity.
        weight_decay: Added to the gradient, times the weight.
        nesterov: Whether the step looks ahead.
    """

    lr: float
    momentum: float = 0.0
    dampening: float = 0.0
    weight_decay: float = 0.0
    nesterov: bool = False


@dataclass(frozen=True)
class Start:
    """Where virtual steps begin.

    Attributes:
        weights: By name.
        velocities: Momentum of those weights that have moved before, by name.
        rules: How each weight is moved, by name.
    """

    weights: Tensors
    velocities: Tensors
    rules: Mapping[str, Rule]

    @classmethod
    def of(cls, optimizer: torch.optim.Optimizer, named: Mapping[str, nn.Parameter]) -> Start:
        """Where an SGD optimiser stands; nothing is copied, and nothing is written to.

        Args:
            optimizer: A `torch.optim.SGD`.
            named: Those of its parameters that are to be moved, by name.
        """
        keys = ("lr", "momentum", "dampening", "weight_decay", "nesterov")
        found = {
            id(one): Rule(**{key: group[key] for key in keys})
            for group in optimizer.param_groups
            for one in group["params"]
        }
        state: Any = optimizer.state
        kept = {name: state[one].get("momentum_buffer") for name, one in named.items() if one in state}
        return cls(
            weights={name: one.detach().requires_grad_() for name, one in named.items()},
            velocities={name: one.detach() for name, one in kept.items() if one is not None},
            rules={name: found[id(one)] for name, one in named.items()},
        )


def virtual_step(here: Start, gradients: Mapping[str, Tensor | None]) -> Start:
    """One step of SGD, of which autograd keeps account; weights without a gradient stay, as in torch.

    Args:
        here: Weights, velocities and rules.
        gradients: By name.
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
    return Start(weights, velocities, here.rules)


def hypergradient(start: Start, inner: Sequence[Loss], outer: Loss, told: Tensors) -> tuple[dict[str, Tensor], Tensor]:
    """The exact gradient of an outer loss, after one virtual step on each inner loss, by what the losses are told.

    All steps are unrolled, momentum and weight decay included. Attention is computed by its mathematical form, since
    the fused ones have no second derivative everywhere.

    Args:
        start: Where the steps begin; it is left as it is.
        inner: The losses of the steps, in their order.
        outer: The loss after them.
        told: By name; zeros come back for what no loss looks at.

    Returns:
        The gradient by name, and the outer loss, detached.

    Source: the recorded steps of arXiv 2305.02279's public code come to the same gradient.
    """
    leaves = {name: tensor.detach().requires_grad_() for name, tensor in told.items()}
    with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):
        here = start
        for loss in inner:
            names = list(here.weights)
            found = torch.autograd.grad(
                loss(here.weights, leaves), list(here.weights.values()), create_graph=True, allow_unused=True
            )
            here = virtual_step(here, dict(zip(names, found, strict=True)))
        value = outer(here.weights, leaves)
        gradients = torch.autograd.grad(value, list(leaves.values()), allow_unused=True, materialize_grads=True)
    return dict(zip(leaves, gradients, strict=True)), value.detach()
