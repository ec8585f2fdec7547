"""Measure time and memory of a bilevel step with T virtual steps, compared with a plain step with matching.

    python benchmarks/auto_cost.py --threads 1

A plain step trains the pseudo descendant on labels and matching, with one forward pass of the ancestor. A bilevel step
adds T virtual steps on the matching loss, one on the labels, and the gradient through all of them. The target is 4T + 5
plain steps. Memory is the peak of torch's tensors during one step, minus what is allocated before it.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from common import in_turn, keep, row, set_up
from germline.architectures import Preprocess, Size
from germline.data import Batch, Images
from germline.methods.auto.meta_network import AncestorFeatures, FeatureSpec, ProjectedNetwork
from germline.methods.auto.pseudo_descendant import BilevelSettings, PseudoDescendant, PseudoTask
from germline.network import Network
from germline.registry import architecture_of, model_spec

CLASSES, BATCH, ROUNDS, BUDGET_S = 14, 16, 40, 60.0
NAMES = tuple(map(str, range(CLASSES)))
# Name, ancestor, size of the pseudo descendant, grid, learning rate.
CASES = (
    ("vgg11_x025, lab", "vgg11_x025", "width=8", 4, 0.01),
    ("vgg11_x025, own size", "vgg11_x025", "", 4, 0.01),
    ("vit_pico, lab", "vit_pico", "depth=3,width=32,heads=2", None, 0.01),
    ("resnet12_x025, own size", "resnet12_x025", "", 4, 0.01),
)


def network(model: str, size: str) -> Network:
    """A fresh network for grey images of 32 pixels."""
    spec = model_spec(model, image_size=32, channels=1, classes=CLASSES)
    spec = architecture_of(spec).resize(spec, Size.parse(size))
    seen = Preprocess(channels=1, image_size=32, mean=(0.5,), std=(0.25,))
    return Network(architecture_of(spec).build(spec), seen, NAMES, spec=spec)


def sides_of(model: str, size: str, grid: int | None, lr: float, inner: int) -> dict[str, Callable[[], None]]:
    """A plain and a bilevel step of networks of their own."""
    found = {}
    for name in ("ours", "peer"):
        ancestor, student = network(model, ""), network(model, size)
        ancestor.model.eval()
        taps: list[Any] = [architecture_of(one.spec).feature_names(one.spec) for one in (ancestor, student)]  # type: ignore[arg-type]
        sides = [
            FeatureSpec.of(one.model, one.spec, own, one.preprocess)  # type: ignore[arg-type]
            for one, own in zip((ancestor, student), taps, strict=True)
        ]
        projected_student = ProjectedNetwork(student, sides[1], sides[0], grid)
        found[name] = _step(
            AncestorFeatures(ancestor, sides[0], grid), projected_student, student, lr, inner, bilevel=name == "ours"
        )
    return found


def _step(
    ancestor: AncestorFeatures,
    projected_student: ProjectedNetwork,
    student: Network,
    lr: float,
    inner: int,
    *,
    bilevel: bool,
) -> Callable[[], None]:
    images, labels = torch.randint(0, 256, (256, 1, 32, 32), dtype=torch.uint8), torch.randint(CLASSES, (256,))
    some = Images(images, labels, NAMES)
    absolute = "vit" in type(student.spec).__name__.lower()
    settings = BilevelSettings("relu6", inner, 0.1, 1e-4, 1e-4, "separate", absolute, BATCH)
    objective = PseudoDescendant(ancestor, projected_student, PseudoTask(some, some, None, 0), settings, 1)
    trained = [one for one in projected_student.parameters() if one.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=lr, momentum=0.9, nesterov=True, weight_decay=5e-4)
    batch = Batch(images[:BATCH].float() / 255, labels[:BATCH])
    student.model.train()

    def run() -> None:
        objective.before_step(0, "pseudo", 0)
        objective(student.logits, batch).backward()
        optimizer.step()
        optimizer.zero_grad()
        if bilevel and objective.optimizer is not None:
            objective.after_step(student.model, optimizer)
            objective.optimizer.step()
            objective.optimizer.zero_grad()

    return run


def peak_bytes(step: Callable[[], None]) -> int:
    """The most that the tensors of one step hold at once, beyond what was there before."""
    gc.collect()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        step()
    held = most = 0
    events = [one for one in seen.profiler.kineto_results.events() if one.name() == "[memory]"]  # type: ignore[union-attr]
    for event in sorted(events, key=lambda one: one.start_ns()):
        held += event.nbytes()
        most = max(most, held)
    return most


def main() -> None:
    """Every case and T."""
    budget_s = set_up(__doc__, BUDGET_S)
    torch.manual_seed(0)
    rows = []
    for name, model, size, grid, lr in CASES:
        for inner in (1, 2, 5):
            sides = sides_of(model, size, grid, lr, inner)
            seconds = in_turn(sides, ROUNDS, budget_s=budget_s)
            memory = {f"{side}_peak_bytes": peak_bytes(step) for side, step in sides.items()}
            case = f"{name}, batch {BATCH}, T = {inner}"
            rows.append(row(case, seconds["ours"], seconds["peer"], 4 * inner + 5, **memory))
            print(rows[-1]["case"], f"{rows[-1]['ratio']:.1f}", memory, flush=True)
    keep("auto_cost", rows)


if __name__ == "__main__":
    main()
