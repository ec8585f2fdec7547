"""What training costs, in pictures seen and in operations."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch.utils.flop_counter import FlopCounterMode

from germline.anatomy import Spec
from germline.network import Network
from germline.registry import anatomy_of
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


def total(costs: Iterable[Cost]) -> Cost:
    """The sum of costs."""
    return sum(costs, Cost())


def forward_flops(network: Network) -> int:
    """Operations of one picture's forward pass; counted on an empty picture where no anatomy knows the network."""
    if network.spec is not None:
        return spec_flops(network.spec)
    seen = network.preprocess
    model = copy.deepcopy(network.model).to("meta").eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.zeros(1, seen.channels, seen.image_size, seen.image_size, device="meta"))
    return int(counter.get_total_flops())


@lru_cache(maxsize=64)
def spec_flops(spec: Spec) -> int:
    """Operations of one picture's forward pass through a network of that spec."""
    return anatomy_of(spec).flops(spec)


def training_cost(spec: Spec, settings: TrainSettings, pictures: int, teacher: int = 0) -> Cost:
    """One training; a backward pass counts as two forward ones.

    Args:
        spec: What is trained.
        settings: How.
        pictures: In the training set.
        teacher: Operations of a teacher's forward pass, of one picture.
    """
    samples = settings.total_steps(pictures) * settings.batch_size
    return Cost(1, samples, samples * (3 * spec_flops(spec) + teacher))
