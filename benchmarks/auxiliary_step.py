"""A training step of TLEG's auxiliary network against the plain timm ViT of the same size; target <= 1.05."""

from __future__ import annotations

from collections.abc import Callable

import torch
from common import in_turn, keep, row
from torch import nn
from torch.nn.functional import cross_entropy

from germline.anatomy import VIT
from germline.anatomy.vit import VitSpec
from germline.methods.expansion import ExpandedNetwork
from germline.registry import model_spec

TARGET, CLASSES = 1.05, 54
TINY = VitSpec(image_size=224, channels=3, classes=CLASSES, depth=12, width=192, heads=3, patch_size=16)
CASES = (
    # name, network, batch, rounds, steps in one timed piece
    ("vit_pico, 32 px, batch 64", model_spec("vit_pico", image_size=32, channels=1, classes=CLASSES), 64, 150, 5),
    ("ViT-Ti (192x12), 64 px, batch 64", TINY.model_copy(update={"image_size": 64, "patch_size": 8}), 64, 20, 1),
    ("ViT-Ti (192x12), 224 px, batch 4", TINY, 4, 40, 1),
)


def step_of(network: nn.Module, spec: VitSpec, batch: int, steps: int) -> Callable[[], None]:
    """Forward, backward, update and zeroing, `steps` times."""
    network.train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4, fused=True)
    pictures = torch.randn(batch, spec.channels, spec.image_size, spec.image_size)
    labels = torch.randint(CLASSES, (batch,))

    def run() -> None:
        for _ in range(steps):
            cross_entropy(network(pictures), labels).backward()
            optimizer.step()
            optimizer.zero_grad()

    return run


def main() -> None:
    """Measure every case."""
    torch.manual_seed(0)
    rows = []
    for name, spec, batch, rounds, steps in CASES:
        sides = {
            "ours": step_of(ExpandedNetwork(VIT, spec, (spec.depth,)), spec, batch, steps),
            "peer": step_of(VIT.build(spec), spec, batch, steps),
        }
        seconds = in_turn(sides, rounds)
        once = {side: [second / steps for second in seconds[side]] for side in sides}
        rows.append(row(name, once["ours"], once["peer"], TARGET, steps_per_round=steps))
    keep("auxiliary_step", rows)


if __name__ == "__main__":
    main()
