"""Device and precision of a run."""

from __future__ import annotations

import os
import warnings
from typing import Literal, get_args

import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies import DDPStrategy
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from germline.errors import SettingError

PrecisionName = Literal["32-true", "bf16-mixed", "bf16-true"]
PRECISIONS: tuple[str, ...] = get_args(PrecisionName)


def check_device(device: str, precision: str) -> None:
    """Check that device and precision are available.

    Raises:
        SettingError: The device or precision is unknown, or torch finds no such device.
    """
    if precision not in PRECISIONS:
        raise SettingError(f"precision {precision!r}", "It is unknown", f"Use one of {', '.join(PRECISIONS)}")
    if device not in ("auto", "cpu", "cuda", "mps"):
        raise SettingError(f"device {device!r}", "It is unknown", "Use auto, cpu, cuda or mps")
    missing = (device == "cuda" and not torch.cuda.is_available()) or (
        device == "mps" and not torch.backends.mps.is_available()
    )
    if missing:
        raise SettingError(f"device '{device}'", "torch finds no such device here", "Use --device cpu")


def find_best_device() -> str:
    """Return the device that `auto` selects on this machine."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def describe_device() -> str:
    """Describe the device that `auto` selects, with the arithmetic of float32 that runs use by default."""
    device = find_best_device()
    return f"{device} ({torch.cuda.get_device_name()}) with TF32" if device == "cuda" else device


def allow_tf32(*, is_allowed: bool) -> None:
    """Let matrix products and convolutions of float32 tensors on CUDA use TF32, or not; for the whole process.

    TF32 has the range of float32 and 10 bits of mantissa. By default torch uses it for convolutions alone.
    """
    with warnings.catch_warnings():
        # torch 2.9 and later warn of these two switches. The newer ones alone break torch.compile (torch issue 166387).
        warnings.filterwarnings("ignore", message="Please use the new API settings to control TF32")
        torch.set_float32_matmul_precision("high" if is_allowed else "highest")
        torch.backends.cudnn.allow_tf32 = is_allowed


class ReplicatedStrategy(DDPStrategy):  # type: ignore[misc]
    """Copies of the network in several processes, whose gradients are averaged.

    Attributes:
        may_skip_parameters: Whether a step can leave out parameters of the next network. DDP then searches for them.
    """

    may_skip_parameters = False

    def setup_module(self, module: nn.Module) -> DistributedDataParallel:
        """Replicate a network, and search for unused parameters if a step can leave some out."""
        self._ddp_kwargs["find_unused_parameters"] = self.may_skip_parameters
        replicated: DistributedDataParallel = super().setup_module(module)
        return replicated


def make_fabric(device: str, precision: str, *, tf32: bool = True) -> Fabric:
    """Build a Fabric for one device, or for the processes that the environment variables give.

    Args:
        device: "auto", "cpu", "cuda" or "mps".
        precision: "32-true", "bf16-mixed" or "bf16-true".
        tf32: Whether float32 on CUDA uses TF32. Other devices leave torch's switches alone.
    """
    world = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    nodes = int(os.environ.get("WORLD_SIZE", "1")) // world
    accelerator = find_best_device() if device == "auto" else device
    if accelerator == "cuda":
        allow_tf32(is_allowed=tf32)
    strategy = ReplicatedStrategy() if world * nodes > 1 else "auto"
    fabric = Fabric(
        accelerator=accelerator,
        devices=world,
        num_nodes=nodes,
        strategy=strategy,
        precision=precision,
    )
    fabric.launch()
    return fabric
