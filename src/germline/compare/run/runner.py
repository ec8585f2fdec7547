"""Runs a comparison stage by stage, each part once, going on where a killed one stopped."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from germline.compare.cost.storage import gene_storage, summarise_costs
from germline.compare.recipe.schema import Recipe
from germline.compare.run.cells import Cell, list_main_cells, list_tuning_cells
from germline.compare.run.executor import ComparisonTask, Engine, ProcessEngine, SerialEngine
from germline.compare.run.longer_scratch import ScratchRun, compute_family_budgets, list_family_cells, plan_doublings
from germline.compare.run.progress import ProgressDisplay
from germline.compare.run.store import ArtifactStore
from germline.compare.run.train_cell import cell_path, run_cell
from germline.compare.run.validate import check_recipe
from germline.errors import GermlineError, SettingError
from germline.files import read_json, write_json
from germline.learngene import library_versions


@dataclass
class Comparison:
    """A recipe at work in a folder.

    Attributes:
        recipe: What is compared.
        name: What it was asked for by.
        out: Where results are kept.
        workers: Processes; 0 is one a core.
        quiet: Whether progress is left out.
        store: Where ancestors, genes and cells are kept; `out`'s own by default.
        failed: Why cells failed, by their names.
        engine: What does the tasks; None takes processes of this machine, or this one alone.
    """

    recipe: Recipe
    name: str
    out: Path
    workers: int = 0
    quiet: bool = False
    store: Path | None = None
    failed: dict[str, str] = field(default_factory=dict)
    engine: Engine | None = None

    def run(self) -> None:
        """Make genes, tune, run all cells, and keep `results.json`; what fails is in `failed`, and the rest goes on.

        Raises:
            GermlineError: The recipe cannot be run, or the folder holds other work.
        """
        self.check()
        self._claim_folder()
        began = time.monotonic()
        store = self._artifact_store({})
        seeds = sorted({seed for arm in self.recipe.arms for seed in store.gene_sizes(arm)})
        self._run_stage("seeds", [GeneTask(seed) for seed in seeds], store)
        tuned = self._tune_arms(store)
        store = self._artifact_store(tuned)
        self._run_cells("cells", list_main_cells(self.recipe), store)
        levels = self._lengthen_scratch(store)
        further = list_family_cells(store)
        self._run_cells("cells of equal total", further, store)
        cells = [*list_main_cells(self.recipe), *(cell for level in levels for cell in level.cells), *further]
        self._write_results(store, time.monotonic() - began, list(dict.fromkeys(cells)), levels)

    def check(self) -> None:
        """Hold the recipe against data, ancestor and sizes; nothing is written, and open sizes are listed.

        Raises:
            GermlineError: It cannot be run.
        """
        self.recipe = check_recipe(self.recipe).recipe

    def _get_engine(self) -> Engine:
        if self.engine is not None:
            return self.engine
        workers = self.workers or os.cpu_count() or 1
        return SerialEngine() if workers == 1 else ProcessEngine(workers)

    def _artifact_store(self, tuned: dict[str, Any]) -> ArtifactStore:
        return ArtifactStore(self.recipe, self.out, self.store or self.out / "store", tuned)

    def _claim_folder(self) -> None:
        known, wanted = self.out / "recipe.json", self.recipe.model_dump(mode="json")
        if not known.exists() and self.out.is_dir() and any(self.out.iterdir()):
            raise SettingError(
                f"'{self.out}' holds no comparison to resume", "there is no recipe.json", "choose another --out"
            )
        if known.exists() and read_json(known) != wanted:
            raise SettingError(
                f"'{self.out}' holds the work of another recipe", fix="choose another --out, or pass --overwrite"
            )
        write_json(known, wanted)

    def _run_stage(self, stage: str, tasks: Sequence[ComparisonTask], store: ArtifactStore) -> None:
        """Do tasks that do not wait for each other."""
        if not tasks:
            return
        with ProgressDisplay(stage, len(tasks), self.quiet) as display:
            for ended in self._get_engine().run(tasks, store, display):
                display.end(ended.task.name, ended.error)
                if ended.error is not None:
                    self.failed[ended.task.name] = ended.error

    def _run_cells(self, stage: str, cells: Sequence[Cell], store: ArtifactStore) -> None:
        """Make cells; those whose ancestor or gene could not be made fail for its reason, without being tried."""
        tasks = []
        for cell in cells:
            seed = store.gene_seed(cell.seed)
            reason = self.failed.get(GeneTask(seed).name)
            if reason is not None and not store.has_gene(cell.arm, seed, cell.size):
                self.failed[cell.name] = reason
            elif not cell_path(store, cell).exists():
                tasks.append(CellTask(cell))
        self._run_stage(stage, tasks, store)

    def _tune_arms(self, store: ArtifactStore) -> dict[str, Any]:
        """For each arm the cell of the grid with the highest last accuracy on validation, and the whole grid."""
        grid = list_tuning_cells(self.recipe)
        self._run_cells("tuning cells", grid, store)
        best: dict[str, Any] = {}
        for cell in grid:
            entry = {"lr": cell.lr, "weight_decay": cell.weight_decay, "accuracy": None, "samples": 0, "flops": 0}
            if cell.name not in self.failed:
                made = run_cell(store, cell)
                entry.update(accuracy=made["curve"][-1]["accuracy"], samples=made["samples"], flops=made["flops"])
            known = best.setdefault(cell.arm, {"lr": cell.lr, "weight_decay": cell.weight_decay, "accuracy": -1.0})
            known.setdefault("grid", []).append(entry)
            if entry["accuracy"] is not None and entry["accuracy"] > known["accuracy"]:
                known.update({key: entry[key] for key in ("lr", "weight_decay", "accuracy")})
        return best

    def _lengthen_scratch(self, store: ArtifactStore) -> list[ScratchRun]:
        """Double scratch's steps until that adds no more."""
        levels: list[ScratchRun] = []
        while doublings := plan_doublings(store, levels, self.failed):
            self._run_cells("cells of longer scratch", [cell for level in doublings for cell in level.cells], store)
            levels = [*levels, *doublings]
        return levels

    def _write_results(
        self, store: ArtifactStore, seconds: float, cells: Sequence[Cell], levels: Sequence[ScratchRun]
    ) -> None:
        write_json(
            self.out / "results.json",
            {
                "name": self.name,
                "command": shlex.join(["germline", *sys.argv[1:]]),
                "commit": _read_commit(),
                "versions": library_versions(),
                "device": self._get_engine().describe(),
                "seconds": round(seconds, 1),
                "recipe": self.recipe.model_dump(mode="json"),
                "tuned": dict(store.tuned) or None,
                "costs": summarise_costs(store),
                "family": compute_family_budgets(store),
                "ancestors": self._ancestor_facts(store),
                "genes": list(self._gene_facts(store)),
                "levels": [level.facts(store, self.failed) for level in levels],
                "cells": [run_cell(store, cell) for cell in cells if cell.name not in self.failed],
                "failed": dict(sorted(self.failed.items())),
            },
        )

    def _ancestor_facts(self, store: ArtifactStore) -> list[dict[str, Any]]:
        seeds = sorted({store.gene_seed(seed) for seed in self.recipe.seeds})
        known = [(seed, store.ancestor_accuracy(seed)) for seed in seeds]
        return [{"seed": seed, "accuracy": accuracy} for seed, accuracy in known if accuracy is not None]

    def _gene_facts(self, store: ArtifactStore) -> Iterable[dict[str, Any]]:
        for arm in self.recipe.arms:
            for seed in sorted({store.gene_seed(seed) for seed in self.recipe.seeds}):
                size = self.recipe.sizes_of(arm)[0]
                if not store.has_gene(arm, seed, size):
                    continue
                gene = store.get_gene(arm, seed, size)
                if gene is not None:
                    origin = gene.provenance.model_dump(mode="json", exclude={"versions"})
                    yield {"arm": arm, "seed": seed, **gene_storage(gene), **origin}


@dataclass(frozen=True)
class GeneTask:
    """All ancestors and genes of one seed."""

    seed: int

    @property
    def name(self) -> str:
        """For people."""
        return f"ancestor and genes of seed {self.seed}"

    def __call__(self, store: ArtifactStore) -> None:
        """Make those that are not made; one that fails does not keep the others from being made.

        Raises:
            GermlineError: One failed.
        """
        failures = []
        for arm in store.recipe.arms:
            for size in store.gene_sizes(arm).get(self.seed, ()):
                try:
                    store.get_gene(arm, self.seed, size)
                except GermlineError as error:
                    failures.append(error)
        if failures:
            raise failures[0]


@dataclass(frozen=True)
class CellTask:
    """One cell."""

    cell: Cell

    @property
    def name(self) -> str:
        """For people."""
        return self.cell.name

    def __call__(self, store: ArtifactStore) -> None:
        """Make it."""
        run_cell(store, self.cell)


def _read_commit() -> str:
    """The commit of a checkout, marked where it holds changes; "released" outside one."""
    here = Path(__file__).parent
    try:
        found = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=12"],  # noqa: S607
            cwd=here,
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError:
        return "released"
    return found.stdout.strip() if found.returncode == 0 else "released"
