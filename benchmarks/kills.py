"""Kill a training run and condensations by SIGKILL at random steps, resume them each time, and compare the weights.

Each job runs once without kills, and once as a chain of processes. All processes but the last are killed, at the start
of a step or while a checkpoint is written. In a right chain, every process but the first resumes from a checkpoint.
Its last weights are exactly those of the job without kills.

    python benchmarks/kills.py --kills 20
"""

from __future__ import annotations

import argparse
import hashlib
import os
import platform
import random
import signal
import sys
import tempfile
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from germline.architectures import VIT, Preprocess, VitSpec
from germline.data import Loader, load_data
from germline.files import hash_tensor, write_json
from germline.learngene import library_versions
from germline.methods.auto.method import Auto
from germline.methods.tleg.method import TLEG
from germline.network import Network
from germline.randomness import generator, use_generator
from germline.training import CrossEntropy, Run, TrainSettings, checkpoint

RESULT = Path(__file__).resolve().parent / "results" / "kills.json"
EVERY = 4  # steps between checkpoints
COMMON = {"batch_size": 32, "lr": 3e-3, "checkpoint_every": EVERY, "log_every": 1}
ACTIVE = {"mixup": 0.8, "cutmix": 1.0, "drop_path": 0.2, "accumulate": 2, "clip": 1.0, "ema": 0.9, "eval_every": 5}


def load_images() -> Any:
    """Load 120 training and 50 validation digits."""
    digits = load_data("digits")
    train, val = (
        split.draw_per_class(count, generator(0, "kills")) for split, count in ((digits.train, 12), (digits.val, 5))
    )
    return load_data(train, val=val, classes=digits.classes, augmentation=("shift", "rotate"))


def network(seed: int, drop_path: float = 0.0) -> Network:
    """Build an untrained ViT of two blocks."""
    fields: dict[str, Any] = {"image_size": 32, "channels": 1, "classes": 10, "patch_size": 8}
    spec = VitSpec(**fields, depth=2, width=16, heads=2, drop_path=drop_path)
    with use_generator(generator(seed, "kills", "network")):
        model = VIT.build(spec)
    return Network(model, Preprocess.from_images(load_images().train.images), load_images().classes, spec=spec)


def train(folder: Path, seed: int, steps: int) -> Mapping[str, Tensor]:
    """A training run with everything on that draws or keeps a state."""
    grown, source = network(seed, drop_path=0.2), load_images()
    settings = TrainSettings(steps=steps, **COMMON, **ACTIVE)  # type: ignore[arg-type]
    run = Run(folder, seed=seed, device="cpu", quiet=True)
    result = run.fit(
        "train", grown, CrossEntropy(), source.train, settings, val=source.val, augmentation=source.augmentation
    )
    history = torch.tensor([loss for _, loss in result.losses] + [score["loss"] for score in result.scores])
    return {**grown.model.state_dict(), "history": history}


def condense(folder: Path, seed: int, steps: int) -> Mapping[str, Tensor]:
    """A TLEG condensation from an ancestor."""
    method = TLEG(depth=4, steps=steps, **COMMON, mixup=0.8)  # type: ignore[arg-type]
    return method.condense(network(seed + 1), load_images(), Run(folder, seed=seed, device="cpu", quiet=True)).tensors


def choose(folder: Path, seed: int, steps: int) -> Mapping[str, Tensor]:
    """A condensation by Auto-Learngene: two optimisers, and virtual steps within each step."""
    method = Auto(preset="tiny", select="meta", pseudo="depth=1", steps=steps, **{**COMMON, "lr": 1e-2})  # type: ignore[arg-type]
    gene = method.condense(network(seed + 1), load_images(), Run(folder, seed=seed, device="cpu", quiet=True))
    return {**gene.tensors, "scores": torch.tensor(gene.provenance.record["layers"]["scores"])}


JOBS: dict[str, Callable[[Path, int, int], Mapping[str, Tensor]]] = {
    "train": train,
    "condense": condense,
    "choose": choose,
}


def digest(tensors: Mapping[str, Tensor]) -> str:
    """One hash over all tensors and their names."""
    text = "".join(f"{name} {hash_tensor(tensor)}\n" for name, tensor in sorted(tensors.items()))
    return hashlib.sha256(text.encode()).hexdigest()


def die() -> None:
    """As the power goes."""
    os.kill(os.getpid(), signal.SIGKILL)


def arm(trace: Path, step: int | None, where: str) -> None:
    """Note the first step that this process takes, and have it killed as `step` begins or within the next save."""
    ask, write, seen = Loader.batch, checkpoint.write_json, [False]

    def batch(self: Loader, at: int) -> Any:
        if not seen[0]:
            seen[0] = True
            with trace.open("a", encoding="utf-8") as stream:
                stream.write(f"{at}\n")
        if where == "step" and at == step:
            die()
        return ask(self, at)

    def half_written(path: Path, value: Any) -> None:
        if where == "save" and step is not None and value["step"] >= step:
            die()
        write(path, value)

    Loader.batch = batch  # type: ignore[method-assign]
    checkpoint.write_json = half_written


def process(job: str, folder: Path, seed: int, steps: int, step: int | None = None, where: str = "") -> int:
    """Run a job in a process of its own; gives the signal that ended it, or 0."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            torch.set_num_threads(1)
            arm(folder / "trace.txt", step, where)
            made = JOBS[job](folder / "run", seed, steps)
            (folder / "digest.txt").write_text(digest(made), encoding="utf-8")
            code = 0
        finally:
            os._exit(code)
    status = os.waitpid(child, 0)[1]
    if os.WIFEXITED(status) and os.WEXITSTATUS(status):
        raise SystemExit(f"{job} failed")
    return os.WTERMSIG(status)


def chain(job: str, place: Path, seed: int, steps: int, kills: int) -> dict[str, Any]:
    """One job alone, and once more killed and resumed."""
    draw = random.Random(f"{job} {seed}")
    folders = {name: place / job / name for name in ("alone", "killed")}
    for folder in folders.values():
        folder.mkdir(parents=True)
    process(job, folders["alone"], seed, steps)
    plan = []
    for step in sorted(draw.sample(range(EVERY + 1, steps), kills)):
        last_save = (steps - 1) // EVERY * EVERY
        where = "save" if draw.random() < 0.4 and step <= last_save else "step"
        signal_seen = process(job, folders["killed"], seed, steps, step, where)
        plan.append({"step": step, "where": where, "signal": signal_seen})
    process(job, folders["killed"], seed, steps)
    begun = [int(line) for line in (folders["killed"] / "trace.txt").read_text(encoding="utf-8").split()]
    sums = {name: (folder / "digest.txt").read_text(encoding="utf-8") for name, folder in folders.items()}
    return {
        "job": job,
        "steps": steps,
        "kills": plan,
        "begun_at": begun,
        "sha256": sums,
        "bitwise_equal": sums["alone"] == sums["killed"],
        "all_killed": all(kill["signal"] == signal.SIGKILL for kill in plan),
        "all_resumed": all(step > 0 for step in begun[1:]) and len(begun) == kills + 1,
    }


def main() -> int:
    """Run all jobs and keep the outcome."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--steps", type=int, default=120)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=RESULT)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        jobs = [chain(job, Path(place), asked.seed, asked.steps, asked.kills) for job in JOBS]
    good = all(job["bitwise_equal"] and job["all_killed"] and job["all_resumed"] for job in jobs)
    result = {
        "command": " ".join(["python", "benchmarks/kills.py", *sys.argv[1:]]),
        "versions": {"python": platform.python_version(), **library_versions()},
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "seed": asked.seed,
        "threads": 1,
        "device": "cpu",
        "checkpoint_every": EVERY,
        "good": good,
        "jobs": jobs,
    }
    write_json(asked.out, result)
    for job in jobs:
        print(f"{job['job']}: {len(job['kills'])} kills in {job['steps']} steps, bitwise equal: {job['bitwise_equal']}")
    return 0 if good else 1


if __name__ == "__main__":
    raise SystemExit(main())
