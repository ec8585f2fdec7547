"""Presets of LeTs: the paper's setting, one for small networks, and one for tests."""

from __future__ import annotations

from germline.methods.presets import DEIT_AUGMENTATION, Presets

PRESETS: Presets = {
    # Sizes, epochs, rate and decay are the paper's. Batch size and augmentation are DeiT's, an assumption.
    "paper": {
        "model": "vit_base16",
        "depth": 16,
        "width": 768,
        "heads": 12,
        "gene_width": 384,
        "gene_depth": 8,
        "epochs": 300,
        "batch_size": 1024,
        "lr": 5e-4,
        "weight_decay": 0.05,
        **DEIT_AUGMENTATION,
    },
    # For an ancestor such as vit_nano, of 8 blocks and width 96: descendants of half to twice its width.
    "lab": {
        "depth": 12,
        "width": 192,
        "heads": 12,
        "gene_width": 96,
        "gene_depth": 6,
        "steps": 2000,
        "batch_size": 64,
        "lr": 2e-3,
    },
    "tiny": {
        "depth": 10,
        "width": 40,
        "heads": 5,
        "gene_width": 16,
        "gene_depth": 2,
        "steps": 4,
        "batch_size": 40,
    },
}
