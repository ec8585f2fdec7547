"""Run cases of the fuzzer, and count the outcome of each."""

from __future__ import annotations

import logging
import random
import shutil
import signal
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from germline.errors import GermlineError

from .artefacts import REFUSED, Artefact
from .mutations import mutate

SECONDS = 30.0  # a case that takes longer hangs
REFUSALS, UNCHANGED, UNSEALED = "refused", "accepted unchanged", "accepted changed, without hash"
RAW, HANG, CHANGED = "raw error", "hang", "changed content accepted"
BAD = (RAW, HANG, CHANGED)
OUTCOMES = (REFUSALS, UNCHANGED, UNSEALED, *BAD)


class _Hang(BaseException):
    """A case takes too long."""


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Stop the block after some seconds."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise _Hang

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@dataclass
class Fuzzer:
    """Changes copies of one artefact.

    Attributes:
        artefact: Artefact to change.
        place: Folder to work in.
        seed: Random seed; with the number of a case it decides the case.
        counts: Number of cases by outcome.
        bad: Descriptions of the cases with a bad outcome.
    """

    artefact: Artefact
    place: Path
    seed: int
    counts: Counter[str] = field(default_factory=Counter)
    bad: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.place.mkdir(parents=True, exist_ok=True)
        self._original, self._copy = self.place / "original", self.place / "copy"
        self.artefact.make(self._original)
        shutil.copytree(self._original, self._copy)
        self._digest = self.artefact.read(self._copy)

    def run_case(self, number: int) -> str:
        """Run one case, and return its outcome."""
        draw = random.Random(f"{self.seed} {self.artefact.name} {number}")
        shutil.rmtree(self._copy, ignore_errors=True)
        shutil.copytree(self._original, self._copy)
        changed = []
        for _ in range(draw.randint(1, self.artefact.changes)):
            files = sorted(path for path in self._copy.rglob("*") if path.is_file() and not path.is_symlink())
            if not files:  # the first change removed all files
                break
            path = draw.choice(files)
            changed.append((path.name, mutate(path, draw)))
        outcome, detail = self._read({name for name, _ in changed})
        self.counts[outcome] += 1
        if outcome in BAD:
            self.bad.append(f"{self.artefact.name} case {number} {changed}: {outcome} {detail}")
        return outcome

    def _read(self, changed: set[str]) -> tuple[str, str]:
        try:
            with time_limit(SECONDS), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                found = self.artefact.read(self._copy)
        except GermlineError as error:
            return (REFUSALS, "") if error.exit_code == 2 and str(error) else (RAW, repr(error))
        except _Hang:
            return HANG, ""
        except Exception as error:
            last = traceback.extract_tb(error.__traceback__)[-1]
            return RAW, f"{type(error).__name__} {str(error)[:200]} at {Path(last.filename).name}:{last.lineno}"
        if found == REFUSED:
            return REFUSALS, ""
        if found == self._digest:
            return UNCHANGED, ""
        return (UNSEALED if changed <= set(self.artefact.unsealed) else CHANGED), ""


def run_cases(fuzzer: Fuzzer, first: int, count: int) -> None:
    """Run cases in order, without what germline logs about skipped checkpoints."""
    logger = logging.getLogger("germline")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        for number in range(first, first + count):
            fuzzer.run_case(number)
    finally:
        logger.setLevel(level)


def run_minutes(fuzzers: list[Fuzzer], minutes: float) -> float:
    """Run all fuzzers in turns for some minutes; return the seconds."""
    start, number = time.monotonic(), 0
    while time.monotonic() - start < 60 * minutes:
        for fuzzer in fuzzers:
            run_cases(fuzzer, number, 5)
        number += 5
    return time.monotonic() - start
