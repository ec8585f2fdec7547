"""What a report of the protocol `paths` shows: every size of every arm, as it stands."""

from __future__ import annotations

from statistics import fmean

from germline.compare.analysis.protocols import share_above
from germline.compare.analysis.results import Condition, Summary, tested
from germline.compare.cost.storage import stored_ratio
from germline.compare.report.tables import judgements
from germline.compare.run.cells import images_text
from germline.methods.pool.report import FRONTIER
from germline.reporting.claims import HEADER
from germline.reporting.html import Rows, Section
from germline.reporting.pareto import Point, drawing, frontier
from germline.reporting.statistics import estimate


def answers(summary: Summary) -> list[Section]:
    """The subject over all sizes, accuracy over size and cost, and path by path."""
    over = (
        f"{summary.subject} against each other arm at the sizes where both stand; 95 % t intervals over seeds, not "
        "adjusted. A size counts as one where it is above only if its accuracy there is higher, and not the same."
    )
    found = [Section("Over all sizes", over, over_table(summary))]
    for images in summary.recipe["images_per_class"]:
        on = f"Test pictures read once, {images_text(images)}; means with 95 % t intervals over seeds, not adjusted."
        families = {arm: points(summary, arm, images) for arm in summary.arms}
        shown = {arm: own for arm, own in families.items() if own}
        found.append(
            Section("Accuracy over size and cost", f"{on} {FRONTIER}", drawing(summary.arms, shown, "test accuracy"))
        )
        stars = "* on its arm's frontier over parameters: no size of that arm with as few is more accurate."
        found.append(Section("Path by path", f"{on} {stars}", path_table(summary, images)))
    claimed = "The claims at each size, judged together with those over all sizes that stand first."
    return [*found, Section("Claims size by size", claimed, claims_table(summary, each=True))]


def accounts(summary: Summary) -> list[Section]:
    """What each arm's family costs and stores."""
    cost = (
        "Ancestors and genes of one seed, and the training of a descendant of every size at which the arm stands; "
        "tuning is left out. A teacher's forward passes are in the TFLOP."
    )
    stored = (
        "Elements that have to be kept to have every size at which the arm stands; without heads, as the papers count, "
        "and with."
    )
    return [
        Section("What the whole family costs", cost, family_table(summary)),
        Section("What is stored", stored, stored_table(summary)),
    ]


def claims_table(summary: Summary, *, each: bool = False) -> Rows:
    """The claims over all sizes, or those at each of them; whichever, all are judged together."""
    single = {str(at) for at in summary.conditions}
    return [HEADER, *(one.row() for one in judgements(summary) if (one.claim.where in single) == each)]


def points(summary: Summary, arm: str, images: int | str) -> list[Point]:
    """Each size of an arm with its last accuracy on test; one of which all cells failed is left out."""
    counts, found = summary.results["costs"]["parameters"], []
    for size in summary.sizes_of(arm):
        accuracy = summary.accuracy(arm, Condition(size, images))
        if accuracy is not None:
            found.append(Point(size, counts[size]["full"], counts[size]["flops"], accuracy))
    return found


def over_table(summary: Summary) -> Rows:
    """The subject against each control over all sizes at which both stand."""
    rows = [["images", "control", "sizes of both", "mean difference, points", "share of sizes above it, %"]]
    for images in summary.recipe["images_per_class"]:
        for control in summary.controls:
            found = list(summary.over_sizes(control, images).values())
            told = ["failed", ""]
            if found:
                means, shares = [fmean(one) for one in found], [share_above(one) for one in found]
                told = [estimate(means).text(sign=True), estimate(shares).text()]
            count = len(summary.shared(control))
            rows += [[images_text(images), control, str(count), *told]] if count else []
    return rows


def path_table(summary: Summary, images: int | str | None = None) -> Rows:
    """Size by size, the smallest first: its cost, every arm's accuracy, the subject's difference to one control.

    Args:
        summary: The comparison.
        images: Pictures a class; None is the first number of the recipe.
    """
    images = summary.recipe["images_per_class"][0] if images is None else images
    counts, control = summary.results["costs"]["parameters"], compared(summary)
    beside = [f"{summary.subject} - {control}, points"] if control else []
    best = {arm: {one.size for one in frontier(points(summary, arm, images), "parameters")} for arm in summary.arms}
    rows = [["size", "parameters", "MFLOP", *(f"{arm}, %" for arm in summary.arms), *beside]]
    for size in sorted(summary.recipe["sizes"], key=lambda size: (counts[size]["full"], counts[size]["flops"])):
        at = Condition(size, images)
        told = [_accuracy(summary, arm, at, starred=size in best[arm]) for arm in summary.arms]
        cost = [f"{counts[size]['full']:,}", f"{counts[size]['flops'] / 1e6:,.1f}"]
        rows.append([size or "own size", *cost, *told, *([_difference(summary, control, at)] if control else [])])
    return rows


def compared(summary: Summary) -> str | None:
    """The control of the column of differences: the first that stands wherever the subject does, or else the first."""
    everywhere = [one for one in summary.controls if len(summary.shared(one)) == len(summary.sizes_of(summary.subject))]
    return next(iter([*everywhere, *summary.controls]), None)


def _accuracy(summary: Summary, arm: str, at: Condition, *, starred: bool) -> str:
    if not summary.stands(arm, at.size):
        return ""
    found = summary.accuracy(arm, at)
    return "failed" if found is None else f"{found.text()}{' *' if starred else ''}"


def _difference(summary: Summary, control: str, at: Condition) -> str:
    found = summary.differences(summary.subject, control, at, tested)
    return estimate(found).text(sign=True) if found else ""


def family_table(summary: Summary) -> Rows:
    """Arm by arm: sizes, and what ancestors, genes and descendants of one seed cost together."""
    rows = [["arm", "sizes", "samples: ancestors", "genes", "descendants", "TFLOP in all", "without ancestors"]]
    for arm in summary.arms:
        made = summary.results["costs"]["families"][arm]
        samples, flops = (_of_descendants(summary, arm, key) for key in ("samples", "flops"))
        alone = made["genes"]["flops"] + flops
        seen = [made["ancestors"]["samples"], made["genes"]["samples"], samples]
        work = [f"{value / 1e12:,.4g}" for value in (alone + made["ancestors"]["flops"], alone)]
        rows.append([arm, str(len(summary.sizes_of(arm))), *(f"{round(count):,}" for count in seen), *work])
    return rows


def _of_descendants(summary: Summary, arm: str, key: str) -> float:
    """What a descendant of each size cost together at the dearest number of pictures; a size is a mean over seeds."""
    sums = []
    for images in summary.recipe["images_per_class"]:
        cells = [summary.cells(arm, Condition(size, images)).values() for size in summary.sizes_of(arm)]
        sums.append(sum(fmean(cell[key] for cell in own) for own in cells if own))
    return max(sums)


def stored_table(summary: Summary) -> Rows:
    """Arm by arm what has to be kept: its gene, or where it has none, or one a size, a network of each size."""
    rows = [["arm", "what is kept", "parameters without heads", "with heads", "times the first arm's, without heads"]]
    kept = {arm: found for arm in summary.arms if (found := _stored(summary, arm)) is not None}
    for arm, (what, headless, full) in kept.items():
        first = kept.get(summary.subject)
        ratio = f"{stored_ratio(first[1], [headless]):.2f}" if first else ""
        rows.append([arm, what, f"{headless:,}", f"{full:,}", ratio])
    return rows


def _stored(summary: Summary, arm: str) -> tuple[str, int, int] | None:
    """What an arm keeps, and its elements without and with heads; None where its gene could not be made."""
    costs, sizes = summary.results["costs"], summary.sizes_of(arm)
    if not costs["families"][arm]["shared"]:
        full, headless = (sum(costs["parameters"][size][key] for size in sizes) for key in ("full", "headless"))
        return f"{len(sizes)} network{'s' if len(sizes) > 1 else ''}", headless, full
    genes = [gene for gene in summary.results["genes"] if gene["arm"] == arm]
    return ("one gene", genes[0]["headless_elements"], genes[0]["elements"]) if genes else None
