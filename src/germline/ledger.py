"""The ledger: where every element of a descendant came from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Literal, get_args

from germline.errors import LedgerError

Origin = Literal[
    "copied", "expanded", "sliced", "resized", "adapted", "identity", "zero-filled", "stitched", "fresh", "reset"
]
ORIGINS: tuple[Origin, ...] = get_args(Origin)


class Ledger:
    """Element counts by origin, for every parameter and buffer of one network.

    Attributes:
        entries: Tensor name to element counts by origin.
    """

    def __init__(self, entries: Mapping[str, Mapping[Origin, int]] | None = None) -> None:
        self.entries: dict[str, Counter[Origin]] = {
            name: Counter(dict(counts)) for name, counts in (entries or {}).items()
        }

    def add(self, name: str, origin: Origin, elements: int) -> None:
        """Enter `elements` elements of tensor `name` as coming from `origin`."""
        if origin not in ORIGINS:
            raise LedgerError(f"unknown origin '{origin}' for tensor '{name}'", fix=f"use one of {', '.join(ORIGINS)}")
        self.entries.setdefault(name, Counter())[origin] += elements

    def check(self, sizes: Mapping[str, int], fresh_allowed: Iterable[str] = ()) -> None:
        """Hold the ledger against the network's own tensors.

        Args:
            sizes: Elements of every parameter and buffer, by name.
            fresh_allowed: Names of tensors that may hold fresh elements (the head, and what the method declares).

        Raises:
            LedgerError: A tensor is missing, unknown or miscounted, or is fresh without leave.
        """
        missing, unknown = sizes.keys() - self.entries.keys(), self.entries.keys() - sizes.keys()
        if missing or unknown:
            raise LedgerError(
                f"not accounted for {sorted(missing)}, not in the network {sorted(unknown)}",
                "ledger and network disagree",
            )
        for name, counts in self.entries.items():
            if counts.total() != sizes[name]:
                raise LedgerError(f"tensor '{name}' has {sizes[name]} elements, the ledger counts {counts.total()}")
        undeclared = {name for name, counts in self.entries.items() if counts["fresh"]} - set(fresh_allowed)
        if undeclared:
            raise LedgerError(
                f"fresh elements in {sorted(undeclared)}", "they are neither the head nor declared by the method"
            )

    def totals(self) -> dict[Origin, int]:
        """Elements by origin over the whole network, in the order of `ORIGINS`, zeros left out."""
        total: Counter[Origin] = Counter()
        for counts in self.entries.values():
            total.update(counts)
        return {origin: total[origin] for origin in ORIGINS if total[origin]}

    def shares(self) -> dict[Origin, float]:
        """Share of the network's elements by origin; adds up to 1."""
        totals = self.totals()
        whole = sum(totals.values())
        return {origin: count / whole for origin, count in totals.items()}

    def to_json(self) -> dict[str, Any]:
        """A JSON form that `Ledger(...)` takes back."""
        return {name: dict(counts) for name, counts in self.entries.items()}
