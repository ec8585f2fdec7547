"""Networks without values: their names and shapes are known, and they are built many times faster."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

# In-place operations of initialisers. A meta tensor has no values to change, but torch would still compute the shapes
# of each operation, so these are skipped.
_FILLS = frozenset(
    {"uniform_", "normal_", "trunc_normal_", "zero_", "zeros_", "ones_", "fill_", "constant_"}
    | {"erfinv_", "mul_", "add_", "clamp_"}
)


class _SkipFills(TorchFunctionMode):
    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        keywords = dict(kwargs or {})
        if getattr(func, "__name__", "") in _FILLS:
            tensor = args[0] if args else keywords.get("tensor")
            if isinstance(tensor, Tensor) and tensor.is_meta:
                return tensor
        return func(*args, **keywords)


@contextmanager
def on_meta_device() -> Iterator[None]:
    """Build modules on the meta device within the block, without computing initial values."""
    with torch.device("meta"), _SkipFills():
        yield
