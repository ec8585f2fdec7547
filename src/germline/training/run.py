"""A run: the folder, device and seed of a job, and its training."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from germline.arguments import check_path, check_seed, check_type, describe_argument
from germline.data import AnyImages, Augmentation, ImageFiles, Images
from germline.errors import ArtefactError, SettingError
from germline.files import read_mapping, write_json
from germline.learngene import library_versions
from germline.network import Network
from germline.outputs import check_output_folder
from germline.scoring import borrowed
from germline.training.checkpoint import CheckpointFolder
from germline.training.device import check_device, make_fabric
from germline.training.evaluate import Score, score_model
from germline.training.fit_checks import check_fit
from germline.training.frozen_precision import use_run_precision
from germline.training.network_options import check_drop_path, check_weight_types, uses_channels_last
from germline.training.objectives import CrossEntropy, Objective
from germline.training.phase_store import (
    FitResult,
    PhaseWork,
    find_phase_folder,
    has_result,
    normalise_state,
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

MOST_THREADS = 4096
CUDA_OPTIONS = "cuda"  # key of a phase's settings on disk


class Run:
    """Folder, device and seed of a job; `fit` is the only training loop.

    A finished phase returns its saved result. An unfinished one continues from its last checkpoint.
    """

    def __init__(
        self,
        folder: str | Path | None = None,
        *,
        seed: int = 0,
        device: str = "auto",
        precision: str = "32-true",
        tf32: bool = True,
        quiet: bool = False,
        logger: Any = None,
    ) -> None:
        """Create a run.

        Args:
            folder: Folder of checkpoints, logs and results; None saves nothing.
            seed: Random seed of every draw.
            device: "auto", "cpu", "cuda" or "mps".
            precision: "32-true", "bf16-mixed" or "bf16-true".
            tf32: Whether float32 matrix products and convolutions on CUDA use TF32; other devices have none.
            quiet: Whether no progress is shown.
            logger: Fabric logger, or None.

        Raises:
            SettingError: The device or precision is not available, or an argument has another type.
            OutputError: The folder cannot be written.
        """
        check_device(device, precision)
        for name, value in (("tf32", tf32), ("quiet", quiet)):
            check_type(name, value, bool, "It is True or False", f"Use {name}=True or {name}=False")
        if logger is not None and not (hasattr(logger, "log_metrics") and hasattr(logger, "finalize")):
            fix = 'Use for example lightning_fabric.loggers.CSVLogger("logs")'
            raise SettingError(describe_argument("logger", logger), "It is one of Fabric's loggers", fix)
        self.folder = check_path("folder", folder, "runs/first") if folder is not None else None
        seed = check_seed(seed)
        self.seed, self.quiet, self._logger = seed, quiet, logger
        self.fabric = make_fabric(device, precision, tf32=tf32)
        self.precision, self.tf32 = precision, tf32
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
        """Train `network.model` and the parameters of the objective in place.

        Args:
            name: Name of the phase, unique in the run.
            network: Network to train.
            objective: Loss to minimise.
            images: Training images.
            settings: Training settings.
            val: Validation images; None for no evaluation.
            augmentation: Augmentation that the data allow.
            decays: Weight decay by prefix of parameter name, if different from the settings.
            rates: Factor of the learning rate by prefix of parameter name, if not 1.

        Raises:
            TrainingError: The loss is not finite.
            SettingError: The phase was started with other settings or data. Or it changes images that allow no
                augmentation, computes activations again that cannot be, or has weights that are not float32.
        """
        check_fit(network, objective, images, settings, augmentation, self.precision)
        if isinstance(objective, CrossEntropy) and objective.label_smoothing is None:
            objective.label_smoothing = settings.label_smoothing
        later = {} if self.folder is None else _describe_training(objective, augmentation, val)
        place = self._open(name, network, settings, images, later)
        if place is not None and has_result(place):
            return read_result(place, network, objective)
        checkpoints = CheckpointFolder(place / "checkpoints", settings.keep_checkpoints) if place else None
        trainer = Trainer(
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
            protection=objective.protection,
            checkpoints=checkpoints,
            log_path=place / "log.jsonl" if place else None,
            folder=self.folder,
            precision=self.precision,
            quiet=self.quiet,
        )
        result = self._result(name, network, len(images), settings, *trainer.run())
        return self._save_result(place, network, objective, result)

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
        """Train many networks of one shape in place, each on its own images.

        Nothing is saved; use `keep` for that.

        Args:
            name: Name for the progress.
            members: Members to train.
            settings: Training settings of every member.
            objective: Loss to minimise; by default cross entropy with the settings' label smoothing.
            engine: "loop" trains one after the other. "vmap" trains all in one stack, with the same result up to
                rounding. "auto" measures which is faster if that costs little, and keeps the choice.
            together: Members stacked at once, to limit memory; None for all.
            progress: Progress of longer work that this population is a part of; None shows its own.

        Returns:
            One result per member, in order; its seconds are the member's share of the wall time.

        Raises:
            TrainingError: A member's loss is not finite.
            SettingError: The engine cannot train these members, or a network is there twice.
        """
        if not members:
            return []
        for member in members:
            check_drop_path(member.network, settings)
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
        """Return tensors and facts of a phase; an unfinished phase is computed first and then saved atomically.

        Args:
            name: Name of the phase, unique in the run, also among phases of `fit`. Saving replaces the folder of that
                name, with phases named `NAME/...` in it.
            work: Function that returns tensors by name, and facts for JSON. It is not called for a finished phase.

        Returns:
            Tensors on the CPU, and facts as in JSON (lists for tuples, text for keys). They are the same, bit by bit,
            whether computed now or read.

        Raises:
            SettingError: JSON cannot represent the facts, or the name leads out of the run's folder.
        """
        place = find_phase_folder(self.folder, name) if self.folder is not None else None
        saved = read_phase(place) if place is not None else None
        self.fabric.barrier()
        if saved is not None:
            return saved
        state = normalise_state(name, *work())
        if place is not None and self.fabric.is_global_zero:
            write_phase(place, state)
        self.fabric.barrier()
        return state

    def find_phase(self, name: str) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """Return tensors and facts of a saved phase; None if it is unfinished or damaged.

        Raises:
            SettingError: The name leads out of the run's folder.
        """
        return None if self.folder is None else read_phase(find_phase_folder(self.folder, name))

    def forget(self, name: str) -> None:
        """Remove a saved phase and its folder, if there is one.

        Raises:
            SettingError: The name leads out of the run's folder.
        """
        if self.folder is not None and self.fabric.is_global_zero:
            shutil.rmtree(find_phase_folder(self.folder, name), ignore_errors=True)
        self.fabric.barrier()

    def branch(self, name: str) -> Run:
        """Return a run in a folder within this one, with the same seed and device.

        A phase has the same draws in both runs.

        Raises:
            SettingError: The name leads out of the run's folder.
        """
        other = copy.copy(self)
        other.folder = None if self.folder is None else find_phase_folder(self.folder, name)
        other._choices = EngineChooser(other.folder)
        return other

    def facts(self) -> dict[str, Any]:
        """Return what the numbers depend on besides the settings."""
        return {
            "seed": self.seed,
            "device": str(self.fabric.device),
            "processes": self.fabric.world_size,
            "precision": self.precision,
            **({"tf32": self.tf32} if self.fabric.device.type == "cuda" else {}),
            "threads": torch.get_num_threads(),
            "versions": library_versions(),
        }

    def evaluate(self, network: Network, images: AnyImages, outputs: Tensor | None = None) -> Score:
        """Score a network on the run's device and in its precision; the network stays as it is.

        Args:
            network: Network to score.
            images: Labelled images.
            outputs: Outputs that the labels count, int64; None for all.

        Raises:
            DataError: There are no images, or they have no labels.
            SettingError: The weights are not float32, and the run computes in float32.
        """
        check_type("images", images, (Images, ImageFiles), "They are one split of a data set", "Use data.val")
        check_weight_types((network,), self.precision)
        device = self.fabric.device

        def logits(pixels: Tensor) -> Tensor:
            answers = network.logits(pixels)
            return answers if outputs is None else answers[:, outputs.to(device)]

        with borrowed(network.model), use_run_precision((network,), self.fabric):
            network.model.to(device)
            return score_model(network.model, logits, images, device)

    def _result(
        self, name: str, network: Network, images: int, settings: TrainSettings, log: TrainingLog, seconds: float
    ) -> FitResult:
        """Return the result of a trained network, and move the network to the CPU."""
        # Weights trained in bf16 become float32 like all others; integers keep their type.
        network.model.to("cpu", torch.float32 if self.precision == "bf16-true" else None)
        steps = settings.total_steps(images)
        result = FitResult(steps, steps * settings.batch_size, round(seconds, 3), log.losses, log.scores)
        self._report(name, result)
        return result

    def _save_result(self, place: Path | None, network: Network, objective: Objective, result: FitResult) -> FitResult:
        """Return the result of a finished phase, saved in its folder if it has one, without its checkpoints."""
        if place is not None and self.fabric.is_global_zero:
            write_result(place, network, objective, result)
            shutil.rmtree(place / "checkpoints", ignore_errors=True)
        self.fabric.barrier()
        return result

    def _list_cuda_options(self, network: Network, settings: TrainSettings) -> dict[str, Any]:
        """List what makes a training on CUDA fast and changes how its sums round; nothing on other devices."""
        device = self.fabric.device
        if device.type != "cuda":
            return {}
        is_last = uses_channels_last(network.model, settings, device)
        return {CUDA_OPTIONS: {"tf32": self.tf32, "fused": settings.fused, "channels_last": is_last}}

    def _open(
        self, name: str, network: Network, settings: TrainSettings, images: AnyImages, later: Mapping[str, Any]
    ) -> Path | None:
        """Open the folder of a phase, and compare settings and facts with the saved ones; older runs lack the later."""
        if self.folder is None:
            return None
        place = find_phase_folder(self.folder, name)
        facts = {"seed": self.seed, "precision": self.precision, "pictures": images.fingerprint()}
        options = self._list_cuda_options(network, settings)
        wanted = {**settings.model_dump(mode="json"), **facts, **later, **options}
        path = place / "settings.json"
        if path.exists():
            saved = read_mapping(path)
            if not (CUDA_OPTIONS in saved and CUDA_OPTIONS in wanted):  # an older run, or another device
                saved.pop(CUDA_OPTIONS, None), wanted.pop(CUDA_OPTIONS, None)
            wanted = {key: value for key, value in wanted.items() if key in saved or key not in later}
            if changed := sorted(key for key in saved.keys() | wanted.keys() if saved.get(key) != wanted.get(key)):
                key = changed[0]
                raise SettingError(
                    f"'{place}' was started with {key}={saved.get(key)}, now {wanted.get(key)}",
                    "A resumed run uses its first settings",
                    "Use the first settings, or --overwrite to start again",
                )
        elif self.fabric.is_global_zero:
            write_json(path, wanted)
        self.fabric.barrier()
        return place

    def _fix_threads(self) -> None:
        # Sums on a CPU depend on the number of threads, so a resumed run uses the saved number.
        if self.folder is None:
            return
        facts_path = self.folder / "run.json"
        if facts_path.exists():
            torch.set_num_threads(_read_threads(facts_path))
        elif self.fabric.is_global_zero:
            check_output_folder(self.folder, resume=True)
            write_json(facts_path, self.facts())
        self.fabric.barrier()

    def _report(self, name: str, result: FitResult) -> None:
        if self._logger is None or not self.fabric.is_global_zero:
            return
        for step, loss in result.losses:
            self._logger.log_metrics({f"{name}/loss": loss}, step=step)
        for score in result.scores:
            self._logger.log_metrics({f"{name}/val_accuracy": score["accuracy"]}, step=int(score["step"]))
        self._logger.finalize("success")


def _describe_training(
    objective: Objective, augmentation: Sequence[Augmentation], val: AnyImages | None
) -> dict[str, Any]:
    """Describe the loss, augmentation and validation images, which folders of older versions lack."""
    return {
        "objective": objective.describe(),
        "augmentation": [str(kind) for kind in augmentation],
        "val": None if val is None else val.fingerprint(),
    }


def _read_threads(path: Path) -> int:
    threads = read_mapping(path).get("threads")
    if type(threads) is not int or not 1 <= threads <= MOST_THREADS:
        raise ArtefactError(
            f"'{path}' names no number of threads",
            f"A number from 1 to {MOST_THREADS} is expected",
            "Restore a copy, or start again with --overwrite",
        )
    return threads
