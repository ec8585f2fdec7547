"""The refusal of a batch that no memory of the machine can hold."""

from __future__ import annotations

import math
import os

import torch

from germline.data import AnyImages
from germline.errors import SettingError
from germline.training.settings import TrainSettings


def check_batch_memory(settings: TrainSettings, images: AnyImages, prefix: str = "") -> None:
    """Refuse a batch whose pixels alone are larger than the memory of this machine and of its GPU.

    Args:
        settings: Settings of the training.
        images: Training images.
        prefix: Start of the settings' names in the message, such as `life.`.

    Raises:
        SettingError: The batch is too large.
    """
    share = math.ceil(settings.batch_size / int(os.environ.get("WORLD_SIZE", "1")))  # of one process
    needed, memory = share * images.channels * images.side**2 * 4, _measure_memory()
    if memory is None or needed <= memory:
        return  # without a look at the GPU, which would start CUDA
    if torch.cuda.is_available():
        memory = max(memory, torch.cuda.mem_get_info()[1])
    if needed > memory:
        raise SettingError(
            f"{prefix}batch_size={settings.batch_size} needs {_to_gigabytes(needed)} for the pixels of a batch",
            f"There are {_to_gigabytes(memory)} of memory",
            f"Use for example {prefix}batch_size={TrainSettings.model_fields['batch_size'].default}",
        )


def _measure_memory() -> int | None:
    """Return the bytes of the machine's memory; None if the system does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return None


def _to_gigabytes(count: int) -> str:
    return f"{count / 1e9:,.0f} GB"
