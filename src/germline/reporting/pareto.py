"""Pareto fronts of families: the networks that no other network of the family beats at their own cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from germline.reporting.hover import describe_points
from germline.reporting.plotting import add_legend, arm_style, clip_to_percent, render_svg
from germline.reporting.statistics import Estimate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Axis = Literal["parameters", "flops"]
AXES: dict[Axis, str] = {"parameters": "parameters", "flops": "FLOPs"}
FRONT_NOTE = "A filled mark is on the Pareto front: no other network of at most this cost is more accurate."


@dataclass(frozen=True)
class NetworkPoint:
    """Cost and accuracy of one network of a family.

    Attributes:
        size: Size of the network in the size language.
        parameters: Number of parameters, the head included.
        flops: FLOPs of one image's forward pass; a multiply-add counts as two.
        accuracy: Accuracy as a share of 1, over seeds if there are several.
    """

    size: str
    parameters: int
    flops: int
    accuracy: Estimate


def pareto_front(points: Sequence[NetworkPoint], axis: Axis) -> list[NetworkPoint]:
    """Return the points that no point of the same or lower cost beats, the cheapest first."""
    front = [
        point
        for point in points
        if not any(
            getattr(other, axis) <= getattr(point, axis) and other.accuracy.mean > point.accuracy.mean
            for other in points
        )
    ]
    return sorted(front, key=lambda point: (getattr(point, axis), point.accuracy.mean))


def draw_pareto_fronts(arms: Sequence[str], families: Mapping[str, Sequence[NetworkPoint]], measured: str) -> str:
    """Draw accuracy over parameters and over FLOPs as SVG, with intervals if there are several seeds.

    Args:
        arms: All arms of the comparison, so that each one keeps its colour and marker.
        families: Points by arm. Points on the arm's front are filled and joined by a line (`front-ARM-parameters`,
            `front-ARM-flops`); all others are hollow (`others-...`).
        measured: Name of the accuracy, such as "test accuracy".
    """

    def draw(figure: Figure) -> None:
        panels = figure.subplots(1, len(AXES), sharey=True)
        for panel, (axis, name) in zip(panels, AXES.items(), strict=True):
            for arm, points in families.items():
                _draw_family(panel, arm, points, axis, arms.index(arm))
            panel.set_xlabel(f"{name}, millions")
            panel.grid(alpha=0.3)
        clip_to_percent(panels[0])
        panels[0].set_ylabel(f"{measured}, %")
        add_legend(figure, len(AXES))

    return render_svg(draw, width=11, height=4.6)


def _draw_family(panel: Axes, arm: str, points: Sequence[NetworkPoint], axis: Axis, index: int) -> None:
    line, front = arm_style(index), pareto_front(points, axis)
    groups = {"front": front, "others": [point for point in points if point not in front]}
    costs = {key: [getattr(point, axis) / 1e6 for point in group] for key, group in groups.items()}
    heights = {key: [100 * point.accuracy.mean for point in group] for key, group in groups.items()}
    hollow = {"color": line["color"], "marker": line["marker"], "linestyle": "", "mfc": "white", "ms": 4}
    if groups["others"]:
        panel.plot(costs["others"], heights["others"], gid=f"others-{arm}-{axis}", zorder=2, **hollow)
    panel.plot(costs["front"], heights["front"], gid=f"front-{arm}-{axis}", label=arm, ms=5, zorder=3, **line)
    for key, group in groups.items():
        texts = [f"{arm}, {point.size or 'own size'}: {point.accuracy.text()} %" for point in group]
        describe_points(panel, costs[key], heights[key], texts)
        halves = [100 * point.accuracy.half if point.accuracy.count > 1 else 0 for point in group]
        panel.errorbar(costs[key], heights[key], halves, fmt="none", ecolor=line["color"], lw=0.6, alpha=0.5, zorder=1)
