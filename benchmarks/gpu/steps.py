"""Parts on training steps: speed, the loop's overhead, teacher and student, and peak memory."""

from __future__ import annotations

import gc
import os
import statistics
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from germline.methods.tleg.expansion import ExpandedNetwork
from germline.registry import architecture_of
from gpu.bench import (
    CASES,
    DRY,
    LARGE,
    OVERHEAD_TARGET,
    PRECISIONS,
    SMALL,
    Bench,
    Case,
    WatchedCrossEntropy,
    WatchedDistillation,
    rounds,
)
from gpu.plain import PilBatches, PilImages, autocast
from gpu.record import Recorder, make_row, measure_in_turn, read_clock


def measure_steps(recorder: Recorder) -> None:
    """Measure images per second of a training step: `Run.fit`, a plain loop, and timm's step."""
    cases = [(case, precision) for precision in PRECISIONS for case in (DRY if recorder.is_dry else CASES)]
    for index, (case, precision) in enumerate(cases):
        with recorder.case(case.name(precision)):
            bench = Bench(case, precision, recorder.device)
            sides = {
                "ours": bench.ours(bench.network(), WatchedCrossEntropy()),
                "plain": partial(bench.plain().seconds, case.steps),
                "timm": partial(bench.timm().seconds, case.steps),
            }
            if case.model.startswith("vgg"):
                sides["plain, channels last"] = partial(bench.plain(channels_last=True).seconds, case.steps)
            peers = [name for name in sides if name != "ours"]
            seconds = measure_in_turn(sides, rounds=rounds(recorder), budget_s=recorder.share(len(cases) - index))
            count = case.steps * case.batch
            recorder.add(make_row(case.name(precision), seconds, count, "images/s", peers, tf32=not bench.is_bf16))


def measure_overhead(recorder: Recorder) -> None:
    """Measure the loop's overhead at 32 pixels, then a loop with a DataLoader and PIL images."""
    chosen = DRY[1:] if recorder.is_dry else SMALL
    for index, case in enumerate(chosen):
        left = 2 * (len(chosen) - index)
        with recorder.case(case.name("32-true")):
            bench, calls = Bench(case, "32-true", recorder.device), list[float]()
            ours = bench.ours(bench.network(), WatchedCrossEntropy(), calls)
            sides = {"ours": ours, "plain": partial(bench.plain().seconds, case.steps)}
            seconds = measure_in_turn(sides, rounds=rounds(recorder), budget_s=recorder.share(left) * 1.3)
            row = make_row(case.name("32-true"), seconds, case.steps * case.batch, "images/s", ["plain"])
            extra: dict[str, Any] = {"target": {"plain": OVERHEAD_TARGET}, "set_up_and_end_s": statistics.median(calls)}
            waits = {}
            if recorder.device == "cuda":
                waits = {"ours": count_waits_per_step(partial(_our_steps, bench), case.steps)}
                waits["plain"] = count_waits_per_step(partial(_plain_steps, bench), case.steps)
            recorder.add({**row, **extra, "steps_of_a_piece": case.steps, "waits_per_step": waits})
        with recorder.case(f"{case.name('32-true')}, DataLoader"):
            sides = {"ours": ours} | _data_loader_sides(bench)
            seconds = measure_in_turn(sides, rounds=10, budget_s=recorder.share(left - 1), warmup=0, least=2)
            peers = [name for name in sides if name != "ours"]
            name = f"{case.name('32-true')}, DataLoader"
            recorder.add(make_row(name, seconds, case.steps * case.batch, "images/s", peers))


def _our_steps(bench: Bench, steps: int) -> None:
    bench.ours(bench.network(), WatchedCrossEntropy(), timed_steps=steps)()


def _plain_steps(bench: Bench, steps: int) -> None:
    bench.plain().seconds(steps)


def count_waits_per_step(train: Callable[[int], object], steps: int) -> float:
    """Count how often the host waits for the GPU per step. Set-up and end wait too, and cancel out.

    Args:
        train: Function that makes so many steps.
        steps: Number of steps of the shorter call; the longer one has twice as many.
    """
    few, many = (count_waits(partial(train, count)) for count in (steps, 2 * steps))
    return round((many - few) / steps, 2)


def count_waits(call: Callable[[], object]) -> int:
    """Count how often the host waits for the GPU during a call."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            call()
        finally:
            torch.cuda.set_sync_debug_mode("default")
    return sum("synchroniz" in str(warning.message) for warning in caught)


def _data_loader_sides(bench: Bench) -> dict[str, Callable[[], float]]:
    """Return sides whose images are PIL images, changed one by one, without and with worker processes."""
    labels, case = bench.images.labels, bench.case
    assert labels is not None
    data, sides = PilImages(bench.images.images.cpu(), labels.cpu()), dict[str, Callable[[], float]]()
    for workers in (0, min(8, os.cpu_count() or 1)):
        batches = PilBatches(data, case.batch, workers, bench.device)
        loop = bench.plain(next_batch=batches.next)
        sides[f"DataLoader, {workers} workers"] = partial(batches.seconds, loop, case.steps)
    return sides


def measure_distillation(recorder: Recorder) -> None:
    """Measure a step of TLEG's condensation against the sum of a plain student's step and a plain teacher's forward."""
    case = DRY[0] if recorder.is_dry else LARGE
    precisions = ("bf16-mixed", "32-true")
    for index, precision in enumerate(precisions):
        with recorder.case(case.name(precision)):
            bench = Bench(case, precision, recorder.device)
            depth = bench.spec.model_dump()["depth"]
            auxiliary = ExpandedNetwork(architecture_of(bench.spec), bench.spec, (depth,))
            teacher = bench.network()
            by_hand = bench.plain(teacher=architecture_of(bench.spec).build(bench.spec))
            sides = {
                "ours": bench.ours(bench.network(auxiliary), WatchedDistillation(teacher)),
                "plain teacher and student": partial(by_hand.seconds, case.steps),
                "plain student": partial(bench.plain().seconds, case.steps),
                "plain teacher": forward_side(bench),
            }
            budget_s = recorder.share(len(precisions) - index)
            seconds = measure_in_turn(sides, rounds=rounds(recorder), budget_s=budget_s)
            pairs = zip(seconds["plain student"], seconds["plain teacher"], strict=True)
            seconds["sum of student and teacher"] = [sum(pair) for pair in pairs]
            peers = ["sum of student and teacher", "plain teacher and student"]
            recorder.add(make_row(case.name(precision), seconds, case.steps * case.batch, "images/s", peers))


def forward_side(bench: Bench) -> Callable[[], float]:
    """Return a side with forward passes without gradients, on the same batches as training."""
    labels = bench.images.labels
    assert labels is not None
    model = architecture_of(bench.spec).build(bench.spec).to(bench.device).eval()
    mean, std = (numbers.to(bench.device).view(1, -1, 1, 1) for numbers in bench.statistics)
    inputs = (bench.images.images[: bench.case.batch].float() / 255 - mean) / std

    @torch.no_grad()
    def measure() -> float:
        with autocast(bench.device, bf16=bench.is_bf16):
            model(inputs)
            start = read_clock(bench.device)
            for _ in range(bench.case.steps):
                model(inputs)
        return start.until(read_clock(bench.device))

    return measure


def measure_memory(recorder: Recorder) -> None:
    """Measure peak memory of a few steps: `Run.fit` against the plain loop."""
    for precision in PRECISIONS:
        for case in DRY[:1] if recorder.is_dry else (LARGE, Case("vgg11", 32, 128, 2)):
            with recorder.case(case.name(precision)):
                found = {}
                for name in ("ours", "plain"):
                    bench = Bench(Case(case.model, case.side, case.batch, 2), precision, recorder.device)
                    side = bench.plain().seconds if name == "plain" else None
                    call = partial(side, 2) if side else bench.ours(bench.network(), WatchedCrossEntropy())
                    found[name] = peak_bytes(call, recorder.device)
                    del bench, side, call
                    gc.collect()
                ratio = found["ours"] / max(1, found["plain"])
                # A process on a CPU uses the memory of earlier work again, so its growth makes no ratio.
                is_cuda = recorder.device == "cuda"
                shares = {"plain": {"ratio": ratio, "low": ratio, "high": ratio}} if is_cuda else {}
                rates = {name: count / 2**20 for name, count in found.items()}
                name = case.name(precision)
                recorder.add({"case": name, "unit": "peak MiB", "rates": rates, "ratio_to": shares, "rounds": 1})


def peak_bytes(call: Callable[[], object], device: str) -> int:
    """Return the peak of allocated bytes on a GPU, or the growth of the resident size on a CPU."""
    if device == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        call()
        return torch.cuda.max_memory_allocated()
    before = _resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    call()
    return max(0, _resident("VmHWM") - before)


def _resident(field: str) -> int:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) * 1024
