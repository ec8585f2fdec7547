"""The one report of a comparison: an HTML file that needs nothing else, and the same tables as text."""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path

from germline.compare import plots
from germline.compare.statistics import Estimate
from germline.compare.summary import CONTROL, Summary
from germline.files import write_text

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 1100px; margin: 2em auto; padding: 0 1em; color: #1a1a1a }
h1 { font-size: 1.5em; margin-bottom: .2em } h2 { font-size: 1.15em; margin-top: 2em }
table { border-collapse: collapse; margin: 1em 0; font-variant-numeric: tabular-nums }
th, td { padding: .25em .8em; border-bottom: 1px solid #ddd; text-align: right } th { border-bottom: 2px solid #555 }
th:first-child, td:first-child { text-align: left } svg { max-width: 100%; height: auto }
.note { color: #555; font-size: .9em } code, pre { background: #f4f4f4; padding: .1em .3em; white-space: pre-wrap }
.quick { background: #fff3cd; padding: .5em 1em; border-left: 4px solid #e0a800 }
@media print { body { margin: 0; font-size: 12px } h2 { break-after: avoid } svg, table { break-inside: avoid } }
"""

Rows = list[list[str]]


def write_report(out: Path) -> str:
    """Write `report.html` and `report.md` of a finished comparison.

    Returns:
        The main table as text, and where the report lies.

    Raises:
        ArtefactError: The comparison has no results.
    """
    summary = Summary.read(out)
    write_text(out / "report.html", _page(summary))
    write_text(out / "report.md", _markdown(summary))
    return f"{_text_table(main_table(summary))}\n\nreport: {out / 'report.html'}"


def main_table(summary: Summary) -> Rows:
    """Condition by condition and arm by arm: accuracy, gain over scratch, steps to scratch's last accuracy."""
    rows = [["condition", "arm", "test accuracy, %", "gain over scratch, points", "steps to scratch's last"]]
    for size, images in summary.conditions:
        for arm in summary.arms:
            compared = arm != CONTROL and CONTROL in summary.arms
            gain = summary.gain(arm, size, images) if compared else None
            rows.append(
                [
                    f"{size}, {images} a class",
                    arm,
                    summary.accuracy(arm, size, images).text(),
                    "" if gain is None else f"{gain.text(sign=True)} {_verdict(gain)}",
                    _steps(summary.share_of_steps(arm, size, images)) if compared else "",
                ]
            )
    return rows


def _verdict(gain: Estimate) -> str:
    if gain.count < 2:
        return "(one seed)"
    if gain.low > 0:
        return "(better)"
    return "(worse)" if gain.high < 0 else "(no difference shown)"


def _steps(shares: Sequence[float | None]) -> str:
    reached = [share for share in shares if share is not None]
    if not reached:
        return "never reached"
    middle = sorted(reached)[len(reached) // 2]
    missed = f", not by {len(shares) - len(reached)} of {len(shares)} seeds" if len(reached) < len(shares) else ""
    return f"{middle:.0%} of them{missed}"


def cost_table(summary: Summary) -> Rows:
    """What each arm saw and stores."""
    rows = [
        ["arm", "stored, bytes", "ancestor", "gene", "a descendant", "learning rate", "weight decay"],
    ]
    for arm in summary.arms:
        cells = [cell for cell in summary.results["cells"] if cell["arm"] == arm]
        gene = next((gene for gene in summary.results["genes"] if gene["arm"] == arm), None)
        rates, decays = {cell["lr"] for cell in cells}, {cell["weight_decay"] for cell in cells}
        rows.append(
            [
                arm,
                "" if gene is None else f"{gene['bytes']:,}",
                "" if gene is None else _ancestor_samples(summary),
                "" if gene is None else f"{gene['training'].get('samples', 0):,}",
                f"{max(cell['samples'] for cell in cells):,}",
                ", ".join(f"{rate:g}" for rate in sorted(rates)),
                ", ".join(f"{decay:g}" for decay in sorted(decays)),
            ]
        )
    return rows


def _ancestor_samples(summary: Summary) -> str:
    how = summary.recipe["ancestor"]
    if how["path"] is not None:
        return "at hand"
    steps, batch = how["train"]["steps"], how["train"]["batch_size"]
    return f"{how['train']['epochs']:g} epochs" if steps is None else f"{steps * batch:,}"


def tuning_table(summary: Summary) -> Rows:
    """The grid in which each arm was tuned, with accuracies on validation; the chosen one is marked."""
    rows = [["arm", "learning rate", "weight decay", "validation accuracy, %"]]
    for arm, tuned in (summary.results["tuned"] or {}).items():
        for tried in tuned["grid"]:
            chosen = (tried["lr"], tried["weight_decay"]) == (tuned["lr"], tuned["weight_decay"])
            accuracy = f"{100 * tried['accuracy']:.1f}{' *' if chosen else ''}"
            rows.append([arm, f"{tried['lr']:g}", f"{tried['weight_decay']:g}", accuracy])
    return rows


def _sections(summary: Summary) -> list[tuple[str, str, Rows | str]]:
    """Heading, explanation, and a table or a picture."""
    seeds = len(summary.recipe["seeds"])
    shared = "one ancestor and one gene serve all seeds" if summary.recipe["one_gene"] else "each with its own gene"
    sections: list[tuple[str, str, Rows | str]] = [
        (
            "Does it help?",
            f"Last step, test pictures read once; means with 95 % t intervals over {seeds} seeds ({shared}), gains "
            "paired by seed. A gain counts as better or worse where its interval leaves out 0. Steps are those after "
            "which the arm first holds scratch's last validation accuracy: the median seed, as a share of scratch's.",
            main_table(summary),
        ),
        ("Learning curves", "Accuracy on validation pictures; bands are 95 % intervals.", plots.curves(summary)),
        ("Accuracy over size", "Bars are 95 % intervals; a point is one size.", plots.sizes(summary)),
        (
            "Where the elements came from",
            "The ledger of each descendant before training; every parameter and buffer is counted.",
            plots.origins(summary),
        ),
        ("What it cost", "Samples seen, repeats counted, for one ancestor, gene and descendant.", cost_table(summary)),
    ]
    if summary.results["tuned"]:
        tune = summary.recipe["tune"]
        note = (
            f"Last accuracy on validation at {tune['size']}, {tune['images_per_class']} images a class, seed "
            f"{tune['seed']}, which takes no part in the comparison. The one marked * is used throughout."
        )
        sections.append(("How each arm was tuned", note, tuning_table(summary)))
    return sections


def _facts(summary: Summary) -> list[str]:
    results, recipe = summary.results, summary.recipe
    ancestor = recipe["ancestor"]
    stand_in = recipe["data"].startswith(("glyphs", "digits"))
    return [
        f"descendants trained on {recipe['data']}, genes condensed on {ancestor['data']}"
        + ("; embedded stand-in data, which say nothing of public benchmarks" if stand_in else ""),
        f"command: {results['command']}",
        f"commit {results['commit']}; {', '.join(f'{k} {v}' for k, v in results['versions'].items())}",
        f"{results['device']}; {results['seconds']:.0f} s; seeds {', '.join(str(seed) for seed in recipe['seeds'])}",
    ]


def _page(summary: Summary) -> str:
    title = html.escape(summary.recipe["title"])
    parts = [
        f"<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
        f"<title>{title}</title><style>{STYLE}</style><h1>{title}</h1>"
    ]
    if summary.recipe["kind"] == "quick":
        parts.append("<p class=quick>A quick run: it shows that things work; its figures are no evidence.</p>")
    for heading, note, body in _sections(summary):
        parts.append(f"<h2>{heading}</h2><p class=note>{html.escape(note)}</p>")
        parts.append(body if isinstance(body, str) else _html_table(body))
    facts = "".join(f"<li>{html.escape(fact)}</li>" for fact in _facts(summary))
    parts.append(f"<h2>How to repeat it</h2><ul class=note>{facts}</ul>")
    return "\n".join(parts)


def _html_table(rows: Rows) -> str:
    head = "".join(f"<th>{html.escape(cell)}</th>" for cell in rows[0])
    body = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows[1:])
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _markdown(summary: Summary) -> str:
    lines = [f"# {summary.recipe['title']}", ""]
    if summary.recipe["kind"] == "quick":
        lines += ["A quick run: it shows that things work; its figures are no evidence.", ""]
    for heading, note, body in _sections(summary):
        if isinstance(body, str):
            continue
        lines += [f"## {heading}", "", note, "", "| " + " | ".join(body[0]) + " |", "|" + "---|" * len(body[0])]
        lines += ["| " + " | ".join(row) + " |" for row in body[1:]] + [""]
    return "\n".join([*lines, *(f"- {fact}" for fact in _facts(summary)), ""])


def _text_table(rows: Rows) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )
