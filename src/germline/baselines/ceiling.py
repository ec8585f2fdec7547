"""The two baselines whose difference is the ceiling of what a gene can show."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from germline.baselines.finetune import Finetune
from germline.baselines.random_gene import RandomGene

CeilingRole = Literal["top", "bottom"]
# The arms that a recipe needs to know its ceiling, as they are written in a recipe.
CEILING_ARMS: Mapping[CeilingRole, str] = {
    "top": f"{Finetune.name}: {{method: {Finetune.name}}}",
    "bottom": f"{Finetune.name}-shuffled: {{method: {RandomGene.name}, settings: {{method: {Finetune.name}}}}}",
}


def find_ceiling_role(method: str, settings: Mapping[str, Any]) -> CeilingRole | None:
    """Find the part of an arm in the ceiling: fine-tuning, its shuffled network, or none.

    Args:
        method: Name of the arm's method, which need not be installed.
        settings: Settings of that method.
    """
    if method == RandomGene.name:
        return "bottom" if settings.get("method") == Finetune.name else None
    return "top" if method == Finetune.name else None
