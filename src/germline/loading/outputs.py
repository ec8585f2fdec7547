"""Outputs of modules that users bring: one small batch shows their form, and `.logits` is read where there is one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from germline.arguments import name_type
from germline.errors import ArtefactError
from germline.scoring import evaluation_mode

UNKNOWN_FLOPS = 10**10


class LogitsReader(nn.Module):
    """A network whose output is the logits alone, for networks that wrap them.

    Attributes:
        inner: Network whose outputs have `.logits`, a key "logits", or logits as the first of several tensors.
    """

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, images: Tensor) -> Tensor:
        """Compute logits [B, classes] for normalised images [B, C, H, W]."""
        logits = find_logits(self.inner(images))
        if logits is None:
            raise ArtefactError("the outputs changed their form", "there are no logits now", "use plain logits")
        return logits


def find_logits(outputs: Any) -> Tensor | None:
    """Find the logits among a network's outputs; None if there are none, or several candidates."""
    if isinstance(outputs, Tensor):
        return outputs
    named = outputs.get("logits") if isinstance(outputs, Mapping) else getattr(outputs, "logits", None)
    if isinstance(named, Tensor):
        return named
    if isinstance(outputs, (tuple, list)):
        flat = [part for part in outputs if isinstance(part, Tensor) and part.ndim == 2]
        return flat[0] if len(flat) == 1 else None
    return None


def run_batch(model: nn.Module, logits: Callable[[Tensor], Any], pixels: Tensor) -> Any:
    """Run a network on one small batch in eval mode, and restore the mode of each of its parts.

    Args:
        model: Module whose mode is switched.
        logits: Function from pixels in [0, 1] to the outputs.
        pixels: Images [B, C, H, W].

    Raises:
        ArtefactError: The network cannot read the images.
    """
    with evaluation_mode(model), torch.no_grad():
        try:
            return logits(pixels)
        except Exception as error:  # a module of a user's raises anything
            text = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise ArtefactError(
                f"the ancestor cannot read images of {' x '.join(map(str, pixels.shape[1:]))}",
                f"{type(error).__name__}: {text}",
                "give its image size, channels, mean and std as a germline.Network with a Preprocess",
            ) from error


def count_flops(model: nn.Module, logits: Callable[[Tensor], Any], pixels: Tensor) -> int:
    """Count the floating-point operations of one image's forward pass; a guess where torch cannot count them."""
    try:
        with evaluation_mode(model), torch.no_grad(), FlopCounterMode(display=False) as counter:
            logits(pixels)
    except Exception:  # torch's counter fails on some modules
        return UNKNOWN_FLOPS
    return max(1, int(counter.get_total_flops()) // max(1, len(pixels)))


def describe_outputs(outputs: Any) -> str:
    """Describe the form of a network's outputs in words."""
    if isinstance(outputs, Tensor):
        return f"a tensor {list(outputs.shape)}"
    if isinstance(outputs, Mapping):
        return f"{name_type(outputs)} with {', '.join(map(str, list(outputs)[:4])) or 'nothing'}"
    if isinstance(outputs, (tuple, list)):
        return f"{len(outputs)} values: {', '.join(describe_outputs(part) for part in outputs[:3])}"
    return name_type(outputs)
