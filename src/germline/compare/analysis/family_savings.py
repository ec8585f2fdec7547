"""Training cost of a family of sizes with the ancestor's labels, compared with scratch from zero."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from germline.compare.analysis.results import ComparisonResults, Condition, Entry
from germline.compare.recipe.keys import CONTROL


@dataclass(frozen=True)
class FamilySaving:
    """Cost of a family of one seed, in FLOPs.

    Attributes:
        ancestor: Training of the ancestor, paid once for all sizes.
        gene: Training of the gene, paid once for all sizes.
        descendants: Training of all descendants until each has scratch's final validation accuracy.
        scratch: Training of scratch at all sizes, to its last step.
    """

    ancestor: float
    gene: float
    descendants: float
    scratch: float

    @property
    def total(self) -> float:
        """Cost of ancestor, gene and descendants."""
        return self.ancestor + self.gene + self.descendants

    @property
    def ratio(self) -> float:
        """Cost of ancestor, gene and descendants as a share of scratch's."""
        return self.total / self.scratch

    @property
    def ratio_without_ancestor(self) -> float:
        """Cost of gene and descendants as a share of scratch's."""
        return (self.gene + self.descendants) / self.scratch


def compute_savings(
    results: ComparisonResults, arm: str, sizes: Sequence[str], images: int | str
) -> dict[int, FamilySaving | None]:
    """Compute what a family of sizes costs by seed; None where a descendant never reaches scratch's accuracy.

    Seeds in which a cell of the arm or of scratch failed are left out. Accuracy is known only at the steps that were
    evaluated, so the true cost is at most this one.
    """
    made = results.stored["costs"]["families"][arm]
    conditions = [Condition(size, images) for size in sizes]
    steps_by_size = [results.steps_to_control(arm, at) for at in conditions]
    complete = set.intersection(*(set(steps) for steps in steps_by_size)) if steps_by_size else set()
    savings: dict[int, FamilySaving | None] = {}
    for seed in sorted(complete):
        trained: list[float | None] = []
        for at, steps in zip(conditions, steps_by_size, strict=True):
            reached = steps[seed]
            trained.append(None if reached is None else reached * flops_per_step(results.cells(arm, at)[seed]))
        known = [flops for flops in trained if flops is not None]
        scratch = sum(float(results.cells(CONTROL, at)[seed]["flops"]) for at in conditions)
        if len(known) < len(conditions):
            savings[seed] = None
        else:
            savings[seed] = FamilySaving(made["ancestors"]["flops"], made["genes"]["flops"], sum(known), scratch)
    return savings


def flops_per_step(cell: Entry) -> float:
    """Return the mean operations of a training step of a cell."""
    return float(cell["flops"]) / cell["steps"] if cell["steps"] else 0.0


def count_sizes_to_break_even(saving: FamilySaving, sizes: int) -> float | None:
    """Return how many sizes of the measured mean cost pay for ancestor and gene; None if none ever do.

    Args:
        saving: Cost of the measured family.
        sizes: Number of sizes in that family.
    """
    saved_per_size = (saving.scratch - saving.descendants) / sizes
    return (saving.ancestor + saving.gene) / saved_per_size if saved_per_size > 0 else None


def mean_saving(savings: Sequence[FamilySaving]) -> FamilySaving:
    """Average costs over seeds."""
    columns = (fmean(getattr(one, key) for one in savings) for key in FamilySaving.__dataclass_fields__)
    return FamilySaving(*columns)
