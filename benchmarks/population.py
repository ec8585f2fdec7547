"""Time of a population step: `vmap` against the loop, target < 1; `auto` against the loop, target <= 1.05.

Each round times a few steps of all members with the loop and with the stack. It also times the choice of `auto` for the
shortest population that it measures, where measuring weighs most. The time of `auto` is the time of measuring plus the
time of that population's steps with the chosen engine.

Memory is the growth of the peak resident size (VmHWM of Linux, reset before) of a child process while it trains with
one engine. On a GPU it is the peak that torch allocated.
"""

from __future__ import annotations

import argparse
import copy
import math
import statistics
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from common import DEFAULT_THREADS, in_turn, keep, row
from germline.architectures import Preprocess
from germline.data import Images
from germline.network import Network
from germline.registry import architecture_of, model_spec
from germline.training import CrossEntropy, Member, Run, TrainSettings
from germline.training.population import Population
from germline.training.population_engine import (
    ENGINES,
    MAX_SHARE,
    PLANNED_SHARE,
    TIMED_STEPS,
    WARMUP_STEPS,
    EngineChooser,
    count_measuring_steps,
)

AUTO_TARGET, STACK_TARGET = 1.05, 1.0
SIDE, CLASSES, IMAGES = 32, 5, 250  # a task of five classes with fifty images each
ROUNDS, BUDGET_S = 100, {"quick": 5.0, "full": 40.0, "wide": 40.0}
LEAST = {"quick": 6, "full": 6, "wide": 3}
PIECE = 16  # member-steps in one timed piece, at least one step of all


@dataclass(frozen=True)
class Case:
    """Model, number of members, batch size and device of a measurement."""

    model: str
    members: int
    batch: int
    device: str = "cpu"

    @property
    def name(self) -> str:
        return f"{self.model}, {self.members} members, batch {self.batch}, {self.device}"

    @property
    def steps(self) -> int:
        return max(1, PIECE // self.members)


SMALL = [Case(m, n, b) for m in ("vgg11_x025", "resnet12_x025") for n in (8, 32) for b in (32, 64)]
# The paper's width, as far as a CPU allows. A step takes seconds, so there are fewer of them.
WIDE = [Case(m, 8, b) for b in (32, 64) for m in ("vgg11", "resnet12")]
LARGE = [Case(m, n, b, "cuda") for m in ("vgg11", "resnet12") for n in (8, 32) for b in (32, 64)]
CASES = {
    "quick": [Case("vgg11_x025", 2, 8)],
    "wide": WIDE,
    "full": SMALL + ([replace(case, device="cuda") for case in SMALL] + LARGE if torch.cuda.is_available() else []),
}


def population(case: Case, run: Run) -> Population:
    """Build members with random weights and random images."""
    draw = torch.Generator().manual_seed(0)
    spec = model_spec(case.model, image_size=SIDE, channels=3, classes=CLASSES)
    names = tuple(str(label) for label in range(CLASSES))
    members = []
    for index in range(case.members):
        images = torch.randint(256, (IMAGES, 3, SIDE, SIDE), dtype=torch.uint8, generator=draw)
        labels = torch.randint(CLASSES, (IMAGES,), generator=draw)
        network = Network(architecture_of(spec).build(spec), Preprocess.from_images(images), names, spec=spec)
        members.append(Member(f"member {index}", network, Images(images, labels, names), index, None, ("shift",)))
    settings = TrainSettings(steps=case.steps, batch_size=case.batch, optimizer="sgd", lr=1e-2)
    return Population(tuple(members), CrossEntropy(), settings, run.fabric)


def side(run: Run, given: Population, engine: str) -> Callable[[], object]:
    """Return a function that makes a few more steps of all members with one engine."""
    members = [replace(m, network=copy.deepcopy(m.network)) for m in given.members]
    return partial(run.fit_population, "piece", members, given.settings, engine=engine)


def measured(case: Case, budget_s: float, least: int) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Return both comparisons of one case, and its speed and memory."""
    run = Run(device=case.device, quiet=True)
    given = population(case, run)
    steps = math.ceil(count_measuring_steps(given, ENGINES) / PLANNED_SHARE / case.members)
    whole = replace(given, settings=given.settings.model_copy(update={"steps": steps}))
    chosen: list[str] = []
    sides = {name: side(run, given, name) for name in ENGINES}
    sides["choosing"] = lambda: chosen.append(EngineChooser(None).choose(whole).name)
    seconds = in_turn(sides, ROUNDS, warmup=1, budget_s=budget_s, least=least)
    taken = chosen[-len(seconds["loop"]) :]
    pieces = whole.member_steps / given.member_steps
    loop = [pieces * took for took in seconds["loop"]]
    auto = [
        choosing + pieces * seconds[engine][index]
        for index, (choosing, engine) in enumerate(zip(seconds["choosing"], taken, strict=True))
    ]
    choice = {"steps_of_each": steps, "taken": {name: taken.count(name) for name in ENGINES}}
    pace = {name: round(given.member_steps / statistics.median(seconds[name]), 2) for name in ENGINES}
    memory = {name: peak(case, name) for name in ENGINES}
    rows = [row(f"{case.name}: vmap", seconds["vmap"], seconds["loop"], STACK_TARGET, member_steps=given.member_steps)]
    rows.append(row(f"{case.name}: auto", auto, loop, AUTO_TARGET, **choice))
    print(
        f"{case.name}: member-steps/s {pace}, peak MiB over the members {memory}, taken {choice['taken']}", flush=True
    )
    return rows, {"case": case.name, "member_steps_per_second": pace, "peak_mib": memory}


def peak(case: Case, engine: str) -> float:
    """Return the peak memory of training with one engine in MiB, measured in a child process."""
    asked = [case.model, str(case.members), str(case.batch), case.device, engine]
    threads = ["--threads", str(torch.get_num_threads())]
    command = [sys.executable, __file__, *threads, "--peak", *asked]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def print_peak(model: str, members: str, batch: str, device: str, engine: str) -> None:
    """Print the peak memory of two steps in MiB; `peak` runs this."""
    run = Run(device=device, quiet=True)
    given = population(Case(model, int(members), int(batch), device), run)
    before = resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    run.fit_population("peak", given.members, given.settings.model_copy(update={"steps": 2}), engine=engine)
    peak_mib = torch.cuda.max_memory_allocated() / 2**20 if device == "cuda" else resident("VmHWM") - before
    print(round(peak_mib, 1))


def resident(field: str) -> float:
    """Return this process's resident size in MiB, now (VmRSS) or at its peak (VmHWM)."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) / 1024


def main() -> None:
    """Measure every case."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--threads", type=int, default=DEFAULT_THREADS, help="threads of torch (default: its own)")
    parser.add_argument("--cases", choices=CASES, default="full", help="quick: one small case; wide: whole width")
    parser.add_argument("--peak", nargs=5, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    if asked.peak:
        print_peak(*asked.peak)
        return
    rows: list[dict[str, Any]] = []
    facts: list[dict[str, Any]] = []
    settings = {"most": MAX_SHARE, "planned": PLANNED_SHARE, "warm": WARMUP_STEPS, "timed": TIMED_STEPS}
    for case in CASES[asked.cases]:
        found, more = measured(case, BUDGET_S[asked.cases], LEAST[asked.cases])
        rows += found
        facts.append(more)
        # Written after each case, so that a stopped run leaves its results.
        name = "population" if asked.cases == "full" else f"population-{asked.cases}"
        keep(name, rows, cases=facts, measuring=settings)


if __name__ == "__main__":
    main()
