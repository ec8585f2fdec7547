"""Pictures of unknown classes, told by how little sure a network is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from germline.data import AnyImages, in_order
from germline.methods.openworld.task_stream import Heads
from germline.network import Network
from germline.training.evaluate import EVAL_BATCH

CURVE_PERCENTILES = (1, 2, 5, 10, 20, 30, 50)  # percentiles


@torch.no_grad()
def measure_confidence(network: Network, heads: Heads, seen: int, images: AnyImages) -> Tensor:
    """The largest softmax over the outputs of a task, of all tasks the largest; float32 [N].

    Args:
        network: In evaluation mode afterwards.
        heads: Of the network.
        seen: Tasks that it has met.
        images: Labels do not matter.
    """
    network.model.eval()
    device = next(network.model.parameters()).device
    tasks = range(seen) if heads.kind == "per-task" else range(seen - 1, seen)
    columns = [heads.columns(task, seen).to(device) for task in tasks]
    found = []
    for batch in in_order(images, EVAL_BATCH, device):
        logits = network.model(network.preprocess(batch.pixels))
        sure = [logits[:, own].softmax(dim=1).amax(dim=1) for own in columns]
        found.append(torch.stack(sure).amax(dim=0).float().cpu())
    return torch.cat(found)


def detect_unknown(
    known: Tensor, unknown: Tensor, labels: Tensor, classes: Sequence[str], *, percentile: float, share: float
) -> dict[str, Any]:
    """Set a threshold on known pictures and apply it to others: what is below it is taken for unknown.

    Args:
        known: Confidence on pictures of known classes [N]; every other one sets the threshold, the rest are tried.
        unknown: Confidence on pictures of unknown classes [M].
        labels: Of the latter, int64 [M], in `classes`.
        classes: Names of unknown classes.
        percentile: Of the known pictures' confidence that is the threshold.
        share: Of a class's pictures that are below the threshold, from which on the class counts as met.

    Returns:
        JSON-able: `threshold`, `detection` and `false_alarms` as shares, the `curve` of both over percentiles, `auroc`
        (chance that a known picture has the higher confidence), `flagged` (the classes met), `shares` by class.
    """
    setting, trial = known[::2], known[1::2]

    def rates(at: float) -> tuple[float, float, float]:
        threshold = float(torch.quantile(setting.double(), at / 100))
        return threshold, float((unknown < threshold).double().mean()), float((trial < threshold).double().mean())

    threshold, found, alarms = rates(percentile)
    shares = [float((unknown[labels == at] < threshold).double().mean()) for at in range(len(classes))]
    higher = (trial[:, None] > unknown).double().mean() + 0.5 * (trial[:, None] == unknown).double().mean()
    return {
        "percentile": percentile,
        "threshold": threshold,
        "detection": found,
        "false_alarms": alarms,
        "curve": [[at, *rates(at)[1:]] for at in CURVE_PERCENTILES],
        "auroc": float(higher),
        "shares": dict(zip(classes, shares, strict=True)),
        "flagged": [name for name, own in zip(classes, shares, strict=True) if own >= share],
    }
