"""Measure what the gallery's figures need from networks and genes that are not in the repository.

    python tools/measure_gallery.py --tleg genes/tleg --front runs/ancestor --gtl genes/gtl

- `--tleg`: a gene of `tleg`. Offset and slope of a few weights of its first linear layers.
- `--front`: a ViT. The share of energy at each frequency of its cosine transform, and with shuffled elements.
- `--gtl`: a gene of `gtl`. Its gene tree.

It writes benchmarks/results/gallery.json, which tools/draw_figures.py reads.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from torch import Tensor

from germline.files import write_json
from germline.learngene import Learngene
from germline.loading.folder import load_model_folder
from germline.methods.checks import require_ancestor
from germline.methods.front.cosine import encode_role
from germline.methods.front.roles import list_roles

ROOT = Path(__file__).resolve().parents[1]
SEED = 0  # of the shuffled elements
BANDS = 8  # of the frequencies of channels
RANKS = (0.02, 0.15, 0.35, 0.5, 0.65, 0.85, 0.98)  # of the slopes of the weights that are drawn
WEIGHTS = "mlp.fc1.weight"
DIGITS = 6


def read_lines(gene: Learngene) -> dict[str, Any]:
    """Return offset and slope of weights whose slopes are spread over all slopes of the layer."""
    offset, slope = (gene.tensors[f"{part}.0.{WEIGHTS}"].flatten() for part in ("offset", "slope"))
    order = slope.argsort()
    chosen = [int(order[int(rank * (len(order) - 1))]) for rank in RANKS]
    lines = [[round(float(offset[at]), DIGITS), round(float(slope[at]), DIGITS)] for at in chosen]
    return {"weights": WEIGHTS, "lines": lines, **describe_gene(gene)}


def describe_gene(gene: Learngene) -> dict[str, Any]:
    """Return what a gene was made from and with."""
    made = gene.provenance
    return {
        "method": gene.method,
        "ancestor": made.ancestor,
        "data": made.data,
        "training": dict(made.training),
        "made_with": dict(made.versions),
    }


def measure_spectra(folder: Path) -> dict[str, Any]:
    """Return the share of energy by frequency, of a network and of the same with shuffled elements."""
    network, spec = require_ancestor("front", load_model_folder(folder))
    state = {name: tensor.detach() for name, tensor in network.model.state_dict().items()}
    generator = torch.Generator().manual_seed(SEED)
    shuffled = {
        name: tensor.flatten()[torch.randperm(tensor.numel(), generator=generator)].view_as(tensor)
        for name, tensor in state.items()
    }
    spectra = {name: measure_energy(spec, tensors) for name, tensors in (("ancestor", state), ("shuffled", shuffled))}
    return {"network": network.source, "seed": SEED, "spectra": spectra}


def measure_energy(spec: Any, tensors: Mapping[str, Tensor]) -> dict[str, list[float]]:
    """Return the mean share of energy at each frequency of depth, and in each band of channels.

    The mean is over the matrices whose channels are written and read. The constant part of depth is frequency 0.
    """
    shares: dict[str, list[Tensor]] = {"depth": [], "channels": []}
    for role in list_roles(spec, "transform").values():
        if not role.is_matrix or len(role.names) == 1:
            continue
        energy = encode_role(role, tensors, 1.0).double() ** 2
        for dim, axis in enumerate(role.axes):
            if not axis.is_transformed:
                continue
            along = energy.movedim(dim, 0).flatten(1).sum(1) / energy.sum()
            if axis.kind == "depth":
                shares["depth"].append(along)
            elif axis.size >= BANDS:
                shares["channels"].append(torch.stack([band.sum() for band in along.tensor_split(BANDS)]))
    return {
        key: [round(fmean(values), DIGITS) for values in zip(*(one.tolist() for one in found), strict=True)]
        for key, found in shares.items()
    }


def read_commit() -> str:
    """Return the commit of this checkout."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()


def main() -> None:
    """Measure, and write the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("tleg", "front", "gtl"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    arguments = parser.parse_args()
    evolved = Learngene.load(arguments.gtl)
    words = [word if word.startswith("--") else Path(word).name for word in sys.argv[1:]]
    result = {
        "command": " ".join(["python tools/measure_gallery.py", *words]),
        "commit": read_commit(),
        "versions": {name: version(name) for name in ("germline", "torch", "timm")},
        "tleg": read_lines(Learngene.load(arguments.tleg)),
        "front": measure_spectra(arguments.front),
        "gtl": {**describe_gene(evolved), "gene_tree": evolved.provenance.record["gene_tree"]},
    }
    write_json(ROOT / "benchmarks" / "results" / "gallery.json", result)


if __name__ == "__main__":
    main()
