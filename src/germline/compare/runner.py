"""Runs the cells of a comparison: in parallel, each once, going on where a killed one stopped."""

from __future__ import annotations

import multiprocessing
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from germline.compare.cells import Cell, Workshop
from germline.compare.check import check
from germline.config import Recipe
from germline.errors import SettingError, TrainingError
from germline.files import read_json, write_json
from germline.learngene import library_versions


@dataclass
class Comparison:
    """A recipe at work in a folder.

    Attributes:
        recipe: What is compared.
        name: What it was asked for by.
        out: Where everything is kept.
        workers: Processes; 0 is one a core.
        quiet: Whether progress is left out.
    """

    recipe: Recipe
    name: str
    out: Path
    workers: int = 0
    quiet: bool = False

    def run(self) -> None:
        """Make genes, tune, run all cells, and keep `results.json`.

        Raises:
            GermlineError: The recipe cannot be run, or the folder holds other work.
        """
        self.check()
        self._claim()
        began = time.monotonic()
        workers = self.workers or os.cpu_count() or 1
        genes = [_GeneTask(seed, sizes) for seed, sizes in self._workshop().gene_sizes().items()]
        self._parallel(genes, min(workers, len(genes)))
        if self.recipe.tune is not None:
            self._parallel([_CellTask(cell) for cell in self._grid()], workers)
            write_json(self.out / "tuned.json", self._best())
        self._parallel([_CellTask(cell) for cell in self.cells()], workers)
        self._keep(time.monotonic() - began, workers)

    def check(self) -> None:
        """Hold the recipe against data, ancestor and sizes; nothing is written.

        Raises:
            GermlineError: It cannot be run.
        """
        check(self.recipe)

    def cells(self) -> list[Cell]:
        """All cells, seed by seed, so that an unfinished comparison has whole seeds."""
        recipe = self.recipe
        return [
            Cell(arm, size, images, seed)
            for seed in recipe.seeds
            for images in recipe.images_per_class
            for size in recipe.sizes
            for arm in recipe.arms
        ]

    def _workshop(self, *, quiet: bool = True) -> Workshop:
        return Workshop(self.recipe, self.out, quiet)

    def _claim(self) -> None:
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

    def _grid(self) -> list[Cell]:
        tune = self.recipe.tune
        assert tune is not None  # noqa: S101 - asked for only where there is one
        return [
            Cell(arm, tune.size, tune.images_per_class, tune.seed, lr, decay)
            for arm, how in self.recipe.arms.items()
            if how.tuned_as is None
            for lr in tune.lr
            for decay in tune.weight_decay
        ]

    def _best(self) -> dict[str, Any]:
        """For each arm the cell of the grid with the highest last accuracy on validation, and the whole grid."""
        best: dict[str, Any] = {}
        for cell in self._grid():
            result = self._workshop().cell(cell)
            entry = {"lr": cell.lr, "weight_decay": cell.weight_decay, "accuracy": result["curve"][-1]["accuracy"]}
            known = best.setdefault(cell.arm, {"accuracy": -1.0, "grid": []})
            known["grid"].append(entry)
            if entry["accuracy"] > known["accuracy"]:
                known.update(entry)
        return best

    def _parallel(self, tasks: Sequence[_GeneTask | _CellTask], workers: int) -> None:
        cores = os.cpu_count() or 1
        if workers <= 1 or len(tasks) <= 1:
            for index, task in enumerate(tasks):
                task(self._workshop(quiet=self.quiet))
                self._tell(index + 1, len(tasks), task, time.monotonic())
            return
        began = time.monotonic()
        context = multiprocessing.get_context("spawn")
        threads = max(1, cores // workers)
        others = set(multiprocessing.active_children())
        with ProcessPoolExecutor(workers, context, initializer=_begin_worker, initargs=(threads,)) as pool:
            waiting = {pool.submit(task, self._workshop()): task for task in tasks}
            try:
                for done, future in enumerate(as_completed(waiting), 1):
                    future.result()
                    self._tell(done, len(tasks), waiting[future], began)
            except BaseException as error:
                pool.shutdown(wait=False, cancel_futures=True)
                # What they are at is begun again on --resume; to wait for it would keep Ctrl-C waiting.
                for worker in set(multiprocessing.active_children()) - others:
                    worker.terminate()
                if isinstance(error, BrokenProcessPool):
                    raise _worker_died() from error
                raise

    def _tell(self, done: int, whole: int, task: _GeneTask | _CellTask, began: float) -> None:
        if not self.quiet:
            left = (time.monotonic() - began) / done * (whole - done)
            line = f"{task.kind} {done}/{whole}: {task.name}; about {left:.0f} s left for these"
            print(line, file=sys.stderr, flush=True)

    def _keep(self, seconds: float, workers: int) -> None:
        workshop = self._workshop()
        tuned = self.out / "tuned.json"
        write_json(
            self.out / "results.json",
            {
                "name": self.name,
                "command": shlex.join(["germline", *sys.argv[1:]]),
                "commit": _commit(),
                "versions": library_versions(),
                "device": f"cpu, {workers} processes of {max(1, (os.cpu_count() or 1) // workers)} threads",
                "seconds": round(seconds, 1),
                "recipe": self.recipe.model_dump(mode="json"),
                "tuned": read_json(tuned) if tuned.exists() else None,
                "genes": list(self._genes(workshop)),
                "cells": [workshop.cell(cell) for cell in self.cells()],
            },
        )

    def _genes(self, workshop: Workshop) -> Iterable[dict[str, Any]]:
        for arm in self.recipe.arms:
            for seed in sorted({workshop.gene_seed(seed) for seed in self.recipe.seeds}):
                gene = workshop.gene(arm, seed, self.recipe.sizes[0])
                if gene is not None:
                    origin = gene.provenance.model_dump(mode="json", exclude={"versions"})
                    yield {"arm": arm, "seed": seed, "bytes": gene.bytes(), **origin}


@dataclass(frozen=True)
class _GeneTask:
    """All ancestors and genes of one seed."""

    seed: int
    sizes: tuple[str, ...]
    kind: str = "seed"

    @property
    def name(self) -> str:
        return f"ancestor and genes of seed {self.seed}"

    def __call__(self, workshop: Workshop) -> None:
        for arm in workshop.recipe.arms:
            for size in self.sizes:
                workshop.gene(arm, self.seed, size)


@dataclass(frozen=True)
class _CellTask:
    """One descendant."""

    cell: Cell
    kind: str = "cell"

    @property
    def name(self) -> str:
        return self.cell.name

    def __call__(self, workshop: Workshop) -> None:
        workshop.cell(self.cell)


def _begin_worker(threads: int) -> None:
    torch.set_num_threads(threads)
    # Ctrl-C reaches every process of a terminal; the one that was started by hand answers for all.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()


def _end_with(parent: int) -> None:
    """End this worker when its parent was killed; an orphan would work beside the run that is resumed."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def _worker_died() -> TrainingError:
    return TrainingError(
        "a worker process was killed", "mostly for want of memory", "pass fewer --workers; --resume goes on"
    )


def _commit() -> str:
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
