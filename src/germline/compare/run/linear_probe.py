"""A linear probe: what a network's features are worth before it has been trained any further."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.utils import skip_init

from germline.data import AnyImages, in_order
from germline.network import Network
from germline.training.evaluate import EVAL_BATCH

DECAY = 1e-3  # of the probe's weights, on standardised features
ROUNDS = 100


def fit_linear_probe(network: Network, train: AnyImages, val: AnyImages) -> float:
    """Accuracy on `val`, in [0, 1], of a linear classifier on the frozen network's pooled features.

    Multinomial logistic regression with a ridge, fitted by L-BFGS on the features of `train`, standardised; without
    augmentation and without any random draw.
    """
    inputs, labels = pooled_features(network, train)
    mean, spread = inputs.mean(dim=0), inputs.std(dim=0).clamp_min(1e-6)
    # The usual layer would draw initial weights.
    probe: nn.Linear = skip_init(nn.Linear, inputs.shape[1], len(train.classes))  # type: ignore[no-untyped-call]
    nn.init.zeros_(probe.weight)
    nn.init.zeros_(probe.bias)
    inputs = (inputs - mean) / spread
    solver = torch.optim.LBFGS(probe.parameters(), max_iter=ROUNDS, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        solver.zero_grad()
        value = cross_entropy(probe(inputs), labels) + DECAY * probe.weight.square().sum()
        value.backward()  # type: ignore[no-untyped-call]
        return value

    solver.step(loss)  # type: ignore[no-untyped-call]
    looked, right = pooled_features(network, val)
    with torch.no_grad():
        guess = probe((looked - mean) / spread).argmax(dim=1)
    return float((guess == right).float().mean())


@torch.no_grad()
def pooled_features(network: Network, images: AnyImages) -> tuple[Tensor, Tensor]:
    """Pooled features [N, width] before the head, in eval mode, and labels [N]."""
    model: nn.Module = network.model.eval()
    found, labels = [], []
    for batch in in_order(images, EVAL_BATCH, "cpu"):
        assert batch.labels is not None  # noqa: S101 - a comparison is checked to have labels
        pixels = network.preprocess(batch.pixels)
        found.append(model.forward_head(model.forward_features(pixels), pre_logits=True))  # type: ignore[operator]
        labels.append(batch.labels)
    return torch.cat(found), torch.cat(labels)
