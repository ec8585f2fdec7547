"""Settings of Open-World Learngene that have names: the published ones, those for small networks, and for tests."""

from __future__ import annotations

from typing import Any

from germline.methods.presets import Presets

_SGD: dict[str, Any] = {"optimizer": "sgd", "momentum": 0.9, "weight_decay": 5e-4, "warmup": 0.0}
PRESETS: Presets = {
    "full": {
        "model": "collective",
        "individual": "individual",
        "tasks": 21,
        "dropout": 0.5,
        # 100 epochs of 2,000 images.
        "training": {**_SGD, "lr": 1e-3, "schedule": "constant", "steps": 3125, "batch_size": 64},
    },
    "lab": {
        "model": "collective_x0125",
        "individual": "individual_x0125",
        "tasks": 21,
        "training": {**_SGD, "lr": 0.02, "steps": 60, "batch_size": 32},
    },
    "tiny": {
        "model": "vgg11_x025",
        "size": "width=4",
        "individual": "own",
        "tasks": 3,
        "growth": ((2, 4), (8, 2)),
        "fisher_samples": 4,
        "training": {**_SGD, "lr": 0.02, "steps": 2, "batch_size": 8},
    },
}
