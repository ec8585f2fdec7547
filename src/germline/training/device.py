"""Device and precision of a run."""

from __future__ import annotations

import os

import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies import DDPStrategy

from germline.errors import SettingError

PRECISIONS = ("32-true", "bf16-mixed", "bf16-true")


def check_device(device: str, precision: str) -> None:
    """Check that device and precision are available.

    Raises:
        SettingError: The device or precision is unknown, or torch finds no such device.
    """
    if precision not in PRECISIONS:
        raise SettingError(f"precision '{precision}'", "It is unknown", f"Use one of {', '.join(PRECISIONS)}")
    if device not in ("auto", "cpu", "cuda", "mps"):
        raise SettingError(f"device '{device}'", "It is unknown", "Use auto, cpu, cuda or mps")
    missing = (device == "cuda" and not torch.cuda.is_available()) or (
        device == "mps" and not torch.backends.mps.is_available()
    )
    if missing:
        raise SettingError(f"device '{device}'", "torch finds no such device here", "Use --device cpu")


def find_best_device() -> str:
    """Return the device that `auto` selects on this machine."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def make_fabric(device: str, precision: str) -> Fabric:
    """Build a Fabric for one device, or for the processes that the environment variables give."""
    world = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    nodes = int(os.environ.get("WORLD_SIZE", "1")) // world
    accelerator = find_best_device() if device == "auto" else device
    # A step can leave out parameters, for example one path of many. DDP then has to find the unused ones.
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
