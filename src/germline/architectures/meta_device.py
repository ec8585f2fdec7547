"""Networks without values: enough to tell names and shapes, and built many times as fast as others."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

# What initialisers do to a tensor in place. On the meta device there is nothing to do it to, and torch works out the
# shapes of every operation all the same.
_FILLS = frozenset(
    {"uniform_", "normal_", "trunc_normal_", "zero_", "zeros_", "ones_", "fill_", "constant_"}
    | {"erfinv_", "mul_", "add_", "clamp_"}
)


class _NoFills(TorchFunctionMode):
    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        given = dict(kwargs or {})
        if getattr(func, "__name__", "") in _FILLS:
            filled = args[0] if args else given.get("tensor")
            if isinstance(filled, Tensor) and filled.is_meta:
                return filled
        return func(*args, **given)


@contextmanager
def on_meta_device() -> Iterator[None]:
    """Within it, modules are built on the meta device, and their initial values are not even worked out."""
    with torch.device("meta"), _NoFills():
        yield
