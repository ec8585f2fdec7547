"""Train a small network, condense it into a learngene, and build networks of three depths from it.

    python examples/train_and_inherit.py OUTPUT_FOLDER

Takes about two minutes on one core with the default number of steps. It needs no network connection.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import germline as gl
from germline.api import build_start_network

DEPTHS = (2, 4, 8)


def main() -> None:
    """Run the example and print the accuracy of every network."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("out", type=Path, help="Folder for the gene and the models.")
    parser.add_argument("--steps", type=int, default=300, help="Optimiser steps of each training.")
    options = parser.parse_args()

    digits = gl.load_data("digits")
    settings = gl.TrainSettings(steps=options.steps, batch_size=64, lr=2e-3)
    ancestor = build_start_network("vit_pico", digits, settings, seed=0)
    print(f"ancestor: {gl.train(ancestor, digits, settings).accuracy:.1%}")

    method = gl.TLEG(steps=options.steps, batch_size=64, lr=2e-3)
    gene = gl.condense(method, ancestor=ancestor, data=digits)
    gene.save(options.out / "gene")

    for depth in DEPTHS:
        descendant = gene.inherit(size=gl.Size(depth=depth), classes=digits.classes)
        before = gl.evaluate(descendant, digits).accuracy
        trained = gl.train(descendant, digits, settings.model_copy(update={"steps": options.steps // 3}))
        print(f"depth {depth}: {before:.1%} as inherited, {trained.accuracy:.1%} after training")
        print(f"  origin of its elements: {descendant.ledger.shares()}")
        descendant.save(options.out / f"depth-{depth}")


if __name__ == "__main__":
    main()
