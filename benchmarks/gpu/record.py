"""Timing in turn and recording: what a part has finished is on disk, also when the part is stopped."""

from __future__ import annotations

import os
import statistics
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch

from common import describe_run, ratio
from germline.files import write_json

SEED = 0
# Share of the time that is left which the next case may plan: building and warming up are not counted in budgets.
PLANNED = 0.75
Seconds = dict[str, list[float]]


def synchronize(device: torch.device | str) -> None:
    """Wait for the device, so that a clock can be read."""
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize()


class Span(float):
    """Seconds of a piece of work.

    Attributes:
        processor_s: Seconds of all threads of this process in that time. Other work on the machine hardly changes them.
    """

    processor_s: float = 0.0


class Moment(NamedTuple):
    """A reading of both clocks."""

    wall: float
    processor: float

    def until(self, end: Moment) -> Span:
        """Return the span from this moment to a later one."""
        span = Span(end.wall - self.wall)
        span.processor_s = end.processor - self.processor
        return span


def read_clock(device: torch.device | str) -> Moment:
    """Read the clocks after all work of the device."""
    synchronize(device)
    return Moment(time.perf_counter(), time.process_time())


def measure_in_turn(
    sides: Mapping[str, Callable[[], float]], *, rounds: int, budget_s: float, warmup: int = 1, least: int = 3
) -> Seconds:
    """Call sides that return their own seconds in turn, with another first side in each round.

    It stops when the budget is spent, but not before the `least` rounds.
    """
    seconds: Seconds = {name: [] for name in sides}
    end = time.perf_counter() + budget_s
    for index in range(-warmup, rounds):
        if index >= least and time.perf_counter() > end:
            break
        for name in list(sides) if index % 2 else reversed(sides):
            taken = sides[name]()
            if index >= 0:
                seconds[name].append(taken)
    return seconds


def processor_ratio(over: Sequence[float], under: Sequence[float]) -> dict[str, float]:
    """Return the ratio of processor seconds, as `ratio` does of seconds; both sides are spans."""
    return ratio(*([getattr(span, "processor_s") for span in spans] for spans in (over, under)))  # noqa: B009


def make_row(
    case: str, seconds: Seconds, count: float, unit: str, peers: Sequence[str], ours: str = "ours", **facts: Any
) -> dict[str, Any]:
    """Build one row.

    Args:
        case: Name of the row.
        seconds: Seconds of each side in each round.
        count: What a side does in these seconds, in the unit's numerator.
        unit: Unit of the rates.
        peers: Sides that ours is compared with. A ratio of seconds above 1 means that ours takes longer.
        ours: Name of our side.
        facts: Further facts.
    """
    return {
        "case": case,
        "unit": unit,
        "rates": {name: round_to(count / statistics.median(taken)) for name, taken in seconds.items()},
        "ratio_to": {peer: ratio(seconds[ours], seconds[peer]) for peer in peers},
        "rounds": len(seconds[ours]),
        **facts,
    }


def round_to(number: float, digits: int = 5) -> float:
    """Return a number with so many digits."""
    return float(f"{number:.{digits}g}")


@dataclass
class Recorder:
    """Rows of one part; the file is written after each.

    Attributes:
        part: Name of the part.
        path: File of the results.
        scratch: Folder for files of the part; someone else removes it.
        device: Device of the measurements.
        is_dry: Whether sizes are small and the numbers no evidence.
        limit_s: Seconds that the part may take.
    """

    part: str
    path: Path
    scratch: Path
    device: str = "cpu"
    is_dry: bool = False
    limit_s: float = 60.0
    rows: list[dict[str, Any]] = field(default_factory=list)
    failures: list[dict[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._start = time.perf_counter()
        self._facts = describe_run()
        self._facts["device"] |= _describe_gpu(self.device)

    def add(self, row: Mapping[str, Any]) -> None:
        """Add a row, print it, and write the file."""
        self.rows.append(dict(row))
        print(format_row(row), flush=True)
        self.write()

    @contextmanager
    def case(self, name: str) -> Iterator[None]:
        """Record an error within the block as a failure of this case; other cases follow."""
        try:
            yield
        except Exception as error:
            traceback.print_exc()
            reason = (str(error).strip().splitlines() or [""])[0][:300]
            self.failures.append({"case": name, "reason": f"{type(error).__name__}: {reason}"})
            self.write()
        finally:
            if self.device == "cuda":
                torch.cuda.empty_cache()

    def share(self, cases_left: int) -> float:
        """Return the seconds that the next of so many cases may plan."""
        left = self.limit_s - (time.perf_counter() - self._start)
        return max(0.0, PLANNED * left / max(1, cases_left))

    def write(self, *, is_finished: bool = False) -> None:
        """Write the file, atomically."""
        write_json(
            self.path,
            {
                **self._facts,
                "part": self.part,
                "dry": self.is_dry,
                "seed": SEED,
                "finished": is_finished,
                "seconds": round(time.perf_counter() - self._start, 2),
                "limit_s": self.limit_s,
                "rows": self.rows,
                "failures": self.failures,
            },
        )


def format_row(row: Mapping[str, Any]) -> str:
    """Format a row as a line: rates of all sides, then ratios with intervals."""
    rates = "  ".join(f"{name} {value:,.0f}" for name, value in row["rates"].items())
    ratios = "  ".join(
        f"/{peer} {entry['ratio']:.3f} [{entry['low']:.3f}, {entry['high']:.3f}]"
        for peer, entry in row["ratio_to"].items()
    )
    processor = "".join(
        f"   processor seconds /{peer} {entry['ratio']:.3f} [{entry['low']:.3f}, {entry['high']:.3f}]"
        for peer, entry in row.get("processor_ratio_to", {}).items()
    )
    return f"{row['case']:<52} {row['unit']:>14}: {rates}   ratio {ratios}{processor}"


def _describe_gpu(device: str) -> dict[str, Any]:
    if device != "cuda":
        return {"type": device, "cores": os.cpu_count()}
    found = torch.cuda.get_device_properties(0)
    return {
        "type": device,
        "cores": os.cpu_count(),
        "gpu": found.name,
        "gpu_bytes": found.total_memory,
        "cuda": torch.version.cuda,
    }
