"""A run: where a job keeps its work, and on what it computes."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from germline.data import AnyImages, Augmentation
from germline.errors import SettingError
from germline.files import read_json, write_json
from germline.learngene import library_versions
from germline.network import Network
from germline.training.checkpoint import CheckpointFolder
from germline.training.device import check_device, make_fabric
from germline.training.objectives import CrossEntropy, Objective
from germline.training.phase_store import (
    FitResult,
    PhaseWork,
    as_stored,
    has_result,
    phase_folder,
    read_phase,
    read_result,
    write_phase,
    write_result,
)
from germline.training.population import Member, Population
from germline.training.population_engine import EngineChooser, find_engine
from germline.training.progress import PartialProgress, Progress
from germline.training.settings import TrainSettings
from germline.training.trainer import Trainer, TrainingLog


class Run:
    """A job's folder, device and seed; `fit` is the only training loop.

    A phase that is finished gives its stored result, a half-done one goes on from its last checkpoint.
    """

    def __init__(
        self,
        folder: str | Path | None = None,
        *,
        seed: int = 0,
        device: str = "auto",
        precision: str = "32-true",
        quiet: bool = False,
        logger: Any = None,
    ) -> None:
        """Set up.

        Args:
            folder: Where checkpoints, logs and results are kept; None keeps nothing.
            seed: Of every random draw.
            device: "auto", "cpu", "cuda" or "mps".
            precision: "32-true", "bf16-mixed" or "bf16-true".
            quiet: Whether progress is left out.
            logger: A Fabric logger, or None.

        Raises:
            SettingError: The device or precision is not to be had.
        """
        check_device(device, precision)
        self.folder = Path(folder) if folder is not None else None
        self.seed, self.quiet, self._logger = seed, quiet, logger
        self.fabric = make_fabric(device, precision)
        self.precision = precision
        self._choices = EngineChooser(self.folder)
        self._fix_threads()

    def fit(
        self,
        name: str,
        network: Network,
        objective: Objective,
        images: AnyImages,
        settings: TrainSettings,
        *,
        val: AnyImages | None = None,
        augmentation: Sequence[Augmentation] = (),
        decays: Mapping[str, float] | None = None,
        rates: Mapping[str, float] | None = None,
    ) -> FitResult:
        """Train `network.model` in place, and what the objective owns.

        Args:
            name: Of the phase, unique in the run.
            network: What is trained.
            objective: What is made small.
            images: To train on.
            settings: How.
            val: Pictures to evaluate on.
            augmentation: What the data allow.
            decays: Weight decay by prefix of a parameter's name, where it differs from the settings'.
            rates: Factor of the settings' rate by prefix of a parameter's name, where it is not 1.

        Raises:
            TrainingError: The loss stopped being a number.
            SettingError: The phase was begun with other settings.
        """
        place = self._open(name, settings, images)
        if place is not None and has_result(place):
            return read_result(place, network, objective)
        fit = Trainer(
            name,
            self.fabric,
            network,
            objective,
            images,
            settings,
            self.seed,
            val=val,
            augmentation=tuple(augmentation),
            decays=decays or {},
            rates=rates or {},
            checkpoints=CheckpointFolder(place / "checkpoints", settings.keep_checkpoints) if place else None,
            log_path=place / "log.jsonl" if place else None,
            quiet=self.quiet,
        )
        log, seconds = fit.run()
        result = self._result(name, network, len(images), settings, log, seconds)
        if place is not None and self.fabric.is_global_zero:
            write_result(place, network, objective, result)
            shutil.rmtree(place / "checkpoints", ignore_errors=True)
        self.fabric.barrier()
        return result

    def fit_population(
        self,
        name: str,
        members: Sequence[Member],
        settings: TrainSettings,
        *,
        objective: Objective | None = None,
        engine: str = "auto",
        together: int | None = None,
        progress: PartialProgress | None = None,
    ) -> list[FitResult]:
        """Train many networks of one shape in place, each on its own pictures; nothing is stored: `keep` does that.

        Args:
            name: What progress calls it.
            members: Whom to train.
            settings: How; the same for all.
            objective: What is made small; cross entropy with the settings' label smoothing by default.
            way: "loop" trains one after the other, "vmap" all in one stack with the same result up to rounding, "auto"
                takes the faster where measuring that costs little, and keeps to it.
            together: Members stacked at once, to save memory; None for all.
            stretch: Where progress is told, for a population that is a part of longer work; None shows its own.

        Returns:
            One result a member, in their order; its seconds are the member's share of the wall time.

        Raises:
            TrainingError: A member's loss stopped being a number.
            SettingError: The way asked for cannot train these members, or a network is there twice.
        """
        if not members:
            return []
        loss = objective or CrossEntropy(settings.label_smoothing)
        population = Population(tuple(members), loss, settings, self.fabric, together, self.precision)
        chosen = self._choices.choose(population) if engine == "auto" else find_engine(engine, population)
        quiet = self.quiet or self.fabric.global_rank > 0
        if progress is not None:
            outcomes = chosen.train(population, progress)
        else:
            with Progress(name, population.member_steps, quiet=quiet) as shown:
                outcomes = chosen.train(population, PartialProgress(shown))
        return [
            self._result(member.name, member.network, len(member.images), settings, log, seconds)
            for member, (log, seconds) in zip(members, outcomes, strict=True)
        ]

    def keep(self, name: str, work: PhaseWork) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """The tensors and facts of a finished phase; an unfinished one is worked through first, and then kept whole.

        Args:
            name: Of the phase, unique in the run, those of `fit` included. What lies in a folder of that name, such as
                phases named `NAME/...` that only led to this one, is cleared away once it is kept.
            work: Gives tensors by name, and facts that JSON can hold. It is not called for a finished phase.

        Returns:
            The same, bit by bit and type by type, whether the work was just done or long ago: tensors on the CPU, facts
            as JSON has them (lists for tuples, text for keys).

        Raises:
            SettingError: JSON cannot hold the facts, or the name leads out of the run's folder.
        """
        place = phase_folder(self.folder, name) if self.folder is not None else None
        found = read_phase(place) if place is not None else None
        self.fabric.barrier()
        if found is not None:
            return found
        state = as_stored(name, *work())
        if place is not None and self.fabric.is_global_zero:
            write_phase(place, state)
        self.fabric.barrier()
        return state

    def find_phase(self, name: str) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """What a phase was kept with; None for one that is not finished, or that is damaged.

        Raises:
            SettingError: The name leads out of the run's folder.
        """
        return None if self.folder is None else read_phase(phase_folder(self.folder, name))

    def forget(self, name: str) -> None:
        """Remove a kept phase, and all in its folder; one that is not there is no error.

        Raises:
            SettingError: The name leads out of the run's folder.
        """
        if self.folder is not None and self.fabric.is_global_zero:
            shutil.rmtree(phase_folder(self.folder, name), ignore_errors=True)
        self.fabric.barrier()

    def facts(self) -> dict[str, Any]:
        """What the numbers depend on besides the settings."""
        return {
            "seed": self.seed,
            "device": str(self.fabric.device),
            "processes": self.fabric.world_size,
            "precision": self.precision,
            "threads": torch.get_num_threads(),
            "versions": library_versions(),
        }

    def _result(
        self, name: str, network: Network, images: int, settings: TrainSettings, log: TrainingLog, seconds: float
    ) -> FitResult:
        """What a trained network came to; it comes back to the CPU."""
        # Whole numbers stay what they are; weights trained in bf16 come back as float32, like all others.
        network.model.to("cpu", torch.float32 if self.precision == "bf16-true" else None)
        steps = settings.total_steps(images)
        result = FitResult(steps, steps * settings.batch_size, round(seconds, 3), log.losses, log.scores)
        self._report(name, result)
        return result

    def _open(self, name: str, settings: TrainSettings, images: AnyImages) -> Path | None:
        """The phase's folder, with its settings held against those it was begun with."""
        if self.folder is None:
            return None
        place = self.folder / name
        asked = {"seed": self.seed, "precision": self.precision, "pictures": images.fingerprint()}
        wanted = {**settings.model_dump(mode="json"), **asked}
        known = place / "settings.json"
        if known.exists():
            begun = read_json(known)
            odd = sorted(key for key in begun.keys() | wanted.keys() if begun.get(key) != wanted.get(key))
            if odd:
                raise SettingError(
                    f"'{place}' was begun with {odd[0]}={begun.get(odd[0])}, now {wanted.get(odd[0])}",
                    "a run goes on with the settings it was begun with",
                    "take them back, or start anew with --overwrite",
                )
        elif self.fabric.is_global_zero:
            write_json(known, wanted)
        self.fabric.barrier()
        return place

    def _fix_threads(self) -> None:
        # Sums on a CPU depend on how many threads share them, so a run keeps the count it was begun with.
        if self.folder is None:
            return
        known = self.folder / "run.json"
        if known.exists():
            torch.set_num_threads(int(read_json(known)["threads"]))
        elif self.fabric.is_global_zero:
            write_json(known, self.facts())
        self.fabric.barrier()

    def _report(self, name: str, result: FitResult) -> None:
        if self._logger is None or not self.fabric.is_global_zero:
            return
        for step, loss in result.losses:
            self._logger.log_metrics({f"{name}/loss": loss}, step=step)
        for score in result.scores:
            self._logger.log_metrics({f"{name}/val_accuracy": score["accuracy"]}, step=int(score["step"]))
        self._logger.finalize("success")
