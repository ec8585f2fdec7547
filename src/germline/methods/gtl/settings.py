"""Settings of Genetic Transfer Learning."""

from __future__ import annotations

import math
from typing import Literal, Self

from pydantic import BaseModel, Field, field_validator, model_validator

from germline.methods.gtl.rules import Rules
from germline.methods.gtl.selection import CreditRule, ScoreRule
from germline.training import TrainSettings


class GTLSettings(BaseModel):
    """Settings of an evolution.

    Attributes:
        preset: Values of all settings that are not given: `full` has the paper's networks, `lab` a quarter of their
            width, `tiny` is for tests.
        model: Preset of a `vgg` or `resnet12`.
        size: Change of the model's own size, in the size language.
        population: Number of networks of a generation.
        generations: Number of generations after the first, which starts without genes.
        rules: Rules of selection: today's (`current`), or those of the first release (`published`).
        tournament: Number of networks of a tournament.
        pool: Largest number of genes in the pool.
        replaced: Largest share of the pool that a generation replaces.
        decay: Factor of the pool's scores after each generation.
        credit: Share of a winner's score that its father gets, and again at each step further up the tree.
        credit_depth: Number of ancestors of a winner that get credit.
        credit_rule: Credit by distance and similarity (`tree`), or as in the public code (`grl`).
        ways: Number of classes of a task.
        tasks: Number of tasks on which the population is trained.
        critic_tasks: Number of tasks of held-out classes.
        tasks_per_gene: Number of these tasks that judge a gene.
        critic_seeds: Number of critics of a gene on each of its tasks.
        life: Training settings of a network.
        critic_steps: Steps of a critic's training. All its other settings are those of `life`.
        fitness: Minus the loss of critics (`loss`), their accuracy (`critic`), or mean accuracy over a life (`life`).
        scores: Score of a win: fitness (`raw`), or its share of the best of the generation (`global`) or of its task
            (`per-task`).
        selection: Winners by `fitness`, or at random (`drift`), or one `line` without a population.
        breeders: All `winners` and the best of the pool, or the `pool` alone.
        mutation: Chance that a gene mutates.
        mutation_rate: Chance of each channel of a mutating gene to be exchanged.
        noise: Noise on a mutated gene's weights, in standard deviations of each tensor.
        patience: Generations without a better mean of the winners before the evolution ends.
        finalists: Number of genes that are judged once more at the end.
        final_runs: Number of critics of each finalist.
        engine: Engine that trains a population.
    """

    preset: Literal["full", "lab", "tiny"] = "lab"
    model: str = ""
    size: str = ""
    population: int = Field(default=50, ge=2)
    generations: int = Field(default=100, ge=0)
    rules: Rules = "current"
    tournament: int = Field(default=3, ge=1)
    pool: int = Field(default=16, ge=1)
    replaced: float = Field(default=0.3, gt=0, le=1)
    decay: float = Field(default=0.6, ge=0, le=1)
    credit: float = Field(default=1 / math.e, ge=0, lt=1)
    credit_depth: int = Field(default=5, ge=0)
    credit_rule: CreditRule = "tree"
    ways: int = Field(default=5, ge=2)
    tasks: int = Field(default=20, ge=1)
    critic_tasks: int = Field(default=8, ge=1)
    tasks_per_gene: int = Field(default=3, ge=1)
    critic_seeds: int = Field(default=2, ge=1)
    life: TrainSettings = TrainSettings()
    critic_steps: int = Field(default=100, ge=1)
    fitness: Literal["loss", "critic", "life"] = "loss"
    scores: ScoreRule = "raw"
    selection: Literal["fitness", "drift", "line"] = "fitness"
    breeders: Literal["winners", "pool"] = "winners"
    mutation: float = Field(default=0.5, ge=0, le=1)
    mutation_rate: float = Field(default=0.05, ge=0, le=1)
    noise: float = Field(default=0.0, ge=0)
    patience: int = Field(default=15, ge=1)
    finalists: int = Field(default=3, ge=1)
    final_runs: int = Field(default=5, ge=1)
    engine: Literal["auto", "loop", "vmap"] = "auto"

    @field_validator("life")
    @classmethod
    def _require_steps(cls, value: TrainSettings) -> TrainSettings:
        if value.steps is None:
            raise ValueError("A life is counted in steps. Set life.steps")
        return value

    @model_validator(mode="after")
    def _require_critic_tasks(self) -> Self:
        if self.tasks_per_gene > self.critic_tasks:
            raise ValueError(
                f"tasks_per_gene={self.tasks_per_gene} is more than critic_tasks={self.critic_tasks}. "
                f"A gene meets each of its critic tasks once. Set tasks_per_gene={self.critic_tasks} or less"
            )
        if self.selection == "line" and self.fitness == "life":
            raise ValueError("A line has no tournaments to decide. Its gene is judged by critics. Set fitness=loss")
        return self

    @property
    def critics_per_gene(self) -> int:
        """Number of critics that judge a gene."""
        return 0 if self.fitness == "life" else self.tasks_per_gene * self.critic_seeds

    @property
    def steps_per_generation(self) -> int:
        """Steps of all networks and critics of a generation."""
        assert self.life.steps is not None  # noqa: S101 - checked above, repeated for the type checker
        return self.population * (self.life.steps + self.critics_per_gene * self.critic_steps)

    @property
    def lives_per_line(self) -> int:
        """Lives of a line between two judgements: as many as leave a generation's steps for its critics."""
        assert self.life.steps is not None  # noqa: S101 - checked above, repeated for the type checker
        left = self.steps_per_generation - self.critics_per_gene * self.critic_steps
        return max(1, left // max(1, self.life.steps))

    def count_steps(self, samples: int) -> int:
        """Count the steps of all networks in which so many images are seen."""
        return samples // self.life.batch_size
