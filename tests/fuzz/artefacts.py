"""Artefacts that the fuzzer changes: functions that write each, and read it as a digest of its content."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from germline.architectures import Size
from germline.compare import write_results_page
from germline.compare.analysis.results import ComparisonResults
from germline.compare.recipe.loader import load_recipe
from germline.compare.run.validate import check_recipe
from germline.data import load_data
from germline.files import hash_tensor, read_json, write_json
from germline.learngene import Learngene
from germline.loading import load_network
from germline.network import WEIGHTS
from germline.randomness import generator
from germline.seals import hash_json
from germline.training import CrossEntropy, Run, TrainSettings
from germline.training.checkpoint import Checkpoint, CheckpointFolder

GOLDEN = Path(__file__).parents[1] / "golden"
REFUSED = "refused"


def digest(value: Any, tensors: Mapping[str, torch.Tensor] | None = None) -> str:
    """One hash of a value that has a text, and of tensors."""
    lines = [
        f"{name} {tensor.dtype} {tuple(tensor.shape)} {hash_tensor(tensor)}"
        for name, tensor in sorted((tensors or {}).items())
    ]
    return hashlib.sha256("\n".join([repr(value), *lines]).encode(errors="backslashreplace")).hexdigest()


class Artefact(ABC):
    """One kind of artefact.

    Attributes:
        name: Name in the results.
        unsealed: Names of the files without hashes; changes of the others must not be accepted.
        changes: Largest number of changes per case. Two changes could remove a hash and then change its file.
    """

    name: str
    unsealed: tuple[str, ...] = ()
    changes: int = 1

    @abstractmethod
    def make(self, folder: Path) -> None:
        """Write the artefact."""

    @abstractmethod
    def read(self, folder: Path) -> str:
        """Read the artefact as germline does, and return a digest of its content, or REFUSED."""


class Gene(Artefact):
    """A gene of a method, read and grown."""

    unsealed = ("README.md",)

    def __init__(self, method: str) -> None:
        self.name, self._method = f"gene-{method}", method

    def make(self, folder: Path) -> None:
        """Copy the golden gene, whose manifest has hashes."""
        shutil.copytree(GOLDEN / "genes" / self._method, folder)

    def read(self, folder: Path) -> str:
        """Load it, and grow a descendant for three classes."""
        gene = Learngene.load(folder)
        gene.inherit(classes=3)
        facts = (
            gene.method,
            gene.settings,
            gene.architecture,
            gene.spec,
            gene.preprocess,
            gene.classes,
            gene.provenance,
        )
        return digest(facts, gene.tensors)


class ModelFolder(Artefact):
    """A model folder of germline: a descendant with its record."""

    name = "model-folder"
    unsealed = ("README.md",)

    def make(self, folder: Path) -> None:
        """Grow a descendant of the golden gene."""
        Learngene.load(GOLDEN / "genes" / "tleg").inherit(Size(depth=3), ("a", "b", "c")).save(folder)

    def read(self, folder: Path) -> str:
        """Load it and compute logits."""
        network = load_network(folder)
        side, channels = network.preprocess.image_size, network.preprocess.channels
        with torch.no_grad():
            network.logits(torch.zeros(1, channels, side, side))
        facts = (network.classes, network.preprocess, network.spec, network.licence)
        return digest(facts, network.model.state_dict())


class ForeignFolder(ModelFolder):
    """A model folder without hashes, as others save it."""

    name = "foreign-folder"
    unsealed = (WEIGHTS, "config.json", "README.md")
    changes = 2

    def __init__(self, model: str) -> None:
        self.name, self._model = f"foreign-folder-{model}", model

    def make(self, folder: Path) -> None:
        """Copy a golden model, which is older than the hashes."""
        shutil.copytree(GOLDEN / "models" / self._model, folder)


class RecipeFile(Artefact):
    """A recipe, read and checked against its data."""

    name = "recipe"
    unsealed = ("recipe.yaml",)
    changes = 2

    def make(self, folder: Path) -> None:
        """Write a small recipe with most sections."""
        folder.mkdir()
        (folder / "recipe.yaml").write_text(RECIPE, encoding="utf-8")

    def read(self, folder: Path) -> str:
        """Load it as `germline check` does."""
        recipe = load_recipe(str(folder / "recipe.yaml"))
        check_recipe(recipe, is_estimate=True)
        return digest(recipe.model_dump(mode="json"))


RECIPE = """\
title: Two arms on digits
protocol: samples
kind: quick
minutes: 1
data: digits
ancestor:
  data: digits
  model: vit_pico
  train: {steps: 3, batch_size: 16}
arms:
  gene:
    method: tleg
    settings:
      steps: 3
      batch_size: 16
    train:
      lr: 1e-3
  other:
    method: layers
  scratch:
    method: scratch
sizes: [depth=1, "depth=2"]
images_per_class: [3, 5]
seeds: [0, 1]
train:
  steps: 5
  batch_size: 16
  eval_at: [0, 2]
tune:
  lr: [1e-3, 1e-2]
  weight_decay: [0]
  size: depth=1
  images_per_class: 2
  seed: 7
"""


class Checkpoints(Artefact):
    """Two checkpoints. The newest intact one is read."""

    name = "checkpoint"

    def make(self, folder: Path) -> None:
        """Write two checkpoints of a small state."""
        tensors = Learngene.load(GOLDEN / "genes" / "layers").tensors
        for step in (3, 6):
            model = {name: tensor + step for name, tensor in tensors.items()}
            facts = {"losses": [[index, 2.0 / (index + 1)] for index in range(step)], "scores": []}
            CheckpointFolder(folder, 2).save(Checkpoint(step, {"model": model, "optimizer": dict(tensors)}, facts))

    def read(self, folder: Path) -> str:
        """Read the newest intact one. Reading the older one refuses the newer one."""
        found = CheckpointFolder(folder, 2).load_latest()
        if found is None or found.step == 3:
            is_intact = found is None or len(found.facts["losses"]) == 3
            return REFUSED if is_intact else "changed"
        flat = {
            f"{group}.{name}": tensor for group, tensors in found.tensors.items() for name, tensor in tensors.items()
        }
        return digest((found.step, found.facts), flat)


SETTINGS = TrainSettings(steps=4, batch_size=8, lr=1e-3, checkpoint_every=2, log_every=1)


class _Stop(Exception):  # noqa: N818 - no error
    """The run stops here."""


class WorkFolder(Artefact):
    """An OUT.run with a finished training, a finished phase of other work, and an unfinished training."""

    name = "out-run"
    # These files are compared with the command, or are logs.
    unsealed = ("run.json", "settings.json", "log.jsonl")

    def make(self, folder: Path) -> None:
        """Train, and stop the second training after its first checkpoint."""
        self._work(folder, stop=True)

    def read(self, folder: Path) -> str:
        """Resume and finish the run."""
        return self._work(folder)

    def _work(self, folder: Path, *, stop: bool = False) -> str:
        data, threads = _small_digits(), torch.get_num_threads()
        done, unfinished = (load_network(GOLDEN / "models" / "vit") for _ in range(2))
        run = Run(folder, seed=1, device="cpu", quiet=True)
        try:
            result = run.fit("done", done, CrossEntropy(), data.train, SETTINGS, val=data.val)
            tensors, facts = run.keep("kept", lambda: ({"a": torch.arange(5.0)}, {"b": [1, 2]}))
            with contextlib.suppress(_Stop):
                run.fit("unfinished", unfinished, _Stopping(4 if stop else 10**9), data.train, SETTINGS)
        finally:
            torch.set_num_threads(threads)
        states = {
            f"{number}.{name}": tensor
            for number, network in enumerate((done, unfinished))
            for name, tensor in network.model.state_dict().items()
        }
        return digest((result.steps, result.samples, result.losses, result.scores, facts), {**states, **tensors})


class _Stopping(CrossEntropy):
    """Cross entropy that stops the run at a batch."""

    def __init__(self, batch: int) -> None:
        super().__init__()
        self._left = batch

    def __call__(self, *given: Any, **more: Any) -> Any:
        """Count the batches."""
        self._left -= 1
        if self._left == 0:
            raise _Stop
        return super().__call__(*given, **more)


_DIGITS: list[Any] = []


def _small_digits() -> Any:
    if not _DIGITS:
        digits = load_data("digits")
        parts = (split.draw_per_class(2, generator(0, "fuzz")) for split in (digits.train, digits.val))
        train, val = parts
        _DIGITS.append(load_data(train, val=val, classes=digits.classes))
    return _DIGITS[0]


class Results(Artefact):
    """A results file of a comparison, with its hash. A page is written from it."""

    name = "results"

    def make(self, folder: Path) -> None:
        """Give the golden results the hash that a comparison writes today."""
        folder.mkdir()
        content = read_json(GOLDEN / "comparison" / "results.json")
        write_json(folder / "results.json", self.seal(content))

    def seal(self, content: dict[str, Any]) -> dict[str, Any]:
        """Add the hash."""
        return {**content, "sha256": hash_json(content)}

    def read(self, folder: Path) -> str:
        """Write the page."""
        results = ComparisonResults.load(folder / "results.json")
        write_results_page(folder / "results.json", folder / "page.html")
        content = {key: value for key, value in results.stored.items() if key != "sha256"}
        return digest(json.dumps(content, sort_keys=True))


class OldResults(Results):
    """A results file of an earlier version, without a hash."""

    name = "results-without-hash"
    unsealed = ("results.json",)
    changes = 2

    def seal(self, content: dict[str, Any]) -> dict[str, Any]:
        """Add nothing."""
        return content


ARTEFACTS: dict[str, Artefact] = {
    kind.name: kind
    for kind in (
        *(Gene(method) for method in ("tleg", "gtl", "pool", "openworld", "auto", "random-gene")),
        ModelFolder(),
        *(ForeignFolder(model) for model in ("vit", "resnet", "vgg", "stitched")),
        RecipeFile(),
        Checkpoints(),
        WorkFolder(),
        Results(),
        OldResults(),
    )
}
