"""Genetic Transfer Learning: a learngene that evolves in a population of networks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar

from pydantic import SerializerFunctionWrapHandler, model_serializer, model_validator

from germline.architectures import Preprocess, Size, Spec
from germline.data import DataSet, draw_task, draw_task_list, split_classes
from germline.errors import SettingError
from germline.learngene import Learngene
from germline.methods.base import GeneCost, training_flops
from germline.methods.checks import check_resume_settings
from germline.methods.gtl.circuit_method import CircuitGene
from germline.methods.gtl.circuits import circuit_spec
from germline.methods.gtl.evolution import Evolution, EvolutionState, FinalGene
from germline.methods.gtl.heredity import measure_heredity
from germline.methods.gtl.population import PopulationTrainer
from germline.methods.gtl.presets import PRESETS
from germline.methods.gtl.rules import drop_published_rules, fill_in_rules
from germline.methods.gtl.settings import GTLSettings
from germline.methods.presets import Presets, PresetSettings
from germline.network import Network
from germline.provenance import Provenance
from germline.randomness import derive
from germline.registry import architecture_of, model_spec
from germline.training import Run, TrainSettings
from germline.training.progress import Progress
from germline.traits import AncestorUse, Traits

LIFE_EVALUATIONS = 4
HELD_OUT_SHARE = 0.2  # share of the classes for the critics, if no other data set is given


class GTL(PresetSettings, GTLSettings, CircuitGene):
    """Genetic Transfer Learning: a circuit of channels that evolves in a population of CNNs.

    Every network starts fresh, with a gene of the pool transplanted into it. It lives: it is trained on a small task of
    its own, with no weights frozen. It leaves the gene at its circuit, with the trained weights and perhaps mutated.
    Fresh critic networks judge genes on tasks of held-out classes. Winners of tournaments go into the pool, and their
    forefathers get credit along the gene tree. At the end the highest genes of the pool are judged once more. The best
    is the learngene.

    Source: Feng et al., arXiv 2401.08139. Scores, tournaments, pool and credit follow arXiv 2306.10225 of the same
    group. docs/methods/gtl.md lists our choices where the sources are open. Circuits are closed, a critic judges, and
    there is one flat pool. Mutation exchanges channels for others of the trained network.
    """

    name: ClassVar[str] = "gtl"
    paper: ClassVar[str] = "arXiv 2401.08139"
    ancestor: ClassVar[AncestorUse] = "none"
    traits: ClassVar[Traits] = replace(CircuitGene.traits, roles=("train", "val", "held_out"))
    presets: ClassVar[Presets] = PRESETS
    reports: ClassVar[Mapping[str, str]] = {
        "generations": "germline.methods.gtl.report_fitness",
        "gene_tree": "germline.methods.gtl.report_gene_tree",
        "heredity": "germline.methods.gtl.report_heredity",
    }

    @model_validator(mode="before")
    @classmethod
    def _fill_in_published_rules(cls, given: Any) -> Any:
        # Runs before the preset is filled in, so that a preset does not change the published rules.
        return fill_in_rules(given, frozenset(cls.model_fields)) if isinstance(given, Mapping) else given

    @model_serializer(mode="wrap")
    def _dump_without_no_preset(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return drop_published_rules(dump(self))

    def condense_spec(self, ancestor: Network | None, data: DataSet) -> Spec:
        """Return the spec of the population's networks.

        Raises:
            UnknownNameError: There is no such model.
            SettingError: The model's architecture has no circuits.
            DataError: Too few classes, or no labels.
        """
        for part in self._split_roles(data, 0):
            draw_task(part, self.ways, None, 0, 0)
        images = data.train
        spec = model_spec(self.model, image_size=images.side, channels=images.channels, classes=self.ways)
        architecture = architecture_of(spec)
        if architecture.name not in self.architectures:
            raise SettingError(
                f"the method gtl cannot evolve a {architecture.name}",
                "Its genes are circuits of convolutions",
                "Set model=vgg11_x025",
            )
        resized: Spec = architecture.resize(spec, Size.parse(self.size))
        return resized

    def cost(self, spec: Spec, images: int, teacher_flops: int) -> GeneCost:
        """Lives, critics and the last judging, if no patience ends them before; the circuit is stored."""
        samples = self._most_samples()
        return replace(super().cost(spec, images, teacher_flops), samples=samples, flops=samples * training_flops(spec))

    def _most_samples(self) -> int:
        """Images of all steps; lives are counted in steps, whatever the number of training images."""
        steps, finalists = self.steps_per_generation, self.finalists
        if self.selection == "line":
            steps = self.lives_per_line * self.life.total_steps(0) + self.critics_per_gene * self.critic_steps
            finalists = 1
        last = finalists * self.final_runs * self.critic_steps
        return self.life.batch_size * ((self.generations + 1) * steps + last)

    def condense(self, ancestor: Network | None, data: DataSet, run: Run) -> Learngene:
        """Evolve a gene. Every generation is saved, so a killed evolution continues.

        Raises:
            SettingError: The model has no circuits, or the run was started with other settings.
            DataError: Too few classes, or no labels.
        """
        check_resume_settings(self, data, run)
        first, state = self._load_last_generation(run)
        whole, done = (self.count_steps(samples) for samples in (self._most_samples(), state.samples))
        with Progress("evolution", whole, done, quiet=run.quiet) as progress:
            evolution = Evolution(self, self.build_trainer(data, run, progress))
            for number in range(first, self.generations + 1):
                if state.stale >= self.patience:
                    break
                state = EvolutionState.from_record(
                    *run.keep(_phase_name(number), partial(evolution.run_and_record, number, state))
                )
                if number > 1:  # the generation before stays, in case the last one is damaged
                    run.forget(_phase_name(number - 2))
            return self._make_learngene(evolution.trainer, data, run, state, evolution.choose_final_gene(state))

    def _load_last_generation(self, run: Run) -> tuple[int, EvolutionState]:
        """Load the last saved state; return the next generation and that state."""
        for number in reversed(range(self.generations + 1)):
            saved = run.find_phase(_phase_name(number))
            if saved is not None:
                return number + 1, EvolutionState.from_record(*saved)
        return 0, EvolutionState()

    def build_trainer(self, data: DataSet, run: Run, progress: Progress | None = None) -> PopulationTrainer:
        """Build the trainer of the population: spec of its networks, tasks and critics.

        Args:
            data: Data of the tasks. Some classes are held out, if `data` has no role `held_out`.
            run: Run that gives the device and the seed of every draw.
            progress: Progress that counts steps.

        Raises:
            SettingError: The model has no circuits.
            DataError: Too few classes, or no labels.
        """
        spec, seed = self.condense_spec(None, data), derive(run.seed, "gtl")
        train_data, critic_data = self._split_roles(data, seed)
        return PopulationTrainer(
            run=run,
            spec=spec,
            narrow=circuit_spec(spec, self.share),
            preprocess=Preprocess.from_images(train_data.train.sample()),
            tasks=draw_task_list(train_data, self.ways, None, self.tasks, derive(seed, "tasks")),
            critic_tasks=draw_task_list(critic_data, self.ways, None, self.critic_tasks, derive(seed, "critic tasks")),
            life=self._life_settings(),
            critic=self.life.model_copy(update={"steps": self.critic_steps, "eval_at": (), "eval_every": None}),
            engine=self.engine,
            progress=progress,
            protected_steps=self.protected_steps,
            inherited_rate=self.inherited_rate,
        )

    def _split_roles(self, data: DataSet, seed: int) -> tuple[DataSet, DataSet]:
        """Return the data of the networks, and the data of the critics."""
        held_out = data.roles.get("held_out")
        return (data, held_out) if held_out is not None else split_classes(data, HELD_OUT_SHARE, self.ways, seed)

    def _life_settings(self) -> TrainSettings:
        """Return the settings of a life. If its accuracies are the fitness, there are at least four of them."""
        life = self.life
        if self.fitness != "life" or life.eval_every is not None or life.eval_at or life.steps is None:
            return life
        return life.model_copy(update={"eval_every": max(1, life.steps // LIFE_EVALUATIONS)})

    def _make_learngene(
        self, trainer: PopulationTrainer, data: DataSet, run: Run, state: EvolutionState, final: FinalGene
    ) -> Learngene:
        samples = state.samples + final.samples
        training = {**run.facts(), "samples": samples, "steps": self.count_steps(samples)}
        tree = [{**gene.to_row(), "pool": gene.id in state.pool, "final": gene.id == final.id} for gene in state.genes]
        metrics = {"fitness on held-out tasks": final.fitness}
        record: dict[str, Any] = {"gene_tree": tree, "generations": state.generations}
        if state.genes[0].tournament is not None:  # the rules of the first release leave its records as they were
            metrics["accuracy on held-out tasks"] = final.accuracy
            life_images = self.life.batch_size * self.life.total_steps(0)
            record["heredity"] = measure_heredity(
                state.genes,
                final.id,
                self.tasks_per_gene,
                life_images,
                samples,
                shares_critics=self.scores != "per-task",
                val_images=min(len(task.val) for task in trainer.critic_tasks) if self.fitness == "critic" else None,
            )
        return Learngene(
            method=self.name,
            settings=self.model_dump(mode="json"),
            architecture=architecture_of(trainer.spec).name,
            spec=trainer.spec,
            tensors=final.weights.tensors,
            preprocess=trainer.preprocess,
            provenance=Provenance(
                ancestor=f"none: a population of {self.population} evolved over {len(state.generations)} generations",
                ancestor_licence=data.licence,
                data=data.name,
                data_fingerprint=data.fingerprint(),
                data_licence=data.licence,
                training=training,
                metrics=metrics,
                versions=training.pop("versions"),
                record=record,
            ),
        )


def _phase_name(number: int) -> str:
    return f"generation-{number:03d}"
