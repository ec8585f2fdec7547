"""The report: one page that needs nothing else, the same as Markdown, and every cell as CSV."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from germline.compare.analysis import selection_regret as choices
from germline.compare.analysis.protocols import PROTOCOLS
from germline.compare.analysis.results import Summary
from germline.compare.report import figures as plots
from germline.compare.report import gene_records as records
from germline.compare.report import paths_protocol as by_path
from germline.compare.report import tables
from germline.files import write_text
from germline.reporting.claims import tally
from germline.reporting.html import Rows, Section, page
from germline.reporting.statistics import estimate

QUICK = "A quick run: it shows that things work; its figures are no evidence."


def write_report(out: Path) -> str:
    """Write `report.html`, `report.md` and `report.csv` of a finished comparison.

    Returns:
        The claims and the main table as text, and where the report lies.

    Raises:
        ArtefactError: The comparison has no results.
    """
    summary = Summary.read(out)
    write_text(
        out / "report.html", page(summary.recipe["title"], sections(summary), _facts(summary), _warnings(summary))
    )
    write_text(out / "report.md", _markdown(summary))
    write_text(out / "report.csv", _csv(summary))
    shown = [_text_table(section.body) for section in sections(summary)[:2] if not isinstance(section.body, str)]
    return "\n\n".join([*shown, f"report: {out / 'report.html'}"])


def sections(summary: Summary) -> list[Section]:
    """All of the report, in its order; what the comparison did not ask about is left out."""
    asked = [_claims(summary), *_answers(summary), *_levels(summary), *choices.sections(summary)]
    found = [*asked, *records.of_comparison(summary), *_accounts(summary), *_making(summary)]
    return [section for section in found if isinstance(section.body, str) or len(section.body) > 1]


def _claims(summary: Summary) -> Section:
    protocol, recipe = PROTOCOLS[summary.recipe["protocol"]], summary.recipe
    shared = "one ancestor and one gene serve all seeds" if recipe["one_gene"] else "each makes its own"
    note = (
        f"{tally(tables.judgements(summary))} Paired differences over {len(recipe['seeds'])} seeds ({shared}), with "
        "95 % t intervals; p by the paired t test with Holm's correction over all claims. Where none is shown, the "
        "last column names the one that so many seeds with this spread would have shown four times out of five."
    )
    whole = protocol.name != "paths"
    return Section(protocol.asks, note, tables.claims_table(summary) if whole else by_path.claims_table(summary))


def _answers(summary: Summary) -> list[Section]:
    """The protocol's own table and picture, and the curves."""
    last = "Last step, test pictures read once; means with 95 % t intervals over seeds, gains paired by seed"
    protocol = summary.recipe["protocol"]
    if protocol == "paths":
        return by_path.answers(summary)
    if protocol == "sensitivity":
        note = f"{last}. Spread, best and worst are taken over the grid of each seed, then averaged over seeds."
        image = Section("Accuracy over the rate", "A line a decay; means over seeds.", plots.sensitivity(summary))
        return [Section("Over the grid", note, tables.sensitivity_table(summary)), image]
    if protocol == "instincts":
        note = "On validation pictures; the probe is a linear classifier on the frozen network's features."
        found = [Section("The first steps", note, tables.instincts_table(summary))]
        return [*found, Section("The first steps, drawn", "Bands are 95 % intervals.", plots.curves(summary))]
    note = (
        f"{last} and not adjusted. Steps are those after which an arm first holds scratch's last validation accuracy: "
        "the median seed, as a share of scratch's."
    )
    found = [Section("Accuracy", note, tables.main_table(summary))]
    if protocol == "samples" and len(summary.recipe["images_per_class"]) == 1:
        found.append(Section("Accuracy by arm", "Bars are 95 % intervals.", plots.arms(summary)))
    elif protocol == "samples":
        found.append(Section("Accuracy over samples", "Bars are 95 % intervals.", plots.samples(summary)))
    if protocol == "sizes":
        note = "Bars are 95 % intervals; a point is one size."
        found.append(Section("Accuracy over size", note, plots.sizes(summary)))
    note = "Accuracy on validation pictures; bands are 95 % intervals."
    return [*found, Section("Learning curves", note, plots.curves(summary))]


def _levels(summary: Summary) -> list[Section]:
    wanted = summary.recipe["levelling"]
    if wanted is None:
        return []
    note = (
        "Scratch is trained for twice, four times, ... its steps, each a training of its own, until a doubling adds at "
        f"most {100 * wanted['tolerance']:g} points on validation (mean over seeds), up to {wanted['most']} times."
    )
    return [Section("Has scratch levelled off?", note, tables.levels_table(summary))]


def _accounts(summary: Summary) -> list[Section]:
    standing = summary.recipe["protocol"] == "paths"
    budget = "Arms of no steps stand as they were grown" if standing else "The same number of samples for every arm"
    each = f"{budget}; the largest condition. A teacher's forward passes are in the TFLOP."
    one = Section("What one descendant cost", each, tables.cost_table(summary))
    if standing:
        return [one, *by_path.accounts(summary)]
    family = (
        f"What {summary.subject} costs as a family of descendants, and what scratch reaches when each of as many "
        "networks is given its even share of that. Tuning is left out on both sides; it is in the table further down."
    )
    stored = "Elements that have to be kept; without heads, as the papers count, and with."
    return [
        one,
        Section("What the whole family costs", family, tables.family_table(summary)),
        Section("What is stored", stored, tables.stored_table(summary)),
    ]


def _making(summary: Summary) -> list[Section]:
    origins = "The ledger of each descendant before training; every parameter and buffer is counted."
    found = [Section("Where the elements came from", origins, plots.origins(summary))]
    if summary.results["tuned"]:
        found.append(Section("How each arm was tuned", _tuning_note(summary), tables.tuning_table(summary)))
    return [*found, Section("What failed", "These are in no table above.", tables.failed_table(summary))]


def _tuning_note(summary: Summary) -> str:
    tune, tried = summary.recipe["tune"], [t for arm in summary.results["tuned"].values() for t in arm["grid"]]
    scaling = "the same" if tune["scaling"] == "none" else "divided by how much wider they are"
    return (
        f"Last accuracy on validation at {tune['size'] or 'own size'}, {tune['images_per_class']} images a class, seed "
        f"{tune['seed']}, which takes no part in the comparison. The one marked * is used throughout; at other sizes "
        f"the rate is {scaling}. It cost {sum(t['samples'] for t in tried):,} samples, "
        f"{sum(t['flops'] for t in tried) / 1e12:,.1f} TFLOP."
    )


def _facts(summary: Summary) -> list[str]:
    results, recipe = summary.results, summary.recipe
    ancestor = recipe["ancestor"]
    stand_in = recipe["data"].startswith(("glyphs", "digits"))
    accuracies = [found["accuracy"] for found in results["ancestors"]]
    shown = estimate(accuracies).text() if accuracies else ""
    used = "glyphs/final" if recipe["final"] else recipe["data"]
    return [
        f"descendants trained on {used}, genes condensed on {ancestor['data']}"
        + ("; embedded stand-in data, which say nothing of public benchmarks" if stand_in else ""),
        *([f"ancestors: {shown} % on validation pictures of {ancestor['data']}"] if shown else []),
        f"command: {results['command']}",
        f"commit {results['commit']}; {', '.join(f'{k} {v}' for k, v in results['versions'].items())}",
        f"{results['device']}; {results['seconds']:.0f} s; seeds {', '.join(str(seed) for seed in recipe['seeds'])}",
    ]


def _warnings(summary: Summary) -> list[tuple[str, str]]:
    found = [("quick", QUICK)] if summary.recipe["kind"] == "quick" else []
    failed = len(summary.results["failed"])
    return [*found, ("failed", f"{failed} parts failed; see the end.")] if failed else found


def _markdown(summary: Summary) -> str:
    lines = [f"# {summary.recipe['title']}", ""]
    for _, text in _warnings(summary):
        lines += [text, ""]
    for section in sections(summary):
        if isinstance(section.body, str):
            continue
        head, *body = section.body
        lines += [
            f"## {section.heading}",
            "",
            section.note,
            "",
            "| " + " | ".join(head) + " |",
            "|" + "---|" * len(head),
        ]
        lines += ["| " + " | ".join(row) + " |" for row in body] + [""]
    return "\n".join([*lines, *(f"- {fact}" for fact in _facts(summary)), ""])


def _csv(summary: Summary) -> str:
    """A row a cell, for whoever wants to do their own sums."""
    kept = ("lr", "weight_decay", "steps", "samples", "flops", "seconds", "parameters", "headless_parameters")
    text = io.StringIO()
    table = csv.writer(text)
    table.writerow(
        ["arm", "size", "images_per_class", "seed", *kept, "val_accuracy", "test_accuracy", "probe_accuracy"]
    )
    for cell in summary.results["cells"]:
        asked = [cell["asked"][key] for key in ("arm", "size", "images", "seed")]
        scores = [cell["curve"][-1]["accuracy"], cell["test_accuracy"], cell["probe_accuracy"]]
        table.writerow([*asked, *(cell[key] for key in kept), *scores])
    return text.getvalue()


def _text_table(rows: Rows) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )
