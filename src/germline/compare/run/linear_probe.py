"""Linear probe: accuracy of a linear classifier on the features of a frozen network."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.utils import skip_init

from germline.data import AnyImages, iterate_batches
from germline.network import Network
from germline.training.evaluate import EVAL_BATCH
from germline.training.feature_distillation import read_features

PROBE_DECAY = 1e-3  # L2 penalty on the probe's weights, for standardised features
PROBE_ITERATIONS = 100


def fit_linear_probe(network: Network, train: AnyImages, val: AnyImages, device: torch.device | str = "cpu") -> float:
    """Fit a linear classifier on frozen features and return its validation accuracy.

    The probe is multinomial logistic regression with an L2 penalty, fitted by L-BFGS on the standardised pooled
    features of `train`. There is no augmentation and no random draw.

    Args:
        network: Network whose features are read.
        train: Images to fit on.
        val: Images to score.
        device: Device that computes the features; the classifier is fitted on the CPU.

    Returns:
        Accuracy on `val`, in [0, 1].
    """
    features, labels = pooled_features(network, train, device)
    val_features, val_labels = pooled_features(network, val, device)
    return fit_probe_on_features((features, labels), (val_features, val_labels), len(train.classes))


def fit_probe_on_features(train: tuple[Tensor, Tensor], val: tuple[Tensor, Tensor], classes: int) -> float:
    """Fit the probe of `fit_linear_probe` on features [N, width] with labels [N], and return its accuracy on others.

    Args:
        train: Features and labels to fit on.
        val: Features and labels to score.
        classes: Number of classes.
    """
    head = fit_linear_head(train, classes)
    return float((head.compute_logits(val[0]).argmax(dim=1) == val[1]).float().mean())


@dataclass(frozen=True)
class LinearHead:
    """Linear classifier of standardised features.

    Attributes:
        mean: Mean of each feature over the images that it was fitted to.
        deviation: Standard deviation of each feature over these images.
        linear: Layer from standardised features to logits.
    """

    mean: Tensor
    deviation: Tensor
    linear: nn.Linear

    @torch.no_grad()
    def compute_logits(self, features: Tensor) -> Tensor:
        """Return logits [N, classes] of features [N, width]."""
        logits: Tensor = self.linear((features - self.mean) / self.deviation)
        return logits


def fit_linear_head(train: tuple[Tensor, Tensor], classes: int, penalty: float = PROBE_DECAY) -> LinearHead:
    """Fit multinomial logistic regression by L-BFGS; nothing is drawn.

    Args:
        train: Features [N, width] and labels [N].
        classes: Number of classes.
        penalty: Factor of the squared weights in the loss; the bias has no penalty.
    """
    features, labels = train
    mean, deviation = features.mean(dim=0), features.std(dim=0).clamp_min(1e-6)
    # skip_init, because the usual constructor draws random weights.
    linear: nn.Linear = skip_init(nn.Linear, features.shape[1], classes)  # type: ignore[no-untyped-call]
    nn.init.zeros_(linear.weight)
    nn.init.zeros_(linear.bias)
    features = (features - mean) / deviation
    solver = torch.optim.LBFGS(linear.parameters(), max_iter=PROBE_ITERATIONS, line_search_fn="strong_wolfe")

    def compute_loss() -> Tensor:
        solver.zero_grad()
        loss = cross_entropy(linear(features), labels) + penalty * linear.weight.square().sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    solver.step(compute_loss)  # type: ignore[no-untyped-call]
    return LinearHead(mean, deviation, linear)


@torch.no_grad()
def pooled_features(network: Network, images: AnyImages, device: torch.device | str = "cpu") -> tuple[Tensor, Tensor]:
    """Compute pooled features [N, width] before the head, in eval mode; return them and the labels [N] on the CPU.

    Args:
        network: Network whose features are read; it stays on its device.
        images: Labelled images.
        device: Device that computes the features.
    """
    model = network.model.eval()
    before = next((tensor.device for tensor in model.parameters()), torch.device(device))
    model.to(device)
    features, labels = [], []
    for batch in iterate_batches(images, EVAL_BATCH, device):
        assert batch.labels is not None  # noqa: S101 - comparisons refuse data without labels
        features.append(read_features(network, batch.pixels, "features").cpu())
        labels.append(batch.labels.cpu())
    model.to(before)
    return torch.cat(features), torch.cat(labels)
