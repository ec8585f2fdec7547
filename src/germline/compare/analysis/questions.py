"""Questions: families of claims over one comparison or several, each judged as a whole."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from germline.compare.analysis.protocols import PROTOCOLS
from germline.compare.analysis.results import ComparisonResults
from germline.compare.recipe.keys import CONTROL
from germline.compare.recipe.schema import Recipe
from germline.errors import SettingError
from germline.methods.base import find_method
from germline.reporting.claims import Claim, Judgement, judge

# Protocols whose claims compare the subject with the longest scratch run too.
WITH_LONGEST_SCRATCH = ("convergence", "samples", "sizes", "paths", "same-labels")


def list_claims(results: ComparisonResults) -> list[Claim]:
    """List the claims of a comparison; those against arms that its question does not name are not stated."""
    against = _question_of(results).get("against")
    claims = PROTOCOLS[results.recipe["protocol"]].claims(results)
    return [
        replace(
            claim, is_stated=against is None or claim.against in against, source=_name_source(results, claim.against)
        )
        for claim in claims
    ]


def judge_claims(results: ComparisonResults) -> list[Judgement]:
    """Judge the claims of a comparison in the family of its question.

    Without a question, the claims of the comparison are a family.
    """
    own = list_claims(results)
    others = [claim for sibling in results.siblings for claim in list_claims(sibling)]
    # Other reports can know the ceiling of the same difference, and state it.
    shared = {claim.difference: claim for claim in others if claim.ceiling is not None}
    stated = {claim.difference for claim in others if claim.is_stated}
    own = [
        replace(
            claim,
            ceiling=claim.ceiling or shared.get(claim.difference, claim).ceiling,
            is_stated=claim.is_stated or claim.difference in stated,
        )
        for claim in own
    ]
    return judge(own, others, _count_family(results) if _question_of(results) else 0)


def _name_source(results: ComparisonResults, control: str) -> str:
    """Name the data, the ancestor and the two methods of a difference; the arms' names do not matter.

    Shares of sizes and speeds have few values, so those of other methods or data can be equal.
    """
    recipe = results.recipe
    arms = [recipe["arms"][arm] for arm in (results.subject, control) if arm in recipe["arms"]]
    methods = [[arm["method"], arm.get("settings") or {}, arm.get("draw", 0)] for arm in arms]
    return json.dumps([recipe.get("data"), recipe.get("ancestor"), methods], sort_keys=True)


def describe_family(results: ComparisonResults) -> str:
    """Describe the family of claims that the p-values are corrected for, as a part of a sentence."""
    question = _question_of(results)
    if not question:
        return "all claims"
    files = [results, *results.siblings]
    names = ", ".join(sorted({str(one.stored["name"]) for one in files}))
    found = _count_found(results)
    text = f"{_count_family(results)} claims of the question '{question['name']}', with the results of {names}"
    said = _count_said(results)
    if said is None:
        return f"the {text} (no number was said beforehand)"
    surplus = f", {found - said} more than were said beforehand" if found > said else ""
    return f"the {text}{surplus}"


def describe_planned_claims(recipe: Recipe) -> str:
    """Describe how many claims a recipe makes, and how many its whole question has."""
    count, question = count_planned_claims(recipe), recipe.question
    if count == 0:
        return "claims: none, since no arm is compared with another"
    if question is None:
        return f"claims: {count}{', judged together as one family' if count > 1 else ''}"
    whole = "as many as its recipes make" if question.claims is None else f"{question.claims} said beforehand"
    return f"claims: {count} of the question '{question.name}' ({whole})"


def count_planned_claims(recipe: Recipe) -> int:
    """Count the claims that a recipe states, before anything runs."""
    stored = {"recipe": recipe.model_dump(mode="json"), "cells": [], "levels": [], "family": _list_budgets(recipe)}
    results = ComparisonResults(stored)
    count = sum(claim.is_stated for claim in list_claims(results))
    if recipe.scratch_until_plateau is None or recipe.protocol not in WITH_LONGEST_SCRATCH:
        return count
    against = _question_of(results).get("against")
    is_stated = against is None or CONTROL in against
    return count + sum(is_stated and CONTROL in results.controls_at(at.size) for at in results.conditions)


def check_question(recipe: Recipe) -> None:
    """Refuse a question with fewer claims than the recipe itself makes.

    Raises:
        SettingError: The number is too low.
    """
    question, count = recipe.question, count_planned_claims(recipe)
    if question is not None and question.claims is not None and question.claims < count:
        raise SettingError(
            f"question.claims={question.claims}",
            f"This recipe alone makes {count} claims",
            "Set claims to the sum over all recipes of the question, or name fewer arms in question.against",
        )


def _question_of(results: ComparisonResults) -> Mapping[str, Any]:
    return results.recipe.get("question") or {}


def _count_said(results: ComparisonResults) -> int | None:
    """Return the largest number of claims that a recipe of the question says; None if none says one."""
    said = [_question_of(one).get("claims") for one in (results, *results.siblings)]
    return max((number for number in said if number is not None), default=None)


def _count_found(results: ComparisonResults) -> int:
    """Count the different stated claims in all results of the question, failed ones included."""
    claims = [claim for one in (results, *results.siblings) for claim in list_claims(one)]
    return len({claim.identity for claim in claims if claim.is_stated})


def _count_family(results: ComparisonResults) -> int:
    return max(_count_found(results), _count_said(results) or 0)


def _list_budgets(recipe: Recipe) -> list[dict[str, Any]]:
    """List a family's budgets without their steps, with and without the ancestor's cost."""
    counts = recipe.family.counts if recipe.family is not None else ()
    ancestor = find_method(next(iter(recipe.arms.values())).method).ancestor
    return [
        {"count": count, "with_ancestor": with_ancestor, "steps": None}
        for count in counts
        for with_ancestor in ((True, False) if ancestor != "none" else (False,))
    ]
