"""What a method declares about itself, beside its name and its paper."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

AncestorUse = Literal["required", "optional", "none"]
DataRole = Literal["train", "val", "held_out", "stream"]


@dataclass(frozen=True)
class Traits:
    """Declarations of a method that the rest of germline reads; every default is the usual case.

    Attributes:
        roles: Parts of the data that `condense` reads.
        has_gene: Whether there is a gene at all; a control such as random weights has none.
        varies_with_seed: Whether another seed condenses another gene from the same ancestor.
        needs_own_size: Whether each size of descendant needs an ancestor of that size.
        needs_teacher: Whether the ancestor sees every image that a descendant is trained on.
        can_cross_architectures: Whether descendants may have another model's spec, of another architecture too.
        has_named_sizes: Whether a size names parts of the gene, so that two sizes of equal specs differ in tensors.
        inherits_head: Whether descendants inherit a head for the gene's own classes, and can answer untrained.
    """

    roles: tuple[DataRole, ...] = ("train", "val")
    has_gene: bool = True
    varies_with_seed: bool = True
    needs_own_size: bool = False
    needs_teacher: bool = False
    can_cross_architectures: bool = False
    has_named_sizes: bool = False
    inherits_head: bool = True


@dataclass(frozen=True)
class Sizes:
    """Sizes that descendants of a gene can have.

    Attributes:
        text: All of them in a phrase that follows the word "grows".
        names: Each of them in the size language; empty if they cannot be listed.
    """

    text: str
    names: tuple[str, ...] = ()
