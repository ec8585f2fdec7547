"""Part on disk: a descendant is inherited from a gene and saved, against writing the same bytes."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from germline.architectures import Preprocess
from germline.learngene import Learngene
from germline.methods.tleg.expansion import ExpandedNetwork
from germline.registry import architecture_of, model_spec
from gpu.bench import rounds
from gpu.record import SEED, Recorder, make_row, measure_in_turn

TARGET = 3.0


def measure_saving(recorder: Recorder) -> None:
    """Measure bytes per second of inheriting and saving, with a gene in memory and with one read each time."""
    model, side = ("vit_pico", 32) if recorder.is_dry else ("vit_small16", 224)
    name = f"inherit and save, {model}, {side} px"
    with recorder.case(name):
        root = recorder.scratch
        _save_gene(model, side, root / "gene")
        gene, out = Learngene.load(root / "gene"), root / "out"
        gene.inherit().save(root / "model")
        source = root / "model" / "model.safetensors"
        tensors = load_file(source)

        def write() -> None:
            out.mkdir()
            save_file(tensors, out / source.name)
            descriptor = os.open(out / source.name, os.O_RDONLY)
            os.fsync(descriptor)
            os.close(descriptor)

        sides = {
            "ours": _timed(lambda: gene.inherit().save(out), out),
            "with loading": _timed(lambda: Learngene.load(root / "gene").inherit().save(out), out),
            "plain write": _timed(write, out),
        }
        seconds = measure_in_turn(sides, rounds=rounds(recorder), budget_s=recorder.share(1))
        row = make_row(name, seconds, source.stat().st_size, "bytes/s", ["with loading", "plain write"])
        recorder.add({**row, "bytes": source.stat().st_size, "target": {"plain write": TARGET}})


def _save_gene(model: str, side: int, folder: Path) -> None:
    """Save a gene of random weights; the time does not depend on their values."""
    torch.manual_seed(SEED)
    spec = model_spec(model, image_size=side, channels=3, classes=1000)
    depth = spec.model_dump()["depth"]
    state = ExpandedNetwork(architecture_of(spec), spec, (depth,)).state_dict()
    preprocess = Preprocess(channels=3, image_size=side, mean=(0.5,) * 3, std=(0.5,) * 3)
    Learngene("tleg", {}, "vit", spec, state, preprocess, tuple(f"class {index}" for index in range(1000))).save(folder)


def _timed(work: Callable[[], object], out: Path) -> Callable[[], float]:
    """Return a side that times work after the folder that it writes is removed."""

    def measure() -> float:
        shutil.rmtree(out, ignore_errors=True)
        start = time.perf_counter()
        work()
        return time.perf_counter() - start

    return measure
