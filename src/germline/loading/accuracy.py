"""An ancestor's accuracy on validation images, and the preprocessing that it was trained with."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from germline.architectures import Preprocess
from germline.data import AnyImages, DataSet, iterate_batches
from germline.errors import DataError
from germline.loading.assume import ASSUMED, describe_preprocess, list_alternatives, read_own_size
from germline.loading.look import describe_again
from germline.loading.outputs import count_flops
from germline.network import Network
from germline.scoring import score_batches

ANCESTOR_BATCH = 64
MOST_IMAGES, LEAST_IMAGES, TRIED_IMAGES = 10_000, 64, 512
# Floating-point operations of one measurement on a CPU, and of all alternatives together: about a minute each.
BUDGET = 3e12
FEWEST_IMAGES = 16  # below which accuracies are not compared
LEAST_GAIN = 0.02  # of an accuracy, for another preprocessing to be better
ABOVE_CHANCE = 0.1  # share of the way from chance to 1 below which an accuracy is near chance


@dataclass(frozen=True)
class MeasuredAncestor:
    """An ancestor and its accuracy on validation images.

    Attributes:
        network: Ancestor, with the preprocessing that was chosen.
        accuracy: Share of validation images that it classifies rightly; None if its classes are not the data's.
        lines: Sentences for the user: what was measured.
        warnings: Sentences for the user: what was assumed, and what looks wrong.
    """

    network: Network
    accuracy: float | None = None
    lines: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def describe(self) -> dict[str, Any]:
        """Return what is saved about the ancestor, JSON-able."""
        return {
            "source": self.network.source,
            "preprocess": self.network.preprocess.model_dump(mode="json"),
            "classes": len(self.network.classes),
            "accuracy": self.accuracy,
            "measured": list(self.lines),
            "notes": list(self.warnings),
        }


def measure_ancestor(network: Network, data: DataSet) -> MeasuredAncestor:
    """Measure an ancestor on validation images, and choose the preprocessing if its source does not say it.

    An assumed preprocessing is replaced only by one whose accuracy is clearly higher; one that is given never is.
    """
    images = _find_images(network, data)
    if images is None:
        return MeasuredAncestor(network, lines=_explain_other_classes(network, data), warnings=network.notes)
    flops = _count_flops(network, images)
    tried = _take_evenly(images, TRIED_IMAGES, flops * 10)
    first, notes = network.preprocess, list(network.notes)
    accuracy = _score(network, first, tried)
    is_open = "statistics" in network.assumed and len(tried) >= FEWEST_IMAGES
    if is_open or is_near_chance(accuracy, len(data.classes), len(tried)):
        best, score = _find_better(network, data, tried, accuracy)
        text = f"{accuracy:.1%} with {describe_preprocess(network.preprocess)}"
        if best is not None and _may_replace(network, best):
            notes = [note for note in notes if not note.startswith(ASSUMED)]
            share = f"accuracy {score:.1%} of {len(tried)} validation images, against {text}"
            notes.append(f"{ASSUMED} {describe_preprocess(best)}; {share}")
            network = describe_again(network, best)
        elif best is not None:
            notes.append(f"the ancestor's accuracy is {text}; it is {score:.1%} with {describe_preprocess(best)}")
    if tuple(notes) != network.notes:
        network = replace(network, notes=tuple(notes))
    measured = _take_evenly(images, MOST_IMAGES, flops)
    if measured is not tried or network.preprocess != first:
        accuracy = _score(network, network.preprocess, measured)
    count = f"{len(measured)} validation images of '{data.name}'"
    if is_near_chance(accuracy, len(data.classes), len(measured)):
        notes.append(
            f"the ancestor's accuracy is near chance: {accuracy:.1%} on {count}, "
            f"chance is {1 / len(data.classes):.1%}; check its image size, mean, std and the order of its classes"
        )
    return MeasuredAncestor(network, accuracy, (f"the ancestor's accuracy is {accuracy:.2%} on {count}",), tuple(notes))


def _find_better(
    network: Network, data: DataSet, images: AnyImages, accuracy: float
) -> tuple[Preprocess | None, float]:
    """Find the preprocessing with a clearly higher accuracy, and that accuracy; None if there is none."""
    has_fixed_size = read_own_size(network.model) is not None
    others = list_alternatives(network.preprocess, data, has_fixed_size=has_fixed_size)
    scores = [(_score_or_none(network, other, images), -index) for index, other in enumerate(others)]
    score, index = max(scores, default=(0.0, 0))
    is_better = score > accuracy + max(LEAST_GAIN, 1 / math.sqrt(len(images)))
    return (others[-index], score) if is_better else (None, score)


def _may_replace(network: Network, preprocess: Preprocess) -> bool:
    """Return whether a preprocessing differs from the network's only in what is assumed."""
    own = network.preprocess
    has_same_size = preprocess.image_size == own.image_size
    has_same_statistics = (preprocess.mean, preprocess.std) == (own.mean, own.std)
    is_size_free, is_free = "image_size" in network.assumed, "statistics" in network.assumed
    return (has_same_size or is_size_free) and (has_same_statistics or is_free)


def is_near_chance(accuracy: float, classes: int, images: int) -> bool:
    """Return whether an accuracy is not clearly better than guessing; few images say nothing."""
    if images < FEWEST_IMAGES:
        return False
    chance = 1 / classes
    spread = 2 * math.sqrt(chance * (1 - chance) / max(1, images))
    return accuracy <= chance + max(spread, ABOVE_CHANCE * (1 - chance))


def _find_images(network: Network, data: DataSet) -> AnyImages | None:
    """Return the validation images if the network has an output for each of their classes; None if not."""
    if not network.has_head or not data.classes or not set(data.classes) <= set(network.classes):
        return None
    try:
        images = data.val
    except DataError:
        return None
    return images if images.labels is not None and len(images) and len(data.classes) > 1 else None


def _explain_other_classes(network: Network, data: DataSet) -> tuple[str, ...]:
    """Say that an ancestor was not measured because it lacks a class of the data; nothing if it lacks none."""
    missing = [name for name in data.classes if name not in network.classes] if network.has_head else []
    return tuple(f"the ancestor was not measured: it has no class '{name}' of '{data.name}'" for name in missing[:1])


def _count_flops(network: Network, images: AnyImages) -> int:
    pixels = next(iterate_batches(images.subset(torch.arange(1)), 1)).pixels
    return count_flops(network.model, network.logits, pixels.to(_find_device(network)))


def _take_evenly(images: AnyImages, most: int, flops: int) -> AnyImages:
    """Take evenly spaced images, as many as the budget of operations allows."""
    affordable = max(LEAST_IMAGES, int(BUDGET / flops))
    count = min(len(images), most, affordable)
    if count == len(images):
        return images
    return images.subset(torch.linspace(0, len(images) - 1, count).round().long())


def _score_or_none(network: Network, preprocess: Preprocess, images: AnyImages) -> float:
    """Score with another preprocessing; 0 if the network cannot read such images."""
    try:
        return _score(network, preprocess, images)
    except (RuntimeError, AssertionError, ValueError):
        return 0.0


def _score(network: Network, preprocess: Preprocess, images: AnyImages) -> float:
    other, device = replace(network, preprocess=preprocess), _find_device(network)
    outputs = torch.tensor([network.classes.index(name) for name in images.classes])
    right = 0

    def count(logits: Tensor, labels: Tensor) -> None:
        nonlocal right
        right += int((logits.argmax(dim=1).cpu() == outputs[labels.cpu()]).sum())

    score_batches(network.model, other.logits, images, ANCESTOR_BATCH, device, count)
    return right / len(images)


def _find_device(network: Network) -> torch.device:
    first: Tensor | None = next(network.model.parameters(), None)
    return torch.device("cpu") if first is None else first.device
