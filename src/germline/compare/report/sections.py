"""Sections of a comparison's report, in their order."""

from __future__ import annotations

from typing import Any

from germline.compare.analysis.protocols import PROTOCOLS
from germline.compare.analysis.questions import describe_family, judge_claims
from germline.compare.analysis.results import ComparisonResults, Condition
from germline.compare.analysis.selection_regret import regret_sections
from germline.compare.analysis.shared_gene import has_one_ancestor, has_one_gene
from germline.compare.analysis.tuning import find_edge, has_failed
from germline.compare.report import cost_tables, figures, paths_protocol, same_labels, tables
from germline.compare.report.gene_records import record_sections
from germline.compare.report.size_lines import size_sections, untrained_sections
from germline.compare.run.frozen_body import PENALTIES
from germline.reporting.claims import count_verdicts
from germline.reporting.html import Section


def report_sections(results: ComparisonResults) -> list[Section]:
    """Return all sections of the report; parts that the comparison did not ask about are left out."""
    sections = [
        _claims_section(results),
        *_answer_sections(results),
        *untrained_sections(results),
        *size_sections(results),
        *_scratch_sections(results),
        *regret_sections(results),
        *record_sections(results),
        *_cost_sections(results),
        *_making_sections(results),
    ]
    return [section for section in sections if isinstance(section.body, str) or len(section.body) > 1]


def _claims_section(results: ComparisonResults) -> Section:
    protocol, recipe = PROTOCOLS[results.recipe["protocol"]], results.recipe
    shared = "each seed makes its own gene"
    if has_one_gene(recipe, results.subject):
        shared = "one gene serves all seeds"
        if has_one_ancestor(recipe):
            shared = "one ancestor and one gene serve all seeds"
    elif has_one_ancestor(recipe):
        shared = "one ancestor serves all seeds, and each seed makes its own gene"
    note = (
        f"{count_verdicts(judge_claims(results))} Paired differences over {len(recipe['seeds'])} seeds "
        f"({shared}), with 95 % t intervals. p by the paired t test with Holm's correction over "
        f"{describe_family(results)}. If no difference is shown, the table gives the smallest true difference that "
        "this many seeds with this spread would show with 80 % power. "
        f"{tables.describe_ceiling(results)}"
    )
    make_table = paths_protocol.paths_claims_table if protocol.name == "paths" else tables.claims_table
    return Section(protocol.asks, note, make_table(results))


def _answer_sections(results: ComparisonResults) -> list[Section]:
    """Return the table and the figure of the protocol, and the learning curves."""
    measured = "Last step, test images evaluated once. Means with 95 % t intervals over seeds; gains are paired by seed"
    protocol = results.recipe["protocol"]
    if protocol == "paths":
        return paths_protocol.paths_answers(results)
    if protocol == "same-labels":
        return same_labels.same_labels_answers(results)
    if protocol == "sensitivity":
        note = f"{measured}. Spread, best and worst are taken over the grid of each seed, then averaged over seeds."
        table = Section("Over the grid", note, tables.sensitivity_table(results))
        note = "One panel per weight decay; means over seeds."
        return [table, Section("Accuracy over the learning rate", note, figures.draw_sensitivity(results))]
    if protocol == "instincts":
        note = "On validation images. The probe is a linear classifier on the features of the frozen network."
        table = Section("The first steps", note, tables.instincts_table(results))
        return [table, Section("Curves of the first steps", "Bands are 95 % intervals.", figures.draw_curves(results))]
    bars = "Bars are 95 % intervals."
    if protocol == "frozen":
        note = f"{_describe_heads()} Means with 95 % t intervals over seeds; gains are paired by seed, not adjusted."
        table = Section("Accuracy with a frozen body", note, tables.frozen_table(results))
        return [table, Section("Accuracy over images per class", bars, figures.draw_samples(results))]
    note = (
        f"{measured}, not adjusted. The last column gives the steps until an arm first reaches scratch's final "
        "validation accuracy, as a share of scratch's steps: the median seed. One that never reaches it is the slowest."
    )
    sections = [Section("Accuracy", note, tables.main_table(results))]
    if protocol == "samples" and len(results.recipe["images_per_class"]) == 1:
        sections.append(Section("Accuracy by arm", bars, figures.draw_arms(results)))
    elif protocol == "samples":
        sections.append(Section("Accuracy over images per class", bars, figures.draw_samples(results)))
    if protocol == "sizes":
        sections.append(Section("Accuracy over size", f"{bars} A point is one size.", figures.draw_sizes(results)))
    note = "Accuracy on validation images; bands are 95 % intervals."
    return [*sections, Section("Learning curves", note, figures.draw_curves(results))]


def _describe_heads() -> str:
    penalties = ", ".join(f"{penalty:g}" for penalty in sorted(PENALTIES))
    return (
        "Bodies are used as grown. Only a linear head is fitted, by L-BFGS on standardised features. Its L2 penalty is "
        f"the best of {penalties} on validation images, chosen for each cell and in the same way for all arms. Test "
        "images are evaluated once."
    )


def _scratch_sections(results: ComparisonResults) -> list[Section]:
    plateau = results.recipe["levelling"]
    if plateau is None:
        return []
    note = (
        "Scratch is trained for twice, four times, ... its steps, each time from the start. It stops when a doubling "
        f"adds at most {100 * plateau['tolerance']:g} points on validation (mean over seeds), or at {plateau['most']} "
        "times its steps."
    )
    return [Section("Is scratch on a plateau?", note, tables.levels_table(results))]


def _cost_sections(results: ComparisonResults) -> list[Section]:
    protocol = results.recipe["protocol"]
    is_paths = protocol == "paths"
    budget = "Arms without steps are used as grown" if is_paths else _describe_budget(results)
    counted = "TFLOPs include a teacher's forward passes."
    if protocol == "frozen":
        counted = (
            "TFLOPs are those of the features: one forward pass of each training, validation and test image. The fit "
            "of the head is not counted."
        )
    note = f"{budget}. The condition that costs most is shown. {counted}"
    one = Section("What one descendant costs", note, cost_tables.cost_table(results))
    if is_paths:
        return [one, *paths_protocol.paths_costs(results)]
    stored = Section(
        "What is stored",
        "Elements that are stored, without heads (as papers count) and with heads.",
        cost_tables.stored_table(results),
    )
    if results.recipe["protocol"] == "same-labels":
        return [one, *same_labels.same_labels_costs(results), stored]
    family = (
        f"What {results.subject} costs as a family of descendants, compared with scratch. The last columns show "
        "scratch with the same total cost, shared equally by as many networks. Tuning has its own table."
    )
    return [one, Section("What the whole family costs", family, cost_tables.family_table(results)), stored]


def _describe_budget(results: ComparisonResults) -> str:
    """Say whether all arms see as many images at each condition; arms can have steps of their own."""
    counts: dict[tuple[Any, Any], set[int]] = {}
    for cell in results.stored["cells"]:
        asked = cell["asked"]
        if asked["steps"] is None:
            counts.setdefault((asked["size"], asked["images"]), set()).add(cell["samples"])
    is_equal = all(len(seen) == 1 for seen in counts.values())
    return "Every arm sees the same number of images" if is_equal else "Arms see different numbers of images"


def _making_sections(results: ComparisonResults) -> list[Section]:
    note = "The ledger of each descendant before training; every parameter and buffer is counted."
    sections = [Section("Where the elements came from", note, figures.draw_origins(results))]
    if results.stored["tuned"]:
        sections.append(Section("How each arm was tuned", _tuning_note(results), cost_tables.tuning_table(results)))
    return [*sections, Section("What failed", "These parts are in no table above.", tables.failed_table(results))]


def _tuning_note(results: ComparisonResults) -> str:
    tune = results.recipe["tune"]
    points = [point for arm in results.stored["tuned"].values() for point in arm["grid"]]
    edges = [arm for arm, tuned in results.stored["tuned"].items() if find_edge(tuned) is not None]
    untuned = [arm for arm, tuned in results.stored["tuned"].items() if has_failed(tuned)]
    warning = f" At an edge of the grid, where a better rate can be outside it: {', '.join(edges)}." if edges else ""
    if untuned:
        warning += f" All points failed, so the first one is used untuned: {', '.join(untuned)}."
    scaling = "is the same" if tune["scaling"] == "none" else "is divided by how much wider they are"
    elsewhere = f"; at other sizes the rate {scaling}" if "lr" in tune else ""
    return (
        f"Final validation accuracy at {Condition(tune['size'], tune['images_per_class'])}, seed "
        f"{tune['seed']}, which is not part of the comparison. The point marked * is used "
        f"everywhere{elsewhere}. Tuning cost {sum(point['samples'] for point in points):,} images seen and "
        f"{sum(point['flops'] for point in points) / 1e12:,.1f} TFLOPs.{warning}"
    )
