"""Networks without values: their names and shapes are known, and they are built many times faster."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from torch import Tensor

from germline.architectures.torch_calls import CallInterceptor


class _SkipFills(CallInterceptor):
    # In-place operations of initialisers. A meta tensor has no values to change, but torch would still compute the
    # shapes of each operation, so these are skipped.
    names: ClassVar[frozenset[str]] = frozenset(
        {"uniform_", "normal_", "trunc_normal_", "zero_", "zeros_", "ones_", "fill_", "constant_"}
        | {"erfinv_", "mul_", "add_", "clamp_"}
    )

    def answer(self, func: Callable[..., Any], args: Sequence[Any], keywords: dict[str, Any]) -> Any:
        tensor = args[0] if args else keywords.get("tensor")
        if isinstance(tensor, Tensor) and tensor.is_meta:
            return tensor
        return func(*args, **keywords)


@contextmanager
def on_meta_device() -> Iterator[None]:
    """Build modules on the meta device within the block, without computing initial values."""
    with torch.device("meta"), _SkipFills():
        yield
