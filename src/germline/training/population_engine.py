"""The engines that train a population, by name, and the choice between them."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, ClassVar

from germline.errors import SettingError, UnknownNameError
from germline.files import read_mapping, write_json
from germline.training.population import Population, PopulationEngine
from germline.training.population_vmap import VmapEngine
from germline.training.progress import PartialProgress
from germline.training.trainer import Trainer, TrainingLog

# Limit of the measuring cost, as a share of the work. Only half is planned, since a measured engine may be slow.
MAX_SHARE, PLANNED_SHARE = 0.03, 0.015
# Another engine must be at least this much faster: two steps cannot resolve smaller differences.
SPEED_MARGIN = 0.95
WARMUP_STEPS, TIMED_STEPS, LOOP_TIMED_STEPS = 1, 2, 4


class LoopEngine:
    """Engine that trains one member after the other, bit by bit as `Run.fit` does."""

    name: ClassVar[str] = "loop"

    def unsupported_reason(self, population: Population) -> str | None:
        """Return None: it can train every population."""

    def members_at_once(self, population: Population) -> int:
        """Return 1."""
        return 1

    def train(self, population: Population, progress: PartialProgress) -> list[tuple[TrainingLog, float]]:
        """Train the members in order."""
        outcomes = []
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
                protection=member.protection,
                progress=progress,
            )
            outcomes.append(trainer.run())
            progress = progress.starting_after(population.steps(member))
        return outcomes


ENGINES: dict[str, PopulationEngine] = {engine.name: engine for engine in (LoopEngine(), VmapEngine())}


def find_engine(name: str, population: Population) -> PopulationEngine:
    """Find an engine by name.

    Raises:
        UnknownNameError: There is no such engine.
        SettingError: The engine cannot train this population.
    """
    if name not in ENGINES:
        raise UnknownNameError.with_nearest("population engine", name, ["auto", *ENGINES])
    if reason := ENGINES[name].unsupported_reason(population):
        raise SettingError(f"Engine '{name}' cannot train these members", reason, "Use engine='loop' or 'auto'")
    return ENGINES[name]


class EngineChooser:
    """Chooses an engine once per kind of population, so that a resumed run uses the same one.

    Choices are saved in `engine.json` of the run's folder, or in memory without a folder.
    """

    def __init__(self, folder: Path | None) -> None:
        self._path = folder / "engine.json" if folder else None
        self._known: dict[str, Any] = {}

    def choose(self, population: Population) -> PopulationEngine:
        """Choose an engine: the saved choice, or the fastest of those that can, or the loop."""
        able = {name: engine for name, engine in ENGINES.items() if engine.unsupported_reason(population) is None}
        if len(able) == 1:
            return able["loop"]
        key = _key(population)
        if self._path is not None and self._path.exists():
            self._known = read_mapping(self._path)
        choice = self._known.get(key, {}).get("way")
        if choice not in able:
            seconds, reason = measure_engines(population, able)
            choice = choose_fastest(seconds)
            note = {name: round(value, 6) for name, value in seconds.items()}
            self._known[key] = {"way": choice, "why": reason, "seconds_a_member_step": note}
            if self._path is not None:
                write_json(self._path, self._known)
        return able[choice]


def choose_fastest(seconds: dict[str, float]) -> str:
    """Return the engine with the least seconds per member-step, or the loop if none is clearly faster."""
    if "loop" not in seconds:
        return "loop"
    best = min(seconds, key=lambda name: seconds[name])
    return best if seconds[best] < SPEED_MARGIN * seconds["loop"] else "loop"


def measure_engines(population: Population, engines: dict[str, PopulationEngine]) -> tuple[dict[str, float], str]:
    """Measure seconds per member-step of each engine on copies of the first members.

    Measuring costs a small share of the work at most. If one step of a stack would cost more, nothing is measured. If
    the limit allows only that one step, it counts for the engine.

    Returns:
        Seconds by name of engine, and a note on how they were measured.
    """
    if count_measuring_steps(population, engines) > PLANNED_SHARE * population.member_steps:
        return {}, "not measured: that would cost too large a share of these few steps"
    others = {name: engine for name, engine in engines.items() if name != "loop"}
    _time_engine(engines["loop"], population, WARMUP_STEPS)
    seconds, notes = {"loop": _time_engine(engines["loop"], population, LOOP_TIMED_STEPS)}, ["measured"]
    budget = seconds["loop"] * (MAX_SHARE * population.member_steps - WARMUP_STEPS - LOOP_TIMED_STEPS)
    for name, engine in others.items():
        try:
            seconds[name] = _time_engine(engine, population, WARMUP_STEPS)
            members = engine.members_at_once(population)
            budget -= seconds[name] * members * WARMUP_STEPS
            if seconds[name] * members * TIMED_STEPS <= budget:
                budget -= seconds[name] * members * TIMED_STEPS
                seconds[name] = _time_engine(engine, population, TIMED_STEPS)
        except RuntimeError as error:  # torch raises it for too little memory, and for operations that it cannot map
            seconds.pop(name, None)
            notes.append(f"{name} failed on trial: {str(error).splitlines()[0]}")
    return seconds, "; ".join(notes)


def count_measuring_steps(population: Population, engines: dict[str, PopulationEngine]) -> int:
    """Return the member-steps that measuring all engines takes."""
    return (
        WARMUP_STEPS
        + LOOP_TIMED_STEPS
        + sum(WARMUP_STEPS * engine.members_at_once(population) for name, engine in engines.items() if name != "loop")
    )


def _time_engine(engine: PopulationEngine, population: Population, steps: int) -> float:
    """Measure seconds per member-step over a few steps of as many members as the engine computes at once."""
    members = engine.members_at_once(population)
    trial = population.make_trial(members, steps)
    start = time.perf_counter()
    engine.train(trial, PartialProgress())
    return (time.perf_counter() - start) / (steps * members)


def _key(population: Population) -> str:
    """Return the key of a choice in `engine.json`: everything that the speed depends on.

    The steps are part of it, since they decide whether measuring is worth its cost. Runs on disk have these keys, so
    the text must not change.
    """
    settings, first = population.settings, population.members[0]
    return (
        f"{type(first.network.model).__name__}({first.network.spec}), pictures of {first.images.side}, "
        f"{len(population.members)} members, {population.together or 'all'} together, batch {settings.batch_size}, "
        f"{settings.optimizer}, {population.member_steps} member-steps, {population.fabric.device}"
    )
