"""Memory of float batches on the CPU, used again once no tensor refers to it."""

from __future__ import annotations

import weakref

import torch
from torch import Tensor


class BatchMemory:
    """Converts batches of bytes to floats, in memory that earlier batches had.

    Fresh memory of that size comes from the system page by page, which takes longer than the conversion. At most one
    unused batch of floats stays in memory. A batch in use, or a view of one, is never written to.
    """

    def __init__(self) -> None:
        self._unused: list[Tensor] = []

    def convert(self, pixels: Tensor) -> Tensor:
        """Return uint8 pixels of any shape on the CPU as float32 in [0, 1]."""
        memory = self._unused.pop() if self._unused else None
        if memory is None or memory.numel() < pixels.numel():
            memory = torch.empty(pixels.numel(), dtype=torch.float32)
        # The storage of the result holds this array, which so ends with the last tensor that shares the storage.
        array = memory.numpy()[: pixels.numel()].reshape(pixels.shape)
        weakref.finalize(array, self._take_back, memory).atexit = False
        return torch.from_numpy(array).copy_(pixels).div_(255)

    def _take_back(self, memory: Tensor) -> None:
        if not self._unused:
            self._unused.append(memory)
