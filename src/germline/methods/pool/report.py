"""The paths of a gene: every network that it grows without training, as it was measured when the gene was made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pydantic import BaseModel, ConfigDict, Field

from germline.reporting.html import Rows, Section
from germline.reporting.pareto import AXES, Point, drawing, frontier
from germline.reporting.statistics import estimate

FRONTIER = "A filled mark is on the frontier: no other network that costs as little is more accurate."


class _Kept(BaseModel):
    # A method may tell more.
    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class Path(_Kept):
    """One network that a gene grows.

    Attributes:
        size: In the size language.
        parameters: With its head.
        headless_parameters: Without it.
        flops: Operations of one picture's forward pass; a multiply-add counts as two.
        accuracy: As a share of 1.
    """

    size: str
    parameters: int = Field(ge=1)
    headless_parameters: int = Field(ge=1)
    flops: int = Field(ge=0)
    accuracy: float = Field(ge=0, le=1)


class Paths(_Kept):
    """All that a gene grows, and on what it was measured.

    Attributes:
        data: Name of the data set.
        split: Which of its parts.
        paths: One entry a network.
    """

    data: str
    split: str
    paths: tuple[Path, ...] = Field(min_length=1)

    @property
    def points(self) -> list[Point]:
        """What is drawn of them."""
        return [Point(path.size, path.parameters, path.flops, estimate([path.accuracy])) for path in self.paths]


def read(value: object) -> Paths:
    """The paths that a gene keeps.

    Raises:
        ValueError: They are not what is kept of paths, none at all, or one of them twice.
    """
    found = Paths.model_validate(value)
    sizes = [path.size for path in found.paths]
    if len(set(sizes)) != len(sizes):
        raise ValueError("a size stands twice")
    return found


def among(arms: Sequence[str], found: Mapping[str, Mapping[int, Paths]]) -> list[Section]:
    """The paths of every arm that has them, as means over the seeds, in one picture."""
    measured = dict.fromkeys(f"{one.split} of {one.data}" for seeds in found.values() for one in seeds.values())
    note = (
        f"Every network that a gene grows, measured on {' or '.join(measured)} when the gene was made; means with 95 % "
        f"intervals over seeds. {FRONTIER}"
    )
    families = {arm: _means(list(seeds.values())) for arm, seeds in found.items()}
    return [Section("The paths of the genes", note, drawing(arms, families, "accuracy"))]


def _means(seeds: Sequence[Paths]) -> list[Point]:
    """Each path that all seeds have, its accuracy over them."""
    by_seed = [{path.size: path.accuracy for path in one.paths} for one in seeds]
    return [
        Point(path.size, path.parameters, path.flops, estimate([known[path.size] for known in by_seed]))
        for path in seeds[0].paths
        if all(path.size in known for known in by_seed)
    ]


def alone(found: Paths) -> list[Section]:
    """The paths of one gene, drawn and listed."""
    where = f"{len(found.paths)} networks that the gene grows, measured on {found.split} of {found.data}"
    image = drawing(["gene"], {"gene": found.points}, f"accuracy on {found.split}")
    return [
        Section("The paths of the gene", f"{where}. {FRONTIER}", image),
        Section("Path by path", f"{where}; the smallest first.", table(found)),
    ]


def table(found: Paths) -> Rows:
    """Path by path, the smallest first: size, parameters, operations, accuracy, and on which frontiers it is."""
    best = {axis: {point.size for point in frontier(found.points, axis)} for axis in AXES}
    rows = [["size", "parameters", "without head", "MFLOP a picture", "accuracy, %", "frontier"]]
    for path in sorted(found.paths, key=lambda path: (path.parameters, path.flops)):
        on = [AXES[axis] for axis in AXES if path.size in best[axis]]
        told = "both" if len(on) == len(AXES) else "".join(on)
        counts = [f"{path.parameters:,}", f"{path.headless_parameters:,}", f"{path.flops / 1e6:,.1f}"]
        rows.append([path.size, *counts, f"{100 * path.accuracy:.1f}", told])
    return rows
