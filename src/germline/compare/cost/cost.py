"""Training costs in samples and FLOPs."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch.utils.flop_counter import FlopCounterMode

from germline.architectures import Spec
from germline.compare.run.cells import Cell, count_images
from germline.compare.run.store import ArtifactStore
from germline.data import AnyImages
from germline.methods.base import Method, find_source
from germline.network import Network
from germline.registry import architecture_of
from germline.training import TrainSettings


@dataclass(frozen=True)
class Cost:
    """Cost of several trainings.

    Attributes:
        count: Number of trainings.
        samples: Images seen in training, repeats counted; with a frozen body, images of its feature passes.
        flops: Operations, forward and backward, with a teacher's forward passes. A multiply-add counts as two.
    """

    count: int = 0
    samples: int = 0
    flops: int = 0

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.count + other.count, self.samples + other.samples, self.flops + other.flops)


def sum_costs(costs: Iterable[Cost]) -> Cost:
    """Sum costs."""
    return sum(costs, Cost())


def forward_flops(network: Network) -> int:
    """Count the operations of a forward pass of one image.

    If no architecture knows the network, torch counts them on an empty image.
    """
    if network.spec is not None:
        return spec_flops(network.spec)
    preprocess = network.preprocess
    side = preprocess.image_size
    model = copy.deepcopy(network.model).to("meta").eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.zeros(1, preprocess.channels, side, side, device="meta"))
    return int(counter.get_total_flops())


def teacher_flops(store: ArtifactStore, size: str | None = None) -> int:
    """Count the operations of a forward pass of one image through the ancestor."""
    spec, key = store.ancestor_spec(size), size or ""
    if spec is not None:
        return spec_flops(spec)
    if key not in store.teacher_flops:
        store.teacher_flops[key] = forward_flops(store.preview_ancestor(size))
    return store.teacher_flops[key]


@lru_cache(maxsize=64)
def spec_flops(spec: Spec) -> int:
    """Count the operations of a forward pass of one image through a network."""
    return architecture_of(spec).flops(spec)


def training_cost(spec: Spec, settings: TrainSettings, images: int, teacher: int = 0) -> Cost:
    """Compute the cost of one training. A backward pass counts as two forward passes.

    Args:
        spec: Spec of the network.
        settings: Training settings.
        images: Number of images in the training set.
        teacher: Operations of a teacher's forward pass of one image.
    """
    samples = settings.total_samples(images)
    return Cost(1, samples, samples * (3 * spec_flops(spec) + teacher))


def gene_cost(store: ArtifactStore, method: Method, size: str) -> Cost:
    """Compute the cost of condensing one gene, without its ancestor; zero if nothing is trained."""
    source = find_source(method)
    own_size = size if source.traits.needs_own_size else None
    teacher = 0 if source.ancestor == "none" else teacher_flops(store, own_size)
    images = len(store.load_data(store.recipe.ancestor.data).train)
    cost = source.cost(store.gene_spec(source, size), images, teacher)
    return Cost(1, cost.samples, cost.flops)


def ancestor_cost(store: ArtifactStore, size: str | None = None) -> Cost:
    """Compute the cost of training one ancestor; zero for a trained one."""
    spec = store.ancestor_spec(size)
    if store.recipe.ancestor.path is not None or spec is None:
        return Cost()
    return training_cost(spec, store.recipe.ancestor.train, len(store.load_data(store.recipe.ancestor.data).train))


def cell_cost(store: ArtifactStore, cell: Cell) -> Cost:
    """Compute the cost of training one descendant, on all its tasks.

    With a frozen body, it is the cost of the features: one forward pass of each training, validation and test image.
    """
    data, tasks, spec = store.load_data(store.recipe.data), store.recipe.tasks, store.descendant_spec(cell.size)
    images = _count_task_images(store, data.train, cell.images)
    method = store.get_method(cell.arm)
    if store.recipe.is_frozen:
        scored = (data.val,) if cell.tuning else (data.val, data.test)
        samples = images + sum(_count_task_images(store, split, "all") for split in scored)
        per_task = Cost(1, samples, samples * spec_flops(spec))
    else:
        teacher = teacher_flops(store) if method.traits.needs_teacher else 0
        per_task = training_cost(spec, store.cell_settings(cell), images, teacher)
    count = tasks.count if tasks else 1
    return Cost(1, per_task.samples * count, per_task.flops * count)


def _count_task_images(store: ArtifactStore, images: AnyImages, per_class: int | str) -> int:
    """Count the images of one training, or of one of its tasks."""
    return count_images(store.recipe, per_class, len(images), len(images.classes))
