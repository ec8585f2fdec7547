"""Helpers for tests of comparisons: a recipe that takes seconds, and handmade results with known numbers."""

from dataclasses import replace
from typing import ClassVar

import torch

from germline.api import build_start_network
from germline.architectures import Size
from germline.baselines.layers import Layers
from germline.compare import Comparison
from germline.compare.recipe.loader import load_recipe
from germline.compare.recipe.schema import Recipe
from germline.files import read_json
from germline.methods.base import GeneCost, Method
from germline.registry import architecture_of, model_spec
from germline.training import CrossEntropy, TrainSettings
from germline.traits import Traits

RECIPE = """\
title: Two arms on digits
protocol: samples
kind: quick
minutes: 1
data: digits
ancestor:
  data: digits
  model: vit_pico
  train: {steps: 3, batch_size: 16}
arms:
  gene:
    method: tleg
    settings: {steps: 3, batch_size: 16}
  scratch: {method: scratch}
sizes: [depth=1]
images_per_class: [3]
seeds: [0, 1]
train: {steps: 5, batch_size: 16, lr: 1e-3, eval_at: [0, 2]}
"""
TUNE = "tune={lr: [1e-3, 1e-2], weight_decay: [0], size: depth=3, images_per_class: 2, seed: 7}"
HOST = ("seconds", "command", "device", "commit", "sha256")


class SelfMadeAncestor(Layers, TrainSettings):
    """A method that trains its own ancestor `lives` times, and records a tree of genes."""

    name: ClassVar[str] = "bred"
    ancestor: ClassVar = "none"
    traits: ClassVar = Traits()

    model: str = "vgg11"
    size: str = "width=2"
    lives: int = 1

    def condense_spec(self, ancestor, data):
        images = {"image_size": data.train.side, "channels": data.train.channels, "classes": len(data.classes)}
        spec = model_spec(self.model, **images)
        return architecture_of(spec).resize(spec, Size.parse(self.size))

    def cost(self, spec, images, teacher_flops):
        once = Method.cost(self, spec, images, teacher_flops)
        stored = super().cost(spec, images, teacher_flops).stored
        return GeneCost(self.lives * once.samples, self.lives * once.flops, stored)

    def condense(self, ancestor, data, run):
        assert ancestor is None
        network = build_start_network(self.model, data, self, run.seed, Size.parse(self.size))
        for life in range(self.lives):
            run.fit(f"life {life}", network, CrossEntropy(), data.train, self)
        gene = super().condense(network, data, run)
        return replace(gene, provenance=gene.provenance.model_copy(update={"record": record()}))


def record():
    """Make the record of a gene from three generations of two: 4 descends from 2, and 2 from 0."""
    fathers, won = (None, None, 0, 0, 2, 0), (True, False, True, False, True, False)
    tree = [
        {"id": at, "father": father, "generation": at // 2, "fitness": 0.1 * at, "score": 0.2 * at, "won": wins}
        for at, (father, wins) in enumerate(zip(fathers, won, strict=True))
    ]
    tree = [{**gene, "pool": gene["id"] in (2, 4), "final": gene["id"] == 4} for gene in tree]
    return {"gene_tree": tree, "generations": generations(0.2, 0.4, 0.5)}


def generations(*fitness):
    """Make entries of generations with the given mean fitness."""
    return [
        {"generation": at, "fitness": mean, "best": mean + 0.1, "winners": mean + 0.05, "spread": 0.02}
        for at, mean in enumerate(fitness)
    ]


def comparison(recipe_file, out, *changes, **more):
    """Make a comparison of the recipe with changes, in an output folder."""
    torch.set_num_threads(1)  # The number of threads is part of a gene's provenance, and other tests change it.
    options = {"workers": 1, "quiet": True, **more}
    return Comparison(load_recipe(str(recipe_file), changes), "micro", out, **options)


def results(out):
    """Read `results.json`, without times and facts about the host."""
    found = read_json(out / "results.json")
    for entry in (found, *found["cells"], *(gene["training"] for gene in found["genes"])):
        for key in HOST:
            entry.pop(key, None)
    return found


def list_stored(store, kind="*"):
    """List the parts of a store with the time of their last change, without locks and work folders."""
    parts = [path for path in store.glob(f"{kind}-*") if path.suffix in ("", ".json")]
    return {path.name: path.stat().st_mtime_ns for path in parts}


def cell(arm, seed, accuracies, test, *, at=(0, 50, 100), size="depth=2", images=10, asked=None, **more):
    """Make the entry of one cell; `accuracies` are those on validation images at the steps `at`."""
    curve = [{"step": step, "accuracy": value, "loss": 1.0} for step, value in zip(at, accuracies, strict=True)]
    given = {"lr": None, "weight_decay": None, "steps": None, "tuning": False, **(asked or {})}
    return {
        "asked": {"arm": arm, "size": size, "images": images, "seed": seed, **given},
        "lr": given["lr"] or 0.001,
        "weight_decay": given["weight_decay"] or 0.05,
        "curve": curve,
        "test_accuracy": test,
        "task_accuracies": None,
        "probe_accuracy": 0.5,
        "steps": curve[-1]["step"],
        "samples": 64 * curve[-1]["step"],
        "seconds": 1.5,
        "parameters": 1000,
        "headless_parameters": 900,
        "flops": 10**9,
        "origins": {"fresh": 1000} if arm == "scratch" else {"expanded": 750, "fresh": 250},
        **more,
    }


def by_hand(cells, *, tuned=None, family_budgets=(), levels=(), failed=None, **changes):
    """Make the results of a recipe with these cells; costs are round numbers."""
    raw = {
        "title": "Made by hand <b>& kept</b>",
        "protocol": "samples",
        "kind": "full",
        "minutes": 1,
        "data": "digits",
        "ancestor": {"data": "digits"},
        "arms": {"gene": {"method": "tleg"}, "scratch": {"method": "scratch"}},
        "sizes": ["depth=2"],
        "images_per_class": [10],
        "seeds": [0, 1, 2],
        "train": {"steps": 100, "eval_at": [0, 50]},
        **changes,
    }
    recipe = Recipe.model_validate({key: value for key, value in raw.items() if value is not None})
    recipe = recipe.model_dump(mode="json")
    heads = {
        size: {"full": 1000 * nth, "headless": 900 * nth, "flops": 10**6 * nth}
        for nth, size in enumerate(raw["sizes"], start=1)
    }
    makers = [arm for arm, how in raw["arms"].items() if how["method"] != "scratch"]
    made = {"ancestors": {"samples": 800, "flops": 6 * 10**9}, "genes": {"samples": 400, "flops": 4 * 10**9}}
    nothing = {key: {"samples": 0, "flops": 0} for key in made}
    return {
        "name": "by hand",
        "command": "germline compare by-hand.yaml",
        "commit": "0123456789ab",
        "versions": {"germline": "0.1.0"},
        "device": "cpu, 2 processes of 1 threads",
        "seconds": 12.0,
        "recipe": recipe,
        "tuned": tuned,
        "costs": {
            "ancestor": {"count": 1, "samples": 800, "flops": 6 * 10**9},
            "genes": {arm: {"count": 1, "samples": 400, "flops": 4 * 10**9} for arm in makers} | {"scratch": None},
            "families": {arm: {**(made if arm in makers else nothing), "shared": arm in makers} for arm in raw["arms"]},
            "parameters": heads,
        },
        "family": list(family_budgets),
        "ancestors": [{"seed": 0, "accuracy": 0.8}, {"seed": 1, "accuracy": 0.9}],
        "genes": [
            {"arm": arm, "seed": 0, "bytes": 423720, "elements": 650, "headless_elements": 600} for arm in makers
        ],
        "levels": list(levels),
        "cells": list(cells),
        "failed": failed or {},
    }


def three_seeds(**scratch):
    """Make cells in which the gene ends 0.1, 0.2 and 0.3 above scratch."""
    return [
        cell("scratch", 0, (0.1, 0.2, 0.40), 0.40, **scratch),
        cell("gene", 0, (0.3, 0.4, 0.50), 0.50),
        cell("scratch", 1, (0.1, 0.2, 0.40), 0.40, **scratch),
        cell("gene", 1, (0.3, 0.3, 0.45), 0.60),
        cell("scratch", 2, (0.1, 0.2, 0.40), 0.40, **scratch),
        cell("gene", 2, (0.1, 0.2, 0.30), 0.70),
    ]


# Results of every protocol, by name. test_protocols.py contains their claims.

FIRST = (0, 1, 5, 10, 50, 100)


def convergence():
    longer = [cell("scratch", seed, (0.1, 0.5), 0.45, at=(0, 200), asked={"steps": 200}) for seed in range(3)]
    level = {"size": "depth=2", "images": 10, "multiple": 2, "steps": 200, "val": 0.5}
    return by_hand(
        [*three_seeds(), *longer],
        protocol="convergence",
        scratch_until_plateau={"tolerance": 0.2, "most": 2},
        levels=[level],
    )


def samples():
    more = [cell(c["asked"]["arm"], c["asked"]["seed"], (0.1, 0.2, 0.5), 0.6, images=20) for c in three_seeds()]
    return by_hand([*three_seeds(), *more], images_per_class=[10, 20])


def sensitivity():
    tests = {"gene": (0.50, 0.54), "scratch": (0.30, 0.50)}
    cells = [
        cell(arm, seed, (0.1, 0.2, 0.4), tests[arm][point] + 0.01 * seed * (arm == "gene"), asked=asked)
        for seed in range(3)
        for arm in ("gene", "scratch")
        for point, asked in enumerate(({"lr": 1e-3, "weight_decay": 0.05}, {"lr": 1e-2, "weight_decay": 0.05}))
    ]
    return by_hand(cells, protocol="sensitivity", grid={"lr": [1e-3, 1e-2], "weight_decay": [0.05]})


def sizes():
    other = [cell(c["asked"]["arm"], c["asked"]["seed"], (0.1, 0.2, 0.5), 0.6, size="depth=3") for c in three_seeds()]
    longer = [cell("scratch", seed, (0.1, 0.5), 0.55, at=(0, 500), asked={"steps": 500}) for seed in range(3)]
    budgets = [{"count": 5, "with_ancestor": True, "steps": 500}, {"count": 5, "with_ancestor": False, "steps": 700}]
    return by_hand(
        [*three_seeds(), *other, *longer],
        protocol="sizes",
        sizes=["depth=2", "depth=3"],
        family={"counts": [5], "size": "depth=2", "images_per_class": 10},
        family_budgets=budgets,
    )


def instincts():
    rises = {"scratch": (0.1, 0.1, 0.1, 0.1, 0.2, 0.4), "gene": (0.1, 0.1, 0.2, 0.3, 0.4, 0.4)}
    cells = []
    for seed in range(3):
        rising = [value + 0.01 * seed for value in rises["gene"]]
        cells.append(cell("gene", seed, rising, 0.5, at=FIRST, probe_accuracy=0.7 + 0.01 * seed))
        cells.append(cell("scratch", seed, rises["scratch"], 0.5, at=FIRST))
    return by_hand(cells, protocol="instincts", train={"steps": 100, "eval_at": list(FIRST)})


# Test accuracies of three paths by arm and seed; scratch only has the last path.
PATH_ACCURACIES = {
    "gene": ((0.60, 0.70, 0.65), (0.62, 0.70, 0.69), (0.64, 0.70, 0.73)),
    "rival": ((0.50, 0.75, 0.60), (0.62, 0.60, 0.60), (0.54, 0.60, 0.75)),
    "scratch": ((0.80,), (0.81,), (0.82,)),
}
PATHS = ("depth=1", "depth=2", "depth=3")
PATH_SIZES = {"gene": PATHS, "rival": PATHS, "scratch": PATHS[-1:]}


def paths():
    cells = [
        cell(arm, seed, (tests[nth],), tests[nth], at=(100 * (arm == "scratch"),), size=size)
        for arm, by_seed in PATH_ACCURACIES.items()
        for seed, tests in enumerate(by_seed)
        for nth, size in enumerate(PATH_SIZES[arm])
    ]
    arms = {
        "gene": {"method": "tleg", "train": {"steps": 0}},
        "rival": {"method": "layers", "train": {"steps": 0}},
        "scratch": {"method": "scratch", "sizes": PATHS[-1:]},
    }
    return by_hand(cells, protocol="paths", sizes=list(PATHS), arms=arms)


# A gene that knows the ancestor's classes, and the same gene shuffled. At depth=3 the gene needs no training.
SAME_LABELS = {"gene": {"method": "tleg"}, "scratch": {"method": "scratch"}, "shuffled": {"method": "random-gene"}}


def same_labels(**changes):
    deeper = [cell("scratch", seed, (0.1, 0.2, 0.4), 0.4, size="depth=3") for seed in range(3)]
    deeper += [cell("gene", seed, (0.5, 0.6, 0.7), 0.7 + 0.01 * seed, size="depth=3") for seed in range(3)]
    shuffled = [
        cell("shuffled", seed, (0.05, 0.1 + 0.01 * seed, 0.2), 0.3, size=size)
        for size in ("depth=2", "depth=3")
        for seed in range(3)
    ]
    return by_hand(
        [*three_seeds(), *deeper, *shuffled],
        **{
            "protocol": "same-labels",
            "sizes": ["depth=2", "depth=3"],
            "arms": SAME_LABELS,
            "read_steps": [0, 50, 100],
            **changes,
        },
    )


def frozen():
    """Make results of heads on frozen bodies, without steps, rates or decays."""
    more = {"at": (0,), "lr": None, "weight_decay": None, "samples": 90}
    cells = [
        cell(arm, seed, (accuracy,), accuracy, images=images, penalties=[penalty], **more)
        for images, gain, penalty in ((5, 0.1, 1.0), ("all", 0.2, 0.001))
        for seed in range(3)
        for arm, accuracy in (("gene", 0.4 + gain + 0.01 * seed), ("scratch", 0.4))
    ]
    return by_hand(cells, protocol="frozen", train=None, images_per_class=[5, "all"])


BY_HAND = {
    made.__name__.replace("_", "-"): made
    for made in (convergence, samples, sensitivity, sizes, instincts, paths, same_labels, frozen)
}
