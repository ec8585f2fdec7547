"""A run: where a job keeps its work, and on what it computes."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric

from germline.data import AnyPictures, Augmentation
from germline.errors import SettingError
from germline.files import read_json, read_tensors, write_json, write_tensors
from germline.learngene import library_versions
from germline.network import Network, load_strict
from germline.training.checkpoint import CheckpointFolder
from germline.training.loop import Fit
from germline.training.objective import Objective
from germline.training.settings import TrainSettings

PRECISIONS = ("32-true", "bf16-mixed", "bf16-true")


@dataclass(frozen=True)
class FitResult:
    """What a phase of training came to.

    Attributes:
        steps: Optimiser steps.
        samples: Pictures seen, repeats counted.
        seconds: Wall time, earlier tries of a resumed run not counted.
        losses: (step, loss) of the logged steps.
        scores: One entry an evaluation: step, accuracy, loss.
    """

    steps: int
    samples: int
    seconds: float
    losses: list[tuple[int, float]]
    scores: list[dict[str, float]]

    @property
    def accuracy(self) -> float:
        """Accuracy after the last step; a run without validation pictures has none and gives nan."""
        return self.scores[-1]["accuracy"] if self.scores else float("nan")


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
        self.fabric = _make_fabric(device, precision)
        self.precision = precision
        self._fix_threads()

    def fit(
        self,
        name: str,
        network: Network,
        objective: Objective,
        pictures: AnyPictures,
        settings: TrainSettings,
        *,
        val: AnyPictures | None = None,
        augmentation: Sequence[Augmentation] = (),
        decays: Mapping[str, float] | None = None,
    ) -> FitResult:
        """Train `network.model` in place.

        Args:
            name: Of the phase, unique in the run.
            network: What is trained.
            objective: What is made small.
            pictures: To train on.
            settings: How.
            val: Pictures to evaluate on.
            augmentation: What the data allow.
            decays: Weight decay by prefix of a parameter's name, where it differs from the settings'.

        Raises:
            TrainingError: The loss stopped being a number.
            SettingError: The phase was begun with other settings.
        """
        place = self._open(name, settings, pictures)
        if place is not None and (place / "result.json").exists():
            return _stored(place, network)
        fit = Fit(
            name,
            self.fabric,
            network,
            objective,
            pictures,
            settings,
            self.seed,
            val=val,
            augmentation=tuple(augmentation),
            decays=decays or {},
            checkpoints=CheckpointFolder(place / "checkpoints", settings.keep_checkpoints) if place else None,
            log_path=place / "log.jsonl" if place else None,
            quiet=self.quiet,
        )
        log, seconds = fit.run()
        # Whole numbers stay what they are; weights trained in bf16 come back as float32, like all others.
        network.model.to("cpu", torch.float32 if self.precision == "bf16-true" else None)
        steps = settings.total_steps(len(pictures))
        result = FitResult(steps, steps * settings.batch_size, round(seconds, 3), log.losses, log.scores)
        self._report(name, result)
        if place is not None and self.fabric.is_global_zero:
            write_tensors(place / "result.safetensors", network.model.state_dict())
            write_json(place / "result.json", result.__dict__)
            shutil.rmtree(place / "checkpoints", ignore_errors=True)
        self.fabric.barrier()
        return result

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

    def _open(self, name: str, settings: TrainSettings, pictures: AnyPictures) -> Path | None:
        """The phase's folder, with its settings held against those it was begun with."""
        if self.folder is None:
            return None
        place = self.folder / name
        asked = {"seed": self.seed, "precision": self.precision, "pictures": pictures.fingerprint()}
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


def check_device(device: str, precision: str) -> None:
    """Refuse what is not to be had here.

    Raises:
        SettingError: The device or precision is unknown, or torch sees no such device.
    """
    if precision not in PRECISIONS:
        raise SettingError(f"precision '{precision}'", "it is unknown", f"use one of {', '.join(PRECISIONS)}")
    if device not in ("auto", "cpu", "cuda", "mps"):
        raise SettingError(f"device '{device}'", "it is unknown", "use auto, cpu, cuda or mps")
    missing = (device == "cuda" and not torch.cuda.is_available()) or (
        device == "mps" and not torch.backends.mps.is_available()
    )
    if missing:
        raise SettingError(f"device '{device}'", "torch sees no such device here", "use --device cpu")


def _stored(place: Path, network: Network) -> FitResult:
    """The result of a finished phase; the network gets its weights."""
    load_strict(network.model, read_tensors(place / "result.safetensors"), place)
    network.model.eval()
    stored = read_json(place / "result.json")
    return FitResult(**{**stored, "losses": [(int(step), float(loss)) for step, loss in stored["losses"]]})


def _make_fabric(device: str, precision: str) -> Fabric:
    world = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    nodes = int(os.environ.get("WORLD_SIZE", "1")) // world
    accelerator = device
    if device == "auto":
        accelerator = "cuda" if torch.cuda.is_available() else "cpu"
    strategy = "ddp" if world * nodes > 1 else "auto"
    fabric = Fabric(
        accelerator=accelerator,
        devices=world,
        num_nodes=nodes,
        strategy=strategy,
        precision=precision,
    )
    fabric.launch()
    return fabric
