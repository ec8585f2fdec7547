"""Presets of `tleg` and `sws`: the papers' settings, one for small networks, and one for tests."""

from __future__ import annotations

from germline.methods.presets import DEIT_AUGMENTATION, Presets

PRESETS: Presets = {
    # The public code's: a ViT-B on ImageNet-1K, with LeViT-384 as ancestor.
    "paper": {
        "model": "vit_base16",
        "epochs": 100,
        "batch_size": 512,
        "lr": 5e-4,
        "min_lr": 0.02,
        "weight_decay": 0.05,
        "warmup": 0.05,
        **DEIT_AUGMENTATION,
        "repeats": 3,
    },
    "lab": {"steps": 2000, "batch_size": 64, "lr": 4e-3},
    "tiny": {"steps": 4, "batch_size": 40},
}
SWS_PRESETS: Presets = {
    # The paper's stages for 16 blocks, and its map of 12 blocks. The training is that of TLEG's public code.
    "paper": {**PRESETS["paper"], "segments": (3, 3, 4, 3, 3)},
    "paper12": {**PRESETS["paper"], "segments": (3, 3, 2, 2, 2)},
    "lab": {**PRESETS["lab"], "segments": (2, 2, 2, 2)},
    "tiny": {**PRESETS["tiny"], "segments": (2, 2)},
}
