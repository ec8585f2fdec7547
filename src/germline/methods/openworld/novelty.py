"""Detection of images of unknown classes by a network's low confidence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from germline.data import AnyImages, iterate_batches
from germline.methods.openworld.task_stream import Heads
from germline.network import Network
from germline.training.evaluate import EVAL_BATCH

CURVE_PERCENTILES = (1, 2, 5, 10, 20, 30, 50)


@torch.no_grad()
def measure_confidence(network: Network, heads: Heads, seen: int, images: AnyImages) -> Tensor:
    """Measure the largest softmax over the outputs of any task; float32 [N].

    Args:
        network: Network to measure, in evaluation mode afterwards.
        heads: Outputs of each task.
        seen: Number of tasks on which the network was trained.
        images: Images to measure; their labels do not matter.
    """
    network.model.eval()
    device = next(network.model.parameters()).device
    tasks = range(seen) if heads.kind == "per-task" else range(seen - 1, seen)
    columns = [heads.columns(task, seen).to(device) for task in tasks]
    confidences = []
    for batch in iterate_batches(images, EVAL_BATCH, device):
        logits = network.model(network.preprocess(batch.pixels))
        by_task = [logits[:, outputs].softmax(dim=1).amax(dim=1) for outputs in columns]
        confidences.append(torch.stack(by_task).amax(dim=0).float().cpu())
    return torch.cat(confidences)


def detect_unknown(
    known: Tensor, unknown: Tensor, labels: Tensor, classes: Sequence[str], *, percentile: float, share: float
) -> dict[str, Any]:
    """Set a threshold on known images and apply it to others; images below it are taken for unknown.

    Args:
        known: Confidence on images of known classes [N]. Every other image sets the threshold, the rest test it.
        unknown: Confidence on images of unknown classes [M].
        labels: Labels of the unknown images, int64 [M], in `classes`.
        classes: Names of unknown classes.
        percentile: Percentile of the known images' confidence for the threshold.
        share: Smallest share of a class's images below the threshold at which the class counts as new.

    Returns:
        JSON-able facts: `threshold`, and `detection` and `false_alarms` as shares. `curve` has both over percentiles.
        `auroc` is the chance that a known image has the higher confidence. `flagged` are the new classes, `shares` the
        shares by class.
    """
    setting, trial = known[::2], known[1::2]

    def rates(at: float) -> tuple[float, float, float]:
        threshold = float(torch.quantile(setting.double(), at / 100))
        return threshold, float((unknown < threshold).double().mean()), float((trial < threshold).double().mean())

    threshold, detection, alarms = rates(percentile)
    shares = [float((unknown[labels == at] < threshold).double().mean()) for at in range(len(classes))]
    higher = (trial[:, None] > unknown).double().mean() + 0.5 * (trial[:, None] == unknown).double().mean()
    return {
        "percentile": percentile,
        "threshold": threshold,
        "detection": detection,
        "false_alarms": alarms,
        "curve": [[at, *rates(at)[1:]] for at in CURVE_PERCENTILES],
        "auroc": float(higher),
        "shares": dict(zip(classes, shares, strict=True)),
        "flagged": [name for name, below in zip(classes, shares, strict=True) if below >= share],
    }
