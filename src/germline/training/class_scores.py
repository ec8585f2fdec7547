"""Accuracy per class and confusions of a network on images."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from germline.data import AnyImages
from germline.errors import DataError
from germline.network import Network
from germline.scoring import borrowed, score_batches
from germline.training.evaluate import EVAL_BATCH, Score


@dataclass(frozen=True)
class ClassScores:
    """Score of a network with the predictions of every class.

    Attributes:
        score: Accuracy and loss over all images.
        classes: Ordered class names.
        confusion: int64 [classes, classes]; entry [i, j] counts the images of class i that are taken for class j.
    """

    score: Score
    classes: tuple[str, ...]
    confusion: Tensor

    @property
    def accuracy(self) -> float:
        """Share of images whose label has the largest logit, in [0, 1]."""
        return self.score.accuracy

    def accuracies(self) -> list[float | None]:
        """Return the accuracy of each class; None for a class without images."""
        counts, right = self.confusion.sum(dim=1).tolist(), self.confusion.diagonal().tolist()
        return [hits / count if count else None for hits, count in zip(right, counts, strict=True)]

    def confusions(self, most: int) -> list[tuple[str, str, int]]:
        """Return the most frequent confusions as true class, predicted class and count."""
        wrong = self.confusion.clone()
        wrong.fill_diagonal_(0)
        counts, places = wrong.flatten().sort(descending=True, stable=True)
        order = zip(places.tolist()[:most], counts.tolist()[:most], strict=True)
        pairs = [(*divmod(place, len(self.classes)), count) for place, count in order]
        return [(self.classes[true], self.classes[guess], count) for true, guess, count in pairs if count]

    def to_json(self) -> dict[str, Any]:
        """Return everything as values of JSON; the loss is None if it is not finite."""
        counts = self.confusion.sum(dim=1).tolist()
        rows = zip(self.classes, counts, self.accuracies(), strict=True)
        return {
            "images": sum(counts),
            "accuracy": self.score.accuracy,
            "loss": self.score.loss if math.isfinite(self.score.loss) else None,
            "classes": list(self.classes),
            "per_class": [{"class": name, "images": count, "accuracy": value} for name, count, value in rows],
            "confusion": self.confusion.tolist(),
        }


def score_classes(
    network: Network,
    images: AnyImages,
    device: torch.device | str = "cpu",
    report: Callable[[int, int], None] = lambda done, total: None,
) -> ClassScores:
    """Score a network in eval mode, then restore its mode.

    Args:
        network: Network with the classes of the images, see `match_classes`.
        images: Labelled images.
        device: Device to compute on; the network is moved there and back.
        report: Function that is called after each batch with the images done and all images.

    Raises:
        DataError: There are no images, they have no labels, or the network's outputs are not those of its classes.
    """
    classes = len(network.classes)
    confusion = torch.zeros(classes, classes, dtype=torch.int64)
    loss = torch.zeros((), device=device)
    done = 0

    def count(logits: Tensor, labels: Tensor) -> None:
        nonlocal done
        if logits.shape != (len(labels), classes):
            raise DataError(
                f"the network gives outputs of shape {tuple(logits.shape)} for {len(labels)} images",
                f"it has {classes} classes, and each image needs one number per class",
                "use a network with a head for its classes",
            )
        loss.add_(cross_entropy(logits, labels, reduction="sum"))
        places = labels * classes + logits.argmax(dim=1)
        confusion.add_(torch.bincount(places.cpu(), minlength=classes * classes).view(classes, classes))
        done += len(labels)
        report(done, len(images))

    with borrowed(network.model):
        # Weights that are moved in inference mode can never be trained again.
        network.model.to(device)
        with torch.inference_mode():
            score_batches(network.model, network.logits, images, EVAL_BATCH, device, count)
    accuracy = int(confusion.diagonal().sum()) / len(images)
    return ClassScores(Score(accuracy, float(loss) / len(images)), network.classes, confusion)


def match_classes(network: Network, images: AnyImages, name: str) -> tuple[AnyImages, str]:
    """Match a network and images by the names of their classes.

    Args:
        network: Network with class names.
        images: Labelled images.
        name: Name of their data set, for messages.

    Returns:
        The images with the network's labels, and a sentence about what was changed; empty if nothing was.

    Raises:
        DataError: The images have no labels, or other classes than the network.
    """
    if images.labels is None:
        raise DataError(f"'{name}' has no labels", "An evaluation compares with them", "Use one folder per class")
    if network.classes == images.classes:
        return images, ""
    if set(network.classes) == set(images.classes):
        return images.select_classes(network.classes), "Classes are matched by name; their order differs."
    missing = [label for label in images.classes if label not in network.classes]
    first = f"the first class that it lacks is '{missing[0]}'" if missing else "it knows further classes"
    raise DataError(
        f"the network knows {len(network.classes)} classes, '{name}' has {len(images.classes)}, and they differ",
        first,
        "use data with the network's own classes, or run germline inherit with --data and train the result",
    )
