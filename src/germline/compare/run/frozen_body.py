"""Protocol `frozen`: a linear head is fitted to features that a descendant computes once."""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from germline.compare.run.linear_probe import fit_linear_head, pooled_features
from germline.data import AnyImages
from germline.files import hash_tensor
from germline.network import Network
from germline.registry import architecture_of

# Factors of the squared weights, for standardised features. All arms try all of them.
PENALTIES = (1.0, 0.1, 0.01, 0.001, 0.0001)
MAX_SAVED_FEATURES = 50_000_000  # numbers, 200 MB

Features = tuple[Tensor, Tensor]  # features [N, width] and labels [N]


@dataclass(frozen=True)
class FrozenFit:
    """Head of a frozen body, with the penalty that is best on validation images.

    Attributes:
        penalty: Factor of the squared weights in the loss.
        val_accuracy: Accuracy on validation images, in [0, 1].
        val_loss: Mean cross entropy on validation images, in nats.
        test_accuracy: Accuracy on test images; None without them.
        samples: Number of images whose features the head needs.
        seconds: Wall time.
    """

    penalty: float
    val_accuracy: float
    val_loss: float
    test_accuracy: float | None
    samples: int
    seconds: float


def fit_frozen_body(
    network: Network,
    train: AnyImages,
    val: AnyImages,
    test: AnyImages | None,
    device: torch.device | str = "cpu",
) -> FrozenFit:
    """Compute the features of all images once, and fit a head to those of the training images.

    Of the penalties, the one with the highest validation accuracy is used; the largest of equal ones. There is no
    augmentation, and the network does not change. Features of validation and test images are saved in memory, so that
    cells with other training images find them.

    Args:
        network: Network whose body is frozen.
        train: Images to fit on.
        val: Images to choose the penalty on.
        test: Images to score the chosen head on; None in tuning.
        device: Device that computes the features; heads are fitted on the CPU.
    """
    start, classes = time.monotonic(), len(train.classes)
    fitted_to, scored_on = pooled_features(network, train, device), _find_features(network, val, device)
    heads = [(fit_linear_head(fitted_to, classes, penalty), penalty) for penalty in PENALTIES]
    accuracies = [_score(head.compute_logits(scored_on[0]), scored_on[1]) for head, _ in heads]
    best = max(range(len(heads)), key=lambda index: accuracies[index])
    head, penalty = heads[best]
    tested = None if test is None else _find_features(network, test, device)
    return FrozenFit(
        penalty,
        accuracies[best],
        float(cross_entropy(head.compute_logits(scored_on[0]), scored_on[1])),
        None if tested is None else _score(head.compute_logits(tested[0]), tested[1]),
        samples=sum(len(images) for images in (train, val, test) if images is not None),
        seconds=time.monotonic() - start,
    )


def _score(logits: Tensor, labels: Tensor) -> float:
    return float((logits.argmax(dim=1) == labels).sum()) / len(labels)


# Features of validation and test images in this process, the last used ones at the end.
_SAVED: OrderedDict[tuple[str, ...], Features] = OrderedDict()


def _find_features(network: Network, images: AnyImages, device: torch.device | str) -> Features:
    """Return pooled features and labels of images, computed once per process for networks with equal bodies."""
    key = (str(device), images.fingerprint(), repr(network.preprocess), *_hash_body(network))
    if key not in _SAVED:
        _SAVED[key] = pooled_features(network, images, device)
    _SAVED.move_to_end(key)
    while len(_SAVED) > 1 and sum(features.numel() for features, _ in _SAVED.values()) > MAX_SAVED_FEATURES:
        _SAVED.popitem(last=False)
    return _SAVED[key]


def _hash_body(network: Network) -> list[str]:
    """Hash all tensors of a network but those of its head, and its spec but for the number of classes."""
    assert network.spec is not None  # noqa: S101 - a descendant always has one
    head = architecture_of(network.spec).parts(network.spec).head
    tensors = {name: tensor for name, tensor in network.model.state_dict().items() if name not in head}
    spec = network.spec.model_copy(update={"classes": 0})
    return [repr(spec), *(f"{name} {hash_tensor(tensor)}" for name, tensor in tensors.items())]
