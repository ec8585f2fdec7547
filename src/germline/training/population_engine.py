"""The ways to train a population, by name, and the choice between them."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, ClassVar

from germline.errors import SettingError, UnknownNameError
from germline.files import read_json, write_json
from germline.training.population import Population, PopulationEngine
from germline.training.population_vmap import VmapEngine
from germline.training.progress import PartialProgress
from germline.training.trainer import Trainer, TrainingLog

# What measuring may cost, as a share of the work. Half of it is planned, since a way on trial may be the slower one.
MAX_SHARE, PLANNED_SHARE = 0.03, 0.015
# Another way is taken where it is at least this much faster: two steps do not tell less from nothing.
SPEED_MARGIN = 0.95
WARMUP_STEPS, TIMED_STEPS, LOOP_TIMED_STEPS = 1, 2, 4


class LoopEngine:
    """Each member by itself through the one loop: to the bit what `Run.fit` does."""

    name: ClassVar[str] = "loop"

    def unsupported_reason(self, population: Population) -> str | None:
        """There is nothing that it cannot do."""

    def members_at_once(self, population: Population) -> int:
        """One at a time."""
        return 1

    def train(self, population: Population, progress: PartialProgress) -> list[tuple[TrainingLog, float]]:
        """Train the members in their order."""
        found = []
        for member in population.members:
            trainer = Trainer(
                member.name,
                population.fabric,
                member.network,
                population.objective,
                member.images,
                population.settings,
                member.seed,
                val=member.val,
                augmentation=member.augmentation,
                progress=progress,
            )
            found.append(trainer.run())
            progress = progress.starting_after(population.steps(member))
        return found


ENGINES: dict[str, PopulationEngine] = {engine.name: engine for engine in (LoopEngine(), VmapEngine())}


def find_engine(name: str, population: Population) -> PopulationEngine:
    """The way that was asked for.

    Raises:
        UnknownNameError: There is no such way.
        SettingError: It cannot train this population.
    """
    if name not in ENGINES:
        raise UnknownNameError.with_nearest("population engine", name, ["auto", *ENGINES])
    if reason := ENGINES[name].unsupported_reason(population):
        raise SettingError(f"engine '{name}' cannot train these members", reason, "use engine='loop' or 'auto'")
    return ENGINES[name]


class EngineChooser:
    """Which way is taken for which kind of population: chosen once, then followed, so that a resumed run is the same.

    Choices are kept in `engine.json` of the run's folder, or here where there is none.
    """

    def __init__(self, folder: Path | None) -> None:
        self._path = folder / "engine.json" if folder else None
        self._known: dict[str, Any] = {}

    def choose(self, population: Population) -> PopulationEngine:
        """The way of a population: as known, else the fastest of those that can, else the loop."""
        able = {name: engine for name, engine in ENGINES.items() if engine.unsupported_reason(population) is None}
        if len(able) == 1:
            return able["loop"]
        key = _key(population)
        if self._path is not None and self._path.exists():
            self._known = read_json(self._path)
        known = self._known.get(key, {}).get("way")
        if known not in able:
            seconds, reason = measure_engines(population, able)
            known = choose_fastest(seconds)
            note = {name: round(value, 6) for name, value in seconds.items()}
            self._known[key] = {"way": known, "why": reason, "seconds_a_member_step": note}
            if self._path is not None:
                write_json(self._path, self._known)
        return able[known]


def choose_fastest(seconds: dict[str, float]) -> str:
    """The way of least seconds a member-step, or the loop where no other is clearly faster."""
    if "loop" not in seconds:
        return "loop"
    best = min(seconds, key=lambda name: seconds[name])
    return best if seconds[best] < SPEED_MARGIN * seconds["loop"] else "loop"


def measure_engines(population: Population, engines: dict[str, PopulationEngine]) -> tuple[dict[str, float], str]:
    """Seconds a member-step of each way, found on copies of the first members; and how that was found, in words.

    What is measured costs a small share of the work at most: where one step of a stack would cost more, nothing is
    measured, and where only that one can be paid for, it stands for the way.
    """
    if measuring_cost(population, engines) > PLANNED_SHARE * population.member_steps:
        return {}, "not measured: that would cost too large a share of these few steps"
    others = {name: engine for name, engine in engines.items() if name != "loop"}
    _time_engine(engines["loop"], population, WARMUP_STEPS)
    found, notes = {"loop": _time_engine(engines["loop"], population, LOOP_TIMED_STEPS)}, ["measured"]
    left = found["loop"] * (MAX_SHARE * population.member_steps - WARMUP_STEPS - LOOP_TIMED_STEPS)
    for name, engine in others.items():
        try:
            found[name] = _time_engine(engine, population, WARMUP_STEPS)
            members = engine.members_at_once(population)
            left -= found[name] * members * WARMUP_STEPS
            if found[name] * members * TIMED_STEPS <= left:
                left -= found[name] * members * TIMED_STEPS
                found[name] = _time_engine(engine, population, TIMED_STEPS)
        except RuntimeError as error:  # torch's answer to too little memory, and to what it cannot map
            found.pop(name, None)
            notes.append(f"{name} failed on trial: {str(error).splitlines()[0]}")
    return found, "; ".join(notes)


def measuring_cost(population: Population, engines: dict[str, PopulationEngine]) -> int:
    """Member-steps that it takes to see what each way costs."""
    return (
        WARMUP_STEPS
        + LOOP_TIMED_STEPS
        + sum(WARMUP_STEPS * engine.members_at_once(population) for name, engine in engines.items() if name != "loop")
    )


def _time_engine(engine: PopulationEngine, population: Population, steps: int) -> float:
    """Seconds a member-step over a few steps of so many members as the way computes at once."""
    members = engine.members_at_once(population)
    trial = population.make_trial(members, steps)
    began = time.perf_counter()
    engine.train(trial, PartialProgress())
    return (time.perf_counter() - began) / (steps * members)


def _key(population: Population) -> str:
    """What the speed depends on, in words; the steps too, since they say whether measuring is worth it."""
    settings, first = population.settings, population.members[0]
    return (
        f"{type(first.network.model).__name__}({first.network.spec}), pictures of {first.images.side}, "
        f"{len(population.members)} members, {population.together or 'all'} together, batch {settings.batch_size}, "
        f"{settings.optimizer}, {population.member_steps} member-steps, {population.fabric.device}"
    )
