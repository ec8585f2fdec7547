"""What would make evolution matter: one change at a time, against drift and against circuits of a pretrained network.

Small: VGG11 at an eighth of its width, six networks, six generations, characters, three seeds. For each variant an
evolution and its drift (winners drawn at random, all else equal) are run, and a network is pretrained on as many
pictures of the same classes. Their genes of equal size are planted in fresh networks that learn three novel tasks of
five characters; accuracy on validation pictures is taken early and at the end. Nothing is read of test pictures.
Finished work is kept in --work, so that a stopped run goes on.

    python benchmarks/gtl_experiments.py --work runs/gtl-experiments
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from common import keep
from germline.api import build_start_network, train
from germline.architectures import Size
from germline.baselines.circuit import CircuitBaseline
from germline.data import load_data, task_list
from germline.files import read_json, write_json
from germline.learngene import Learngene
from germline.methods.gtl.method import GTL
from germline.randomness import derive, generator
from germline.reporting.statistics import estimate
from germline.training import Member, Run, TrainSettings

SEEDS, EARLY, END, TASKS = (0, 1, 2), (5, 20), 100, 3
BASE: dict[str, Any] = {
    "preset": "lab",
    "size": "width=8",
    "population": 6,
    "generations": 5,
    "critic_tasks": 2,
    "life": {"lr": 0.03},
}
# What is changed, and why it might help selection.
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "base": ("the lab preset at an eighth of the width, six networks, five generations after the first", {}),
    "critic-5": ("critics of 5 steps: judged on what is known at once", {"critic_steps": 5}),
    "fitness-life": ("fitness is the accuracy over a life, without critics", {"fitness": "life"}),
    "life-20": ("short lives: more of the gene is inherited, less learnt", {"life": {"lr": 0.03, "steps": 20}}),
    "life-180": ("long lives, two generations after the first", {"life": {"lr": 0.03, "steps": 180}, "generations": 2}),
    "pressure": ("one winner of six", {"tournament": 6, "critic_tasks": 1}),
    "no-mutation": ("no mutation", {"mutation": 0.0}),
    "mutation-20": ("every gene mutates, a fifth of its channels", {"mutation": 1.0, "mutation_rate": 0.2}),
    "pool-2": ("a pool of the two best", {"pool": 2, "replaced": 0.5}),
    "tasks-40": ("forty tasks to live on", {"tasks": 40}),
    "ways-10": ("tasks of ten classes", {"ways": 10}),
    "tasks-40-pool-2": (
        "forty tasks to live on, and a pool of the two best",
        {"tasks": 40, "pool": 2, "replaced": 0.5},
    ),
    "lean": (
        "three networks, many generations, one short critic task",
        {"population": 3, "pool": 3, "generations": 14, "critic_tasks": 1, "critic_steps": 10, "patience": 14},
    ),
}
DOWN = TrainSettings(optimizer="sgd", lr=0.03, weight_decay=5e-4, warmup=0, steps=END, batch_size=16, eval_at=EARLY)


def rules(variant: str, **more: Any) -> GTL:
    """The settings of one variant."""
    return GTL(**{**BASE, **VARIANTS[variant][1], **more})


def evolved(variant: str, seed: int, work: Path, selection: str) -> Learngene:
    """The gene of an evolution, or of drift."""
    run = Run(work / f"{variant}-{seed}-{selection}", seed=seed, device="cpu", quiet=True)
    return rules(variant, selection=selection).condense(None, load_data("glyphs/base"), run)


def cut(variant: str, seed: int, work: Path, samples: int) -> Learngene:
    """A circuit, by BatchNorm scale, of a network pretrained on as many pictures."""
    source, settings = load_data("glyphs/base"), rules(variant)
    how = TrainSettings(optimizer="sgd", lr=0.1, weight_decay=5e-4, steps=samples // 64, batch_size=64)
    network = build_start_network(settings.model, source, how, seed, Size.parse(settings.size))
    run = Run(work / f"pretrained-{samples}-{seed}", seed=seed, device="cpu", quiet=True)
    train(network, source, how, run=run)
    return CircuitBaseline(choose="scale").condense(network, source, run)


def learns(gene: Learngene, seed: int) -> dict[str, float]:
    """Mean accuracy on validation pictures of descendants on novel tasks, by steps."""
    members = []
    for index, task in enumerate(task_list(load_data("glyphs/novel"), 5, None, TASKS, derive(seed, "tasks"))):
        network = gene.inherit(classes=task.classes, seed=derive(seed, "descendant", index)).network
        drawn = task.train.per_class(20, generator(seed, "draw", index))
        members.append(Member(f"task-{index}", network, drawn, seed, task.val, tuple(task.augmentation)))
    results = Run(None, seed=seed, device="cpu", quiet=True).fit_population("novel tasks", members, DOWN, way="loop")
    scores = zip(*(result.scores for result in results), strict=True)
    return {str(int(at[0]["step"])): fmean(score["accuracy"] for score in at) for at in scores}


def experiment(variant: str, seed: int, work: Path) -> dict[str, Any]:
    """One variant and seed: how genes of evolution, drift and a pretrained network do on novel tasks."""
    torch.set_num_threads(1)
    place = work / f"{variant}-{seed}.json"
    if not place.exists():
        genes = {selection: evolved(variant, seed, work, selection) for selection in ("fitness", "drift")}
        samples = genes["fitness"].provenance.training["samples"]
        genes["pretrained"] = cut(variant, seed, work, samples)
        last = {name: genes[name].provenance.record["generations"][-1]["fitness"] for name in ("fitness", "drift")}
        found = {name: learns(gene, seed) for name, gene in genes.items()}
        write_json(place, {"variant": variant, "seed": seed, "samples": samples, "last fitness": last, **found})
    result: dict[str, Any] = read_json(place)
    return result


def summed_up(variant: str, found: list[Mapping[str, Any]]) -> dict[str, Any]:
    """Paired differences in points, mean and half of the 95 % interval over seeds."""
    differences = {
        "last fitness, against drift": [one["last fitness"]["fitness"] - one["last fitness"]["drift"] for one in found]
    }
    for control in ("drift", "pretrained"):
        for step in map(str, (*EARLY, END)):
            differences[f"{step} steps, against {control}"] = [
                one["fitness"][step] - one[control][step] for one in found
            ]
    text = {name: estimate(values).text(sign=True) for name, values in differences.items()}
    return {"variant": variant, "change": VARIANTS[variant][0], "points": text, "seeds": found}


def main() -> None:
    """Run all that is not done, and keep the log."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--variants", nargs="*", default=list(VARIANTS), choices=list(VARIANTS))
    parser.add_argument("--processes", type=int, default=2)
    asked = parser.parse_args()
    with ProcessPoolExecutor(asked.processes, get_context("spawn")) as pool:
        pairs = [(variant, seed) for variant in asked.variants for seed in SEEDS]
        waiting = {pair: pool.submit(experiment, *pair, asked.work) for pair in pairs}
        rows = []
        for variant in asked.variants:
            rows.append(summed_up(variant, [waiting[variant, seed].result() for seed in SEEDS]))
            print(variant, rows[-1]["points"], flush=True)
    keep("gtl_experiments", [], base=BASE, descendants=DOWN.model_dump(mode="json"), experiments=rows)


if __name__ == "__main__":
    main()
