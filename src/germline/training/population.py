"""Populations: many networks of one shape, each trained on its own pictures, and the ways in which that can be done."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from typing import ClassVar, Protocol

from lightning_fabric import Fabric

from germline.data import AnyImages, Augmentation
from germline.errors import SettingError
from germline.network import Network
from germline.training.objectives import Objective
from germline.training.progress import PartialProgress
from germline.training.settings import TrainSettings
from germline.training.trainer import TrainingLog


@dataclass(frozen=True)
class Member:
    """One network of a population.

    Attributes:
        name: With `seed` the key of all its random draws.
        network: What is trained, in place.
        images: To train on.
        seed: Of every random draw.
        val: Pictures to evaluate on; None for no evaluation.
        augmentation: What the data allow.
    """

    name: str
    network: Network
    images: AnyImages
    seed: int
    val: AnyImages | None = None
    augmentation: tuple[Augmentation, ...] = ()


@dataclass(frozen=True)
class Population:
    """The members, and what they are all trained with.

    Attributes:
        members: Whom to train; nobody is there twice.
        objective: What is made small, for each member by itself.
        settings: How.
        fabric: Device, precision and processes.
        together: Members computed at once, where a way can; None for all.
        precision: The run's.
    """

    members: tuple[Member, ...]
    objective: Objective
    settings: TrainSettings
    fabric: Fabric
    together: int | None = None
    precision: str = "32-true"

    def __post_init__(self) -> None:
        if self.together is not None and self.together < 1:
            raise SettingError(f"together={self.together}", "at least one member is trained at a time")
        if len({id(member.network.model) for member in self.members}) < len(self.members):
            raise SettingError(
                "a network stands for several members", "each is trained in place", "give each member a copy"
            )

    def steps(self, member: Member) -> int:
        """Optimiser steps of one member."""
        return self.settings.total_steps(len(member.images))

    @property
    def member_steps(self) -> int:
        """Optimiser steps of all members."""
        return sum(map(self.steps, self.members))

    def make_trial(self, members: int, steps: int) -> Population:
        """A few steps of the first members, on copies, without evaluation: to see what they cost."""
        settings = self.settings.model_copy(update={"steps": steps, "eval_every": None, "eval_at": ()})
        copies = tuple(
            replace(member, network=replace(member.network, model=copy.deepcopy(member.network.model)), val=None)
            for member in self.members[:members]
        )
        return replace(self, members=copies, objective=copy.deepcopy(self.objective), settings=settings)


class PopulationEngine(Protocol):
    """A way to train a population. All ways come to the same result, up to the rounding of sums."""

    name: ClassVar[str]

    def unsupported_reason(self, population: Population) -> str | None:
        """The reason in words why it cannot train this population; None where it can."""

    def members_at_once(self, population: Population) -> int:
        """Members that it computes at once."""

    def train(self, population: Population, progress: PartialProgress) -> list[tuple[TrainingLog, float]]:
        """Train every member in place, and leave it in eval mode on the population's device.

        Args:
            population: Whom, and how.
            stretch: Where member-steps are told.

        Returns:
            For each member its log, and its share of the wall time in seconds.

        Raises:
            TrainingError: A loss stopped being a number; the error names the member.
        """
