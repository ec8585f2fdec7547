"""A training step of TLEG's auxiliary network against the plain timm ViT of the same size; target <= 1.05."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from common import in_turn, keep, row, set_up
from germline.architectures import VIT
from germline.architectures.vit import VitSpec
from germline.methods.tleg.expansion import ExpandedNetwork
from germline.registry import model_spec

TARGET, CLASSES = 1.05, 54
TINY = VitSpec(image_size=224, channels=3, classes=CLASSES, depth=12, width=192, heads=3, patch_size=16)
CASES = (
    ("vit_pico, 32 px, batch 64", model_spec("vit_pico", image_size=32, channels=1, classes=CLASSES), 64),
    ("ViT-Ti (192x12), 64 px, batch 16", TINY.model_copy(update={"image_size": 64, "patch_size": 8}), 16),
    ("ViT-Ti (192x12), 224 px, batch 2", TINY, 2),
)
ROUNDS, BUDGET_S = 400, 30.0


def step_of(network: nn.Module, spec: VitSpec, batch: int) -> Callable[[], None]:
    """Forward, backward, update and zeroing."""
    network.train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4, fused=True)
    images = torch.randn(batch, spec.channels, spec.image_size, spec.image_size)
    labels = torch.randint(CLASSES, (batch,))

    def run() -> None:
        cross_entropy(network(images), labels).backward()
        optimizer.step()
        optimizer.zero_grad()

    return run


def main() -> None:
    """Measure every case."""
    set_up(__doc__)
    torch.manual_seed(0)
    rows = []
    for name, spec, batch in CASES:
        auxiliary = ExpandedNetwork(VIT, spec, (spec.depth,))
        sides = {"ours": step_of(auxiliary, spec, batch), "peer": step_of(VIT.build(spec), spec, batch)}
        seconds = in_turn(sides, ROUNDS, budget_s=BUDGET_S)
        rows.append(row(name, seconds["ours"], seconds["peer"], TARGET))
    keep("auxiliary_step", rows)


if __name__ == "__main__":
    main()
