"""Outputs of modules inside a network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

from torch import Tensor, nn


def extract_features(
    model: nn.Module, names: Sequence[str], images: Tensor, run: Callable[[Tensor], Tensor] | None = None
) -> tuple[Tensor, dict[str, Tensor]]:
    """Run a network once and collect the outputs of the named modules.

    Args:
        model: Any network.
        names: Module names, such as `architecture.feature_names(spec)`.
        images: Normalised images [B, C, H, W].
        run: Function to call with the images in place of the network, which it has to call; it may take pixels.

    Returns:
        The logits [B, classes], and the features by name: maps [B, C, H, W] or tokens [B, tokens, width].
    """
    features: dict[str, Tensor] = {}

    def make_hook(name: str) -> Any:
        def save_output(_: nn.Module, __: Any, output: Tensor) -> None:
            features[name] = output

        return save_output

    with ExitStack() as stack:
        for name in names:
            handle = model.get_submodule(name).register_forward_hook(make_hook(name))
            stack.callback(handle.remove)
        logits: Tensor = (run or model)(images)
    return logits, features


def extract_input(module: nn.Module, run: Callable[[Tensor], Tensor], images: Tensor) -> tuple[Tensor, Tensor]:
    """Return the outputs of `run` and the input that a module got within it.

    Args:
        module: Module inside a network, such as its classifier.
        run: Function that calls the network.
        images: Images or pixels [B, C, H, W] for `run`.
    """
    seen: list[Tensor] = []

    def save_input(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        seen.append(inputs[0])

    hook = module.register_forward_pre_hook(save_input)
    try:
        outputs = run(images)
    finally:
        hook.remove()
    return outputs, seen[-1]
