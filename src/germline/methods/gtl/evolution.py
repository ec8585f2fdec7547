"""How an evolution goes from one generation to the next, and what it is between two of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from statistics import fmean, pstdev
from typing import Any

import torch
from torch import Tensor

from germline.methods.gtl.circuits import circuit_similarity
from germline.methods.gtl.population import CircuitWeights, Mutation, PopulationTrainer, mean_life_accuracy
from germline.methods.gtl.selection import (
    GeneNode,
    draw_by_roulette,
    draw_tournaments,
    merge_pool,
    normalise_fitness,
    share_credit,
)
from germline.methods.gtl.settings import GTLSettings
from germline.randomness import generator
from germline.training import FitResult


@dataclass(frozen=True)
class EvolutionState:
    """Where an evolution stands after a generation: ids and tables, and tensors of the pool's genes alone.

    Attributes:
        genes: The gene tree, by rising id.
        scores: What each gene of the pool is worth now.
        pool: Ids of the genes in the pool, best first.
        carried: What those genes are made of.
        generations: For each generation mean, best and spread of the fitness, and the winners' mean.
        stale: Generations since the winners' mean was highest.
        samples: Pictures seen so far, repeats counted.
    """

    genes: list[GeneNode] = field(default_factory=list)
    scores: dict[int, float] = field(default_factory=dict)
    pool: list[int] = field(default_factory=list)
    carried: dict[int, CircuitWeights] = field(default_factory=dict)
    generations: list[dict[str, float]] = field(default_factory=list)
    stale: int = 0
    samples: int = 0

    def to_record(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """As it is kept: tensors, and facts as JSON."""
        tensors: dict[str, Tensor] = {}
        for id_, gene in self.carried.items():
            tensors |= gene.to_tensors(f"{id_}/")
        facts = asdict(replace(self, carried={}))
        return tensors, {**facts, "scores": {str(id_): score for id_, score in self.scores.items()}}

    @classmethod
    def from_record(cls, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> EvolutionState:
        """What `to_record` gave."""
        return cls(
            genes=[GeneNode(**row) for row in facts["genes"]],
            scores={int(id_): score for id_, score in facts["scores"].items()},
            pool=list(facts["pool"]),
            carried={id_: CircuitWeights.from_tensors(tensors, f"{id_}/") for id_ in facts["pool"]},
            generations=list(facts["generations"]),
            stale=facts["stale"],
            samples=facts["samples"],
        )


@dataclass(frozen=True)
class FinalGene:
    """The gene that is handed out.

    Attributes:
        id: Its number in the tree.
        carried: What it is made of.
        fitness: Mean accuracy of its critics in the last judging.
        samples: Pictures that the last judging saw.
    """

    id: int
    carried: CircuitWeights
    fitness: float
    samples: int


@dataclass(frozen=True)
class _GenerationFitness:
    """Fitness of each member, index of the task that it was taken on, and pictures that critics saw."""

    fitness: list[float]
    tasks: list[int]
    samples: int


@dataclass(frozen=True)
class Evolution:
    """An evolution by the rules of some settings in a world.

    Attributes:
        rules: The method's settings.
        trainer: Where networks live.
    """

    rules: GTLSettings
    trainer: PopulationTrainer

    def run_generation(self, number: int, state: EvolutionState) -> EvolutionState:
        """A generation: birth, life, mutation, judgement, tournaments, credit and the pool's renewal.

        Args:
            number: Of the generation; networks of generation 0 are born without genes, with circuits that are drawn.
            state: After the one before.
        """
        rules, members = self.rules, range(self.rules.population)
        fathers = [self._draw_father(state, number, index) for index in members]
        tasks = [int(torch.randint(rules.tasks, (1,), generator=self._generator("task", number, i))) for i in members]
        born = [None if father is None else state.carried[father] for father in fathers]
        done = rules.count_steps(state.samples)
        networks, lives = self.trainer.train_generation(
            number, tasks, born, is_evaluated=rules.fitness == "life", done=done
        )
        own = [gene or self.trainer.draw_gene(number, index) for index, gene in enumerate(born)]
        mutation = Mutation(rules.mutation if number else 0.0, rules.mutation_rate, rules.noise)
        left = [
            self.trainer.extract_gene(network, gene.circuit, mutation, number, index)
            for index, (network, gene) in enumerate(zip(networks, own, strict=True))
        ]
        groups = draw_tournaments(rules.population, rules.tournament, self._generator("tournaments", number))
        lived = state.samples + sum(life.samples for life in lives)
        judged = self._score_fitness(number, groups, left, lives, tasks, self.rules.count_steps(lived))
        won = {self._choose_winner(group, judged.fitness, number) for group in groups}
        drift, first = rules.selection == "drift", len(state.genes)
        scores = [1.0] * len(members) if drift else normalise_fitness(judged.fitness, judged.tasks)
        genes = [
            GeneNode(
                id=first + index,
                father=fathers[index],
                generation=number,
                similarity=circuit_similarity(left[index].circuit, own[index].circuit, self.trainer.spec),
                task=tasks[index],
                critic_task=judged.tasks[index],
                fitness=judged.fitness[index],
                score=scores[index],
                won=index in won,
            )
            for index in members
        ]
        winners = {first + index: left[index] for index in sorted(won)}
        return self._update_state(state, genes, winners, lived + judged.samples)

    def run_and_record(self, number: int, state: EvolutionState) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """The same as it is kept."""
        return self.run_generation(number, state).to_record()

    def choose_final_gene(self, state: EvolutionState) -> FinalGene:
        """The best of the pool's highest genes, each judged by the same few critics once more."""
        rules, ids = self.rules, state.pool[: self.rules.finalists]
        pairs = [(id_, turn) for id_ in ids for turn in range(rules.final_runs)]
        genes, turns = [state.carried[id_] for id_, _ in pairs], [turn for _, turn in pairs]
        tasks, draws = [turn % rules.critic_tasks for turn in turns], [f"final/{turn}" for turn in turns]
        results = self.trainer.judge_genes(genes, tasks, draws, done=self.rules.count_steps(state.samples))
        judged = list(zip(pairs, results, strict=True))
        means = {id_: fmean(result.accuracy for (own, _), result in judged if own == id_) for id_ in ids}
        best = max(ids, key=lambda id_: means[id_])
        return FinalGene(best, state.carried[best], means[best], sum(result.samples for result in results))

    def _draw_father(self, state: EvolutionState, number: int, index: int) -> int | None:
        return draw_by_roulette(state.scores, self._generator("father", number, index)) if state.pool else None

    def _choose_winner(self, group: Sequence[int], fitness: Sequence[float], number: int) -> int:
        if self.rules.selection == "drift":
            return group[int(torch.randint(len(group), (1,), generator=self._generator("drift", number, group[0])))]
        return max(group, key=lambda index: fitness[index])

    def _score_fitness(
        self,
        number: int,
        groups: Sequence[Sequence[int]],
        left: Sequence[CircuitWeights],
        lives: Sequence[FitResult],
        tasks: Sequence[int],
        done: int,
    ) -> _GenerationFitness:
        """The fitness of all; members of one tournament meet the same critic on the same task."""
        if self.rules.fitness == "life":
            return _GenerationFitness([mean_life_accuracy(life) for life in lives], list(tasks), 0)
        group_of = {index: place for place, group in enumerate(groups) for index in group}
        # All critic tasks are used as evenly as can be, so that generations compare.
        order = torch.randperm(self.rules.critic_tasks, generator=self._generator("critics", number)).tolist()
        critics = [order[group_of[index] % len(order)] for index in range(len(left))]
        draws = [f"{number}/{group_of[index]}" for index in range(len(left))]
        results = self.trainer.judge_genes(left, critics, draws, done=done)
        return _GenerationFitness(
            [result.accuracy for result in results], critics, sum(result.samples for result in results)
        )

    def _update_state(
        self, state: EvolutionState, genes: Sequence[GeneNode], winners: Mapping[int, CircuitWeights], samples: int
    ) -> EvolutionState:
        """Scores decayed, forefathers credited, the pool renewed."""
        rules, tree = self.rules, {gene.id: gene for gene in (*state.genes, *genes)}
        scores = {id_: score * rules.decay for id_, score in state.scores.items()}
        for id_ in winners:
            found = share_credit(tree[id_], tree, share=rules.credit, depth=rules.credit_depth, rule=rules.credit_rule)
            for forefather, worth in found.items():
                if forefather in scores:  # one that has left the pool needs no score any more
                    scores[forefather] += worth
        scores |= {id_: tree[id_].score for id_ in winners}
        pool = merge_pool(state.pool, list(winners), scores, capacity=rules.pool, replaced=rules.replaced)
        carried = {**state.carried, **winners}
        now = _summarise_generation(genes)
        better = not state.generations or now["winners"] > max(past["winners"] for past in state.generations)
        return EvolutionState(
            genes=list(tree.values()),
            scores={id_: scores[id_] for id_ in pool},
            pool=pool,
            carried={id_: carried[id_] for id_ in pool},
            generations=[*state.generations, now],
            stale=0 if better else state.stale + 1,
            samples=samples,
        )

    def _generator(self, *keys: str | int) -> torch.Generator:
        return generator(self.trainer.run.seed, "gtl", *keys)


def _summarise_generation(genes: Sequence[GeneNode]) -> dict[str, float]:
    values = [gene.fitness for gene in genes]
    return {
        "generation": genes[0].generation,
        "fitness": fmean(values),
        "best": max(values),
        "winners": fmean(gene.fitness for gene in genes if gene.won),
        "spread": pstdev(values),
    }
