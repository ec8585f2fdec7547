"""The evolution: its generations, and its state between two of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
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
    """State of an evolution after a generation; it has tensors of the pool's genes alone.

    Attributes:
        genes: Gene tree, by rising id.
        scores: Score of each gene of the pool.
        pool: Ids of the genes in the pool, best first.
        weights: Circuits and weights of the genes in the pool.
        generations: Mean, best and spread of the fitness and the winners' mean, for each generation.
        stale: Generations since the winners' mean was highest.
        samples: Images seen so far, repeats counted.
    """

    genes: list[GeneNode] = field(default_factory=list)
    scores: dict[int, float] = field(default_factory=dict)
    pool: list[int] = field(default_factory=list)
    weights: dict[int, CircuitWeights] = field(default_factory=dict)
    generations: list[dict[str, float]] = field(default_factory=list)
    stale: int = 0
    samples: int = 0

    def to_record(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return the state as `run.keep` saves it: tensors, and facts as JSON."""
        tensors: dict[str, Tensor] = {}
        for id_, gene in self.weights.items():
            tensors |= gene.to_tensors(f"{id_}/")
        facts = {
            "genes": [asdict(gene) for gene in self.genes],
            "scores": {str(id_): score for id_, score in self.scores.items()},
            "pool": self.pool,
            "carried": {},  # always empty; a key of files that are already written
            "generations": self.generations,
            "stale": self.stale,
            "samples": self.samples,
        }
        return tensors, facts

    @classmethod
    def from_record(cls, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> EvolutionState:
        """Rebuild the state from the values of `to_record`."""
        return cls(
            genes=[GeneNode(**row) for row in facts["genes"]],
            scores={int(id_): score for id_, score in facts["scores"].items()},
            pool=list(facts["pool"]),
            weights={id_: CircuitWeights.from_tensors(tensors, f"{id_}/") for id_ in facts["pool"]},
            generations=list(facts["generations"]),
            stale=facts["stale"],
            samples=facts["samples"],
        )


@dataclass(frozen=True)
class FinalGene:
    """The gene that becomes the learngene.

    Attributes:
        id: Number of the gene in the tree.
        weights: Circuit and weights of the gene.
        fitness: Mean accuracy of its critics in the final judgement.
        samples: Images that the final judgement saw.
    """

    id: int
    weights: CircuitWeights
    fitness: float
    samples: int


@dataclass(frozen=True)
class _GenerationFitness:
    """Fitness of each member, index of the task that gave it, and number of images that critics saw."""

    fitness: list[float]
    tasks: list[int]
    samples: int


@dataclass(frozen=True)
class Evolution:
    """An evolution with given settings.

    Attributes:
        rules: Settings of the method.
        trainer: Trainer of the networks and critics.
    """

    rules: GTLSettings
    trainer: PopulationTrainer

    def run_generation(self, number: int, state: EvolutionState) -> EvolutionState:
        """Run a generation: birth, life, mutation, judgement, tournaments, credit and update of the pool.

        Args:
            number: Number of the generation. Networks of generation 0 start without genes, and their circuits are
                drawn.
            state: State after the generation before.
        """
        rules, members = self.rules, range(self.rules.population)
        fathers = [self._draw_father(state, number, index) for index in members]
        tasks = [int(torch.randint(rules.tasks, (1,), generator=self._generator("task", number, i))) for i in members]
        inherited_genes = [None if father is None else state.weights[father] for father in fathers]
        done = rules.count_steps(state.samples)
        networks, lives = self.trainer.train_generation(
            number, tasks, inherited_genes, is_evaluated=rules.fitness == "life", done=done
        )
        start_genes = [gene or self.trainer.draw_gene(number, index) for index, gene in enumerate(inherited_genes)]
        mutation = Mutation(rules.mutation if number else 0.0, rules.mutation_rate, rules.noise)
        new_genes = [
            self.trainer.extract_gene(network, gene.circuit, mutation, number, index)
            for index, (network, gene) in enumerate(zip(networks, start_genes, strict=True))
        ]
        groups = draw_tournaments(rules.population, rules.tournament, self._generator("tournaments", number))
        samples = state.samples + sum(life.samples for life in lives)
        judged = self._score_fitness(number, groups, new_genes, lives, tasks, rules.count_steps(samples))
        winner_indices = {self._choose_winner(group, judged.fitness, number) for group in groups}
        is_drift, first = rules.selection == "drift", len(state.genes)
        scores = [1.0] * len(members) if is_drift else normalise_fitness(judged.fitness, judged.tasks)
        genes = [
            GeneNode(
                id=first + index,
                father=fathers[index],
                generation=number,
                similarity=circuit_similarity(new_genes[index].circuit, start_genes[index].circuit, self.trainer.spec),
                task=tasks[index],
                critic_task=judged.tasks[index],
                fitness=judged.fitness[index],
                score=scores[index],
                won=index in winner_indices,
            )
            for index in members
        ]
        winners = {first + index: new_genes[index] for index in sorted(winner_indices)}
        return self._update_state(state, genes, winners, samples + judged.samples)

    def run_and_record(self, number: int, state: EvolutionState) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Run a generation and return the state as `run.keep` saves it."""
        return self.run_generation(number, state).to_record()

    def choose_final_gene(self, state: EvolutionState) -> FinalGene:
        """Choose the best of the pool's highest genes, which the same few critics judge once more."""
        rules, ids = self.rules, state.pool[: self.rules.finalists]
        pairs = [(id_, turn) for id_ in ids for turn in range(rules.final_runs)]
        genes, turns = [state.weights[id_] for id_, _ in pairs], [turn for _, turn in pairs]
        tasks, draws = [turn % rules.critic_tasks for turn in turns], [f"final/{turn}" for turn in turns]
        results = self.trainer.judge_genes(genes, tasks, draws, done=self.rules.count_steps(state.samples))
        judged = list(zip(pairs, results, strict=True))
        means = {id_: fmean(result.accuracy for (judged_id, _), result in judged if judged_id == id_) for id_ in ids}
        best = max(ids, key=lambda id_: means[id_])
        return FinalGene(best, state.weights[best], means[best], sum(result.samples for result in results))

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
        genes: Sequence[CircuitWeights],
        lives: Sequence[FitResult],
        tasks: Sequence[int],
        done: int,
    ) -> _GenerationFitness:
        """Score all members; members of one tournament meet the same critic on the same task."""
        if self.rules.fitness == "life":
            return _GenerationFitness([mean_life_accuracy(life) for life in lives], list(tasks), 0)
        group_of = {index: place for place, group in enumerate(groups) for index in group}
        # All critic tasks are used as evenly as possible, so that generations compare.
        order = torch.randperm(self.rules.critic_tasks, generator=self._generator("critics", number)).tolist()
        critics = [order[group_of[index] % len(order)] for index in range(len(genes))]
        draws = [f"{number}/{group_of[index]}" for index in range(len(genes))]
        results = self.trainer.judge_genes(genes, critics, draws, done=done)
        return _GenerationFitness(
            [result.accuracy for result in results], critics, sum(result.samples for result in results)
        )

    def _update_state(
        self, state: EvolutionState, genes: Sequence[GeneNode], winners: Mapping[int, CircuitWeights], samples: int
    ) -> EvolutionState:
        """Decay scores, share credit with forefathers, and update the pool."""
        rules, tree = self.rules, {gene.id: gene for gene in (*state.genes, *genes)}
        scores = {id_: score * rules.decay for id_, score in state.scores.items()}
        for id_ in winners:
            credit = share_credit(tree[id_], tree, share=rules.credit, depth=rules.credit_depth, rule=rules.credit_rule)
            for forefather, worth in credit.items():
                if forefather in scores:  # genes that left the pool have no score
                    scores[forefather] += worth
        scores |= {id_: tree[id_].score for id_ in winners}
        pool = merge_pool(state.pool, list(winners), scores, capacity=rules.pool, replaced=rules.replaced)
        weights = {**state.weights, **winners}
        summary = _summarise_generation(genes)
        is_better = not state.generations or summary["winners"] > max(past["winners"] for past in state.generations)
        return EvolutionState(
            genes=list(tree.values()),
            scores={id_: scores[id_] for id_ in pool},
            pool=pool,
            weights={id_: weights[id_] for id_ in pool},
            generations=[*state.generations, summary],
            stale=0 if is_better else state.stale + 1,
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
