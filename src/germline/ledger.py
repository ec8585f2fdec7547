"""The ledger: the origin of every element of a descendant."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Literal, get_args

from germline.errors import LedgerError

Origin = Literal[
    "copied",
    "expanded",
    "generated",
    "sliced",
    "repeated",
    "divided",
    "resized",
    "adapted",
    "identity",
    "zero-filled",
    "stitched",
    "fresh",
    "reset",
]
ORIGINS: tuple[Origin, ...] = get_args(Origin)


class Ledger:
    """Element counts by origin, for every parameter and buffer of one network.

    Attributes:
        entries: Element counts by origin, for each tensor name.
    """

    def __init__(self, entries: Mapping[str, Mapping[Origin, int]] | None = None) -> None:
        self.entries: dict[str, Counter[Origin]] = {
            name: Counter(dict(counts)) for name, counts in (entries or {}).items()
        }

    def add(self, name: str, origin: Origin, elements: int) -> None:
        """Enter `elements` elements of the tensor `name` with the origin `origin`."""
        if origin not in ORIGINS:
            raise LedgerError(
                f"unknown origin '{origin}' for tensor '{name}'",
                "the ledger has a fixed list of origins",
                f"use one of {', '.join(ORIGINS)}",
            )
        self.entries.setdefault(name, Counter())[origin] += elements

    def check(self, sizes: Mapping[str, int], fresh_allowed: Iterable[str] = ()) -> None:
        """Compare the ledger with the network's tensors.

        Args:
            sizes: Number of elements of every parameter and buffer, by name.
            fresh_allowed: Names of tensors that may hold fresh elements: the head, and those that the method declares.

        Raises:
            LedgerError: A tensor is missing, unknown or miscounted, or is fresh and may not be.
        """
        missing, unknown = sizes.keys() - self.entries.keys(), self.entries.keys() - sizes.keys()
        if missing or unknown:
            raise LedgerError(
                f"the ledger lacks {sorted(missing)}, and the network lacks {sorted(unknown)}",
                "ledger and network must have the same tensors",
                "use `Ledger.add` for each tensor of the network",
            )
        for name, counts in self.entries.items():
            if counts.total() != sizes[name]:
                raise LedgerError(
                    f"tensor '{name}' has {sizes[name]} elements, the ledger counts {counts.total()}",
                    "the ledger has to account for each element once",
                    "use `Ledger.add` with the number of elements",
                )
        undeclared = {name for name, counts in self.entries.items() if counts["fresh"]} - set(fresh_allowed)
        if undeclared:
            raise LedgerError(
                f"fresh elements in {sorted(undeclared)}",
                "these tensors are neither the head nor declared by the method",
                "give their names as fresh, or inherit them",
            )

    def totals(self) -> dict[Origin, int]:
        """Count the elements of the whole network by origin, in the order of `ORIGINS`, without zeros."""
        total: Counter[Origin] = Counter()
        for counts in self.entries.values():
            total.update(counts)
        return {origin: total[origin] for origin in ORIGINS if total[origin]}

    def shares(self) -> dict[Origin, float]:
        """Compute the share of each origin in the network's elements; shares add up to 1."""
        totals = self.totals()
        whole = sum(totals.values())
        return {origin: count / whole for origin, count in totals.items()}

    def to_json(self) -> dict[str, Any]:
        """Return the entries as JSON, which `Ledger(...)` accepts."""
        return {name: dict(counts) for name, counts in self.entries.items()}
