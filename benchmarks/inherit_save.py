"""Inheriting and saving a 12-block ViT-B against reading and writing the same bytes with safetensors; target <= 3.

Both sides end in the same fsync. The peer does not hash, which makes it harder for the second row: loading a gene does.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from common import in_turn, keep, row, set_up
from germline.architectures import VIT, Preprocess
from germline.architectures.vit import VitSpec
from germline.learngene import Learngene
from germline.methods.tleg.expansion import ExpandedNetwork

TARGET, ROUNDS, BUDGET_S = 3.0, 25, 70.0
BASE = VitSpec(image_size=224, channels=3, classes=1000, depth=12, width=768, heads=12, patch_size=16)


def make_gene(folder: Path) -> None:
    """Save a gene of random weights; the time does not depend on their values."""
    torch.manual_seed(0)
    state = ExpandedNetwork(VIT, BASE, (BASE.depth,)).state_dict()
    preprocess = Preprocess(channels=3, image_size=224, mean=(0.5,) * 3, std=(0.5,) * 3)
    classes = tuple(f"class {index}" for index in range(BASE.classes))
    Learngene("tleg", {}, "vit", BASE, state, preprocess, classes).save(folder)


def copy_bytes(source: Path, folder: Path) -> None:
    """Read every tensor, write it and wait for the disk."""
    folder.mkdir()
    save_file(load_file(source), folder / source.name)
    descriptor = os.open(folder / source.name, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)


def main() -> None:
    """Measure with a gene in memory, and with a gene loaded and verified each time."""
    set_up(__doc__)
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        make_gene(root / "gene")
        gene = Learngene.load(root / "gene")
        gene.inherit().save(root / "model")
        source = root / "model" / "model.safetensors"

        out = root / "out"
        sides = {
            "inherit": lambda: gene.inherit().save(out),
            "peer": lambda: copy_bytes(source, out),
            "load": lambda: Learngene.load(root / "gene").inherit().save(out),
        }
        seconds = in_turn(sides, ROUNDS, budget_s=BUDGET_S, before=lambda: shutil.rmtree(out, ignore_errors=True))
        sizes = {"model_bytes": source.stat().st_size, "gene_bytes": gene.count_bytes()}
    rows = [
        row("inherit + save", seconds["inherit"], seconds["peer"], TARGET),
        row("load + inherit + save", seconds["load"], seconds["peer"], TARGET),
    ]
    keep("inherit_save", rows, **sizes)


if __name__ == "__main__":
    main()
