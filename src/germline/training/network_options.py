"""How a network is held and called in a training: dropped paths, memory format, recomputed activations, compilation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from timm.layers import DropPath
from torch import nn

from germline.architectures import TransformerSpec
from germline.errors import SettingError
from germline.network import Network, list_other_floats
from germline.registry import architecture_of
from germline.training.objectives import Objective
from germline.training.settings import TrainSettings

COMPILE_BACKEND = "inductor"
# Shapes of networks and batches that one process compiles. Beyond 8, torch's own limit, it silently stops compiling.
COMPILED_SHAPES = 256
_PATHS = ("drop_path1", "drop_path2")  # residual paths of timm's blocks


@contextmanager
def use_network_options(network: Network, settings: TrainSettings, device: torch.device) -> Iterator[None]:
    """Apply the settings that change how a network is computed, and undo them after the block.

    Args:
        network: Network to train.
        settings: Its settings.
        device: Device of the training.
    """
    model = network.model
    with ExitStack() as stack:
        # A descendant is built with the rate of its gene or ancestor.
        if isinstance(network.spec, TransformerSpec) and network.spec.drop_path != settings.drop_path:
            stack.enter_context(_use_drop_path(model, settings.drop_path))
        if uses_channels_last(model, settings, device):
            stack.callback(model.to, memory_format=torch.contiguous_format)
            model.to(memory_format=torch.channels_last)
        if settings.grad_checkpointing:
            stack.callback(_set_grad_checkpointing, model, is_on=False)
            _set_grad_checkpointing(model, is_on=True)
        if settings.compile:
            stack.callback(setattr, model, "_compiled_call_impl", None)
            compile_network(model)
        yield


def check_weight_types(networks: Sequence[Network], precision: str) -> None:
    """Refuse networks in half or double precision in a run that computes in float32.

    Raises:
        SettingError: A network's weights have another type.
    """
    if precision != "32-true":
        return
    for network in networks:
        if others := list_other_floats(network.model.parameters()):
            raise SettingError(
                f"The network's weights are {', '.join(others)}",
                "A run of precision 32-true computes in float32",
                "Use `network.in_float32()`, or a run with precision='bf16-true'",
            )


def uses_channels_last(model: nn.Module, settings: TrainSettings, device: torch.device) -> bool:
    """Tell whether a network's maps and weights are in the format `channels_last`: those of CNNs on CUDA."""
    return settings.channels_last and device.type == "cuda" and is_convolutional(model)


def is_convolutional(model: nn.Module) -> bool:
    """Tell whether a network is a CNN: two convolutions or more read overlapping windows.

    The patch embedding of a ViT reads windows that do not overlap. A convolutional stem alone makes no CNN.
    """
    layers = (module for module in model.modules() if isinstance(module, nn.Conv2d))
    return sum(any(size > step for size, step in zip(one.kernel_size, one.stride, strict=True)) for one in layers) > 1


def compile_network(model: nn.Module) -> None:
    """Compile a network's calls in place.

    torch finds the code of an earlier network again if classes, shapes and settings are equal. So fits of equal shape
    compile once per process.
    """
    import torch._dynamo

    config: Any = torch._dynamo.config
    config.recompile_limit = max(config.recompile_limit, COMPILED_SHAPES)
    model.compile(backend=COMPILE_BACKEND)


def check_grad_checkpointing(model: nn.Module, objective: Objective, settings: TrainSettings) -> None:
    """Check that activations can be computed again, if the settings ask for it.

    Raises:
        SettingError: The network has no blocks that can, or the loss calls it with other weights.
    """
    if not settings.grad_checkpointing:
        return
    reason = None
    if objective.calls_with_other_weights:
        reason = f"{type(objective).__name__} calls it with other weights, which are gone by then"
    elif not hasattr(model, "set_grad_checkpointing"):
        reason = "It has no function set_grad_checkpointing, as networks of timm have"
    if reason:
        raise SettingError(
            f"grad_checkpointing=true cannot train a {type(model).__name__}",
            reason,
            "Remove grad_checkpointing, or set accumulate to save memory",
        )


def check_drop_path(network: Network, settings: TrainSettings) -> None:
    """Refuse to drop paths of a network without paths, or with paths that germline does not know.

    A network that a method builds for itself has no spec, and drops paths at the rate that it was built with.

    Raises:
        SettingError: The network has no such paths.
    """
    spec = network.spec
    if not settings.drop_path or isinstance(spec, TransformerSpec) or (spec is None and not network.reason):
        return
    raise make_drop_path_error(
        settings.drop_path, type(network.model).__name__ if spec is None else architecture_of(spec).name
    )


def make_drop_path_error(rate: float, name: str) -> SettingError:
    """Make the error for a rate of dropped paths and a kind of network without paths."""
    return SettingError(f"drop_path={rate}", f"A {name} has no paths to drop", "Remove drop_path")


@contextmanager
def _use_drop_path(model: Any, rate: float) -> Iterator[None]:
    """Drop residual paths for a while, at rates that rise evenly from 0 in the first block to `rate`, as in timm."""
    before = [(block, name, getattr(block, name)) for block in model.blocks for name in _PATHS]
    for block, share in zip(model.blocks, torch.linspace(0, rate, len(model.blocks)).tolist(), strict=True):
        for name in _PATHS:
            setattr(block, name, DropPath(share) if share > 0 else nn.Identity())
    try:
        yield
    finally:
        for block, name, path in before:
            setattr(block, name, path)


def _set_grad_checkpointing(model: Any, *, is_on: bool) -> None:
    model.set_grad_checkpointing(is_on)


@contextmanager
def keep_statistics(model: nn.Module) -> Iterator[None]:
    """Leave the running statistics of BatchNorm as they are, while activations are computed a second time."""
    layers: list[Any] = [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    before = [(layer, layer.momentum, layer.num_batches_tracked) for layer in layers]
    for layer in layers:
        layer.momentum = 0.0
        if layer.num_batches_tracked is not None:
            layer.num_batches_tracked = layer.num_batches_tracked.clone()
    try:
        yield
    finally:
        for layer, momentum, count in before:
            layer.momentum, layer.num_batches_tracked = momentum, count
