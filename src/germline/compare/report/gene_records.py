"""Report sections that show what genes record about how they were made."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from germline.compare.analysis.results import ComparisonResults
from germline.errors import ArtefactError
from germline.files import write_text
from germline.learngene import Learngene
from germline.reporting.hook import ReportModule, parse_record, report_modules, report_places
from germline.reporting.html import Section, render_page
from germline.sharing import hide_all, hide_places


def record_sections(results: ComparisonResults) -> list[Section]:
    """Return the sections of all records of a comparison's genes, kind by kind.

    Raises:
        ArtefactError: A record is damaged.
    """
    sections = []
    for kind, module in report_modules(results.record_kinds).items():
        sections += module.comparison_sections(results.arms, records_by_arm(results, kind, module))
    return sections


def records_by_arm(results: ComparisonResults, kind: str, module: ReportModule) -> dict[str, dict[int, Any]]:
    """Return the parsed records of one kind by arm and seed.

    An arm whose records equal those of an earlier arm is left out: the two share their genes.

    Raises:
        ArtefactError: A record is damaged.
    """
    parsed: dict[str, dict[int, Any]] = {arm: {} for arm in results.arms}
    for arm, seed, value in results.records(kind):
        parsed[arm][seed] = parse_record(module, kind, value, f"the gene of {arm}, seed {seed}")
    distinct: dict[str, dict[int, Any]] = {}
    for arm, records in parsed.items():
        if records and records not in distinct.values():
            distinct[arm] = records
    return distinct


def write_gene_report(gene: Learngene, facts: Mapping[str, str], name: str, out: Path) -> None:
    """Write one page about a gene: its facts, and its record of how it was made.

    Args:
        gene: Gene with a record.
        facts: Facts about the gene, by the label that people read.
        name: Name of the gene.
        out: File to write.

    Raises:
        ArtefactError: No kind of its record can be shown, or a record is damaged.
    """
    record = gene.provenance.record
    modules = report_modules(record.keys())
    if not modules:
        raise ArtefactError(
            f"Gene '{name}' has nothing to show in a report",
            f"It records none of the kinds {', '.join(report_places())}",
            "Use germline inspect to see what it holds",
        )
    rows = [["property", "value"], *([label, hide_places(value)] for label, value in facts.items())]
    sections = [Section("The gene", "As printed by germline inspect.", rows)]
    for kind, module in modules.items():
        sections += module.gene_sections(parse_record(module, kind, hide_all(record[kind]), f"gene '{name}'"))
    made = [f"{key}: {value}" for key, value in (gene.provenance.training | gene.provenance.versions).items()]
    write_text(out, render_page(f"The gene {name}", sections, made))
