"""Presets of Learngene Pool and SN-Net: the papers' settings, one for small networks, and one for tests."""

from __future__ import annotations

from typing import Any

from germline.methods.presets import Presets

# DeiT's. Of Learngene Pool the magnitude 9, the share 0.25 and the repeats are published; the rest is assumed.
_RANDOM: dict[str, Any] = {"randaugment": "rand-m9-mstd0.5-inc1", "erasing": 0.25, "repeats": 3}
# The rate is 5e-4 x batch / 512 throughout.
_DISTIL: dict[str, Any] = {
    "epochs": 100,
    "batch_size": 256,
    "lr": 2.5e-4,
    "min_lr": 0.04,
    "warmup": 0.05,
    "label_smoothing": 0.1,
    "mixup": 0.8,
    "cutmix": 1.0,
    **_RANDOM,
}
# The public loop has no mixup. Its other augmentation is not known, so there is only the data set's own.
_FINETUNE: dict[str, Any] = {"epochs": 50, "batch_size": 256, "lr": 2.5e-4, "min_lr": 0.04, "warmup": 0.1}
_PAPER: dict[str, Any] = {"widths": (192, 768), "heads": (3, 12)}
_LAB: dict[str, Any] = {"widths": (24, 96), "heads": (1, 4), "depth": 6}
_TINY: dict[str, Any] = {"widths": (8, 16), "heads": (1, 2), "depth": 2, "init_images": 20}
# Of both methods.
_FINETUNES: dict[str, dict[str, Any]] = {
    "paper6": {**_PAPER, "depth": 6, "finetune": _FINETUNE},
    "paper9": {**_PAPER, "depth": 9, "finetune": {**_FINETUNE, "batch_size": 128, "lr": 1.25e-4, "min_lr": 0.08}},
    "lab": {**_LAB, "finetune": {"steps": 1500, "batch_size": 64, "lr": 1e-3}},
    "tiny": {**_TINY, "finetune": {"steps": 6, "batch_size": 40, "lr": 3e-3}},
}
_INSTANCES: dict[str, dict[str, Any]] = {
    "paper6": _DISTIL,
    "paper9": _DISTIL,
    "lab": {"steps": 1500, "batch_size": 64, "lr": 2e-3},
    "tiny": {"steps": 4, "batch_size": 40, "lr": 3e-3},
}
# Of nine blocks the widest model is distilled at a tenth of the others' rate. In short trainings a path whose stitch
# begins as the transpose stays far behind (docs/results/pool.md).
_OWN: dict[str, dict[str, Any]] = {"paper9": {"rates": (1.0, 0.1)}, "lab": {"init": "least-squares"}}
POOL_PRESETS: Presets = {
    name: {**preset, **_OWN.get(name, {}), "distil": _INSTANCES[name]} for name, preset in _FINETUNES.items()
}

# Anchors as DeiT trains them; the rate of fine-tuning is 5e-5 x batch / 512. Its augmentation is assumed to be DeiT's.
_ACTIVE: dict[str, Any] = {
    "batch_size": 1024,
    "label_smoothing": 0.1,
    "mixup": 0.8,
    "cutmix": 1.0,
    "drop_path": 0.1,
    **_RANDOM,
}
_THREE: dict[str, Any] = {
    "widths": (192, 384, 768),
    "heads": (3, 6, 12),
    "depth": 12,
    "teaching": "hard",
    "anchor": {**_ACTIVE, "epochs": 300, "lr": 1e-3, "min_lr": 0.01, "warmup": 5 / 300},
    "finetune": {**_ACTIVE, "epochs": 50, "lr": 1e-4, "min_lr": 0.01, "warmup": 0.1},
}
# For the like-for-like comparison Learngene Pool's authors train anchors of their sizes for 150 epochs. Their
# augmentation is assumed to be that of the auxiliary models.
_EPOCHS: dict[str, dict[str, Any]] = {"paper6": {"epochs": 150}, "paper9": {"epochs": 150}}
SNNET_PRESETS: Presets = {
    "paper": _THREE,
    **{
        name: {**preset, "anchor": {**_INSTANCES[name], **_EPOCHS.get(name, {})}} for name, preset in _FINETUNES.items()
    },
}
