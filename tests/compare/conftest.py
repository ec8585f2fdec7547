"""A comparison that takes seconds, and results made by hand whose numbers are known."""

import pytest

RECIPE = """\
title: Two arms on digits
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
    settings: {depth: 2, steps: 3, batch_size: 16}
  scratch: {method: scratch}
sizes: [depth=1]
images_per_class: [3]
seeds: [0, 1]
train: {steps: 5, batch_size: 16, lr: 1e-3, eval_at: [0, 2]}
"""


@pytest.fixture
def recipe_file(tmp_path):
    (tmp_path / "micro.yaml").write_text(RECIPE)
    return tmp_path / "micro.yaml"


def cell(arm, seed, accuracies, test, size="depth=2", images=10, parameters=1000):
    curve = [
        {"step": step, "accuracy": value, "loss": 1.0} for step, value in zip((0, 50, 100), accuracies, strict=True)
    ]
    return {
        "arm": arm,
        "size": size,
        "images": images,
        "seed": seed,
        "lr": 0.001,
        "weight_decay": 0.05,
        "curve": curve,
        "test_accuracy": test,
        "steps": 100,
        "samples": 6400,
        "seconds": 1.5,
        "parameters": parameters,
        "flops": 10**9,
        "origins": {"fresh": 1000} if arm == "scratch" else {"expanded": 750, "fresh": 250},
    }


@pytest.fixture
def results():
    """Three seeds; the gene ends 0.1, 0.2 and 0.3 above scratch."""
    return {
        "name": "by hand",
        "command": "germline compare by-hand.yaml",
        "commit": "0123456789ab",
        "versions": {"germline": "0.1.0"},
        "device": "cpu, 2 processes of 1 threads",
        "seconds": 12.0,
        "recipe": {
            "title": "Made by hand <b>& kept</b>",
            "kind": "full",
            "data": "digits",
            "ancestor": {"data": "digits", "path": None, "train": {"steps": 50, "batch_size": 16, "epochs": 20.0}},
            "arms": {"gene": {}, "scratch": {}},
            "sizes": ["depth=2"],
            "images_per_class": [10],
            "seeds": [0, 1, 2],
            "one_gene": False,
            "tune": {"size": "depth=2", "images_per_class": 10, "seed": 1000},
        },
        "tuned": {
            "gene": {
                "lr": 0.001,
                "weight_decay": 0.05,
                "accuracy": 0.61,
                "grid": [
                    {"lr": 0.001, "weight_decay": 0.05, "accuracy": 0.61},
                    {"lr": 0.01, "weight_decay": 0.05, "accuracy": 0.43},
                ],
            }
        },
        "genes": [{"arm": "gene", "seed": 0, "bytes": 423720, "training": {"samples": 76800}}],
        "cells": [
            cell("scratch", 0, (0.1, 0.2, 0.40), 0.40),
            cell("gene", 0, (0.3, 0.4, 0.50), 0.50),
            cell("scratch", 1, (0.1, 0.2, 0.40), 0.40),
            cell("gene", 1, (0.3, 0.3, 0.45), 0.60),
            cell("scratch", 2, (0.1, 0.2, 0.40), 0.40),
            cell("gene", 2, (0.1, 0.2, 0.30), 0.70),
        ],
    }
