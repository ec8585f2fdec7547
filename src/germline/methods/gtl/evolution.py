"""The evolution: its generations, and its state between two of them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean, pstdev
from typing import Any

import torch
from torch import Tensor

from germline.methods.gtl.circuits import circuit_similarity
from germline.methods.gtl.judgement import Judgements, judge_generation, judge_lives, measure_critic
from germline.methods.gtl.population import CircuitWeights, Mutation, PopulationTrainer
from germline.methods.gtl.rules import follows_published
from germline.methods.gtl.selection import (
    GeneNode,
    admit_all,
    draw_by_roulette,
    draw_tournaments,
    merge_pool,
    score_wins,
    share_credit,
)
from germline.methods.gtl.settings import GTLSettings
from germline.randomness import generator


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
    generations: list[dict[str, Any]] = field(default_factory=list)
    stale: int = 0
    samples: int = 0

    def to_record(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return the state as `run.keep` saves it: tensors, and facts as JSON."""
        tensors: dict[str, Tensor] = {}
        for id_, gene in self.weights.items():
            tensors |= gene.to_tensors(f"{id_}/")
        facts = {
            "genes": [gene.to_row() for gene in self.genes],
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
            genes=[GeneNode.from_row(row) for row in facts["genes"]],
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
        fitness: Mean fitness in the final judgement.
        accuracy: Mean accuracy of its critics in the final judgement.
        samples: Images that the final judgement saw.
    """

    id: int
    weights: CircuitWeights
    fitness: float
    accuracy: float
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
        tasks = self._draw_tasks(number, members)
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
        if rules.fitness == "life":
            judged = judge_lives(lives, tasks)
        else:
            judged = judge_generation(rules, self.trainer, number, groups, new_genes, rules.count_steps(samples))
        winner_indices = {self._choose_winner(group, judged.fitness, number) for group in groups}
        genes = self._enter_genes(
            state, number, fathers, tasks, start_genes, new_genes, groups, judged, winner_indices, lives=1
        )
        winners = {genes[index].id: new_genes[index] for index in sorted(winner_indices)}
        return self._update_state(state, genes, winners, samples + judged.samples)

    def run_line(self, number: int, state: EvolutionState) -> EvolutionState:
        """Run as many images of one line as a generation sees: life after life, then a judgement.

        The line is the control of a population. Every life starts with the gene of the life before, on a task drawn
        anew. Nothing is selected.

        Args:
            number: Number of the generation.
            state: State after the generation before.
        """
        rules, samples, tasks = self.rules, state.samples, [0]
        fathers = [state.pool[0] if state.pool else None]
        gene = start = state.weights[state.pool[0]] if state.pool else None
        for index in range(rules.lives_per_line):
            tasks = self._draw_tasks(number, [index])
            done = rules.count_steps(samples)
            networks, lives = self.trainer.train_generation(
                number, tasks, [gene], is_evaluated=False, done=done, first=index
            )
            mutation = Mutation(rules.mutation if gene else 0.0, rules.mutation_rate, rules.noise)
            inherited = gene or self.trainer.draw_gene(number, index)
            start = start or inherited
            gene = self.trainer.extract_gene(networks[0], inherited.circuit, mutation, number, index)
            samples += lives[0].samples
        assert gene is not None and start is not None  # noqa: S101, PT018 - a line has at least one life
        judged = judge_generation(rules, self.trainer, number, [[0]], [gene], rules.count_steps(samples))
        genes = self._enter_genes(
            state, number, fathers, tasks, [start], [gene], [[0]], judged, {0}, lives=rules.lives_per_line
        )
        return self._update_state(state, genes, {genes[0].id: gene}, samples + judged.samples)

    def _enter_genes(
        self,
        state: EvolutionState,
        number: int,
        fathers: Sequence[int | None],
        tasks: Sequence[int],
        start_genes: Sequence[CircuitWeights],
        new_genes: Sequence[CircuitWeights],
        groups: Sequence[Sequence[int]],
        judged: Judgements,
        winners: Collection[int],
        *,
        lives: int,
    ) -> list[GeneNode]:
        """Enter a generation's genes into the tree, with the score that each has if it wins."""
        rules, first, is_plain = self.rules, len(state.genes), self._is_plain
        if rules.selection == "drift":
            scores = [1.0] * len(new_genes)
        else:
            scores = score_wins(judged.fitness, judged.tasks, rules.scores, is_loss=rules.fitness == "loss")
        place_of = {index: place for place, group in enumerate(groups) for index in group}
        return [
            GeneNode(
                id=first + index,
                father=fathers[index],
                generation=number,
                similarity=circuit_similarity(gene.circuit, start_genes[index].circuit, self.trainer.spec),
                task=tasks[index],
                critic_task=judged.tasks[index],
                fitness=judged.fitness[index],
                score=scores[index],
                won=index in winners,
                tournament=None if is_plain else place_of[index],
                lives=lives,
                accuracy=judged.accuracy[index],
                marks=judged.marks[index],
            )
            for index, gene in enumerate(new_genes)
        ]

    @property
    def _is_plain(self) -> bool:
        """Whether records are those of the first release: with its rules, they are the same to the letter."""
        return follows_published(dict(self.rules)) and self.rules.selection != "line"

    def run_and_record(self, number: int, state: EvolutionState) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Run a generation and return the state as `run.keep` saves it."""
        run = self.run_line if self.rules.selection == "line" else self.run_generation
        return run(number, state).to_record()

    def choose_final_gene(self, state: EvolutionState) -> FinalGene:
        """Choose the best of the pool's highest genes, which the same few critics judge once more."""
        rules, ids = self.rules, state.pool[: self.rules.finalists]
        pairs = [(id_, turn) for id_ in ids for turn in range(rules.final_runs)]
        genes, turns = [state.weights[id_] for id_, _ in pairs], [turn for _, turn in pairs]
        tasks, draws = [turn % rules.critic_tasks for turn in turns], [f"final/{turn}" for turn in turns]
        results = self.trainer.judge_genes(genes, tasks, draws, done=self.rules.count_steps(state.samples))
        judged = list(zip(pairs, results, strict=True))
        marks = {id_: [measure_critic(result, rules) for (one, _), result in judged if one == id_] for id_ in ids}
        means = {id_: fmean(gene_marks) for id_, gene_marks in marks.items()}
        best = max(ids, key=lambda id_: means[id_])
        accuracy = fmean(result.accuracy for (one, _), result in judged if one == best)
        samples = sum(result.samples for result in results)
        return FinalGene(best, state.weights[best], means[best], accuracy, samples)

    def _draw_father(self, state: EvolutionState, number: int, index: int) -> int | None:
        return draw_by_roulette(state.scores, self._generator("father", number, index)) if state.pool else None

    def _choose_winner(self, group: Sequence[int], fitness: Sequence[float], number: int) -> int:
        if self.rules.selection == "drift":
            return group[int(torch.randint(len(group), (1,), generator=self._generator("drift", number, group[0])))]
        return max(group, key=lambda index: fitness[index])

    def _draw_tasks(self, number: int, indices: Sequence[int]) -> list[int]:
        keys = (("task", number, index) for index in indices)
        return [int(torch.randint(self.rules.tasks, (1,), generator=self._generator(*key))) for key in keys]

    def _choose_breeders(self, state: EvolutionState, winners: Sequence[int], scores: Mapping[int, float]) -> list[int]:
        rules = self.rules
        if rules.selection == "line":
            return list(winners)
        if rules.breeders == "winners":
            return admit_all(state.pool, winners, scores, capacity=rules.pool)
        return merge_pool(state.pool, winners, scores, capacity=rules.pool, replaced=rules.replaced)

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
        pool = self._choose_breeders(state, list(winners), scores)
        weights = {**state.weights, **winners}
        summary = _summarise_generation(genes)
        if not self._is_plain:
            summary |= _describe_measure(genes, is_loss=rules.fitness == "loss")
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


def _summarise_generation(genes: Sequence[GeneNode]) -> dict[str, Any]:
    values = [gene.fitness for gene in genes]
    return {
        "generation": genes[0].generation,
        "fitness": fmean(values),
        "best": max(values),
        "winners": fmean(gene.fitness for gene in genes if gene.won),
        "spread": pstdev(values),
    }


def _describe_measure(genes: Sequence[GeneNode], *, is_loss: bool) -> dict[str, Any]:
    accuracies = [gene.accuracy for gene in genes if gene.accuracy is not None]
    return {"measure": "loss" if is_loss else "accuracy", "accuracy": fmean(accuracies)}
