"""Interception of calls of torch by the function's name."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from torch.overrides import TorchFunctionMode


class CallInterceptor(TorchFunctionMode, ABC):
    """Base of modes that answer some calls of torch within a block, and leave all others alone.

    Attributes:
        names: Names of the functions whose calls are intercepted.
    """

    names: ClassVar[frozenset[str]]

    @abstractmethod
    def answer(self, func: Callable[..., Any], args: Sequence[Any], keywords: dict[str, Any]) -> Any:
        """Return what a call gives instead of `func(*args, **keywords)`."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        keywords = dict(kwargs or {})
        if getattr(func, "__name__", "") in self.names:
            return self.answer(func, args, keywords)
        return func(*args, **keywords)
