"""Overhead of `Run.fit` against a hand-written loop of the same model, batch and augmentation at 32 px; target <= 1.03.

A second row compares with a loop whose images come from a DataLoader, where PIL changes them one by one. Processor
seconds count too: on a machine with other work they are steadier than seconds.
`gpu_speed.py --parts overhead` measures the same on a GPU.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path

import torch

from common import DEFAULT_THREADS, ROOT
from germline.files import write_json
from gpu.bench import Case
from gpu.record import Recorder
from gpu.steps import measure_overhead

SECONDS = 110.0
# Short pieces, so that both sides of a round see the same load. The smallest network shows the most overhead.
CASES = (
    Case("vit_pico", 32, 32, 8),
    Case("vit_nano", 32, 32, 5, has_loader=False),
    Case("vgg11_x025", 32, 32, 8, has_loader=False),
)


def main() -> None:
    """Measure every case on the CPU and keep the result."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--threads", type=int, default=DEFAULT_THREADS, help="threads of torch (default: its own)")
    parser.add_argument("--seconds", type=float, default=SECONDS, help=f"total time (default: {SECONDS:g})")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results", help="folder of the result")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    path = asked.out / "loop-overhead-cpu.json"
    with tempfile.TemporaryDirectory() as scratch:
        recorder = Recorder("overhead", path, Path(scratch), "cpu", limit_s=asked.seconds)
        start, used = time.perf_counter(), time.process_time()
        measure_overhead(recorder, CASES)
        seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - used
        recorder.write(is_finished=True)
    content = json.loads(path.read_text(encoding="utf-8"))
    # How much of its cores the process got: other work on the machine makes the rounds differ.
    noise = {"cpu_share": cpu_seconds / (seconds * asked.threads), "load_after": list(os.getloadavg())}
    write_json(path, content | {"noise": noise})


if __name__ == "__main__":
    main()
