"""Measure what germline adds to Ray for each cell of a comparison: 200 cells that do nothing but write a file.

Both sides run the same 200 tasks on the same cluster of one machine. One side is germline's engine, with its checks and
progress. The other is plain Ray tasks that get the same store. The sides take turns. The overhead per cell is the
difference over 200, in wall time and in processor time of the driver and all of Ray's processes. Wall times of a busy
machine vary by more than the overhead, so the verdict is about processor time.

    python benchmarks/ray_overhead.py
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
# Ray's workers import the task below from this file.
os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])

from common import git  # noqa: E402
from germline.compare.recipe.loader import load_recipe  # noqa: E402
from germline.compare.run.progress import ProgressDisplay  # noqa: E402
from germline.compare.run.ray_engine import RayEngine, connect_to_ray  # noqa: E402
from germline.compare.run.store import ArtifactStore  # noqa: E402
from germline.files import write_json  # noqa: E402
from germline.learngene import library_versions  # noqa: E402

RESULT = ROOT / "benchmarks" / "results" / "ray-overhead.json"
TARGET_MS = 10.0


@dataclass(frozen=True)
class TrivialCell:
    """Cell that writes a small file."""

    number: int

    @property
    def name(self) -> str:
        return f"cell {self.number}"

    def __call__(self, store: ArtifactStore) -> None:
        write_json(store.folder / f"cell-{self.number}.json", {"number": self.number})


def run_plain(task: TrivialCell, store: ArtifactStore) -> None:
    """Run a task as a plain Ray task does."""
    task(store)


def read_processor_seconds() -> float:
    """Return the processor seconds of this process and all processes that it has started."""
    parents, used = {}, {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:  # the process has ended
            continue
        # Own time in user and system mode, and that of children that have ended.
        parents[int(folder.name)], used[int(folder.name)] = int(fields[1]), sum(map(int, fields[11:15]))
    tree = {os.getpid()}
    while more := {child for child, parent in parents.items() if parent in tree} - tree:
        tree |= more
    return sum(used[process] for process in tree) / os.sysconf("SC_CLK_TCK")


def measure(run: Callable[[], None]) -> tuple[float, float]:
    """Return wall seconds and processor seconds."""
    processor, start = read_processor_seconds(), time.perf_counter()
    run()
    return time.perf_counter() - start, read_processor_seconds() - processor


def run_engine(engine: RayEngine, tasks: list[TrivialCell], store: ArtifactStore) -> None:
    with ProgressDisplay("cells", len(tasks), quiet=True) as display:
        errors = [result.error for result in engine.run(tasks, store, display)]
    assert errors == [None] * len(tasks), errors


def run_ray(ray: Any, tasks: list[TrivialCell], store: ArtifactStore) -> None:
    shared, run = ray.put(store), ray.remote(num_cpus=1)(run_plain)
    ray.get([run.remote(task, shared) for task in tasks])


def summarise(ours: list[float], plain: list[float], cells: int) -> dict[str, Any]:
    """Return milliseconds per cell of both sides and of their difference within a round."""
    overhead = [1000 * (one - other) / cells for one, other in zip(ours, plain, strict=True)]
    return {
        "germline_ms_per_cell": [round(1000 * value / cells, 3) for value in ours],
        "ray_ms_per_cell": [round(1000 * value / cells, 3) for value in plain],
        "overhead_ms_per_cell": round(statistics.median(overhead), 3),
        "least": round(min(overhead), 3),
        "most": round(max(overhead), 3),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--cells", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    # The class is that of the module, not of the main program, so that workers find it.
    from ray_overhead import TrivialCell as Cell

    ray = connect_to_ray(None)
    tasks = [Cell(number) for number in range(options.cells)]
    engine, ours, plain = RayEngine(), [], []
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        store = ArtifactStore(load_recipe("demo", ()), folder / "out", folder / "store")
        store.folder.mkdir()
        sides = {
            "germline": (ours, lambda: run_engine(engine, tasks, store)),
            "ray": (plain, lambda: run_ray(ray, tasks, store)),
        }
        # The first round starts the workers, which import torch.
        for index in range(options.rounds + 1):
            for name in list(sides) if index % 2 else reversed(sides):
                taken = measure(sides[name][1])
                if index:
                    sides[name][0].append(taken)
    wall, processor = (
        summarise([taken[kind] for taken in ours], [taken[kind] for taken in plain], options.cells) for kind in (0, 1)
    )
    result = {
        "command": " ".join(["python", "benchmarks/ray_overhead.py", *sys.argv[1:]]),
        "versions": {"python": platform.python_version(), **library_versions(), "ray": version("ray")},
        "commit": git("rev-parse", "HEAD"),
        "dirty": bool(git("status", "--porcelain", "--", "src", "benchmarks", ":!benchmarks/results")),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "cores": os.cpu_count(),
        "load": list(os.getloadavg()),
        "cells": options.cells,
        "rounds": options.rounds,
        "wall": wall,
        "processor": processor,
        "target_ms": TARGET_MS,
        "good": processor["overhead_ms_per_cell"] < TARGET_MS,
    }
    write_json(RESULT, result)
    for kind, facts in (("wall", wall), ("processor", processor)):
        print(f"{kind}: overhead per cell {facts['overhead_ms_per_cell']} ms, target {TARGET_MS:g} ms")
    return 0 if result["good"] else 1


if __name__ == "__main__":
    raise SystemExit(main())
