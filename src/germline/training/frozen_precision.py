"""Precision of networks that a run asks without training them: teachers, and networks that are scored."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial, wraps
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from germline.network import Network

# Functions that are called from outside a network: its forward pass, and timm's feature interface.
ENTRIES = ("forward", "forward_features", "forward_head")


@contextmanager
def use_run_precision(networks: Sequence[Network], fabric: Fabric, trained: nn.Module | None = None) -> Iterator[None]:
    """Let networks compute in the precision of a run within the block; their outputs are float32.

    Under bf16-mixed they run in bf16 autocast. Under bf16-true their weights are bf16. After the block each tensor is
    the one of before, on its device.

    Args:
        networks: Networks that are asked.
        fabric: Device and precision of the run.
        trained: Network that the run trains. It and tensors that it shares with others are left alone.
    """
    precision: Any = fabric.strategy.precision
    kind = getattr(precision, "precision", "32-true")
    models = {id(network.model): network.model for network in networks if network.model is not trained}
    if kind == "32-true" or not models:
        yield
        return
    is_true = kind == "bf16-true"
    fixed = () if trained is None else (*trained.parameters(), *trained.buffers())
    with ExitStack() as stack:
        for model in models.values():
            if is_true:
                _lower_tensors(model, {id(tensor) for tensor in fixed}, stack)
            _wrap_entries(model, precision, stack, has_bf16_weights=is_true)
        yield


def _lower_tensors(model: nn.Module, fixed: set[int], stack: ExitStack) -> None:
    """Give a network bf16 values, until the stack is closed."""
    for parameter in model.parameters():
        if id(parameter) not in fixed:
            stack.callback(setattr, parameter, "data", parameter.data)
            parameter.data = _lower(parameter.data)
    for module in model.modules():
        for name, buffer in module.named_buffers(recurse=False):
            if id(buffer) not in fixed:
                stack.callback(setattr, module, name, buffer)
                setattr(module, name, _lower(buffer))


def _lower(tensor: Tensor) -> Tensor:
    return tensor.to(torch.bfloat16) if tensor.dtype == torch.float32 else tensor


def _wrap_entries(model: nn.Module, precision: Any, stack: ExitStack, *, has_bf16_weights: bool) -> None:
    """Let the entries of a network use the precision until the stack is closed."""
    is_inside: list[bool] = []

    def compute(call: Callable[..., Any], *inputs: Any, **options: Any) -> Any:
        # Entries also call each other. Then nothing is converted.
        if is_inside:
            return call(*inputs, **options)
        is_inside.append(True)
        try:
            # Autocast converts inputs by itself. Weights in bf16 need inputs in bf16.
            given = precision.convert_input(inputs) if has_bf16_weights else inputs
            with precision.forward_context():
                outputs = call(*given, **options)
        finally:
            is_inside.clear()
        return precision.convert_output(outputs)

    for name in ENTRIES:
        if (call := getattr(model, name, None)) is not None:
            setattr(model, name, wraps(call)(partial(compute, call)))
            stack.callback(delattr, model, name)
