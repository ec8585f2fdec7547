"""What methods have in common that stand round another method."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import ValidationError

from germline.architectures import Size, Spec, Target
from germline.errors import SettingError
from germline.learngene import Descendant, Learngene
from germline.methods.base import Method
from germline.registry import METHODS

if TYPE_CHECKING:
    import torch

    from germline.training import Objective


class _OfWrapped:
    """A declaration that an instance takes from the method it stands round, and the class from `default`."""

    def __init__(self, read: Callable[[Method], Any], default: Any) -> None:
        self._read, self._default = read, default

    def __get__(self, instance: Wrapping | None, owner: type[Wrapping]) -> Any:
        return self._default if instance is None else self._read(instance.wrapped())


def of_wrapped(read: Callable[[Method], Any], default: Any) -> Any:
    """A class variable that an instance reads from the method it stands round."""
    return _OfWrapped(read, default)


class Wrapping(Method):
    """A method whose descendants grow as another's do."""

    anatomies: ClassVar[tuple[str, ...]] = of_wrapped(lambda method: method.anatomies, ("vit",))
    crosses: ClassVar[bool] = of_wrapped(lambda method: method.crosses, False)
    inherits_head: ClassVar[bool] = of_wrapped(lambda method: method.inherits_head, True)

    @abstractmethod
    def wrapped(self) -> Method:
        """The method that this one stands round, with its settings."""

    def every_size(self, form: Spec) -> tuple[str, ...]:
        """The other method's."""
        return self.wrapped().every_size(form)

    def inherit(self, gene: Learngene, target: Target, generator: torch.Generator) -> Descendant:
        """As the other method's descendants do."""
        return self.wrapped().inherit(gene, target, generator)

    def objective(self, gene: Learngene, descendant: Descendant) -> Objective | None:
        """The other method's."""
        return self.wrapped().objective(gene, descendant)

    def sizes(self, gene: Learngene) -> str:
        """The other method's."""
        return self.wrapped().sizes(gene)

    def shape(self, form: Spec, size: Size, gene: Learngene | None = None) -> Spec:
        """The other method's."""
        return self.wrapped().shape(form, size, gene)

    def check_size(self, gene: Learngene, spec: Spec) -> None:
        """Refuse what the other method refuses."""
        self.wrapped().check_size(gene, spec)


def with_settings(name: str, settings: dict[str, Any]) -> Method:
    """The method of that name with settings that are given as settings of another method.

    Raises:
        UnknownNameError: Nobody registered a method of that name.
        SettingError: A setting is not one of its, or has a wrong value.
    """
    try:
        return METHODS[name].model_validate(settings)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, ("settings", *first["loc"])))
        reason = first["msg"].removeprefix("Value error, ")
        raise SettingError(f"{place} is no setting of {name}, or has a wrong value", reason, "mend this key") from error
