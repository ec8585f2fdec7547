"""Report of the protocol `same-labels`: accuracy by step, steps to scratch's accuracy, and cost of the family."""

from __future__ import annotations

from germline.compare.analysis.family_savings import (
    FamilySaving,
    compute_savings,
    count_sizes_to_break_even,
    flops_per_step,
    mean_saving,
)
from germline.compare.analysis.results import ComparisonResults, accuracy_at
from germline.compare.analysis.shared_gene import has_one_gene
from germline.compare.recipe.keys import CONTROL, READ_STEPS
from germline.compare.report.cost_tables import tera_text
from germline.compare.report.figures import draw_curves
from germline.compare.report.tables import accuracy_text, describe_steps
from germline.compare.run.cells import format_images
from germline.reporting.html import Rows, Section
from germline.reporting.statistics import estimate

NEVER = "scratch's accuracy never reached"


def same_labels_answers(results: ComparisonResults) -> list[Section]:
    """Show accuracy by step, size and arm, the curves, and the steps to scratch's accuracy."""
    steps = sorted(results.recipe.get("read_steps", READ_STEPS))
    reached = (
        f"The first evaluated step at which an arm has {CONTROL}'s final validation accuracy: mean over the seeds that "
        f"reach it. Its share of {CONTROL}'s steps is the median over all seeds. TFLOPs, and their share, are means of "
        "one descendant's training until then."
    )
    curves = "Accuracy on validation images; bands are 95 % intervals. Dotted lines mark the steps of the table."
    sections = [
        Section("Accuracy by step", describe_reading(results), step_table(results)),
        Section("Learning curves", curves, draw_curves(results, steps)),
    ]
    return [*sections, Section(f"Steps to the accuracy of {CONTROL}", reached, reach_table(results))]


def same_labels_costs(results: ComparisonResults) -> list[Section]:
    """Show what a family costs until each descendant has scratch's accuracy."""
    if CONTROL not in results.controls:
        return []
    given = " The ancestor was given, so its training is not counted." * (
        results.recipe["ancestor"]["path"] is not None
    )
    note = (
        f"TFLOPs of training {results.subject}'s descendants until each has {CONTROL}'s final validation accuracy. "
        f"Ancestor and gene are paid once for all sizes; {CONTROL} starts from zero at each size.{given} "
        f"The last column divides ancestor and gene by the mean saving per size. Tuning has its own table."
    )
    return [Section("What the whole family costs", note, family_savings_table(results))]


def describe_reading(results: ComparisonResults) -> str:
    """Say what the table of steps is measured on, and whether seeds repeat a measurement."""
    is_repeated = has_one_gene(results.recipe, results.subject) and len(results.recipe["seeds"]) > 1
    repeated = " Seeds share one gene, so its accuracy before training is one measurement." if is_repeated else ""
    return (
        "Validation images after the given steps; test images after the last step, evaluated once. Means with 95 % t "
        f"intervals over seeds, not adjusted.{repeated}"
    )


def step_table(results: ComparisonResults) -> Rows:
    """List validation accuracy after the steps of the protocol, and final test accuracy, by condition and arm."""
    steps = sorted(results.recipe.get("read_steps", READ_STEPS))
    rows = [["condition", "arm", *(f"after {step:,} steps, %" for step in steps), "test at the end, %"]]
    for at in results.conditions:
        for arm in results.arms_at(at.size):
            cells = list(results.cells(arm, at).values())
            read = [estimate([accuracy_at(step)(cell) for cell in cells]).text() for step in steps if cells]
            rows.append([str(at), arm, *(read or [""] * len(steps)), accuracy_text(results.accuracy(arm, at))])
    return rows


def reach_table(results: ComparisonResults) -> Rows:
    """List the steps, their share and the cost until an arm has scratch's final accuracy, by condition and arm."""
    rows = [["condition", "arm", "steps", f"share of {CONTROL}'s steps", "TFLOPs", f"share of {CONTROL}'s TFLOPs"]]
    for at in results.conditions:
        if CONTROL not in results.arms_at(at.size):
            continue
        scratch = results.cells(CONTROL, at)
        for arm in results.arms_at(at.size):
            if arm == CONTROL:
                continue
            cells = results.cells(arm, at)
            steps = {seed: step for seed, step in results.steps_to_control(arm, at).items() if step is not None}
            if not steps:
                rows.append([str(at), arm, "never reached" if cells else "failed", "", "", ""])
                continue
            flops = {seed: step * flops_per_step(cells[seed]) for seed, step in steps.items()}
            ratios = [flops[seed] / scratch[seed]["flops"] for seed in flops]
            share = describe_steps(results.share_of_steps(arm, at))
            texts = [estimate(list(steps.values())).text(1, 0), share, tera_text(estimate(list(flops.values())).mean)]
            rows.append([str(at), arm, *texts, estimate(ratios).text(1, 2)])
    return rows


def family_savings_table(results: ComparisonResults) -> Rows:
    """Compare the cost of the subject's family with scratch, for one size, two sizes, and so on.

    Sizes follow the recipe's order. A gene that serves one size only has a single row, with all sizes. It has none if
    scratch lacks one of them, since the cost of its ancestors and genes is known as a sum.
    """
    head = ["images", "sizes", "ancestor", "gene", "descendants", "total", CONTROL, f"total / {CONTROL}"]
    rows = [[*head, "without the ancestor", "descendants alone", "sizes that pay for ancestor and gene"]]
    sizes = results.shared_sizes(CONTROL)
    is_shared = results.stored["costs"]["families"][results.subject]["shared"]
    if not is_shared and sizes != results.sizes_of(results.subject):
        return rows
    for images in results.recipe["images_per_class"]:
        for count in range(1 if is_shared else len(sizes), len(sizes) + 1):
            savings = compute_savings(results, results.subject, sizes[:count], images)
            reached = [saving for saving in savings.values() if saving is not None]
            names = ", ".join(size or "own size" for size in sizes[:count])
            texts = _saving_texts(reached, count) if reached else ["", "", NEVER if savings else "failed", *[""] * 6]
            missed = f" ({len(savings) - len(reached)} of {len(savings)} seeds never reach it)"
            names += missed * (0 < len(reached) < len(savings))
            rows.append([format_images(images), f"{count}: {names}", *texts])
    return rows


def _saving_texts(savings: list[FamilySaving], sizes: int) -> list[str]:
    mean = mean_saving(savings)
    costs = [mean.ancestor, mean.gene, mean.descendants, mean.total, mean.scratch]
    ratios = [
        [saving.ratio for saving in savings],
        [saving.ratio_without_ancestor for saving in savings],
        [saving.descendants / saving.scratch for saving in savings],
    ]
    needed = count_sizes_to_break_even(mean, sizes)
    shown = "never" if needed is None else f"{needed:,.1f}"
    return [*map(tera_text, costs), *(estimate(values).text(1, 2) for values in ratios), shown]
