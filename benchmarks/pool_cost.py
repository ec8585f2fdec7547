"""Measure what a pool costs: distilling models together, switching paths, and training a path.

    python benchmarks/pool_cost.py

Rows `together` compare two auxiliary models distilled in one pass with one after the other. By counted operations, the
second takes (2T + 3S) / (T + 3S) times as long. T is the ancestor's forward pass and S is that of both students. The
target is 90 % of this ratio. Rows `switch` measure choosing another path; the target is a millisecond. Rows `step`
compare a training step of a path in the pool with one of the same plain network.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from common import in_turn, keep, row, set_up
from germline.architectures import VIT, Preprocess, Size, VitSpec
from germline.data import Batch
from germline.methods.pool.auxiliary_models import AuxiliaryDistillation, AuxiliaryModels, MatchedFeatures
from germline.methods.pool.paths import PoolLayout, PoolPath
from germline.methods.pool.sizes import PathSpecs
from germline.methods.pool.supernet import PoolNetwork
from germline.network import Network
from germline.registry import architecture_of

CLASSES, SHARE, STEP_TARGET, SWITCH_TARGET_S = 54, 0.9, 1.05, 1e-3
ROUNDS, BUDGET_S, SWITCHES = 400, 40.0, 20
LAB = VitSpec(image_size=32, channels=1, classes=CLASSES, depth=6, width=96, heads=4, patch_size=8)
DEIT = VitSpec(
    image_size=64,
    channels=3,
    classes=CLASSES,
    depth=12,
    width=768,
    heads=12,
    patch_size=16,
    class_token=True,
    global_pool="token",
)
# Name, ancestor, widths and heads of the auxiliary models, batch; all models have six blocks.
CASES: tuple[tuple[str, VitSpec, tuple[int, ...], tuple[int, ...], int], ...] = (
    ("lab (24, 96)", LAB, (24, 96), (1, 4), 64),
    ("lab (24, 96), 12 blocks", LAB.model_copy(update={"depth": 12, "width": 192, "heads": 8}), (24, 96), (1, 4), 64),
    ("DeiT-B to Ti and B (192, 768), 64 px", DEIT, (192, 768), (3, 12), 8),
)
PATHS = ("width=24", "width=96", "front=24,end=96,j=3,k=4", "front=24,end=96,j=6,k=5")


def distilling(ancestor: Network, forms: PathSpecs, widths: Sequence[int], batch: Batch) -> Callable[[], None]:
    """A step in which these auxiliary models are distilled."""
    spec: Any = ancestor.spec
    follows = {
        width: MatchedFeatures.at(
            "end" if width == forms.layout.widths[-1] else "front,mid,end", "all", forms.models[width], spec
        )
        for width in widths
    }
    matrices = {width: one.matrices(width, spec.width) for width, one in follows.items()}
    objective = AuxiliaryDistillation(
        ancestor, follows, matrices, alpha=0.1, temperature=1.0, reduction="batchmean", label_smoothing=0.0
    )
    students = AuxiliaryModels(
        {width: VIT.build(forms.models[width]) for width in widths}, {width: follows[width].taps for width in widths}
    ).train()
    optimizer = torch.optim.AdamW([*students.parameters(), *objective.parameters()], lr=1e-4, fused=True)

    def run() -> None:
        objective(lambda pixels: students(ancestor.preprocess(pixels)), batch).backward()
        optimizer.step()
        optimizer.zero_grad()

    return run


def together(name: str, elder: VitSpec, forms: PathSpecs, size: int, budget_s: float) -> dict[str, Any]:
    """All auxiliary models in one pass against one after the other."""
    grey = (0.5,) * elder.channels
    seen = Preprocess(channels=elder.channels, image_size=elder.image_size, mean=grey, std=grey)
    ancestor = Network(VIT.build(elder).eval(), seen, tuple(map(str, range(CLASSES))), spec=elder)
    batch = Batch(torch.rand(size, elder.channels, elder.image_size, elder.image_size), torch.randint(CLASSES, (size,)))
    one_by_one = [distilling(ancestor, forms, (width,), batch) for width in forms.layout.widths]
    sides = {
        "ours": distilling(ancestor, forms, forms.layout.widths, batch),
        "peer": lambda: [step() for step in one_by_one],
    }
    seconds = in_turn(sides, ROUNDS, budget_s=budget_s)
    teacher, students = VIT.flops(elder), sum(forms.model_flops().values())
    count = len(forms.layout.widths)
    bound = (count * teacher + 3 * students) / (teacher + 3 * students)
    found = row(f"together: {name}, batch {size}", seconds["ours"], seconds["peer"], round(1 / (SHARE * bound), 4))
    return {**found, "bound": bound, "gain": 1 / found["ratio"], "share_of_bound": 1 / found["ratio"] / bound}


def pool_of(forms: PathSpecs) -> PoolNetwork:
    """A fresh pool."""
    return PoolNetwork({width: VIT.build(spec) for width, spec in forms.models.items()}, forms.layout)


def switching(widths: tuple[int, ...], heads: tuple[int, ...], depth: int) -> dict[str, Any]:
    """Every path of a pool chosen in turn, the first time included."""
    forms = PathSpecs.of(PoolLayout(widths, depth), LAB, heads)
    pool, seconds = pool_of(forms), []
    for _ in range(SWITCHES):
        for path in forms.layout.paths:
            began = time.perf_counter()
            pool.choose(path)
            seconds.append(time.perf_counter() - began)
    limit = [SWITCH_TARGET_S] * len(seconds)
    case = f"switch: {len(forms.layout.paths)} paths, {depth} blocks"
    return row(case, seconds, limit, 1.0, slowest_s=max(seconds))


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


def stepping(name: str, forms: PathSpecs, path: PoolPath, size: int, budget_s: float) -> dict[str, Any]:
    """A training step of a path in the pool against one of the same network by itself."""
    pool, spec, first = pool_of(forms), forms.spec(path), forms.models[path.widths[0]]
    pool.choose(path)
    plain = architecture_of(spec).build(spec)
    sides = {"ours": step_of(pool, first, size), "peer": step_of(plain, first, size)}
    seconds = in_turn(sides, ROUNDS, budget_s=budget_s)
    return row(f"step: {name} {path}, batch {size}", seconds["ours"], seconds["peer"], STEP_TARGET)


def main() -> None:
    """Measure every case."""
    budget_s = set_up(__doc__, BUDGET_S)
    torch.manual_seed(0)
    rows = []
    for name, elder, widths, heads, batch in CASES:
        rows.append(together(name, elder, PathSpecs.of(PoolLayout(widths, 6), elder, heads), batch, budget_s))
    rows.append(switching((24, 96), (1, 4), 6))
    rows.append(switching((24, 48, 96), (1, 2, 4), 12))
    lab = PathSpecs.of(PoolLayout((24, 96), 6), LAB, (1, 4))
    for text in PATHS:
        rows.append(stepping("lab", lab, PoolPath.of(Size.parse(text)), 64, budget_s))
    large = PathSpecs.of(PoolLayout((192, 768), 6), DEIT, (3, 12))
    rows.append(stepping("64 px", large, PoolPath((192, 768), ((3, 4),)), 8, budget_s))
    keep("pool_cost", rows)


if __name__ == "__main__":
    main()
