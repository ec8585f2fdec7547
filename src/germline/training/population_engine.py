"""The ways to train a population, by name, and the choice between them."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, ClassVar

from germline.errors import SettingError, UnknownNameError
from germline.files import read_json, write_json
from germline.training.population import Population, Way
from germline.training.population_vmap import Vmap
from germline.training.progress import Stretch
from germline.training.trainer import Fit, Log

# What measuring may cost, as a share of the work. Half of it is planned, since a way on trial may be the slower one.
MOST, PLANNED = 0.03, 0.015
# Another way is taken where it is at least this much faster: two steps do not tell less from nothing.
MARGIN = 0.95
WARM, TIMED, LOOP_TIMED = 1, 2, 4


class Loop:
    """Each member by itself through the one loop: to the bit what `Run.fit` does."""

    name: ClassVar[str] = "loop"

    def why_not(self, population: Population) -> str | None:
        """There is nothing that it cannot do."""

    def width(self, population: Population) -> int:
        """One at a time."""
        return 1

    def train(self, population: Population, stretch: Stretch) -> list[tuple[Log, float]]:
        """Train the members in their order."""
        found = []
        for member in population.members:
            fit = Fit(
                member.name,
                population.fabric,
                member.network,
                population.objective,
                member.images,
                population.settings,
                member.seed,
                val=member.val,
                augmentation=member.augmentation,
                stretch=stretch,
            )
            found.append(fit.run())
            stretch = stretch.further(population.steps(member))
        return found


WAYS: dict[str, Way] = {way.name: way for way in (Loop(), Vmap())}


def way_by_name(name: str, population: Population) -> Way:
    """The way that was asked for.

    Raises:
        UnknownNameError: There is no such way.
        SettingError: It cannot train this population.
    """
    if name not in WAYS:
        raise UnknownNameError.with_nearest("way to train a population", name, ["auto", *WAYS])
    if reason := WAYS[name].why_not(population):
        raise SettingError(f"way '{name}' cannot train these members", reason, "use way='loop' or 'auto'")
    return WAYS[name]


class Choices:
    """Which way is taken for which kind of population: chosen once, then followed, so that a resumed run is the same.

    Choices are kept in `engine.json` of the run's folder, or here where there is none.
    """

    def __init__(self, folder: Path | None) -> None:
        self._path = folder / "engine.json" if folder else None
        self._known: dict[str, Any] = {}

    def choose(self, population: Population) -> Way:
        """The way of a population: as known, else the fastest of those that can, else the loop."""
        able = {name: way for name, way in WAYS.items() if way.why_not(population) is None}
        if len(able) == 1:
            return able["loop"]
        key = _key(population)
        if self._path is not None and self._path.exists():
            self._known = read_json(self._path)
        known = self._known.get(key, {}).get("way")
        if known not in able:
            seconds, reason = measure(population, able)
            known = fastest(seconds)
            note = {name: round(value, 6) for name, value in seconds.items()}
            self._known[key] = {"way": known, "why": reason, "seconds_a_member_step": note}
            if self._path is not None:
                write_json(self._path, self._known)
        return able[known]


def fastest(seconds: dict[str, float]) -> str:
    """The way of least seconds a member-step, or the loop where no other is clearly faster."""
    if "loop" not in seconds:
        return "loop"
    best = min(seconds, key=lambda name: seconds[name])
    return best if seconds[best] < MARGIN * seconds["loop"] else "loop"


def measure(population: Population, ways: dict[str, Way]) -> tuple[dict[str, float], str]:
    """Seconds a member-step of each way, found on copies of the first members; and how that was found, in words.

    What is measured costs a small share of the work at most: where one step of a stack would cost more, nothing is
    measured, and where only that one can be paid for, it stands for the way.
    """
    if cost_of_measuring(population, ways) > PLANNED * population.member_steps:
        return {}, "not measured: that would cost too large a share of these few steps"
    others = {name: way for name, way in ways.items() if name != "loop"}
    _try(ways["loop"], population, WARM)
    found, notes = {"loop": _try(ways["loop"], population, LOOP_TIMED)}, ["measured"]
    left = found["loop"] * (MOST * population.member_steps - WARM - LOOP_TIMED)
    for name, way in others.items():
        try:
            found[name] = _try(way, population, WARM)
            width = way.width(population)
            left -= found[name] * width * WARM
            if found[name] * width * TIMED <= left:
                left -= found[name] * width * TIMED
                found[name] = _try(way, population, TIMED)
        except RuntimeError as error:  # torch's answer to too little memory, and to what it cannot map
            found.pop(name, None)
            notes.append(f"{name} failed on trial: {str(error).splitlines()[0]}")
    return found, "; ".join(notes)


def cost_of_measuring(population: Population, ways: dict[str, Way]) -> int:
    """Member-steps that it takes to see what each way costs."""
    return WARM + LOOP_TIMED + sum(WARM * way.width(population) for name, way in ways.items() if name != "loop")


def _try(way: Way, population: Population, steps: int) -> float:
    """Seconds a member-step over a few steps of so many members as the way computes at once."""
    width = way.width(population)
    trial = population.trial(width, steps)
    began = time.perf_counter()
    way.train(trial, Stretch())
    return (time.perf_counter() - began) / (steps * width)


def _key(population: Population) -> str:
    """What the speed depends on, in words; the steps too, since they say whether measuring is worth it."""
    settings, first = population.settings, population.members[0]
    return (
        f"{type(first.network.model).__name__}({first.network.spec}), pictures of {first.images.side}, "
        f"{len(population.members)} members, {population.together or 'all'} together, batch {settings.batch_size}, "
        f"{settings.optimizer}, {population.member_steps} member-steps, {population.fabric.device}"
    )
