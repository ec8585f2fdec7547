"""What genes tell of how they came to be: each kind of record has its sections of a report."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from germline.compare import evolution, lineage
from germline.compare.page import Section
from germline.compare.summary import Summary
from germline.errors import ArtefactError


@dataclass(frozen=True)
class Kind:
    """One kind of record.

    Attributes:
        read: What is kept in the gene, checked; raises ValueError.
        among: Sections of a comparison's report. Is given all arms, so that each keeps its colour, and the records by
            arm and seed of those that have one.
        alone: Sections of one gene's report.
    """

    read: Callable[[Any], Any]
    among: Callable[[Sequence[str], Mapping[str, Mapping[int, Any]]], list[Section]]
    alone: Callable[[Any], list[Section]]


# In the order in which a report shows them.
KINDS: dict[str, Kind] = {
    "generations": Kind(evolution.read, evolution.among, evolution.alone),
    "gene_tree": Kind(lineage.read, lineage.among, lineage.alone),
}


def of_comparison(summary: Summary) -> list[Section]:
    """What the genes of a comparison tell, kind by kind; nothing where none tells anything.

    Raises:
        ArtefactError: A record is not what its kind holds.
    """
    found = []
    for name, kind in KINDS.items():
        records = _by_arm(summary, name)
        if records:
            found += kind.among(summary.arms, records)
    return found


def of_gene(record: Mapping[str, Any]) -> list[Section]:
    """What one gene tells; nothing where no kind of it has a drawing.

    Raises:
        ArtefactError: A record is not what its kind holds.
    """
    return [
        section
        for name, kind in KINDS.items()
        if name in record
        for section in kind.alone(_read(name, record[name], "the gene"))
    ]


def _by_arm(summary: Summary, name: str) -> dict[str, dict[int, Any]]:
    """Records of one kind by arm and seed; an arm whose genes are those of an arm before it is left out."""
    kept: dict[str, dict[int, Any]] = {arm: {} for arm in summary.arms}
    for gene in summary.results["genes"]:
        if name in gene.get("record", {}):
            who = f"the gene of {gene['arm']}, seed {gene['seed']}"
            kept[gene["arm"]][gene["seed"]] = _read(name, gene["record"][name], who)
    found: dict[str, dict[int, Any]] = {}
    for arm, records in kept.items():
        if records and records not in found.values():
            found[arm] = records
    return found


def _read(name: str, value: Any, who: str) -> Any:
    try:
        return KINDS[name].read(value)
    except ValueError as error:
        reason = " ".join(str(error).split())
        raise ArtefactError(
            f"the record '{name}' of {who} cannot be read", reason, "make the gene again with its own version"
        ) from error
