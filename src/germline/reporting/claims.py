"""Claims about an arm, and tests of whether they hold."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from germline.reporting.statistics import (
    LEAST_DIFFERENCE,
    LEVEL,
    Estimate,
    estimate,
    have_no_spread,
    holm,
    p_value,
    sign_p_value,
    smallest_difference,
)


@dataclass(frozen=True)
class Ceiling:
    """Headroom of a claim: what the best known start gains over a network that knows nothing.

    Attributes:
        differences: One paired difference per seed, as shares of 1.
        least: Smallest mean difference that leaves room for a verdict.
    """

    differences: tuple[float, ...]
    least: float

    @property
    def has_room(self) -> bool:
        """Whether the mean headroom is large enough to tell something."""
        return self.estimate.mean >= self.least

    @property
    def estimate(self) -> Estimate:
        """Mean headroom with its 95 % interval."""
        return estimate(self.differences)


@dataclass(frozen=True)
class Claim:
    """Claim that a paired difference is above zero.

    Attributes:
        text: The claim in words.
        where: The condition under which it is tested.
        differences: One paired difference per seed. Values above 0 support the claim.
        unit: Unit of the differences: points of accuracy, doublings (of speed), or % of sizes.
        ceiling: Headroom at the condition; None if it is unknown.
        against: Name of the control, if there is one.
        is_stated: Whether the claim was stated before the comparison ran. Others are shown without a verdict.
        source: Text that names the data and the two methods. Seeds of other sources can agree by chance.
    """

    text: str
    where: str
    differences: tuple[float, ...]
    unit: str = "points"
    ceiling: Ceiling | None = None
    against: str = ""
    is_stated: bool = True
    source: str = ""

    @property
    def difference(self) -> tuple[str, str, str, tuple[float, ...]]:
        """Source, condition, unit and differences: equal in two reports of one difference, whatever its arms' names."""
        return self.source, self.where, self.unit, self.differences

    @property
    def identity(self) -> tuple[str, str, str, str, tuple[float, ...]]:
        """The text and `difference`: equal for one claim in several reports."""
        return self.text, *self.difference

    @property
    def scale(self) -> float:
        """Factor from a difference to the number shown."""
        return 1 if self.unit == "doublings" else 100

    @property
    def is_coarse(self) -> bool:
        """Whether few values are possible, so that seeds can agree exactly and a t test would be too sure."""
        return self.unit == "% of sizes"

    @property
    def is_unanimous(self) -> bool:
        """Whether all seeds have the same difference, which is not zero."""
        return abs(self.differences[0]) > LEAST_DIFFERENCE and have_no_spread(self.differences)

    @property
    def p_value(self) -> float:
        """The p-value of the paired t test; for coarse differences at least that of the sign test."""
        value = p_value(self.differences)
        return max(value, sign_p_value(self.differences)) if self.is_coarse else value


@dataclass(frozen=True)
class Judgement:
    """Result of testing a claim over seeds.

    Attributes:
        claim: The claim.
        p: The p-value, adjusted for the number of claims in the family; 1 if the claim takes no part in it.
        open_claims: Number of claims of the family that are not shown. To be shown, one of them needs a p-value below
            5 % divided by this number.
    """

    claim: Claim
    p: float
    open_claims: int = 1

    @property
    def difference(self) -> Estimate:
        """Mean difference with its own 95 % interval, not adjusted."""
        return estimate(self.claim.differences)

    @property
    def verdict(self) -> str:
        """The verdict in words."""
        if len(self.claim.differences) < 2:
            return "one seed shows nothing"
        if not self.claim.is_stated:
            return NOT_STATED
        is_shown, is_above = self.p < 1 - LEVEL, self.difference.mean > 0
        if is_shown and not is_above:
            # A low ceiling hides gains, and no losses.
            return "the reverse holds"
        if self.claim.ceiling is not None and not self.claim.ceiling.has_room:
            return NO_ROOM
        if is_shown:
            return "holds"
        return TOO_FEW if self.claim.is_unanimous else "no difference shown"

    @property
    def detectable(self) -> str:
        """Smallest difference that this many seeds with this spread would show; empty if it says nothing here.

        It accounts for Holm's correction: the claims that are shown already no longer count.
        It says nothing if a difference is shown, if all seeds agree, or if the claim was not stated and has no verdict.
        """
        is_judged = len(self.claim.differences) > 1 and self.claim.is_stated
        if not is_judged or self.p < 1 - LEVEL or self.claim.is_coarse or self.claim.is_unanimous:
            return ""
        smallest = smallest_difference(self.claim.differences, self.open_claims)
        return f"{smallest * self.claim.scale:.1f} {self.claim.unit}"

    def row(self) -> list[str]:
        """Return the cells of a table row, in the order of `CLAIM_COLUMNS`."""
        is_tested = len(self.claim.differences) > 1 and self.claim.is_stated
        chance = _format_p(self.p) if is_tested else ""
        size = f"{self.difference.text(scale=self.claim.scale, sign=True)} {self.claim.unit}"
        return [self.claim.text, self.claim.where, size, chance, self.verdict, self.detectable]


def _format_p(p: float) -> str:
    """Write a p-value; one just below the level of a verdict never reads as that level."""
    text = f"{p:.3f}"
    if p < 0.001:
        return "< 0.001"
    return f"< {text}" if p < 1 - LEVEL and text == f"{1 - LEVEL:.3f}" else text


NOT_STATED = "not claimed beforehand"
NO_ROOM = "no room to tell"
TOO_FEW = "too few seeds to tell"
CLAIM_COLUMNS = ["claim", "condition", "difference", "p (Holm)", "verdict", "detectable difference"]


def claim_rows(claims: Sequence[Claim]) -> list[list[str]]:
    """Judge claims together and return their table."""
    return [CLAIM_COLUMNS, *(judgement.row() for judgement in judge(claims))]


def count_verdicts(judgements: Sequence[Judgement]) -> str:
    """Return how many claims got each verdict, in one sentence or two; those that were not stated come last."""
    verdicts = Counter(judgement.verdict for judgement in judgements)
    others = verdicts.pop(NOT_STATED, 0)
    total = len(judgements) - others
    counts = [f"{count} of {total} claims: {verdict}" for verdict, count in verdicts.most_common()]
    if others:
        noun = "other difference was" if others == 1 else "other differences were"
        counts = [f"{'; '.join(counts) or 'No claims'}. {others} {noun} {NOT_STATED}"]
    return "; ".join(counts) + "."


def judge(claims: Sequence[Claim], others: Sequence[Claim] = (), count: int = 0) -> list[Judgement]:
    """Judge claims as one family, with Holm's correction; skip claims without any seed.

    Args:
        claims: Claims to judge.
        others: Claims of other reports that belong to the same family. One that equals an earlier claim counts once.
        count: Number of claims of the family that was said beforehand; those that are found count at least.
    """
    # A single seed has no p-value and takes no part in the correction.
    tested = [claim for claim in (*claims, *others) if len(claim.differences) > 1 and claim.is_stated]
    distinct = list({claim.identity: claim for claim in tested}.values())
    adjusted = holm([claim.p_value for claim in distinct], count)
    known = {claim.identity: p for claim, p in zip(distinct, adjusted, strict=True)}
    open_claims = max(count, len(distinct)) - sum(p < 1 - LEVEL for p in adjusted)
    return [
        Judgement(claim, known.get(claim.identity, 1.0) if claim.is_stated else 1.0, max(1, open_claims))
        for claim in claims
        if claim.differences
    ]
