"""Presets of FRONT: the public code's scale, one for small networks, and one for tests."""

from __future__ import annotations

from germline.methods.presets import Presets

PRESETS: Presets = {
    "paper": {"scale": "public", "missing": "zero", "hidden": "transform"},
    "lab": {"scale": "orthonormal", "missing": "zero", "hidden": "units"},
    "tiny": {"keep": 0.75},
}
