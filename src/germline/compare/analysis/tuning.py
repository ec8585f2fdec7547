"""Choice of an arm's settings on its tuning grid, and whether the grid was wide enough."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from germline.baselines.fresh_start import START_LABELS

Edge = Literal["lowest", "highest"]
CHOSEN_KEYS = ("lr", "weight_decay", *START_LABELS)


def choose_point(points: list[dict[str, Any]]) -> dict[str, Any]:
    """Choose the grid point with the highest validation accuracy; the first of equal ones.

    Returns:
        The chosen settings, their accuracy (-1 if all points failed) and the whole grid.
    """
    known = [point for point in points if point["accuracy"] is not None]
    best = max(known, key=lambda point: float(point["accuracy"])) if known else {**points[0], "accuracy": -1.0}
    chosen = {key: best[key] for key in CHOSEN_KEYS if key in best}
    return {**chosen, "accuracy": best["accuracy"], "grid": points}


def find_edge(tuned: Mapping[str, Any]) -> Edge | None:
    """Return which edge of its grid an arm's chosen rate is at; None inside, for one rate, or if all points failed."""
    rates = _list_rates(tuned)
    if len(rates) < 2 or has_failed(tuned) or rates[0] < tuned["lr"] < rates[-1]:
        return None
    return "lowest" if tuned["lr"] == rates[0] else "highest"


def has_failed(tuned: Mapping[str, Any]) -> bool:
    """Tell whether all points of an arm's grid failed, so that its first point is used for want of a better one."""
    return all(point["accuracy"] is None for point in tuned["grid"])


def extend_rates(tuned: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """Return the next learning rate of each arm whose chosen rate is at an edge.

    It is as far from the edge as the edge is from its neighbour, as a ratio, rounded to three digits.
    """
    rates = {}
    for arm, entry in tuned.items():
        edge, tried = find_edge(entry), _list_rates(entry)
        if edge is not None:
            last, before = (tried[0], tried[1]) if edge == "lowest" else (tried[-1], tried[-2])
            rates[arm] = float(f"{last * last / before:.3g}")
    return rates


def _list_rates(tuned: Mapping[str, Any]) -> list[float]:
    """List the rates of a grid in rising order; none for a grid of initial values alone."""
    return sorted({point["lr"] for point in tuned["grid"] if "lr" in point})
