"""Features from inside a network, at the modules that its architecture names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

from torch import Tensor, nn


def extract_features(
    model: nn.Module, taps: Sequence[str], images: Tensor, run: Callable[[Tensor], Tensor] | None = None
) -> tuple[Tensor, dict[str, Tensor]]:
    """Run a network once and keep what the named modules give.

    Args:
        model: Any network.
        taps: Module names, such as `architecture.feature_names(spec)`.
        images: Normalised, [B, C, H, W].
        run: What is called with them in the place of the network, and leads to it; it may take pixels.

    Returns:
        The logits [B, classes], and the features by name: maps [B, C, H, W], or tokens [B, tokens, width].
    """
    found: dict[str, Tensor] = {}

    def keeper(name: str) -> Any:
        def keep(_: nn.Module, __: Any, output: Tensor) -> None:
            found[name] = output

        return keep

    with ExitStack() as stack:
        for name in taps:
            handle = model.get_submodule(name).register_forward_hook(keeper(name))
            stack.callback(handle.remove)
        logits: Tensor = (run or model)(images)
    return logits, found
