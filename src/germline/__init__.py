"""germline: condense a trained network into a learngene; let networks of many sizes inherit it.

The names below are imported when they are first used, so that importing germline does not import torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from germline.api import condense, evaluate, train
    from germline.architectures import Preprocess, Size
    from germline.baselines.finetune import Finetune
    from germline.baselines.scratch import Scratch
    from germline.baselines.weight_selection import WeightSelection
    from germline.data import DataSet, Images, load_data
    from germline.errors import GermlineError
    from germline.learngene import Descendant, Learngene
    from germline.ledger import Ledger
    from germline.loading import load_network
    from germline.methods.auto.method import Auto
    from germline.methods.base import Method
    from germline.methods.front.method import FRONT
    from germline.methods.grow.method import Grow
    from germline.methods.gtl.method import GTL
    from germline.methods.lets.method import LeTs
    from germline.methods.openworld.method import OpenWorld
    from germline.methods.pool.method import Pool
    from germline.methods.tleg.method import TLEG
    from germline.methods.tleg.sws import SWS
    from germline.network import Network
    from germline.training import CrossEntropy, Distillation, Objective, Run, TrainSettings

__version__ = "0.1.0"

_PLACES = {
    "germline.architectures": ("Preprocess", "Size"),
    "germline.api": ("condense", "evaluate", "train"),
    "germline.data": ("DataSet", "Images", "load_data"),
    "germline.errors": ("GermlineError",),
    "germline.learngene": ("Descendant", "Learngene"),
    "germline.ledger": ("Ledger",),
    "germline.methods.auto.method": ("Auto",),
    "germline.methods.base": ("Method",),
    "germline.baselines.finetune": ("Finetune",),
    "germline.methods.front.method": ("FRONT",),
    "germline.methods.grow.method": ("Grow",),
    "germline.methods.gtl.method": ("GTL",),
    "germline.methods.lets.method": ("LeTs",),
    "germline.methods.openworld.method": ("OpenWorld",),
    "germline.methods.pool.method": ("Pool",),
    "germline.baselines.scratch": ("Scratch",),
    "germline.baselines.weight_selection": ("WeightSelection",),
    "germline.methods.tleg.method": ("TLEG",),
    "germline.methods.tleg.sws": ("SWS",),
    "germline.loading": ("load_network",),
    "germline.network": ("Network",),
    "germline.training": ("CrossEntropy", "Distillation", "Objective", "Run", "TrainSettings"),
}
_HOME = {name: module for module, names in _PLACES.items() for name in names}

__all__ = [
    "FRONT",
    "GTL",
    "SWS",
    "TLEG",
    "Auto",
    "CrossEntropy",
    "DataSet",
    "Descendant",
    "Distillation",
    "Finetune",
    "GermlineError",
    "Grow",
    "Images",
    "LeTs",
    "Learngene",
    "Ledger",
    "Method",
    "Network",
    "Objective",
    "OpenWorld",
    "Pool",
    "Preprocess",
    "Run",
    "Scratch",
    "Size",
    "TrainSettings",
    "WeightSelection",
    "condense",
    "data",
    "evaluate",
    "load_data",
    "load_network",
    "train",
]


def __getattr__(name: str) -> Any:
    if name == "data":  # the package, which can be called until 0.3: see the end of germline/data/__init__.py
        return importlib.import_module("germline.data")
    if name == "Pictures":
        importlib.import_module("germline.deprecation").warn_deprecated("germline.Pictures")
        name = "Images"
    if name not in _HOME:
        # With the name and the module Python proposes the nearest name.
        raise AttributeError(
            f"module 'germline' has no attribute '{name}'", name=name, obj=importlib.import_module("germline")
        )
    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
