"""Accuracy before any training of descendants of methods that train nothing, on the ancestor's own classes.

Each ancestor is a ViT in a model folder. Descendants have other depths and widths, and inherit the head. One ancestor
has no interval: differences of a few points between methods can be chance.

    python benchmarks/untrained.py --ancestor ancestors/cifar100 --data cifar100
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import torch

from common import ROOT, git
from germline.architectures import Size
from germline.data import DataSet, load_data
from germline.errors import SettingError
from germline.files import write_json
from germline.learngene import Learngene, library_versions
from germline.loading import load_network
from germline.methods.base import find_method
from germline.training import Run
from germline.training.evaluate import score_model

SIZES = (
    "depth=4", "depth=6", "depth=9", "depth=12", "width=48", "width=64,heads=2", "width=80,heads=5", "width=120",
    "width=144", "width=160,heads=5", "width=192,heads=6", "depth=12,width=144",
)  # fmt: skip
ARMS: dict[str, tuple[str, dict[str, Any]]] = {
    "front": ("front", {}),
    "front, units": ("front", {"hidden": "units"}),
    "front, public": ("front", {"scale": "public"}),
    "front, smooth": ("front", {"scale": "smooth"}),
    "front, matched": ("front", {"scale": "matched"}),
    "weight-selection": ("weight-selection", {"layers": "even"}),
    "weight-selection, fan-in": ("weight-selection", {"layers": "even", "scale": "fan-in"}),
    "weight-selection, divide": ("weight-selection", {"layers": "even", "scale": "divide"}),
    "grow": ("grow", {}),
    "grow, repeat": ("grow", {"depth": "repeat"}),
}


def measure(gene: Learngene, size: str, data: DataSet) -> float | None:
    """Return the validation accuracy of an untrained descendant, a share of 1; None if the gene has no such size."""
    try:
        network = gene.inherit(size=Size.parse(size), classes=data.classes).network
    except SettingError:
        return None
    return round(score_model(network.model, network.logits, data.val).accuracy, 4)


def main() -> int:
    """Measure all arms at all sizes, and keep the accuracies."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--ancestor", type=Path, required=True, help="model folder of a ViT")
    parser.add_argument("--data", required=True, help="data with the ancestor's classes")
    parser.add_argument("--threads", type=int, default=1, help="threads of torch (default: 1)")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    ancestor, data = load_network(asked.ancestor), load_data(asked.data)
    assert ancestor.spec is not None
    own = score_model(ancestor.model, ancestor.logits, data.val).accuracy
    accuracies: dict[str, dict[str, float]] = {}
    for arm, (method, settings) in ARMS.items():
        gene = find_method(method)(**settings).condense(ancestor, data, Run(device="cpu", quiet=True))
        found = {size: measure(gene, size, data) for size in SIZES}
        accuracies[arm] = {size: accuracy for size, accuracy in found.items() if accuracy is not None}
        print(f"{arm:<26}", *(f"{size} {100 * accuracy:.1f}  " for size, accuracy in accuracies[arm].items()))
    name = f"untrained-{asked.data.partition(':')[0].replace('/', '-')}"
    result = {
        "command": f"python benchmarks/untrained.py --ancestor {asked.ancestor.name} --data {asked.data}",
        "commit": git("rev-parse", "HEAD"),
        "versions": library_versions(),
        "device": f"cpu, {asked.threads} threads",
        "ancestor": {"spec": ancestor.spec.model_dump(mode="json"), "accuracy": own},
        "images": len(data.val),
        "accuracies": accuracies,
    }
    write_json(ROOT / "benchmarks" / "results" / f"{name}.json", result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
