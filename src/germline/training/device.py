"""On what a run computes."""

from __future__ import annotations

import os

import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies import DDPStrategy

from germline.errors import SettingError

PRECISIONS = ("32-true", "bf16-mixed", "bf16-true")


def check_device(device: str, precision: str) -> None:
    """Refuse what is not to be had here.

    Raises:
        SettingError: The device or precision is unknown, or torch sees no such device.
    """
    if precision not in PRECISIONS:
        raise SettingError(f"precision '{precision}'", "it is unknown", f"use one of {', '.join(PRECISIONS)}")
    if device not in ("auto", "cpu", "cuda", "mps"):
        raise SettingError(f"device '{device}'", "it is unknown", "use auto, cpu, cuda or mps")
    missing = (device == "cuda" and not torch.cuda.is_available()) or (
        device == "mps" and not torch.backends.mps.is_available()
    )
    if missing:
        raise SettingError(f"device '{device}'", "torch sees no such device here", "use --device cpu")


def best_device() -> str:
    """What `auto` stands for on this machine."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def make_fabric(device: str, precision: str) -> Fabric:
    """Fabric on one device, or on as many processes as the environment tells of."""
    world = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    nodes = int(os.environ.get("WORLD_SIZE", "1")) // world
    accelerator = best_device() if device == "auto" else device
    # Where a step leaves out parameters, as one path of many does, they are found to be unused and get no gradient.
    strategy = DDPStrategy(find_unused_parameters=True) if world * nodes > 1 else "auto"
    fabric = Fabric(
        accelerator=accelerator,
        devices=world,
        num_nodes=nodes,
        strategy=strategy,
        precision=precision,
    )
    fabric.launch()
    return fabric
