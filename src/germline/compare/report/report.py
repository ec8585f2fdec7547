"""Report of a comparison: one HTML page, the same as Markdown, and every cell as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from germline.compare.analysis.results import ComparisonResults, wrong_content
from germline.compare.recipe.text import DEMONSTRATION
from germline.compare.report.sections import report_sections
from germline.compare.report.summary import summarize_results, trained_data
from germline.files import write_text
from germline.reporting.html import Section, markdown_table, render_page, text_table
from germline.reporting.statistics import estimate
from germline.reporting.summary import summary_lines

WARNINGS = {
    "quick": "A quick run: it shows that everything works. Its numbers are no evidence.",
    DEMONSTRATION: f"A {DEMONSTRATION}: its claims had no room or no known ceiling, so its numbers are no evidence.",
}


def write_report(out: Path) -> str:
    """Write `report.html`, `report.md` and `report.csv` of a finished comparison into its folder.

    Returns:
        The claims and the main table as text, and the path of the report.

    Raises:
        ArtefactError: The comparison has no results.
    """
    results = ComparisonResults.load(out)
    with wrong_content(results.stored, out / "results.json"):
        sections = report_sections(results)
        _write_page(results, sections, out / "report.html")
        write_text(out / "report.md", _markdown(results, sections))
        write_text(out / "report.csv", _csv(results))
    shown = [text_table(section.body) for section in sections[:2] if not isinstance(section.body, str)]
    return "\n\n".join([*shown, f"report: {out / 'report.html'}"])


def write_results_page(file: Path, page: Path) -> None:
    """Write the HTML page of a comparison's results file.

    Args:
        file: File with the content of `results.json`.
        page: HTML file to write.

    Raises:
        ArtefactError: The file does not hold a comparison's results.
    """
    results = ComparisonResults.load(file)
    with wrong_content(results.stored, file):
        _write_page(results, report_sections(results), page)


def _write_page(results: ComparisonResults, sections: Sequence[Section], page: Path) -> None:
    title, summary = results.recipe["title"], summarize_results(results)
    write_text(page, render_page(title, sections, _facts(results), _warnings(results), summary))


def _facts(results: ComparisonResults) -> list[str]:
    stored, recipe = results.stored, results.recipe
    ancestor_data = recipe["ancestor"]["data"]
    is_stand_in = recipe["data"].startswith(("glyphs", "digits"))
    accuracies = [ancestor["accuracy"] for ancestor in stored["ancestors"]]
    data = f"descendants trained on {trained_data(results)}, genes condensed on {ancestor_data}"
    stand_in = "; small data sets shipped with germline, which say nothing about public benchmarks"
    facts = [f"{data}{stand_in if is_stand_in else ''}"]
    if accuracies:
        facts.append(f"ancestors: {estimate(accuracies).text()} % on validation images of {ancestor_data}")
    return [
        *facts,
        f"command: {stored['command']}",
        f"commit {stored['commit']}; {', '.join(f'{k} {v}' for k, v in stored['versions'].items())}",
        f"{_device(results)}; {stored['seconds']:.0f} s in the last run; "
        f"seeds {', '.join(str(seed) for seed in recipe['seeds'])}",
    ]


def _device(results: ComparisonResults) -> str:
    """Describe the device, and the precision if it is not float32."""
    device: str = results.stored["device"]
    return f"{device}, precision {results.recipe['precision']}" if "precision" in results.recipe else device


def _warnings(results: ComparisonResults) -> list[tuple[str, str]]:
    kind = results.recipe["kind"]
    warnings = [(kind, WARNINGS[kind])] if kind in WARNINGS else []
    failed = len(results.stored["failed"])
    if failed:
        warnings.append(("failed", f"{failed} part{'s' if failed > 1 else ''} failed; see the end."))
    return warnings


def _markdown(results: ComparisonResults, sections: Sequence[Section]) -> str:
    lines = [f"# {results.recipe['title']}", ""]
    for _, text in _warnings(results):
        lines += [text, ""]
    lines += [*summary_lines(summarize_results(results)), ""]
    for section in sections:
        if not isinstance(section.body, str):
            lines += [f"## {section.heading}", "", section.note, "", markdown_table(section.body), ""]
    return "\n".join([*lines, *(f"- {fact}" for fact in _facts(results)), ""])


def _csv(results: ComparisonResults) -> str:
    """Return one row per cell, for readers who compute their own statistics."""
    values = ("lr", "weight_decay", "steps", "samples", "flops", "seconds", "parameters", "headless_parameters")
    text = io.StringIO()
    table = csv.writer(text)
    table.writerow(
        ["arm", "size", "images_per_class", "seed", *values, "val_accuracy", "test_accuracy", "probe_accuracy"]
    )
    for cell in results.stored["cells"]:
        asked = [cell["asked"][key] for key in ("arm", "size", "images", "seed")]
        scores = [cell["curve"][-1]["accuracy"], cell["test_accuracy"], cell["probe_accuracy"]]
        table.writerow([*asked, *(cell[key] for key in values), *scores])
    return text.getvalue()
