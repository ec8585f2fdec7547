"""Base class for methods that delegate to another method."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import ValidationError

from germline.architectures import Size, Spec, Target
from germline.errors import SettingError
from germline.learngene import Descendant, Learngene
from germline.methods.base import GeneCost, Method, find_method
from germline.traits import Sizes, Traits

if TYPE_CHECKING:
    import torch

    from germline.training import Objective


class _Delegated:
    """A class variable whose value on an instance comes from the other method."""

    def __init__(self, read: Callable[[Method], Any], default: Any) -> None:
        self._read, self._default = read, default

    def __get__(self, instance: DelegatingMethod | None, owner: type[DelegatingMethod]) -> Any:
        return self._default if instance is None else self._read(instance.delegate())


def delegated(read: Callable[[Method], Any], default: Any) -> Any:
    """Declare a class variable that an instance reads from its other method.

    Args:
        read: Function that reads the value from the other method.
        default: Value on the class itself.
    """
    return _Delegated(read, default)


class DelegatingMethod(Method):
    """A method whose descendants are built as those of another method."""

    architectures: ClassVar[tuple[str, ...]] = delegated(lambda method: method.architectures, ("vit",))
    traits: ClassVar[Traits] = delegated(lambda method: method.traits, Traits())

    @abstractmethod
    def delegate(self) -> Method:
        """Return the other method, with its settings."""

    def inherit(self, gene: Learngene, target: Target, generator: torch.Generator) -> Descendant:
        """Build the target as the other method does."""
        return self.delegate().inherit(gene, target, generator)

    def objective(self, gene: Learngene, descendant: Descendant) -> Objective | None:
        """Return the other method's loss."""
        return self.delegate().objective(gene, descendant)

    def describe_sizes(self, spec: Spec, gene: Learngene | None = None) -> Sizes:
        """Return the other method's sizes."""
        return self.delegate().describe_sizes(spec, gene)

    def descendant_spec(self, spec: Spec, size: Size, gene: Learngene | None = None) -> Spec:
        """Return the other method's spec."""
        return self.delegate().descendant_spec(spec, size, gene)

    def cost(self, spec: Spec, images: int, teacher_flops: int) -> GeneCost:
        """Return the other method's cost."""
        return self.delegate().cost(spec, images, teacher_flops)

    def check_size(self, gene: Learngene, spec: Spec) -> None:
        """Refuse what the other method refuses."""
        self.delegate().check_size(gene, spec)


def build_method(name: str, settings: dict[str, Any]) -> Method:
    """Build a method from settings that are themselves a setting of another method.

    Raises:
        UnknownNameError: No method has that name.
        SettingError: A setting is unknown or has a wrong value.
    """
    try:
        return find_method(name).model_validate(settings)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, ("settings", *first["loc"])))
        reason = first["msg"].removeprefix("Value error, ")
        raise SettingError(
            f"{place} is unknown to method '{name}', or has a wrong value",
            reason,
            f"Use another value, or remove {place}",
        ) from error
