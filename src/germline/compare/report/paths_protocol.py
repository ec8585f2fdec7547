"""Report of the protocol `paths`: every size of every arm, without training."""

from __future__ import annotations

from statistics import fmean

from germline.compare.analysis.protocols import share_above
from germline.compare.analysis.questions import judge_claims
from germline.compare.analysis.results import ComparisonResults, Condition, final_accuracy
from germline.compare.cost.storage import storage_ratio
from germline.compare.report.cost_tables import tera_text
from germline.compare.report.tables import accuracy_text, list_judgements
from germline.compare.run.cells import format_images
from germline.reporting.html import Rows, Section
from germline.reporting.pareto import FRONT_NOTE, NetworkPoint, draw_pareto_fronts, pareto_front
from germline.reporting.statistics import estimate


def paths_answers(results: ComparisonResults) -> list[Section]:
    """Show the subject over all sizes, accuracy over size and cost, and every path."""
    note = (
        f"{results.subject} minus each other arm, over the sizes that both have. 95 % t intervals over seeds, not "
        "adjusted. A size counts as above only if its accuracy is higher, not equal."
    )
    sections = [Section("Over all sizes", note, over_sizes_table(results))]
    for images in results.recipe["images_per_class"]:
        count = format_images(images)
        measured = f"Test images, evaluated once, {count}. Means with 95 % t intervals over seeds, not adjusted."
        families = {arm: family_points(results, arm, images) for arm in results.arms}
        families = {arm: points for arm, points in families.items() if points}
        figure = draw_pareto_fronts(results.arms, families, "test accuracy")
        sections.append(Section("Accuracy over size and cost", f"{measured} {FRONT_NOTE}", figure))
        note = (
            f"{measured} A star marks the Pareto front of an arm over parameters: no size of that arm with as few "
            "parameters is more accurate."
        )
        sections.append(Section("Path by path", note, path_table(results, images)))
    note = "The claims at each size, judged together with those over all sizes."
    return [*sections, Section("Claims size by size", note, paths_claims_table(results, per_size=True))]


def paths_costs(results: ComparisonResults) -> list[Section]:
    """Show what each arm's family costs and stores."""
    cost = (
        "Ancestors and genes of one seed, and training of one descendant of every size of the arm, without tuning. "
        "TFLOPs include a teacher's forward passes."
    )
    stored = "Elements stored to have every size of the arm, without heads (as papers count) and with heads."
    return [
        Section("What the whole family costs", cost, paths_family_table(results)),
        Section("What is stored", stored, paths_stored_table(results)),
    ]


def paths_claims_table(results: ComparisonResults, *, per_size: bool = False) -> Rows:
    """List the claims over all sizes, or those at each size; all claims are judged together."""
    conditions = {str(at) for at in results.conditions}
    shown = [one for one in judge_claims(results) if (one.claim.where in conditions) == per_size]
    return list_judgements(shown)


def family_points(results: ComparisonResults, arm: str, images: int | str) -> list[NetworkPoint]:
    """Return cost and final test accuracy of each size of an arm, without sizes whose cells all failed."""
    counts, points = results.stored["costs"]["parameters"], []
    for size in results.sizes_of(arm):
        accuracy = results.accuracy(arm, Condition(size, images))
        if accuracy is not None:
            points.append(NetworkPoint(size, counts[size]["full"], counts[size]["flops"], accuracy))
    return points


def over_sizes_table(results: ComparisonResults) -> Rows:
    """Compare the subject with each control over all sizes that both have."""
    rows = [["images", "control", "shared sizes", "mean difference, points", "share of sizes above it, %"]]
    for images in results.recipe["images_per_class"]:
        for control in results.controls:
            by_seed = list(results.over_sizes(control, images).values())
            texts = ["failed", ""]
            if by_seed:
                means = [fmean(differences) for differences in by_seed]
                shares = [share_above(differences) for differences in by_seed]
                texts = [estimate(means).text(sign=True), estimate(shares).text()]
            count = len(results.shared_sizes(control))
            rows += [[format_images(images), control, str(count), *texts]] if count else []
    return rows


def path_table(results: ComparisonResults, images: int | str | None = None) -> Rows:
    """List cost, every arm's accuracy and the subject's difference from one control by size, the smallest first.

    Args:
        results: Results of the comparison.
        images: Images per class; None is the first number of the recipe.
    """
    images = results.recipe["images_per_class"][0] if images is None else images
    counts, control = results.stored["costs"]["parameters"], difference_control(results)
    difference = [f"{results.subject} - {control}, points"] if control else []
    fronts = {
        arm: {point.size for point in pareto_front(family_points(results, arm, images), "parameters")}
        for arm in results.arms
    }
    rows = [["size", "parameters", "MFLOPs per image", *(f"{arm}, %" for arm in results.arms), *difference]]
    for size in sorted(results.recipe["sizes"], key=lambda size: (counts[size]["full"], counts[size]["flops"])):
        at = Condition(size, images)
        accuracies = [_starred_accuracy(results, arm, at, on_front=size in fronts[arm]) for arm in results.arms]
        cost = [f"{counts[size]['full']:,}", f"{counts[size]['flops'] / 1e6:,.1f}"]
        differences = [_difference_text(results, control, at)] if control else []
        rows.append([size or "own size", *cost, *accuracies, *differences])
    return rows


def difference_control(results: ComparisonResults) -> str | None:
    """Return the control whose difference is listed: the first with all sizes of the subject, or else the first."""
    sizes = len(results.sizes_of(results.subject))
    complete = [control for control in results.controls if len(results.shared_sizes(control)) == sizes]
    return next(iter([*complete, *results.controls]), None)


def _starred_accuracy(results: ComparisonResults, arm: str, at: Condition, *, on_front: bool) -> str:
    if not results.has_size(arm, at.size):
        return ""
    accuracy = results.accuracy(arm, at)
    return f"{accuracy_text(accuracy)}{' *' if on_front and accuracy is not None else ''}"


def _difference_text(results: ComparisonResults, control: str, at: Condition) -> str:
    differences = results.differences(results.subject, control, at, final_accuracy)
    return estimate(differences).text(sign=True) if differences else ""


def paths_family_table(results: ComparisonResults) -> Rows:
    """List per arm the sizes, and the total cost of ancestors, genes and descendants of one seed."""
    head = ["arm", "sizes", "images seen: ancestors", "genes", "descendants"]
    rows = [[*head, "total TFLOPs", "without ancestors"]]
    for arm in results.arms:
        made = results.stored["costs"]["families"][arm]
        samples, flops = (_descendants_total(results, arm, key) for key in ("samples", "flops"))
        without_ancestors = made["genes"]["flops"] + flops
        seen = [made["ancestors"]["samples"], made["genes"]["samples"], samples]
        total = [tera_text(value) for value in (without_ancestors + made["ancestors"]["flops"], without_ancestors)]
        rows.append([arm, str(len(results.sizes_of(arm))), *(f"{round(count):,}" for count in seen), *total])
    return rows


def _descendants_total(results: ComparisonResults, arm: str, key: str) -> float:
    """Sum the mean cost of a descendant over sizes, at the number of images that costs most."""
    sums = []
    for images in results.recipe["images_per_class"]:
        by_size = [results.cells(arm, Condition(size, images)).values() for size in results.sizes_of(arm)]
        sums.append(sum(fmean(cell[key] for cell in cells) for cells in by_size if cells))
    return max(sums)


def paths_stored_table(results: ComparisonResults) -> Rows:
    """List per arm what is stored: one gene for all sizes, or else a network of each size."""
    ratio = "relative to the first arm, without heads"
    rows = [["arm", "stored", "parameters without heads", "with heads", ratio]]
    stored = {arm: counts for arm in results.arms if (counts := _stored_counts(results, arm)) is not None}
    first = stored.get(results.subject)
    for arm, (what, headless, full) in stored.items():
        times = f"{storage_ratio(first[1], [headless]):.2f}" if first else ""
        rows.append([arm, what, f"{headless:,}", f"{full:,}", times])
    return rows


def _stored_counts(results: ComparisonResults, arm: str) -> tuple[str, int, int] | None:
    """Return what an arm stores, and its elements without and with heads; None if its gene failed."""
    costs, sizes = results.stored["costs"], results.sizes_of(arm)
    if not costs["families"][arm]["shared"]:
        full, headless = (sum(costs["parameters"][size][key] for size in sizes) for key in ("full", "headless"))
        return f"{len(sizes)} network{'s' if len(sizes) > 1 else ''}", headless, full
    genes = [gene for gene in results.stored["genes"] if gene["arm"] == arm]
    return ("one gene", genes[0]["headless_elements"], genes[0]["elements"]) if genes else None
