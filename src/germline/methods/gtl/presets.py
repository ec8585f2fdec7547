"""Presets of GTL: the paper's networks, a quarter of their width, and one for tests."""

from __future__ import annotations

from typing import Any

from germline.methods.presets import Presets

_LIFE: dict[str, Any] = {"optimizer": "sgd", "lr": 0.05, "momentum": 0.9, "weight_decay": 5e-4, "warmup": 0.0}
PRESETS: Presets = {
    "full": {
        "model": "vgg11",
        "population": 50,
        "generations": 100,
        "pool": 16,
        "tasks": 20,
        "critic_tasks": 8,
        "life": {**_LIFE, "steps": 300, "batch_size": 64},
        "critic_steps": 100,
        "protected_steps": 20,
        "patience": 15,
    },
    "lab": {
        "model": "vgg11_x025",
        "population": 9,
        "generations": 6,
        "pool": 5,
        "tasks": 8,
        "critic_tasks": 3,  # all of them judge each gene
        "life": {**_LIFE, "lr": 0.02, "steps": 60, "batch_size": 16},
        "critic_steps": 20,
        "protected_steps": 5,
        "patience": 6,
    },
    "tiny": {
        "model": "vgg11_x025",
        "size": "width=4",
        "population": 4,
        "generations": 2,
        "tournament": 2,
        "pool": 3,
        "tasks": 2,
        "critic_tasks": 2,
        "tasks_per_gene": 2,
        "life": {**_LIFE, "steps": 3, "batch_size": 8},
        "critic_steps": 2,
        "protected_steps": 1,
        "patience": 2,
        "finalists": 2,
        "final_runs": 2,
    },
}
