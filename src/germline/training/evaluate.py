"""Accuracy and loss of a network on images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from germline.data import AnyImages
from germline.scoring import score_batches

EVAL_BATCH = 256


@dataclass(frozen=True)
class Score:
    """Accuracy and loss of a network.

    Attributes:
        accuracy: Share of images whose label has the largest logit, in [0, 1].
        loss: Mean cross entropy, in nats.
    """

    accuracy: float
    loss: float


@torch.inference_mode()
def score_model(
    model: nn.Module, logits: Callable[[Tensor], Tensor], images: AnyImages, device: torch.device | str = "cpu"
) -> Score:
    """Score a network in eval mode, then restore its mode.

    Args:
        model: Module whose mode is switched.
        logits: Function from pixels [B, C, H, W] in [0, 1] to logits [B, classes].
        images: Labelled images.
        device: Device of the network.

    Raises:
        DataError: There are no images, or they have no labels.
    """
    right, loss = torch.zeros((), device=device), torch.zeros((), device=device)

    def count(guess: Tensor, labels: Tensor) -> None:
        right.add_((guess.argmax(dim=1) == labels).sum())
        loss.add_(cross_entropy(guess, labels, reduction="sum"))

    score_batches(model, logits, images, EVAL_BATCH, device, count)
    return Score(float(right) / len(images), float(loss) / len(images))
