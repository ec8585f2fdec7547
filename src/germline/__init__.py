"""germline: condense a trained network into a learngene; let networks of many sizes inherit it.

The names below are imported when they are first used, so that importing germline does not import torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from germline.anatomy import Preprocess, Size
    from germline.api import condense, train
    from germline.data import DataSet, Pictures, data
    from germline.errors import GermlineError
    from germline.learngene import Descendant, Learngene
    from germline.ledger import Ledger
    from germline.methods.auto import Auto
    from germline.methods.base import Method
    from germline.methods.finetune import Finetune
    from germline.methods.gtl import GTL
    from germline.methods.openworld import OpenWorld
    from germline.methods.pool import Pool
    from germline.methods.scratch import Scratch
    from germline.methods.tleg import TLEG
    from germline.network import Network, load_network
    from germline.training import CrossEntropy, Distillation, Objective, Run, TrainSettings

__version__ = "0.1.0"

_PLACES = {
    "germline.anatomy": ("Preprocess", "Size"),
    "germline.api": ("condense", "train"),
    "germline.data": ("DataSet", "Pictures"),
    "germline.errors": ("GermlineError",),
    "germline.learngene": ("Descendant", "Learngene"),
    "germline.ledger": ("Ledger",),
    "germline.methods.auto": ("Auto",),
    "germline.methods.base": ("Method",),
    "germline.methods.finetune": ("Finetune",),
    "germline.methods.gtl": ("GTL",),
    "germline.methods.openworld": ("OpenWorld",),
    "germline.methods.pool": ("Pool",),
    "germline.methods.scratch": ("Scratch",),
    "germline.methods.tleg": ("TLEG",),
    "germline.network": ("Network", "load_network"),
    "germline.training": ("CrossEntropy", "Distillation", "Objective", "Run", "TrainSettings"),
}
_HOME = {name: module for module, names in _PLACES.items() for name in names}

__all__ = [
    "GTL",
    "TLEG",
    "Auto",
    "CrossEntropy",
    "DataSet",
    "Descendant",
    "Distillation",
    "Finetune",
    "GermlineError",
    "Learngene",
    "Ledger",
    "Method",
    "Network",
    "Objective",
    "OpenWorld",
    "Pictures",
    "Pool",
    "Preprocess",
    "Run",
    "Scratch",
    "Size",
    "TrainSettings",
    "condense",
    "data",
    "load_network",
    "train",
]


def __getattr__(name: str) -> Any:
    if name == "data":  # the package itself, which can be called: Python sets this name whenever it is imported
        return importlib.import_module("germline.data")
    if name not in _HOME:
        raise AttributeError(f"module 'germline' has no attribute '{name}'")
    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
