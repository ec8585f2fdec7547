"""Judgement of a generation's genes by critics: which tasks they meet, and what comes of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

import torch

from germline.methods.gtl.population import CircuitWeights, PopulationTrainer, mean_life_accuracy
from germline.methods.gtl.settings import GTLSettings
from germline.randomness import generator
from germline.training import FitResult


@dataclass(frozen=True)
class Judgements:
    """What a generation's genes are worth, in the order of its networks.

    Attributes:
        fitness: Mean of each gene's marks.
        accuracy: Mean accuracy of each gene's critics; of its network's life if that is the fitness.
        tasks: Index of the first task that judged each gene.
        marks: Fitness by each critic, see `GeneNode`; empty for the fitness of a life.
        samples: Images that all critics saw.
    """

    fitness: list[float]
    accuracy: list[float]
    tasks: list[int]
    marks: list[tuple[float, ...]]
    samples: int


def judge_lives(lives: Sequence[FitResult], tasks: Sequence[int]) -> Judgements:
    """Judge genes by the mean accuracy over the lives of their networks; there are no critics."""
    fitness = [mean_life_accuracy(life) for life in lives]
    return Judgements(fitness, fitness, list(tasks), [()] * len(fitness), 0)


def judge_generation(
    rules: GTLSettings,
    trainer: PopulationTrainer,
    number: int,
    groups: Sequence[Sequence[int]],
    genes: Sequence[CircuitWeights],
    done: int,
) -> Judgements:
    """Judge genes by several critics each. Genes that are compared meet the same tasks and the same critics.

    All critic tasks are used as evenly as possible, so that generations compare. Only one critic of each gene is in
    memory at a time.

    Args:
        rules: Settings of the method.
        trainer: Trainer of the critics.
        number: Number of the generation.
        groups: Tournaments, as indices of genes.
        genes: Genes to judge.
        done: Steps of all networks before these.
    """
    place_of = {index: place for place, group in enumerate(groups) for index in group}
    places = [place_of[index] for index in range(len(genes))]
    first_tasks: list[int] = []
    results: list[list[FitResult]] = [[] for _ in genes]
    for turn in range(rules.tasks_per_gene):
        for seed in range(rules.critic_seeds):
            tasks, draws = _assign_critics(rules, trainer, number, places, turn, seed)
            first_tasks = first_tasks or tasks
            judged = len(results[0]) * len(genes)
            outcomes = trainer.judge_genes(genes, tasks, draws, done=done + judged * rules.critic_steps)
            for gene_results, outcome in zip(results, outcomes, strict=True):
                gene_results.append(outcome)
    marks = [tuple(measure_critic(result, rules) for result in gene_results) for gene_results in results]
    return Judgements(
        fitness=[fmean(gene_marks) for gene_marks in marks],
        accuracy=[fmean(result.accuracy for result in gene_results) for gene_results in results],
        tasks=first_tasks,
        marks=marks,
        samples=sum(result.samples for gene_results in results for result in gene_results),
    )


def measure_critic(result: FitResult, rules: GTLSettings) -> float:
    """Return the fitness that one critic measured: minus its validation loss in nats, or its accuracy."""
    return -float(result.scores[-1]["loss"]) if rules.fitness == "loss" else result.accuracy


def _assign_critics(
    rules: GTLSettings, trainer: PopulationTrainer, number: int, places: Sequence[int], turn: int, seed: int
) -> tuple[list[int], list[str]]:
    """Return the task and the name of the draws of each gene's next critic.

    With scores per task each tournament has tasks and draws of its own. Otherwise the generation shares them.
    """
    count, is_first = rules.critic_tasks, turn == seed == 0
    if rules.scores == "per-task":
        order = torch.randperm(count, generator=generator(trainer.run.seed, "gtl", "critics", number)).tolist()
        suffix = "" if is_first else f"/{turn}/{seed}"
        return [order[(place + turn) % count] for place in places], [f"{number}/{place}{suffix}" for place in places]
    order = torch.randperm(count, generator=generator(trainer.run.seed, "gtl", "critics")).tolist()
    task = order[(number * rules.tasks_per_gene + turn) % count]
    return [task] * len(places), [f"{number}/shared/{turn}/{seed}"] * len(places)
