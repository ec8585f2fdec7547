"""Measure what the gradient criterion adds to a training step; target <= 1.05 times the plain step."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.nn.functional import cross_entropy

from common import in_turn, keep, row, set_up
from germline.architectures import VGG, VggSpec
from germline.methods.openworld.gradient_criterion import GradientWatch, unit_weight_names
from germline.methods.openworld.task_stream import published_growth, specs_by_task
from germline.registry import model_spec

TARGET, CLASSES = 1.05, 100
ROUNDS, BUDGET_S = 400, 20.0


def last_form(model: str) -> VggSpec:
    """Return the spec of the collective after its growth."""
    spec = model_spec(model, image_size=32, channels=3, classes=CLASSES)
    assert isinstance(spec, VggSpec)
    return specs_by_task(spec, published_growth(spec), 21)[-1]


def step_of(spec: VggSpec, batch: int, *, watched: bool, first: bool) -> Callable[[], None]:
    """Make a function for one step: forward, backward, update, gradient counts, zeroing."""
    network = VGG.build(spec).train()
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-3, momentum=0.9, nesterov=True)
    images, labels = torch.randn(batch, 3, 32, 32), torch.randint(CLASSES, (batch,))
    watch = GradientWatch(unit_weight_names(spec), steps=10**6, epoch=10**6, epsilon=None if first else 1e-5)
    step = 0

    def run() -> None:
        nonlocal step
        cross_entropy(network(images), labels).backward()
        optimizer.step()
        if watched:
            watch.record_step(network, step)
        step += 1
        optimizer.zero_grad()

    return run


def main() -> None:
    """Measure every case."""
    set_up(__doc__)
    torch.manual_seed(0)
    rows = []
    for model, batch in (("collective_x0125", 32), ("collective_x025", 32), ("collective", 64)):
        spec = last_form(model)
        for first in (False, True):
            sides = {name: step_of(spec, batch, watched=name == "ours", first=first) for name in ("ours", "peer")}
            seconds = in_turn(sides, ROUNDS, budget_s=BUDGET_S)
            task = "the first task" if first else "a later task"
            rows.append(
                row(f"{model} after its growth, batch {batch}, {task}", seconds["ours"], seconds["peer"], TARGET)
            )
    keep("gradient_cost", rows)


if __name__ == "__main__":
    main()
