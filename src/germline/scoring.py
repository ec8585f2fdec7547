"""The one loop over labelled images that accuracies come from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from germline.data import AnyImages, iterate_batches
from germline.errors import DataError


def score_batches(
    model: nn.Module,
    logits: Callable[[Tensor], Tensor],
    images: AnyImages,
    batch_size: int,
    device: torch.device | str,
    count: Callable[[Tensor, Tensor], None],
) -> None:
    """Compute the logits of all images in eval mode, then restore the mode of each part of the network.

    Args:
        model: Module whose mode is switched.
        logits: Function from pixels [B, C, H, W] in [0, 1] to logits [B, classes].
        images: Labelled images.
        batch_size: Number of images per batch.
        device: Device of the network.
        count: Function that is called for each batch with logits [B, classes] and labels int64 [B].

    Raises:
        DataError: There are no images, or they have no labels.
    """
    if images.labels is None or not len(images):
        raise DataError("Nothing to evaluate on", "An evaluation needs images with labels", "Use labelled images")
    with evaluation_mode(model), torch.no_grad():
        for batch in iterate_batches(images, batch_size, device):
            assert batch.labels is not None  # noqa: S101 - checked above, repeated for the type checker
            count(logits(batch.pixels), batch.labels)


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Set a network to eval mode within the block."""
    modes = {part: part.training for part in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for part, mode in modes.items():
            part.training = mode


@contextmanager
def borrowed(model: nn.Module) -> Iterator[None]:
    """Set a network to eval mode within the block, and bring it back to its device afterwards."""
    device = next((parameter.device for parameter in model.parameters()), None)
    try:
        with evaluation_mode(model):
            yield
    finally:
        if device is not None:
            model.to(device)
