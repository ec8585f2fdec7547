"""Summary of a comparison's report, made from its results alone."""

from __future__ import annotations

from collections.abc import Sequence

from germline.compare.analysis.protocols import PROTOCOLS
from germline.compare.analysis.questions import judge_claims
from germline.compare.analysis.results import ComparisonResults
from germline.compare.analysis.shared_gene import has_one_ancestor, has_one_gene
from germline.compare.recipe.keys import CONTROL
from germline.compare.run.cells import format_images
from germline.reporting.claims import Judgement
from germline.reporting.summary import Summary, describe_ceilings, describe_width, list_names, list_verdicts


def summarize_results(results: ComparisonResults) -> Summary:
    """Summarise a comparison: its question, its verdicts, and how sure they are."""
    judgements = judge_claims(results)
    certainty = [_describe_seeds(results, judgements), describe_ceilings(judgements), _list_unmeasured(results)]
    return Summary(
        _describe_question(results), list_verdicts(judgements, results.subject), tuple(filter(None, certainty))
    )


def _describe_question(results: ComparisonResults) -> str:
    recipe = results.recipe
    against = (recipe.get("question") or {}).get("against")
    controls = [arm for arm in results.controls if against is None or arm in against]
    compared = f"{results.subject} is compared with {list_names(controls)}" if controls else results.subject
    sizes = [size or "its own size" for size in recipe["sizes"]]
    counts = list_names([format_images(images) for images in recipe["images_per_class"]])
    at = sizes[0] if len(sizes) == 1 else f"{len(sizes)} sizes"
    return f"{PROTOCOLS[recipe['protocol']].asks} {compared} on {trained_data(results)}, at {at}, with {counts}."


def trained_data(results: ComparisonResults) -> str:
    """Return the name of the data set that descendants are trained on."""
    recipe = results.recipe
    return str((recipe.get("final_data") or "glyphs/final") if recipe["final"] else recipe["data"])


def _describe_seeds(results: ComparisonResults, judgements: Sequence[Judgement]) -> str:
    count = len(results.recipe["seeds"])
    gene = "each with its own gene"
    if has_one_gene(results.recipe, results.subject):
        gene = f"all with {'one ancestor and ' if has_one_ancestor(results.recipe) else ''}one gene"
    elif has_one_ancestor(results.recipe):
        gene = "all with one ancestor, each with its own gene"
    seeds = f"{count} seeds, {gene}" if count > 1 else "One seed"
    stated = sum(judgement.claim.is_stated for judgement in judgements)
    corrected = " p values are corrected for the number of claims." if stated > 1 else ""
    width = describe_width(judgements)
    return f"{seeds}.{f' {width}' if width else ''}{corrected}"


def _list_unmeasured(results: ComparisonResults) -> str:
    """Name what the comparison leaves open."""
    recipe, failed = results.recipe, len(results.stored["failed"])
    missing = [f"data other than {trained_data(results)}"]
    if len(recipe["sizes"]) == 1:
        missing.append("other sizes")
    is_given = has_one_gene(recipe, results.subject) and not has_one_ancestor(recipe)
    if (recipe["one_gene"] or is_given) and len(recipe["seeds"]) > 1:
        missing.append("how much genes differ from seed to seed")
    if has_one_ancestor(recipe) and not recipe["one_gene"] and len(recipe["seeds"]) > 1:
        missing.append("other ancestors")
    missing += _describe_scratch(results)
    if failed:
        missing.append(f"{failed} part{'s' if failed > 1 else ''} that failed")
    return f"Not measured: {'; '.join(missing)}."


def _describe_scratch(results: ComparisonResults) -> list[str]:
    """Say what is open about scratch, where the comparison has it."""
    if CONTROL not in results.controls or results.recipe["protocol"] == "frozen":
        return []
    longest = [results.longest_scratch(at) for at in results.conditions if CONTROL in results.arms_at(at.size)]
    if all(run is not None and run[1] for run in longest) and longest:
        return []
    return [f"whether {CONTROL} gains from more steps" if not any(longest) else f"where {CONTROL} stops gaining"]
