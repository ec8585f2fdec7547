"""What is claimed of an arm, and whether it holds here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from germline.reporting.statistics import LEVEL, Estimate, estimate, holm, p_value, sign_p_value, smallest_difference


@dataclass(frozen=True)
class Claim:
    """That a paired difference is above zero.

    Attributes:
        text: The claim in words.
        where: The condition.
        differences: One a seed; above 0 speaks for the claim.
        unit: Of the differences: points of accuracy, doublings (of speed), or % of sizes.
    """

    text: str
    where: str
    differences: tuple[float, ...]
    unit: str = "points"

    @property
    def scale(self) -> float:
        """What a difference is multiplied by to be shown."""
        return 1 if self.unit == "doublings" else 100

    @property
    def coarse(self) -> bool:
        """Whether seeds may well agree to the last digit, in which case the t test would be sure of anything."""
        return self.unit == "% of sizes"

    @property
    def p_value(self) -> float:
        """Of the paired t test; of coarse differences at least that of the sign test."""
        found = p_value(self.differences)
        return max(found, sign_p_value(self.differences)) if self.coarse else found


@dataclass(frozen=True)
class Judgement:
    """What the seeds say to a claim.

    Attributes:
        claim: The claim.
        p: Of the claim, adjusted for the number of claims in the report.
    """

    claim: Claim
    p: float

    @property
    def difference(self) -> Estimate:
        """The mean difference with its own 95 % interval, not adjusted."""
        return estimate(self.claim.differences)

    @property
    def verdict(self) -> str:
        """Whether it holds."""
        if len(self.claim.differences) < 2:
            return "one seed shows nothing"
        if self.p < 1 - LEVEL:
            return "holds" if self.difference.mean > 0 else "the reverse holds"
        return "no difference shown"

    @property
    def least(self) -> str:
        """Where no difference is shown, the one that so many seeds with such a spread would have shown."""
        if len(self.claim.differences) < 2 or self.p < 1 - LEVEL or self.claim.coarse:
            return ""
        return f"{smallest_difference(self.claim.differences) * self.claim.scale:.1f} {self.claim.unit}"

    def row(self) -> list[str]:
        """For a table: claim, condition, difference, p, verdict, what would have been shown."""
        chance = "" if len(self.claim.differences) < 2 else ("< 0.001" if self.p < 0.001 else f"{self.p:.3f}")
        size = f"{self.difference.text(scale=self.claim.scale, sign=True)} {self.claim.unit}"
        return [self.claim.text, self.claim.where, size, chance, self.verdict, self.least]


HEADER = ["claim", "where", "difference", "p (Holm)", "here", "would have shown"]


def tally(judgements: Sequence[Judgement]) -> str:
    """How many claims hold, in a sentence."""
    found = Counter(judgement.verdict for judgement in judgements)
    counts = [f"{count} of {len(judgements)} claims: {verdict}" for verdict, count in found.most_common()]
    return "; ".join(counts) + "."


def judge(claims: Sequence[Claim]) -> list[Judgement]:
    """Judge all claims of one report together, by Holm's correction; one without any seed is left out."""
    known = [claim for claim in claims if claim.differences]
    # A single seed has no p and takes no part in the correction.
    tested = [claim for claim in known if len(claim.differences) > 1]
    adjusted = iter(holm([claim.p_value for claim in tested]))
    return [Judgement(claim, next(adjusted) if len(claim.differences) > 1 else 1.0) for claim in known]
