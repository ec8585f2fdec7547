"""A limit of what a network may allocate while it is built, so that a lying configuration costs no memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch

from germline.architectures.torch_calls import CallInterceptor
from germline.errors import ArtefactError

# Networks also have tables that are not saved, such as masks and positions.
_FREE_ELEMENTS, _FREE_TENSORS = 2**26, 10_000
_ELEMENT_FACTOR, _TENSOR_FACTOR = 4, 100


class AllocationBudget(CallInterceptor):
    """Refuses to build a network that is much larger than the weights that are given for it.

    The limits of elements and of tensors are checked before each allocation.
    """

    # Functions whose arguments, and not their inputs, decide how much they allocate.
    names: ClassVar[frozenset[str]] = frozenset(
        {"empty", "zeros", "ones", "full", "rand", "randn", "randint", "randperm"}
        | {"arange", "linspace", "logspace", "eye", "empty_strided", "empty_permuted"}
    )

    def __init__(self, elements: int, tensors: int, origin: str) -> None:
        """Set the limits.

        Args:
            elements: Number of elements in the given weights.
            tensors: Number of tensors in the given weights.
            origin: File that describes the network, for the message.
        """
        super().__init__()
        self._elements = _FREE_ELEMENTS + _ELEMENT_FACTOR * elements
        self._tensors = _FREE_TENSORS + _TENSOR_FACTOR * tensors
        self._origin = origin

    def answer(self, func: Callable[..., Any], args: Sequence[Any], keywords: dict[str, Any]) -> Any:
        """Run a call after its allocation fits into the limits."""
        self._spend(func(*args, **{**keywords, "device": "meta"}))
        return func(*args, **keywords)

    def _spend(self, planned: torch.Tensor) -> None:
        self._elements -= planned.numel()
        self._tensors -= 1
        if self._elements < 0 or self._tensors < 0:
            raise ArtefactError(
                f"'{self._origin}' describes a much larger network than its weights",
                "the network was not built, to save memory",
                "restore a copy, or give the folder that the weights belong to",
            )
