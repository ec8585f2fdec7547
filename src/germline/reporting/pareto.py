"""The frontier of a family: the networks that none of it beats at their own price."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from germline.reporting.plotting import legend, style, svg, within_shares
from germline.reporting.statistics import Estimate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Axis = Literal["parameters", "flops"]
AXES: dict[Axis, str] = {"parameters": "parameters", "flops": "FLOPs"}


@dataclass(frozen=True)
class Point:
    """One network of a family.

    Attributes:
        size: In the size language.
        parameters: With its head.
        flops: Operations of one picture's forward pass; a multiply-add counts as two.
        accuracy: As a share of 1, over seeds where there are several.
    """

    size: str
    parameters: int
    flops: int
    accuracy: Estimate


def frontier(points: Sequence[Point], axis: Axis) -> list[Point]:
    """Those that no other one dominates, from the cheapest on: none that costs as little is more accurate."""
    kept = [
        point
        for point in points
        if not any(
            getattr(other, axis) <= getattr(point, axis) and other.accuracy.mean > point.accuracy.mean
            for other in points
        )
    ]
    return sorted(kept, key=lambda point: (getattr(point, axis), point.accuracy.mean))


def drawing(arms: Sequence[str], families: Mapping[str, Sequence[Point]], measured: str) -> str:
    """Accuracy over parameters and over operations as SVG, with intervals where there are several seeds.

    Args:
        arms: All of them, so that each keeps its colour and marker.
        families: Points by arm. Those on the arm's frontier are filled and joined by a line (`frontier-ARM-parameters`,
            `frontier-ARM-flops`), all others are hollow (`others-...`).
        measured: What accuracy it is, such as "test accuracy".
    """

    def draw(figure: Figure) -> None:
        panels = figure.subplots(1, len(AXES), sharey=True)
        for panel, (axis, name) in zip(panels, AXES.items(), strict=True):
            for arm, points in families.items():
                _family(panel, arm, points, axis, arms.index(arm))
            panel.set_xlabel(f"{name}, millions")
            panel.grid(alpha=0.3)
        within_shares(panels[0])
        panels[0].set_ylabel(f"{measured}, %")
        legend(figure, len(AXES))

    return svg(draw, width=11, height=4.6)


def _family(panel: Axes, arm: str, points: Sequence[Point], axis: Axis, index: int) -> None:
    look, best = style(index), frontier(points, axis)
    places = {"on": best, "off": [point for point in points if point not in best]}
    where = {key: [getattr(point, axis) / 1e6 for point in kept] for key, kept in places.items()}
    heights = {key: [100 * point.accuracy.mean for point in kept] for key, kept in places.items()}
    on_meta_device = {"color": look["color"], "marker": look["marker"], "linestyle": "", "mfc": "white", "ms": 4}
    if places["off"]:
        panel.plot(where["off"], heights["off"], gid=f"others-{arm}-{axis}", zorder=2, **on_meta_device)
    panel.plot(where["on"], heights["on"], gid=f"frontier-{arm}-{axis}", label=arm, ms=5, zorder=3, **look)
    for key, kept in places.items():
        halves = [100 * point.accuracy.half if point.accuracy.count > 1 else 0 for point in kept]
        panel.errorbar(where[key], heights[key], halves, fmt="none", ecolor=look["color"], lw=0.6, alpha=0.5, zorder=1)
