"""Settings of Auto-Learngene that have names: the paper's, those for small networks, and its fixed choices."""

from __future__ import annotations

from typing import Any

from germline.methods.presets import Presets

_SGD: dict[str, Any] = {"optimizer": "sgd", "momentum": 0.9, "warmup": 0.0, "min_lr": 0.0}
# 100 epochs of 16 classes with 500 images each.
_PUBLISHED: dict[str, Any] = {**_SGD, "steps": 12_500, "batch_size": 64, "lr": 0.1, "weight_decay": 1e-4, "keep": 3}
_LAB: dict[str, Any] = {
    **_SGD,
    "steps": 160,
    "batch_size": 16,
    "lr": 0.02,
    "weight_decay": 5e-4,
    "meta_lr": 1e-2,
    "meta_batch": 32,
}
PRESETS: Presets = {
    "lab": {**_LAB, "inner_steps": 3, "pseudo_taps": "stages", "grid": 4, "gamma": 0.1},
    "lab-vit": {**_LAB, "steps": 240, "lr": 0.1, "inner_steps": 2, "gamma": 0.1},
    "cnn": {**_PUBLISHED, "taps": "stages"},
    "vit": {**_PUBLISHED, "taps": "pairs", "inner_steps": 2, "gamma": 0.1},
    # Fixed choices of the public code, for VGG16, ResNet12, ResNet18, a ViT of 12 blocks, and DeiT. For ResNet18 these
    # are the second blocks of the first and the last stage.
    "vgg9": {**_PUBLISHED, "layers": (0, 2, 4, 5, 11, 12)},
    "resnet12": {**_PUBLISHED, "layers": (0, 3)},
    "resnet18": {**_PUBLISHED, "layers": (1, 7), "frame": "none"},
    "vit6": {**_PUBLISHED, "layers": (0, 1, 8, 9, 10, 11)},
    "deit-first6": {**_PUBLISHED, "layers": (0, 1, 2, 3, 4, 5), "frame": "whole"},
    "deit-last3": {**_PUBLISHED, "layers": (9, 10, 11), "frame": "whole"},
    "tiny": {
        **_SGD,
        "steps": 4,
        "batch_size": 8,
        "lr": 0.01,
        "weight_decay": 5e-4,
        "grid": 2,
        "inner_steps": 1,
        "keep": 1,
    },
}
