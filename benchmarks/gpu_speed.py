"""Speed on one GPU, part by part: each is a process with its own time limit, and what it has finished counts.

    python benchmarks/gpu_speed.py                   # all parts within 150 seconds, on a GPU

    python benchmarks/gpu_speed.py --dry --out DIR   # small sizes on a CPU, to show that all works; no evidence

    python benchmarks/gpu_speed.py --parts step,memory

Each part writes `gpu-speed-PART.json` after each of its rows; with `--dry` it is `gpu-dry-speed-PART.json`. A table of
all parts is printed at the end.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import FrameType

import torch

from common import ROOT
from gpu.loaders import measure_loaders
from gpu.populations import measure_populations
from gpu.record import Recorder, format_row
from gpu.saving import measure_saving
from gpu.steps import measure_distillation, measure_memory, measure_overhead, measure_steps

TOTAL_S, DRY_TOTAL_S, LEAST_S = 150.0, 60.0, 5.0


@dataclass(frozen=True)
class Part:
    """What a part measures, and the seconds that it may take.

    Attributes:
        measure: Function that adds rows to a recorder.
        limit_s: Limit on a GPU.
        dry_limit_s: Limit of the small version on a CPU.
    """

    measure: Callable[[Recorder], None]
    limit_s: float
    dry_limit_s: float


# In order of worth: what is out of time is not started.
PARTS = {
    "step": Part(measure_steps, 42.0, 15.0),
    "overhead": Part(measure_overhead, 14.0, 10.0),
    "distillation": Part(measure_distillation, 14.0, 8.0),
    "population": Part(measure_populations, 38.0, 10.0),
    "loader": Part(measure_loaders, 24.0, 10.0),
    "saving": Part(measure_saving, 6.0, 5.0),
    "memory": Part(measure_memory, 10.0, 8.0),
}


def run_part(name: str, part: Part, limit_s: float, out: Path, *, device: str, is_dry: bool) -> str:
    """Run a part in a process of its own; return how it ended, in words."""
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix=f"gpu-speed-{name}-") as scratch:
        # The libraries are imported once, here. This process must not ask for GPUs: its forks could not use them then.
        arguments = (name, part.measure, find_path(out, name, is_dry=is_dry), Path(scratch), device, is_dry, limit_s)
        process = multiprocessing.get_context("fork").Process(target=_measure_part, args=arguments)
        process.start()
        try:
            process.join(limit_s)
        finally:
            is_stopped = process.is_alive()
            _stop(process)
            process.join()
    seconds = f"{time.monotonic() - start:.1f} s"
    if is_stopped:
        return f"stopped at its limit after {seconds}"
    return f"finished in {seconds}" if process.exitcode == 0 else f"failed with {process.exitcode} after {seconds}"


def _measure_part(
    name: str, measure: Callable[[Recorder], None], path: Path, scratch: Path, device: str, is_dry: bool, limit_s: float
) -> None:
    os.setsid()  # so that a part is stopped with its workers
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    path.unlink(missing_ok=True)
    found = "cuda" if device == "auto" and torch.cuda.is_available() else "cpu" if device == "auto" else device
    recorder = Recorder(name, path, scratch, found, is_dry, limit_s)
    measure(recorder)
    recorder.write(is_finished=True)


def _stop(process: BaseProcess) -> None:
    """Stop a part and its workers."""
    if process.pid is not None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    # A part that has only just started has no group of its own yet.
    process.kill()


def find_path(out: Path, name: str, *, is_dry: bool) -> Path:
    """Return the file of a part."""
    return out / f"{'gpu-dry' if is_dry else 'gpu'}-speed-{name}.json"


def print_table(out: Path, endings: dict[str, str], *, is_dry: bool) -> None:
    """Print the rows of all parts."""
    for name, ending in endings.items():
        print(f"\n{name}: {ending}")
        path = find_path(out, name, is_dry=is_dry)
        if not path.exists():
            continue
        content = json.loads(path.read_text(encoding="utf-8"))
        for row in content["rows"]:
            print("  " + format_row(row))
        for failure in content["failures"]:
            print(f"  {failure['case']}: failed: {failure['reason']}")


def run_parts(names: list[str], total_s: float, out: Path, *, device: str, is_dry: bool) -> dict[str, str]:
    """Run parts in order within a total time; return how each ended."""
    end, endings = time.monotonic() + total_s, dict[str, str]()
    for name in names:
        part, left = PARTS[name], end - time.monotonic()
        if left < LEAST_S:
            endings[name] = "not started, no time is left"
            continue
        limit_s = min(left, part.dry_limit_s if is_dry else part.limit_s)
        print(f"{name}: at most {limit_s:.0f} s", flush=True)
        endings[name] = run_part(name, part, limit_s, out, device=device, is_dry=is_dry)
    return endings


def _exit(number: int, _: FrameType | None) -> None:
    raise SystemExit(128 + number)


def main() -> int:
    """Run the parts and print their tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--dry", action="store_true", help="small sizes, no evidence")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--parts", default=",".join(PARTS), help=f"parts in order (default: {','.join(PARTS)})")
    parser.add_argument("--seconds", type=float, help=f"total time (default: {TOTAL_S:g}, {DRY_TOTAL_S:g} if dry)")
    parser.add_argument("--out", type=Path, help="folder of results (default: benchmarks/results)")
    asked = parser.parse_args()
    names = [name for name in asked.parts.split(",") if name]
    if unknown := [name for name in names if name not in PARTS]:
        parser.error(f"There is no part {unknown[0]}. Parts are {', '.join(PARTS)}. Use one of these.")
    out = asked.out or ROOT / "benchmarks" / "results"
    out.mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGTERM, _exit)
    total_s = asked.seconds or (DRY_TOTAL_S if asked.dry else TOTAL_S)
    device = "cpu" if asked.dry and asked.device == "auto" else asked.device
    endings = run_parts(names, total_s, out, device=device, is_dry=asked.dry)
    print_table(out, endings, is_dry=asked.dry)
    return int(not any(ending.startswith("finished") for ending in endings.values()))


if __name__ == "__main__":
    sys.exit(main())
