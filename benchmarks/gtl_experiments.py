"""Compare variants of an evolution, one change at a time, with drift and with circuits of a pretrained network.

The networks are small: VGG11 at an eighth of its width, six networks, six generations, characters, three seeds. For
each variant we run an evolution and its drift: winners drawn at random, all else equal. We also pretrain a network on
as many images of the same classes. Their genes have equal size. Fresh networks inherit them and learn three novel tasks
of five characters. Accuracy on validation images is taken early and at the end. Test images are never read. Finished
work is saved in --work, so a stopped run continues.

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
from germline.data import draw_task_list, load_data
from germline.files import read_json, write_json
from germline.learngene import Learngene
from germline.methods.gtl.method import GTL
from germline.randomness import derive, generator
from germline.reporting.statistics import estimate
from germline.training import Member, Run, TrainSettings

SEEDS, EARLY, END, TASKS = (0, 1, 2), (5, 20), 100, 3
BASE: dict[str, Any] = {
    "preset": "lab",
    "rules": "published",  # those of the saved results
    "size": "width=8",
    "population": 6,
    "generations": 5,
    "critic_tasks": 2,
    "life": {"lr": 0.03},
}
# The change of each variant, and why it might help selection.
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


def make_settings(variant: str, **more: Any) -> GTL:
    """Return the settings of one variant."""
    return GTL(**{**BASE, **VARIANTS[variant][1], **more})


def evolve_gene(variant: str, seed: int, work: Path, selection: str) -> Learngene:
    """Evolve a gene, by fitness or by drift."""
    run = Run(work / f"{variant}-{seed}-{selection}", seed=seed, device="cpu", quiet=True)
    return make_settings(variant, selection=selection).condense(None, load_data("glyphs/base"), run)


def cut_circuit(variant: str, seed: int, work: Path, samples: int) -> Learngene:
    """Cut a circuit, by BatchNorm scale, out of a network pretrained on as many images."""
    source, settings = load_data("glyphs/base"), make_settings(variant)
    how = TrainSettings(optimizer="sgd", lr=0.1, weight_decay=5e-4, steps=samples // 64, batch_size=64)
    network = build_start_network(settings.model, source, how, seed, Size.parse(settings.size))
    run = Run(work / f"pretrained-{samples}-{seed}", seed=seed, device="cpu", quiet=True)
    train(network, source, how, run=run)
    return CircuitBaseline(choose="scale").condense(network, source, run)


def measure_novel_tasks(gene: Learngene, seed: int) -> dict[str, float]:
    """Measure the mean validation accuracy of descendants on novel tasks, by steps."""
    members = []
    for index, task in enumerate(draw_task_list(load_data("glyphs/novel"), 5, None, TASKS, derive(seed, "tasks"))):
        network = gene.inherit(classes=task.classes, seed=derive(seed, "descendant", index)).network
        drawn = task.train.draw_per_class(20, generator(seed, "draw", index))
        members.append(Member(f"task-{index}", network, drawn, seed, task.val, tuple(task.augmentation)))
    results = Run(None, seed=seed, device="cpu", quiet=True).fit_population("novel tasks", members, DOWN, engine="loop")
    scores = zip(*(result.scores for result in results), strict=True)
    return {str(int(at[0]["step"])): fmean(score["accuracy"] for score in at) for at in scores}


def run_experiment(variant: str, seed: int, work: Path) -> dict[str, Any]:
    """Run one variant and seed: genes of evolution, drift and a pretrained network on novel tasks."""
    torch.set_num_threads(1)
    place = work / f"{variant}-{seed}.json"
    if not place.exists():
        genes = {selection: evolve_gene(variant, seed, work, selection) for selection in ("fitness", "drift")}
        samples = genes["fitness"].provenance.training["samples"]
        genes["pretrained"] = cut_circuit(variant, seed, work, samples)
        last = {name: genes[name].provenance.record["generations"][-1]["fitness"] for name in ("fitness", "drift")}
        found = {name: measure_novel_tasks(gene, seed) for name, gene in genes.items()}
        write_json(place, {"variant": variant, "seed": seed, "samples": samples, "last fitness": last, **found})
    result: dict[str, Any] = read_json(place)
    return result


def summarise_variant(variant: str, found: list[Mapping[str, Any]]) -> dict[str, Any]:
    """Summarise paired differences in points: mean and half of the 95 % interval over seeds."""
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
    """Run all that is not done, and save the results."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--variants", nargs="*", default=list(VARIANTS), choices=list(VARIANTS))
    parser.add_argument("--processes", type=int, default=2)
    asked = parser.parse_args()
    with ProcessPoolExecutor(asked.processes, get_context("spawn")) as pool:
        pairs = [(variant, seed) for variant in asked.variants for seed in SEEDS]
        waiting = {pair: pool.submit(run_experiment, *pair, asked.work) for pair in pairs}
        rows = []
        for variant in asked.variants:
            rows.append(summarise_variant(variant, [waiting[variant, seed].result() for seed in SEEDS]))
            print(variant, rows[-1]["points"], flush=True)
    keep("gtl_experiments", [], base=BASE, descendants=DOWN.model_dump(mode="json"), experiments=rows)


if __name__ == "__main__":
    main()
