"""Summary of a report: what was asked, what came out, and how sure it is."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass

from germline.reporting.claims import NO_ROOM, TOO_FEW, Judgement

# Verdicts in their order in a summary: the class of the style sheet, the name, and its meaning.
VERDICTS: dict[str, tuple[str, str, str]] = {
    "holds": ("holds", "Holds", "{subject} is better"),
    "the reverse holds": ("reversed", "Reversed", "the control is better"),
    "no difference shown": (
        "level",
        "No difference",
        "none is shown; the tables say how large one would have been seen",
    ),
    TOO_FEW: ("level", "Too few seeds", "all seeds have the same difference, and more of them could show it"),
    NO_ROOM: ("no-room", "No room to tell", "the ceiling is too low"),
    "": ("unknown", "Ceiling unknown", "no difference is shown, and nothing tells whether there was room"),
    "one seed shows nothing": ("unknown", "One seed", "it shows nothing"),
}
MAX_NAMES = 6


@dataclass(frozen=True)
class VerdictLine:
    """Claims with one verdict.

    Attributes:
        kind: Class of the style sheet.
        name: Verdict in words.
        meaning: What the verdict means.
        count: Number of claims with it.
        total: Number of claims that were judged.
        details: Differences by control.
    """

    kind: str
    name: str
    meaning: str
    count: int
    total: int
    details: tuple[str, ...]


@dataclass(frozen=True)
class Summary:
    """What a reader should know first.

    Attributes:
        asked: The question, and what it is asked about.
        verdicts: What came out.
        certainty: How sure it is, and what was not measured.
    """

    asked: str
    verdicts: tuple[VerdictLine, ...]
    certainty: tuple[str, ...]


def list_verdicts(judgements: Sequence[Judgement], subject: str) -> tuple[VerdictLine, ...]:
    """Group stated claims by verdict; differences that were not claimed have no line.

    Args:
        judgements: Claims as judged.
        subject: Name of the arm that the claims are about.
    """
    stated = [judgement for judgement in judgements if judgement.claim.is_stated]
    lines = []
    for key, (kind, name, meaning) in VERDICTS.items():
        members = [judgement for judgement in stated if _verdict_key(judgement) == key]
        if members:
            details = tuple(_describe_differences(members))
            lines.append(VerdictLine(kind, name, meaning.format(subject=subject), len(members), len(stated), details))
    return tuple(lines)


def _verdict_key(judgement: Judgement) -> str:
    is_open = judgement.verdict == "no difference shown" and judgement.claim.ceiling is None
    return "" if is_open else judgement.verdict


def _describe_differences(judgements: Sequence[Judgement]) -> list[str]:
    """Describe the differences by control and unit, such as `against scratch: +1.2 to +3.4 points`."""
    groups: dict[tuple[str, str], list[float]] = {}
    for judgement in judgements:
        claim = judgement.claim
        groups.setdefault((claim.against or claim.text, claim.unit), []).append(claim.scale * judgement.difference.mean)
    texts = []
    for (control, unit), values in groups.items():
        count = f" ({len(values)} claims)" if len(values) > 1 else ""
        texts.append(f"against {control}: {span_text(values)} {unit}{count}")
    return texts


def span_text(values: Sequence[float]) -> str:
    """Return the lowest and the highest of values, such as `+1.2 to +3.4`; one number if they look equal."""
    low, high = f"{min(values):+.1f}", f"{max(values):+.1f}"
    return low if low == high else f"{low} to {high}"


def describe_ceilings(judgements: Sequence[Judgement]) -> str:
    """Say for how many stated claims the ceiling is known, and its span."""
    stated = [judgement.claim for judgement in judgements if judgement.claim.is_stated]
    known = [100 * claim.ceiling.estimate.mean for claim in stated if claim.ceiling is not None]
    if not known:
        return "Ceiling: unknown, so nothing tells how much a gene could gain."
    return (
        f"Ceiling: known for {len(known)} of {len(stated)} claims, {span_text(known)} points. "
        "A gene can hardly gain more."
    )


def describe_width(judgements: Sequence[Judgement]) -> str:
    """Say how wide the intervals of the stated differences are; empty without intervals."""
    stated = [one for one in judgements if one.claim.is_stated and one.claim.unit == "points"]
    halves = [100 * one.difference.half for one in stated if not math.isinf(one.difference.half)]
    if not halves:
        return ""
    low, high = f"{min(halves):.1f}", f"{max(halves):.1f}"
    return f"95 % intervals: ± {low if low == high else f'{low} to {high}'} points."


def list_names(names: Sequence[str], most: int = MAX_NAMES) -> str:
    """List names in a sentence, and count those that are left out."""
    shown = list(names[:most])
    if len(names) > most:
        shown.append(f"{len(names) - most} more")
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}" if shown else "nothing"


def render_summary(summary: Summary) -> str:
    """Return a summary as HTML."""
    verdicts = "".join(map(_render_verdict, summary.verdicts))
    came_out = f"<ul class=verdicts>{verdicts}</ul>" if verdicts else "<p>No claim could be judged.</p>"
    certainty = "".join(f"<li>{html.escape(text)}</li>" for text in summary.certainty)
    return (
        "<section class=summary aria-labelledby=summary><h2 id=summary>In short</h2>"
        f"<h3>What was asked</h3><p>{html.escape(summary.asked)}</p>"
        f"<h3>What came out</h3>{came_out}<h3>How sure</h3><ul>{certainty}</ul></section>"
    )


def _render_verdict(line: VerdictLine) -> str:
    details = " ".join(f"<span>{html.escape(text)}</span>" for text in line.details)
    said = f"{html.escape(line.name)}, {line.count} of {line.total}"
    return (
        f"<li class={line.kind}><strong>{said}:</strong> {html.escape(line.meaning)} "
        f"<span class=details>{details}</span></li>"
    )


def summary_lines(summary: Summary) -> list[str]:
    """Return a summary as lines of Markdown."""
    verdicts = [
        f"- **{line.name}**, {line.count} of {line.total}: {line.meaning}. {'; '.join(line.details)}"
        for line in summary.verdicts
    ]
    came_out = verdicts or ["No claim could be judged."]
    certainty = [f"- {text}" for text in summary.certainty]
    return [f"**Asked.** {summary.asked}", "", "**What came out.**", "", *came_out, "", "**How sure.**", "", *certainty]
