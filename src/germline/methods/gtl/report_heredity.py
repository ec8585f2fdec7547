"""Report on the record `heredity`: what selection had to work with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict

from germline.reporting.html import Rows, Section
from germline.reporting.statistics import estimate

HEADING = "What selection had to work with"
NOTE = (
    "Spread: standard deviation of fitness within tournaments. Noise: standard error of one gene's fitness, from its "
    "critics' disagreement. For the accuracy of a single critic it is that of so many images. Reliability: share of "
    "the differences in fitness that is not noise. Repeatability: intraclass correlation of single marks, over tasks "
    "and over seeds of one task. Heritability: slope of children's fitness on their father's, among genes that met the "
    "same critics, ± standard error by father. Differential: how far fathers are above the others that met their "
    "critics. Line: lives through which the saved gene has passed, and the images they saw."
)
_UNKNOWN = "not measured"


class HeredityRecord(BaseModel):
    """Record of what selection had to work with; None where it could not be measured.

    Attributes:
        spread: Standard deviation of fitness within tournaments.
        noise: Standard error of a gene's fitness.
        reliability: Share of the variance of fitness that is between genes.
        repeatability_tasks: Intraclass correlation of marks over tasks.
        repeatability_seeds: Intraclass correlation of marks over seeds of one task.
        heritability: Slope of the regression of children on fathers.
        heritability_error: Standard error of that slope.
        correlation: Correlation of children and fathers.
        correlation_error: Standard error of that correlation.
        pairs: Number of pairs of child and father.
        differential: Mean of fathers above the mean of their generation.
        intensity: Differential in standard deviations of a generation.
        line_lives: Lives of the saved gene's line.
        line_images: Images of that line.
        images: Images of the whole evolution.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    spread: float | None
    noise: float | None
    reliability: float | None
    repeatability_tasks: float | None
    repeatability_seeds: float | None
    heritability: float | None
    heritability_error: float | None
    correlation: float | None
    correlation_error: float | None
    pairs: int
    differential: float | None
    intensity: float | None
    line_lives: int
    line_images: int
    images: int


Heredities = Mapping[str, Mapping[int, HeredityRecord]]  # by arm and seed
# Quantities of the table: title, field, its standard error, and digits.
QUANTITIES: tuple[tuple[str, str, str | None, int], ...] = (
    ("spread within tournaments", "spread", None, 4),
    ("noise of a gene's fitness", "noise", None, 4),
    ("reliability of fitness", "reliability", None, 2),
    ("repeatability over tasks", "repeatability_tasks", None, 2),
    ("repeatability over seeds", "repeatability_seeds", None, 2),
    ("heritability", "heritability", "heritability_error", 2),
    ("father-child correlation", "correlation", "correlation_error", 2),
    ("pairs of child and father", "pairs", None, 0),
    ("selection differential", "differential", None, 4),
    ("selection differential, deviations", "intensity", None, 2),
    ("lives of the saved gene's line", "line_lives", None, 0),
    ("images of that line", "line_images", None, 0),
    ("images of the whole evolution", "images", None, 0),
)


def parse(value: Any) -> HeredityRecord:
    """Check the record that a gene holds.

    Raises:
        ValueError: It is damaged.
    """
    return HeredityRecord.model_validate(value)


def comparison_sections(arms: Sequence[str], records: Heredities) -> list[Section]:
    """Show all quantities of every arm, as means over seeds."""
    note = f"{NOTE} Values are means over seeds; behind ± is half of the 95 % interval."
    return [Section(HEADING, note, heredity_table(records))]


def gene_sections(record: HeredityRecord) -> list[Section]:
    """Show all quantities of one evolution."""
    rows = [[title, _value_text(record, field, error, digits)] for title, field, error, digits in QUANTITIES]
    return [Section(HEADING, NOTE, [["quantity", "value"], *rows])]


def heredity_table(records: Heredities) -> Rows:
    """List all quantities by arm, as means over seeds."""
    rows = [
        [title, *(_mean_text(list(seeds.values()), field, digits) for seeds in records.values())]
        for title, field, _, digits in QUANTITIES
    ]
    return [["quantity", *records], *rows]


def _value_text(record: HeredityRecord, field: str, error: str | None, digits: int) -> str:
    value, spread = getattr(record, field), getattr(record, error) if error else None
    if value is None:
        return _UNKNOWN
    return f"{value:,.{digits}f}" + (f" ± {spread:.{digits}f}" if spread is not None else "")


def _mean_text(records: Sequence[HeredityRecord], field: str, digits: int) -> str:
    values = [value for record in records if (value := getattr(record, field)) is not None]
    if not values:
        return _UNKNOWN
    if digits == 0 and len(set(values)) == 1:
        return f"{values[0]:,}"
    return estimate(values).text(scale=1, digits=digits)
