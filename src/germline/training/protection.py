"""Protection of inherited elements: a lower or slowly rising learning rate for parts of a network's parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Protection:
    """Elements of a network that change less than the others, whatever the optimiser.

    Every step's change of a protected element is multiplied by a factor. It rises evenly from 0 at the first step to
    `rate` after `steps` steps.

    Attributes:
        masks: Protected elements by parameter name: bool, in the parameter's shape. Names that are left out are free.
        steps: Number of steps during which the factor rises.
        rate: Factor after that; 1 is no protection.
    """

    masks: Mapping[str, Tensor]
    steps: int
    rate: float = 1.0

    def factor(self, step: int) -> float:
        """Return the factor of a step, from 0."""
        return self.rate * min(1.0, step / self.steps) if self.steps else self.rate

    def save_weights(self, parameters: Mapping[str, Tensor], step: int) -> dict[str, Tensor]:
        """Copy the protected parameters before an optimiser step; nothing if the step's factor is 1."""
        if self.factor(step) == 1:
            return {}
        return {name: parameters[name].detach().clone() for name in self.masks}

    @torch.no_grad()
    def limit_change(self, parameters: Mapping[str, Tensor], before: Mapping[str, Tensor], step: int) -> None:
        """Multiply the change of protected elements by the step's factor, in place.

        Args:
            parameters: Parameters after the optimiser step, by name.
            before: Result of `save_weights` for the same step.
            step: Number of the step, from 0.
        """
        factor = self.factor(step)
        for name, old in before.items():
            parameter, mask = parameters[name], self.masks[name].to(old.device)
            parameter.copy_(torch.where(mask, torch.lerp(old, parameter, factor), parameter))


def stack_protections(protections: Sequence[Protection | None], parameters: Mapping[str, Tensor]) -> Protection | None:
    """Return the protection of stacked parameters [members, ...]; None if no member has one.

    Raises:
        ValueError: Members have different steps or rates.
    """
    given = [protection for protection in protections if protection is not None]
    if not given:
        return None
    if len({(protection.steps, protection.rate) for protection in given}) > 1:
        raise ValueError("members of one stack have the same protected steps and rate")
    names = dict.fromkeys(name for protection in given for name in protection.masks)
    masks = {
        name: torch.stack([_mask_of(protection, name, parameters[name][0]) for protection in protections])
        for name in names
    }
    return Protection(masks, given[0].steps, given[0].rate)


def _mask_of(protection: Protection | None, name: str, parameter: Tensor) -> Tensor:
    free = torch.zeros(parameter.shape, dtype=torch.bool)
    return free if protection is None else protection.masks.get(name, free).cpu()
