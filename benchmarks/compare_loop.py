"""Overhead of `Run.fit` against a hand-written loop of the same model, batch and augmentation at 32 px; target <= 1.03.

Steps alternate: ahead of each of its steps, `Run.fit` calls an objective that makes a step of every other loop. So all
see the same load of the machine. The second loop reads images from a DataLoader without workers, where PIL changes them
one by one. `gpu_speed.py --parts overhead` measures the same on a GPU, in longer pieces and with workers.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch

from common import DEFAULT_THREADS, ROOT
from germline.training import CrossEntropy, TrainSettings
from gpu.bench import AUGMENTATION, OVERHEAD_TARGET, Bench, Case
from gpu.plain import LR, PilBatches, PilImages
from gpu.record import Moment, Recorder, Span, make_row, processor_ratio, read_clock

SECONDS, WARMUP, MOST = 90.0, 5, 2000
# The smallest network shows the most overhead.
CASES = (Case("vit_pico", 32, 32, 1), Case("vit_nano", 32, 32, 1), Case("vgg11_x025", 32, 32, 1))


class Alternate(CrossEntropy):
    """Cross entropy that times the steps of `Run.fit` and makes one step of other loops between them.

    Attributes:
        seconds: Seconds of each side in each step.
    """

    def __init__(self, others: Mapping[str, Callable[[], object]], budget_s: float) -> None:
        super().__init__()
        self._others, self._end = others, time.perf_counter() + budget_s
        self._last: Moment | None = None
        self.seconds: dict[str, list[Span]] = {name: [] for name in ("ours", *others)}

    def before_step(self, seed: int, name: str, step: int) -> None:
        now = read_clock("cpu")
        if self._last is not None:
            self.seconds["ours"].append(self._last.until(now))
        if len(self.seconds["ours"]) > WARMUP and time.perf_counter() > self._end:
            raise StopIteration
        for side, make_step in self._others.items():
            start = read_clock("cpu")
            make_step()
            self.seconds[side].append(start.until(read_clock("cpu")))
        self._last = read_clock("cpu")

    def rounds(self) -> dict[str, list[Span]]:
        """Return the seconds of the steps after the warm-up."""
        count = len(self.seconds["ours"])
        return {name: spans[WARMUP:count] for name, spans in self.seconds.items()}


def measure_case(case: Case, budget_s: float) -> dict[str, list[Span]]:
    """Return seconds per step of all sides."""
    bench = Bench(case, "32-true", "cpu")
    labels = bench.images.labels
    assert labels is not None
    batches = PilBatches(PilImages(bench.images.images, labels), case.batch, 0, "cpu")
    batches.start()
    plain, slow = bench.plain(), bench.plain(next_batch=batches.next)
    watch = Alternate({"plain": lambda: plain.run(1), "DataLoader": lambda: slow.run(1)}, budget_s)
    settings = TrainSettings(steps=MOST, batch_size=case.batch, lr=LR, warmup=0.0, checkpoint_every=10**6)
    with contextlib.suppress(StopIteration):  # the time is spent
        bench.run.fit("steps", bench.network(), watch, bench.images, settings, augmentation=AUGMENTATION)
    return watch.rounds()


def main() -> None:
    """Measure every case on the CPU and keep the result."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--threads", type=int, default=DEFAULT_THREADS, help="threads of torch (default: its own)")
    parser.add_argument("--seconds", type=float, default=SECONDS, help=f"total time (default: {SECONDS:g})")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results", help="folder of the result")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    with tempfile.TemporaryDirectory() as scratch:
        path = asked.out / "loop-overhead-cpu.json"
        recorder = Recorder("overhead", path, Path(scratch), "cpu", limit_s=asked.seconds)
        for case in CASES:
            start = read_clock("cpu")
            seconds = measure_case(case, asked.seconds / len(CASES))
            taken = start.until(read_clock("cpu"))
            # How much of its cores the process got: other work on the machine makes steps differ.
            noise = {"cores_got": taken.processor_s / taken, "load": list(os.getloadavg())}
            row = make_row(case.name("32-true"), seconds, case.batch, "images/s", ["plain", "DataLoader"])
            peers = {peer: processor_ratio(seconds["ours"], seconds[peer]) for peer in ("plain", "DataLoader")}
            recorder.add({**row, "processor_ratio_to": peers, "target": {"plain": OVERHEAD_TARGET}, "noise": noise})
        recorder.write(is_finished=True)


if __name__ == "__main__":
    main()
