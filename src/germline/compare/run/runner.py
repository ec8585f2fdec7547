"""Run a comparison stage by stage; each part is made once, and a killed run can resume."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from germline.compare.analysis.tuning import choose_point, extend_rates
from germline.compare.cost.storage import count_own_size, gene_storage, summarise_costs
from germline.compare.recipe.schema import Recipe
from germline.compare.run.cells import Cell, list_main_cells, list_tuning_cells
from germline.compare.run.executor import ComparisonTask, Engine, ProcessEngine, SerialEngine
from germline.compare.run.gene_tasks import GeneTask, find_missing_gene, list_missing_genes
from germline.compare.run.longer_scratch import ScratchRun, compute_family_budgets, list_family_cells, plan_doublings
from germline.compare.run.progress import ProgressDisplay
from germline.compare.run.remote_store import RemoteStore, is_store_url
from germline.compare.run.store import ArtifactStore
from germline.compare.run.train_cell import cell_path, run_cell
from germline.compare.run.validate import check_recipe
from germline.errors import SettingError
from germline.files import read_json, write_json
from germline.learngene import library_versions
from germline.seals import hash_json
from germline.sharing import hide_all, name_argument


@dataclass
class Comparison:
    """One recipe that runs in one output folder.

    Attributes:
        recipe: What is compared.
        name: Recipe name or path as the user gave it.
        out: Output folder of the results.
        workers: Number of worker processes; 0: one per core.
        quiet: Whether to show no progress.
        store: Folder or URL of ancestors, genes and cells; None: a folder in `out`.
        failed: Reasons of failed tasks and cells, by name.
        engine: Engine that runs the tasks; None: worker processes, or this process for one worker.
    """

    recipe: Recipe
    name: str
    out: Path
    workers: int = 0
    quiet: bool = False
    store: Path | str | None = None
    failed: dict[str, str] = field(default_factory=dict)
    engine: Engine | None = None

    def run(self) -> None:
        """Make genes, tune, run all cells and write `results.json`.

        Failures are recorded in `failed`, and the other parts still run.

        Raises:
            GermlineError: The recipe cannot be run, or the folder holds other work.
        """
        self.check()
        self._claim_folder()
        start = time.monotonic()
        store = self._artifact_store({})
        self._make_genes(store)
        store = self._artifact_store(self._tune_arms(store))
        self._run_cells("cells", list_main_cells(self.recipe), store)
        scratch_runs = self._lengthen_scratch(store)
        family_cells = list_family_cells(store)
        self._run_cells("cells of equal total", family_cells, store)
        longer_cells = [cell for run in scratch_runs for cell in run.cells]
        cells = list(dict.fromkeys([*list_main_cells(self.recipe), *longer_cells, *family_cells]))
        self._write_results(store, time.monotonic() - start, cells, scratch_runs)

    def check(self) -> None:
        """Check the recipe against data, ancestor and sizes, and expand `sizes: ["*"]`; nothing is written.

        Raises:
            GermlineError: The recipe cannot be run, or the store cannot be used.
        """
        if self._remote is not None:
            if self._remote.is_private and not isinstance(self._get_engine(), SerialEngine):
                raise SettingError(
                    f"the store '{self.store}' is in the memory of one process",
                    "Other processes would not see its parts",
                    "Pass --workers 1 without --engine, or choose another --store",
                )
            self._remote.check_access()
        self.recipe = check_recipe(self.recipe).recipe

    def _get_engine(self) -> Engine:
        if self.engine is not None:
            return self.engine
        workers = self.workers or os.cpu_count() or 1
        return SerialEngine() if workers == 1 else ProcessEngine(workers)

    @cached_property
    def _remote(self) -> RemoteStore | None:
        is_remote = isinstance(self.store, str) and is_store_url(self.store)
        return RemoteStore.from_url(str(self.store)) if is_remote else None

    def _artifact_store(self, tuned: dict[str, Any]) -> ArtifactStore:
        remote = self._remote
        folder = Path(self.store or self.out / "store") if remote is None else remote.cache
        return ArtifactStore(self.recipe, self.out, folder, tuned, remote=remote)

    def _claim_folder(self) -> None:
        """Write the recipe into the output folder, or check that the folder holds the same recipe."""
        path, recipe = self.out / "recipe.json", self.recipe.model_dump(mode="json")
        if not path.exists() and self.out.is_dir() and any(self.out.iterdir()):
            raise SettingError(
                f"'{self.out}' holds no comparison to resume", "It has no recipe.json", "Choose another --out"
            )
        if path.exists() and read_json(path) != recipe:
            raise SettingError(
                f"'{self.out}' holds another comparison",
                "Its recipe.json differs from this recipe",
                "Choose another --out, or pass --overwrite",
            )
        write_json(path, recipe)

    def _run_stage(self, stage: str, tasks: Sequence[ComparisonTask], store: ArtifactStore) -> None:
        """Run tasks that do not depend on each other."""
        if not tasks:
            return
        with ProgressDisplay(stage, len(tasks), self.quiet) as display:
            for result in self._get_engine().run(tasks, store, display):
                display.end_task(result.task.name, result.error)
                if result.error is not None:
                    self.failed[result.task.name] = result.error

    def _make_genes(self, store: ArtifactStore) -> None:
        """Train ancestors, then make genes. A gene whose ancestor failed is not tried; it fails for that reason."""
        genes = list(list_missing_genes(store).values())
        ancestors = dict.fromkeys(gene.ancestor for gene in genes if gene.ancestor is not None)
        self._run_stage("ancestors", list(ancestors), store)
        waiting: list[GeneTask] = []
        for gene in genes:
            reason = None if gene.ancestor is None else self.failed.get(gene.ancestor.name)
            if reason is not None:
                self.failed[gene.name] = reason
            else:
                waiting.append(gene)
        self._run_stage("genes", waiting, store)

    def _run_cells(self, stage: str, cells: Sequence[Cell], store: ArtifactStore) -> None:
        """Run cells that are not in the store. A cell without its gene fails for the gene's reason, without a try."""
        missing_genes = list_missing_genes(store) if self.failed else {}
        waiting: list[tuple[Cell, Path]] = []
        for cell in cells:
            gene = find_missing_gene(store, cell.arm, store.gene_seed(cell.seed), cell.size) if missing_genes else None
            reason = self.failed.get(missing_genes[gene].name) if gene in missing_genes else None
            if reason is not None:
                self.failed[cell.name] = reason
            else:
                waiting.append((cell, cell_path(store, cell)))
        finished = store.find_finished(path for _, path in waiting)
        self._run_stage(stage, [CellTask(cell) for cell, path in waiting if path not in finished], store)

    def _tune_arms(self, store: ArtifactStore) -> dict[str, Any]:
        """Choose for each arm the grid point with the highest last validation accuracy, and list the whole grid.

        The grid of an arm grows by one rate as long as its best rate is at an edge, as often as the recipe says.
        """
        points: dict[str, list[dict[str, Any]]] = {}
        cells, tuned = list_tuning_cells(self.recipe), {}
        for _ in range(1 + (self.recipe.tune.extend if self.recipe.tune is not None else 0)):
            self._run_cells("tuning cells", cells, store)
            for cell in cells:
                points.setdefault(cell.arm, []).append(self._tuning_point(store, cell))
            tuned = {arm: choose_point(tried) for arm, tried in points.items()}
            cells = list_tuning_cells(self.recipe, extend_rates(tuned))
        return tuned

    def _tuning_point(self, store: ArtifactStore, cell: Cell) -> dict[str, Any]:
        rates = {"lr": cell.lr, "weight_decay": cell.weight_decay}
        point: dict[str, Any] = {key: value for key, value in rates.items() if value is not None} | cell.start
        if cell.name in self.failed:
            return {**point, "accuracy": None, "samples": 0, "flops": 0}
        result = run_cell(store, cell)
        accuracy = result["curve"][-1]["accuracy"]
        return {**point, "accuracy": accuracy, "samples": result["samples"], "flops": result["flops"]}

    def _lengthen_scratch(self, store: ArtifactStore) -> list[ScratchRun]:
        """Double the steps of scratch until accuracy stops rising."""
        runs: list[ScratchRun] = []
        while doublings := plan_doublings(store, runs, self.failed):
            self._run_cells("cells of longer scratch", [cell for run in doublings for cell in run.cells], store)
            runs = [*runs, *doublings]
        return runs

    def _write_results(
        self, store: ArtifactStore, seconds: float, cells: Sequence[Cell], scratch_runs: Sequence[ScratchRun]
    ) -> None:
        content = hide_all(json.loads(json.dumps(self._list_results(store, seconds, cells, scratch_runs))))
        write_json(self.out / "results.json", {**content, "sha256": hash_json(content)})

    def _list_results(
        self, store: ArtifactStore, seconds: float, cells: Sequence[Cell], scratch_runs: Sequence[ScratchRun]
    ) -> dict[str, Any]:
        return {
            "name": name_argument(self.name),
            "command": shlex.join(["germline", *map(name_argument, sys.argv[1:])]),
            "commit": _read_commit(),
            "versions": library_versions(),
            "device": self._get_engine().describe(),
            "seconds": round(seconds, 1),
            "recipe": self.recipe.model_dump(mode="json"),
            "tuned": dict(store.tuned) or None,
            "costs": summarise_costs(store),
            "own_size": count_own_size(store),
            "family": compute_family_budgets(store),
            "ancestors": self._ancestor_entries(store),
            "genes": list(self._gene_entries(store)),
            "levels": [run.summarise(store, self.failed) for run in scratch_runs],
            "cells": [run_cell(store, cell) for cell in cells if cell.name not in self.failed],
            "failed": dict(sorted(self.failed.items())),
        }

    def _ancestor_entries(self, store: ArtifactStore) -> list[dict[str, Any]]:
        seeds = sorted({store.ancestor_seed(store.gene_seed(seed)) for seed in self.recipe.seeds})
        accuracies = [(seed, store.ancestor_accuracy(seed)) for seed in seeds]
        return [{"seed": seed, "accuracy": accuracy} for seed, accuracy in accuracies if accuracy is not None]

    def _gene_entries(self, store: ArtifactStore) -> Iterator[dict[str, Any]]:
        for arm in self.recipe.arms:
            for seed in sorted({store.gene_seed(seed) for seed in self.recipe.seeds}):
                size = self.recipe.sizes_of(arm)[0]
                if not store.has_gene(arm, seed, size):
                    continue
                gene = store.get_gene(arm, seed, size)
                if gene is not None:
                    provenance = gene.provenance.model_dump(mode="json", exclude={"versions"})
                    yield {"arm": arm, "seed": seed, **gene_storage(gene), **provenance}


@dataclass(frozen=True)
class CellTask:
    """Task that makes one cell.

    Attributes:
        cell: The cell to make.
    """

    cell: Cell

    @property
    def name(self) -> str:
        """Readable name of the task."""
        return self.cell.name

    def __call__(self, store: ArtifactStore) -> None:
        """Train and evaluate the cell."""
        run_cell(store, self.cell)


def _read_commit() -> str:
    """Return the commit of a checkout, marked if files changed; "released" outside a checkout."""
    folder = Path(__file__).parent
    try:
        described = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=12"],  # noqa: S607
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError:
        return "released"
    return described.stdout.strip() if described.returncode == 0 else "released"
