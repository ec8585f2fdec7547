"""Report on the record `paths`: every network that a gene grows without training, measured with the gene."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pydantic import BaseModel, ConfigDict, Field

from germline.reporting.html import Rows, Section
from germline.reporting.pareto import AXES, FRONT_NOTE, NetworkPoint, draw_pareto_fronts, pareto_front
from germline.reporting.statistics import estimate


class _Record(BaseModel):
    # A method may record more.
    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class PathRecord(_Record):
    """Record of one network that a gene grows.

    Attributes:
        size: Size of the network in the size language.
        parameters: Number of parameters, the head included.
        headless_parameters: Number of parameters without the head.
        flops: FLOPs of one image's forward pass; a multiply-add counts as two.
        accuracy: Accuracy as a share of 1.
    """

    size: str
    parameters: int = Field(ge=1)
    headless_parameters: int = Field(ge=1)
    flops: int = Field(ge=0)
    accuracy: float = Field(ge=0, le=1)


class PathsRecord(_Record):
    """Record of all networks that a gene grows, and of the images they were measured on.

    Attributes:
        data: Name of the data set.
        split: Name of its part, such as "val".
        paths: One entry per network.
    """

    data: str
    split: str
    paths: tuple[PathRecord, ...] = Field(min_length=1)

    @property
    def points(self) -> list[NetworkPoint]:
        """The networks as points of a figure."""
        return [NetworkPoint(path.size, path.parameters, path.flops, estimate([path.accuracy])) for path in self.paths]


def parse(value: object) -> PathsRecord:
    """Check the paths that a gene records.

    Raises:
        ValueError: They are damaged or empty, or one of them is listed twice.
    """
    record = PathsRecord.model_validate(value)
    sizes = [path.size for path in record.paths]
    if len(set(sizes)) != len(sizes):
        raise ValueError("a size is listed twice")
    return record


def comparison_sections(arms: Sequence[str], records: Mapping[str, Mapping[int, PathsRecord]]) -> list[Section]:
    """Show the paths of every arm in one figure, as means over seeds."""
    measured = dict.fromkeys(f"{one.split} of {one.data}" for seeds in records.values() for one in seeds.values())
    note = (
        f"Every network that a gene grows, measured on {' or '.join(measured)} when the gene was made. Means with 95 % "
        f"intervals over seeds. {FRONT_NOTE}"
    )
    families = {arm: _mean_points(list(seeds.values())) for arm, seeds in records.items()}
    return [Section("The paths of the genes", note, draw_pareto_fronts(arms, families, "accuracy"))]


def _mean_points(seeds: Sequence[PathsRecord]) -> list[NetworkPoint]:
    """Return each path that all seeds have, with its accuracy over them."""
    by_seed = [{path.size: path.accuracy for path in one.paths} for one in seeds]
    return [
        NetworkPoint(path.size, path.parameters, path.flops, estimate([known[path.size] for known in by_seed]))
        for path in seeds[0].paths
        if all(path.size in known for known in by_seed)
    ]


def gene_sections(record: PathsRecord) -> list[Section]:
    """Show the paths of one gene as a figure and as a table."""
    where = f"{len(record.paths)} networks that the gene grows, measured on {record.split} of {record.data}"
    figure = draw_pareto_fronts(["gene"], {"gene": record.points}, f"accuracy on {record.split}")
    return [
        Section("The paths of the gene", f"{where}. {FRONT_NOTE}", figure),
        Section("Path by path", f"{where}; the smallest first.", size_table(record)),
    ]


def size_table(record: PathsRecord) -> Rows:
    """List the paths, the smallest first: size, cost, accuracy, and the Pareto fronts they are on."""
    fronts = {axis: {point.size for point in pareto_front(record.points, axis)} for axis in AXES}
    rows = [["size", "parameters", "without head", "MFLOPs per image", "accuracy, %", "Pareto front"]]
    for path in sorted(record.paths, key=lambda path: (path.parameters, path.flops)):
        axes = [AXES[axis] for axis in AXES if path.size in fronts[axis]]
        on_front = "both" if len(axes) == len(AXES) else "".join(axes)
        counts = [f"{path.parameters:,}", f"{path.headless_parameters:,}", f"{path.flops / 1e6:,.1f}"]
        rows.append([path.size, *counts, f"{100 * path.accuracy:.1f}", on_front])
    return rows
