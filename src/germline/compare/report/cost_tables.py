"""Tables of cost, storage and tuning in a comparison's report."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from germline.baselines.fresh_start import START_LABELS
from germline.compare.analysis.results import ComparisonResults, Condition, final_accuracy
from germline.compare.analysis.tuning import CHOSEN_KEYS, find_edge
from germline.compare.cost.storage import storage_ratio
from germline.compare.recipe.keys import CONTROL
from germline.compare.report.tables import accuracy_text
from germline.registry import METHODS
from germline.reporting.html import Rows
from germline.reporting.statistics import estimate

FAMILY_COUNTS = (1, 5, 10)


def cost_table(results: ComparisonResults) -> Rows:
    """List the budget of one descendant by arm: what it is trained on, and with what settings."""
    own = [cell for cell in results.stored["cells"] if cell["asked"]["steps"] is None]
    starts = _list_start_keys(own)
    rows = [["arm", "images seen", "TFLOPs", "steps", "learning rate", "weight decay", *starts.values()]]
    for arm in results.arms:
        cells = [cell for cell in own if cell["asked"]["arm"] == arm]
        if not cells:
            continue
        most = max(cells, key=lambda cell: int(cell["flops"]))
        rates, decays = ({cell[key] for cell in cells if cell["steps"]} for key in ("lr", "weight_decay"))
        counts = [f"{most['samples']:,}", tera_text(most["flops"]), f"{most['steps']:,}"]
        rows.append([arm, *counts, _values_text(rates), _values_text(decays), *_start_texts(most, starts)])
    return rows


def _list_start_keys(entries: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """List the initial values that one of the cells or grid points has, with the heads of their columns."""
    return {key: label for key, label in START_LABELS.items() if any(key in entry for entry in entries)}


def _start_texts(entry: Mapping[str, Any], keys: Iterable[str]) -> list[str]:
    return [str(entry.get(key, "")) for key in keys]


def _values_text(values: set[float]) -> str:
    return ", ".join(f"{value:g}" for value in sorted(values))


def tera_text(flops: float) -> str:
    """Return FLOPs in TFLOPs, to four digits."""
    return f"{flops / 1e12:,.4g}"


def family_table(results: ComparisonResults) -> Rows:
    """Compare the budget of the first arm's whole family with scratch for each descendant."""
    costs, at = results.stored["costs"], _family_condition(results)
    ours, scratch = (list(results.cells(arm, at).values()) for arm in (results.subject, CONTROL))
    made = costs["genes"].get(results.subject)
    if made is None or not ours or not scratch:
        return []
    head = ["descendants", "included", "total TFLOPs", "relative to scratch"]
    rows = [[*head, "scratch at the same total, %", "gain over it, points"]]
    budgets = {(b["count"], b["with_ancestor"]): b["steps"] for b in results.stored["family"]}
    for count in dict.fromkeys((*FAMILY_COUNTS, *(count for count, _ in budgets))):
        for with_ancestor in (True, False) if costs["ancestor"] else (False,):
            ancestor = costs["ancestor"]["flops"] if with_ancestor else 0
            flops = ancestor + made["flops"] + count * ours[0]["flops"]
            included = "ancestor, gene, descendants" if with_ancestor else "gene, descendants"
            ratio = f"{flops / (count * scratch[0]['flops']):.2f}"
            steps = budgets.get((count, with_ancestor))
            rows.append([str(count), included, tera_text(flops), ratio, *_scratch_at_total(results, at, steps)])
    return rows


def _family_condition(results: ComparisonResults) -> Condition:
    family = results.recipe["family"]
    return Condition(family["size"], family["images_per_class"]) if family else results.conditions[0]


def _scratch_at_total(results: ComparisonResults, at: Condition, steps: int | None) -> list[str]:
    if steps is None or not results.cells(CONTROL, at, steps):
        return ["not run", ""]
    gain = results.differences(results.subject, CONTROL, at, final_accuracy, control_steps=steps)
    accuracy = accuracy_text(results.accuracy(CONTROL, at, steps))
    return [f"{accuracy} ({steps:,} steps)", estimate(gain).text(sign=True)]


def stored_table(results: ComparisonResults) -> Rows:
    """List what is stored to have all sizes: one gene, or every descendant as a pretrained network."""
    sizes = results.stored["costs"]["parameters"]
    rows = [["stored", "parameters without heads", "with heads", "relative to the first gene, without heads"]]
    genes = {gene["arm"]: gene for gene in results.stored["genes"]}
    first = genes.get(results.subject)
    for arm, gene in genes.items():
        scope = "one size" if _needs_own_ancestor(results, arm) else "all sizes"
        rows.append([f"gene of {arm} ({scope})", *_counts(gene["headless_elements"], gene["elements"], first)])
    for size, count in sizes.items():
        rows.append([f"one network, {size or 'own size'}", *_counts(count["headless"], count["full"], first)])
    if len(sizes) > 1:
        headless, full = (sum(count[key] for count in sizes.values()) for key in ("headless", "full"))
        rows.append([f"all {len(sizes)} networks", *_counts(headless, full, first)])
    return rows


def _needs_own_ancestor(results: ComparisonResults, arm: str) -> bool:
    """Return whether a gene of this arm serves one size only; no if its method is not installed here."""
    name = results.recipe["arms"][arm]["method"]
    return name in METHODS and METHODS[name].traits.needs_own_size


def _counts(headless: int, full: int, gene: Mapping[str, Any] | None) -> list[str]:
    ratio = f"{storage_ratio(gene['headless_elements'], [headless]):.2f}" if gene else ""
    return [f"{headless:,}", f"{full:,}", ratio]


def tuning_table(results: ComparisonResults) -> Rows:
    """List the grid on which each arm was tuned, with validation accuracies.

    Frozen bodies have no rates and decays in it.

    A star marks the chosen point. It is followed by words if the rate is at an edge of the grid.
    """
    tuned_arms = results.stored["tuned"] or {}
    points = [point for tuned in tuned_arms.values() for point in tuned["grid"]]
    starts, has_rates = _list_start_keys(points), any("lr" in point for point in points)
    rates_head = ["learning rate", "weight decay"] if has_rates else []
    rows = [["arm", *rates_head, *starts.values(), "validation accuracy, %"]]
    for arm, tuned in tuned_arms.items():
        edge = find_edge(tuned)
        mark = f" * {edge} rate tried" if edge is not None else " *"
        for point in tuned["grid"]:
            is_chosen = all(point.get(key) == tuned.get(key) for key in CHOSEN_KEYS)
            accuracy = point["accuracy"]
            text = "failed" if accuracy is None else f"{100 * accuracy:.1f}{mark if is_chosen else ''}"
            rates = [f"{point[key]:g}" for key in ("lr", "weight_decay")] if has_rates else []
            rows.append([arm, *rates, *_start_texts(point, starts), text])
    return rows
