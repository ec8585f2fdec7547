"""Accuracy and loss of a network over pictures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from germline.data import AnyImages, iterate_batches
from germline.errors import DataError

EVAL_BATCH = 256


@dataclass(frozen=True)
class Score:
    """What a network does on pictures.

    Attributes:
        accuracy: Share of the pictures whose first choice is the label, in [0, 1].
        loss: Mean cross entropy, in nats.
    """

    accuracy: float
    loss: float


@torch.inference_mode()
def evaluate(
    model: nn.Module, logits: Callable[[Tensor], Tensor], images: AnyImages, device: torch.device | str = "cpu"
) -> Score:
    """Score a network in eval mode; its mode is put back afterwards.

    Args:
        model: The module whose mode is switched.
        logits: Maps pixels [B, C, H, W] in [0, 1] to logits [B, classes].
        images: With labels.
        device: Where the network lies.

    Raises:
        DataError: The pictures have no labels, or there are none.
    """
    if images.labels is None or not len(images):
        raise DataError("nothing to evaluate on", "pictures with labels are needed")
    was_training = model.training
    model.eval()
    right, loss = torch.zeros((), device=device), torch.zeros((), device=device)
    for batch in iterate_batches(images, EVAL_BATCH, device):
        assert batch.labels is not None  # noqa: S101 - said above, repeated for the type checker
        guess = logits(batch.pixels)
        right += (guess.argmax(dim=1) == batch.labels).sum()
        loss += cross_entropy(guess, batch.labels, reduction="sum")
    model.train(was_training)
    return Score(float(right) / len(images), float(loss) / len(images))
