"""What genes tell of how they came to be: each kind of record has its sections of a report."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from germline.compare.analysis.results import Summary
from germline.errors import ArtefactError
from germline.files import write_text
from germline.learngene import Learngene
from germline.methods.auto import report as layer_choice
from germline.methods.gtl import report_fitness as evolution
from germline.methods.gtl import report_gene_tree as lineage
from germline.methods.openworld import report as stream
from germline.methods.pool import report as paths
from germline.reporting.claims import HEADER, judge
from germline.reporting.html import Rows, Section, page


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
    "layers": Kind(layer_choice.read, layer_choice.among, layer_choice.alone),
    "collective": Kind(stream.read, stream.among, stream.alone),
    "paths": Kind(paths.read, paths.among, paths.alone),
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


def choice_table(summary: Summary) -> Rows:
    """Whether evolution chooses: the first arm with generations against each other one."""
    return [HEADER, *(judgement.row() for judgement in judge(evolution.claims(_by_arm(summary, "generations"))))]


def generations_table(summary: Summary) -> Rows:
    """Mean fitness of the population by arm and generation, over seeds."""
    found = {arm: evolution.means(seeds) for arm, seeds in _by_arm(summary, "generations").items()}
    numbers = sorted({number for means in found.values() for number in means})
    head = ["arm", *(f"generation {number}, %" for number in numbers)]
    return [head, *([arm, *(means[n].text() if n in means else "" for n in numbers)] for arm, means in found.items())]


def collectives_table(summary: Summary) -> Rows:
    """What the collectives of the arms know in the end, forgot and detected."""
    return stream.table(_by_arm(summary, "collective"))


def write_gene_report(gene: Learngene, facts: Mapping[str, str], name: str, out: Path) -> None:
    """Write one page of a gene: what it is, and what it tells of how it came to be.

    Args:
        gene: With its record.
        facts: What it is, by what people call that.
        name: Of the gene.
        out: File to write.

    Raises:
        ArtefactError: It tells nothing that has a drawing, or a record is not what its kind holds.
    """
    record = gene.provenance.record
    told = [kind for kind in KINDS if kind in record]
    if not told:
        raise ArtefactError(
            f"gene '{name}' tells nothing of how it came to be",
            f"it has no record of a kind that is drawn ({', '.join(KINDS)})",
            "germline inspect shows what it holds",
        )
    rows = [["what", "value"], *([key, value] for key, value in facts.items())]
    sections = [Section("What it is", "As germline inspect tells it.", rows)]
    for kind in told:
        sections += KINDS[kind].alone(_read(kind, record[kind], f"gene '{name}'"))
    made = [f"{key}: {value}" for key, value in (gene.provenance.training | gene.provenance.versions).items()]
    write_text(out, page(f"The gene {name}", sections, made))


def paths_table(gene: Learngene) -> Rows | None:
    """Path by path what a gene says that it grows; None where it says nothing of that.

    Raises:
        ArtefactError: The record is not what its kind holds.
    """
    record = gene.provenance.record
    return paths.table(_read("paths", record["paths"], "this gene")) if "paths" in record else None


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
        reason = str(error)
        if isinstance(error, ValidationError):
            first = error.errors()[0]
            reason = ": ".join(filter(None, (".".join(map(str, first["loc"])), first["msg"])))
        raise ArtefactError(
            f"the record '{name}' of {who} cannot be read", reason, "make the gene again with its own version"
        ) from error
