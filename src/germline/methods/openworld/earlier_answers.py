"""Anchor on outputs: a network keeps its earlier answers while it learns a new task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import kl_div, log_softmax

from germline.data import Batch
from germline.methods.openworld.task_stream import Heads
from germline.network import Network

TEMPERATURE = 2.0  # as published


class EarlierAnswers:
    """Distillation from the network before a task, of Li and Hoiem, arXiv 1606.09282 (learning without forgetting).

    The images are the new task's, so no earlier image is needed. For each earlier task the loss is the divergence from
    the earlier network's distribution over that task's outputs, with temperature 2. The tasks are summed. The earlier
    network is in evaluation mode and sees the same augmented images.

    Attributes:
        network: The network before the task.
    """

    def __init__(self, network: Network, groups: Sequence[Tensor], strength: float) -> None:
        """Take the earlier network.

        Args:
            network: Network before the task.
            groups: Outputs of each earlier task, int64.
            strength: Weight of the loss.
        """
        self.network, self._groups, self._strength = network, list(groups), strength
        network.model.eval()

    def to(self, *args: Any, **kwargs: Any) -> None:
        """Move the earlier network."""
        self.network.model.to(*args, **kwargs)

    def compute_loss(self, logits: Tensor, batch: Batch) -> Tensor:
        """Compute the weighted sum of the divergences in nats.

        Args:
            logits: Outputs of the network that is trained [B, outputs].
            batch: Images of the step.
        """
        with torch.no_grad():
            earlier_logits = self.network.logits(batch.pixels)
        losses = []
        for outputs in self._groups:
            columns = outputs.to(logits.device)
            now, earlier = (log_softmax(one[:, columns] / TEMPERATURE, dim=1) for one in (logits, earlier_logits))
            losses.append(kl_div(now, earlier, reduction="batchmean", log_target=True))
        return self._strength * TEMPERATURE**2 * torch.stack(losses).sum()


def list_earlier_outputs(heads: Heads, number: int) -> list[Tensor]:
    """List the outputs of each task before a task; tasks that share all outputs count once."""
    groups = {tuple(sorted(heads.columns(task, number).tolist())) for task in range(number)}
    return [torch.tensor(group) for group in sorted(groups)]
