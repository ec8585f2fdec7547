"""What training costs, in pictures seen and in operations."""

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
from germline.methods.base import Method, find_source
from germline.network import Network
from germline.registry import architecture_of
from germline.training import TrainSettings


@dataclass(frozen=True)
class Cost:
    """Work done.

    Attributes:
        count: Pieces of it.
        samples: Pictures seen in training, repeats counted.
        flops: Operations, forward and backward, a teacher's forward passes included; a multiply-add counts as two.
    """

    count: int = 0
    samples: int = 0
    flops: int = 0

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.count + other.count, self.samples + other.samples, self.flops + other.flops)


def sum_costs(costs: Iterable[Cost]) -> Cost:
    """The sum of costs."""
    return sum(costs, Cost())


def forward_flops(network: Network) -> int:
    """Operations of one picture's forward pass; counted on an empty picture where no architecture knows the network."""
    if network.spec is not None:
        return spec_flops(network.spec)
    seen = network.preprocess
    model = copy.deepcopy(network.model).to("meta").eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.zeros(1, seen.channels, seen.image_size, seen.image_size, device="meta"))
    return int(counter.get_total_flops())


def teacher_flops(store: ArtifactStore, size: str | None = None) -> int:
    """Operations of one picture's forward pass through the ancestor."""
    spec = store.ancestor_spec(size)
    return forward_flops(store.build_ancestor(0, size)) if spec is None else spec_flops(spec)


@lru_cache(maxsize=64)
def spec_flops(spec: Spec) -> int:
    """Operations of one picture's forward pass through a network of that spec."""
    return architecture_of(spec).flops(spec)


def training_cost(spec: Spec, settings: TrainSettings, images: int, teacher: int = 0) -> Cost:
    """One training; a backward pass counts as two forward ones.

    Args:
        spec: What is trained.
        settings: How.
        images: In the training set.
        teacher: Operations of a teacher's forward pass, of one picture.
    """
    samples = settings.total_samples(images)
    return Cost(1, samples, samples * (3 * spec_flops(spec) + teacher))


def gene_cost(store: ArtifactStore, method: Method, size: str) -> Cost:
    """Condensing one gene, its ancestor left out; nothing for a gene that is taken as it lies there."""
    source = find_source(method)
    own_size = size if source.traits.needs_own_size else None
    teacher = 0 if source.ancestor == "none" else teacher_flops(store, own_size)
    images = len(store.load_data(store.recipe.ancestor.data).train)
    cost = source.cost(store.gene_spec(source, size), images, teacher)
    return Cost(1, cost.samples, cost.flops)


def ancestor_cost(store: ArtifactStore, size: str | None = None) -> Cost:
    """Training one ancestor; nothing for one that is at hand."""
    spec = store.ancestor_spec(size)
    if store.recipe.ancestor.path is not None or spec is None:
        return Cost()
    return training_cost(spec, store.recipe.ancestor.train, len(store.load_data(store.recipe.ancestor.data).train))


def cell_cost(store: ArtifactStore, cell: Cell) -> Cost:
    """One descendant's training."""
    train, tasks = store.load_data(store.recipe.data).train, store.recipe.tasks
    images = count_images(store.recipe, cell.images, len(train), len(train.classes))
    method = store.get_method(cell.arm)
    teacher = teacher_flops(store) if method.traits.needs_teacher else 0
    one = training_cost(store.descendant_spec(cell.size), store.cell_settings(cell), images, teacher)
    count = tasks.count if tasks else 1
    return Cost(1, one.samples * count, one.flops * count)
