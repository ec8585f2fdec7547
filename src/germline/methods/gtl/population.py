"""Training of one generation: networks start with a gene, are trained, and leave a gene, which critics judge."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import torch
from torch import Tensor

from germline.architectures import Preprocess, Spec
from germline.data import AnyImages, DataSet
from germline.methods.gtl.circuits import Circuit, draw_circuit, extract_circuit, mutate_circuit
from germline.methods.gtl.transplant import mark_inherited, transplant_circuit
from germline.network import Network, load_strict
from germline.randomness import generator, use_generator
from germline.registry import architecture_of
from germline.training import FitResult, Member, Run, TrainSettings
from germline.training.progress import PartialProgress, Progress
from germline.training.protection import Protection

_CIRCUIT = "circuit/"


@dataclass(frozen=True)
class CircuitWeights:
    """A circuit and its weights.

    Attributes:
        circuit: Channels of the network from which it was taken, by group.
        tensors: Tensors of the circuit alone.
    """

    circuit: Circuit
    tensors: Mapping[str, Tensor]

    def to_tensors(self, prefix: str) -> dict[str, Tensor]:
        """Return the circuit and its weights as tensors that can be saved."""
        named = {f"{prefix}{_CIRCUIT}{group}": channels for group, channels in self.circuit.items()}
        return named | {f"{prefix}{name}": tensor for name, tensor in self.tensors.items()}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor], prefix: str) -> CircuitWeights:
        """Rebuild a circuit from the tensors of `to_tensors`."""
        flat = {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
        circuit = {name.removeprefix(_CIRCUIT): flat[name] for name in flat if name.startswith(_CIRCUIT)}
        return cls(circuit, {name: tensor for name, tensor in flat.items() if not name.startswith(_CIRCUIT)})


@dataclass(frozen=True)
class Mutation:
    """Change of a gene between two generations.

    Attributes:
        chance: Chance that a gene changes at all.
        rate: Chance of each channel to be exchanged for another of the trained network.
        noise: Noise on all its weights, in standard deviations of each tensor.
    """

    chance: float
    rate: float
    noise: float


@dataclass(frozen=True)
class PopulationTrainer:
    """Trains the networks and critics of all generations.

    Attributes:
        run: Run that gives the device and the seed of every draw.
        spec: Spec of all networks.
        narrow: Spec of the circuit alone.
        preprocess: Preprocessing of all networks.
        tasks: Tasks on which networks are trained.
        critic_tasks: Tasks of held-out classes.
        life: Training settings of a network.
        critic: Training settings of a critic.
        engine: Name of the population engine.
        progress: Progress that counts the steps of all networks.
        protected_steps: First steps in which the rate of inherited weights rises from 0.
        inherited_rate: Factor of the learning rate of inherited weights after these steps.
    """

    run: Run
    spec: Spec
    narrow: Spec
    preprocess: Preprocess
    tasks: Sequence[DataSet]
    critic_tasks: Sequence[DataSet]
    life: TrainSettings
    critic: TrainSettings
    engine: str
    progress: Progress | None = None
    protected_steps: int = 0
    inherited_rate: float = 1.0

    def train_generation(
        self,
        generation: int,
        tasks: Sequence[int],
        fathers: Sequence[CircuitWeights | None],
        *,
        is_evaluated: bool,
        done: int = 0,
        first: int = 0,
    ) -> tuple[list[Network], list[FitResult]]:
        """Train fresh networks that start with their fathers' genes; no weights are frozen.

        Args:
            generation: Number of the generation.
            tasks: Index of each network's task.
            fathers: Gene of each network; None for a network without a gene.
            is_evaluated: Whether networks are evaluated on validation images during training.
            done: Steps of all networks before these.
            first: Index of the first network within its generation.
        """
        members = []
        for index, (task, father) in enumerate(zip(tasks, fathers, strict=True), first):
            data = self.tasks[task]
            network = self._build_network(father, data, "host", generation, index)
            val = data.val if is_evaluated else None
            members.append(self._make_member(f"life/{generation}/{index}", network, father, data, val))
        return [member.network for member in members], self._fit_members(members, self.life, done)

    def judge_genes(
        self, genes: Sequence[CircuitWeights], tasks: Sequence[int], draws: Sequence[str], *, done: int = 0
    ) -> list[FitResult]:
        """Train fresh critic networks with the genes, each on a task of held-out classes.

        Args:
            genes: Genes to judge.
            tasks: Index of each gene's critic task.
            draws: Names of the draws of the critics' initial weights and order of images. Genes with the same name and
                task meet the same critic, so that they compare as pairs.
            done: Steps of all networks before these.
        """
        members = []
        for gene, task, draw in zip(genes, tasks, draws, strict=True):
            data = self.critic_tasks[task]
            network = self._build_network(gene, data, "critic", draw)
            members.append(self._make_member(f"critic/{draw}", network, gene, data, data.val))
        return self._fit_members(members, self.critic, done)

    def draw_gene(self, *keys: str | int) -> CircuitWeights:
        """Draw the channels of a gene that has no tensors yet."""
        return CircuitWeights(draw_circuit(self.spec, self.narrow, self._generator("circuit", *keys)), {})

    def extract_gene(self, network: Network, circuit: Circuit, mutation: Mutation, *keys: str | int) -> CircuitWeights:
        """Extract the gene of a trained network, and perhaps mutate it.

        A mutated channel has the trained network's own weights, so mutation tries trained channels, not noise.
        """
        generator = self._generator("mutation", *keys)
        mutates = float(torch.rand(1, generator=generator)) < mutation.chance
        kept = mutate_circuit(circuit, self.spec, generator, mutation.rate) if mutates else circuit
        tensors = extract_circuit(network.model.state_dict(), self.spec, kept)
        if mutates and mutation.noise:
            tensors = {name: _add_noise(tensor, mutation.noise, generator) for name, tensor in tensors.items()}
        return CircuitWeights(kept, {name: tensor.detach().clone() for name, tensor in tensors.items()})

    def _fit_members(self, members: Sequence[Member], settings: TrainSettings, done: int) -> list[FitResult]:
        progress = PartialProgress(self.progress, done)
        return self.run.fit_population("population", members, settings, engine=self.engine, progress=progress)

    def _build_network(self, gene: CircuitWeights | None, data: DataSet, *keys: str | int) -> Network:
        """Build a fresh network with a gene transplanted to its own channels."""
        with use_generator(self._generator(*keys)):
            model = architecture_of(self.spec).build(self.spec)
        if gene is not None:
            tensors, _ = transplant_circuit(model.state_dict(), gene.tensors, self.narrow, self.spec, gene.circuit)
            load_strict(model, tensors, "the gene")
        return Network(model, self.preprocess, data.classes, spec=self.spec)

    def _make_member(
        self, name: str, network: Network, gene: CircuitWeights | None, data: DataSet, val: AnyImages | None
    ) -> Member:
        augmentation, protection = tuple(data.augmentation), self._protect(network, gene)
        return Member(name, network, data.train, self.run.seed, val, augmentation, protection)

    def _protect(self, network: Network, gene: CircuitWeights | None) -> Protection | None:
        if gene is None or (self.protected_steps == 0 and self.inherited_rate == 1):
            return None
        tensors = network.model.state_dict()
        masks = mark_inherited(tensors, gene.tensors, self.narrow, self.spec, gene.circuit)
        return Protection(masks, self.protected_steps, self.inherited_rate)

    def _generator(self, *keys: str | int) -> torch.Generator:
        return generator(self.run.seed, "gtl", *keys)


def mean_life_accuracy(result: FitResult) -> float:
    """Average the validation accuracies over a life, which rewards networks that learn fast."""
    return fmean(score["accuracy"] for score in result.scores)


def _add_noise(tensor: Tensor, noise: float, generator: torch.Generator) -> Tensor:
    if not tensor.is_floating_point() or tensor.ndim < 2:  # norms and their statistics get no noise
        return tensor
    return tensor + noise * tensor.std() * torch.randn(tensor.shape, generator=generator)
