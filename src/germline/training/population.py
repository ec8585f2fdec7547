"""Populations: networks of one shape, each trained on its own images, and the interface of engines."""

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
from germline.training.protection import Protection
from germline.training.settings import TrainSettings
from germline.training.trainer import TrainingLog


@dataclass(frozen=True)
class Member:
    """One network of a population.

    Attributes:
        name: Name of the member; with `seed` the key of all its random draws.
        network: Network that is trained in place.
        images: Training images.
        seed: Random seed of every draw.
        val: Validation images; None for no evaluation.
        augmentation: Augmentation that the data allow.
        protection: Elements that change less; None for no such elements.
    """

    name: str
    network: Network
    images: AnyImages
    seed: int
    val: AnyImages | None = None
    augmentation: tuple[Augmentation, ...] = ()
    protection: Protection | None = None


@dataclass(frozen=True)
class Population:
    """The members, and the settings that all of them share.

    Attributes:
        members: Members to train, each with a network of its own.
        objective: Loss, computed for each member separately.
        settings: Training settings of every member.
        fabric: Device, precision and processes.
        together: Members computed at once, if the engine can; None for all.
        precision: Precision of the run.
    """

    members: tuple[Member, ...]
    objective: Objective
    settings: TrainSettings
    fabric: Fabric
    together: int | None = None
    precision: str = "32-true"

    def __post_init__(self) -> None:
        if self.together is not None and self.together < 1:
            raise SettingError(f"together={self.together}", "At least one member is trained at a time", "Use 1 or more")
        if len({id(member.network.model) for member in self.members}) < len(self.members):
            raise SettingError(
                "Several members share a network", "Each member is trained in place", "Give each member a copy"
            )

    def steps(self, member: Member) -> int:
        """Return the number of optimiser steps of one member."""
        return self.settings.total_steps(len(member.images))

    @property
    def member_steps(self) -> int:
        """Number of optimiser steps of all members."""
        return sum(map(self.steps, self.members))

    def make_trial(self, members: int, steps: int) -> Population:
        """Copy the first members for a few steps without evaluation, to measure their cost."""
        settings = self.settings.model_copy(update={"steps": steps, "eval_every": None, "eval_at": ()})
        copies = tuple(
            replace(member, network=replace(member.network, model=copy.deepcopy(member.network.model)), val=None)
            for member in self.members[:members]
        )
        return replace(self, members=copies, objective=copy.deepcopy(self.objective), settings=settings)


class PopulationEngine(Protocol):
    """Interface of a training engine. All engines give the same result, up to rounding of sums."""

    name: ClassVar[str]

    def unsupported_reason(self, population: Population) -> str | None:
        """Return the reason why it cannot train this population, or None if it can."""

    def members_at_once(self, population: Population) -> int:
        """Return the number of members that it computes at once."""

    def train(self, population: Population, progress: PartialProgress) -> list[tuple[TrainingLog, float]]:
        """Train every member in place, and leave it in eval mode on the population's device.

        Args:
            population: Population to train.
            progress: Progress of the member-steps.

        Returns:
            Log and share of the wall time in seconds, for each member.

        Raises:
            TrainingError: A loss is not finite; the error names the member.
        """
