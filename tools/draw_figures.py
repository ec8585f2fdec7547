"""Draw the figures of README and docs that show results, from the files in benchmarks/results.

    python tools/draw_figures.py

The functions of the report draw them. A figure of many arms shows those that its page speaks of.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

from gallery_figures import GALLERY
from germline.compare.analysis.results import ComparisonResults
from germline.compare.report.figures import draw_curves
from germline.compare.report.size_lines import draw_size_lines
from germline.files import write_text

ROOT = Path(__file__).resolve().parents[1]
SIZE_ARMS = ("front-units", "weight-selection-divide", "grow", "tleg", "sws", "scratch", "random-gene", "finetune")
# By name of the figure: the results, the function that draws, and the arms; no arms means all.
FIGURES: dict[str, tuple[str, Callable[[ComparisonResults], str], tuple[str, ...]]] = {
    "tleg-same-labels-curves": ("tleg-same-labels", lambda results: draw_curves(results, (100, 400)), ()),
    "family-alternatives": ("tleg-same-labels", draw_size_lines, ("gene", "scratch", "layers", "finetune")),
    "any-size-lines": ("any-size", draw_size_lines, SIZE_ARMS),
    "any-size-lets-lines": ("any-size-lets", draw_size_lines, ()),
    "any-size-1500-curves": ("any-size-1500", lambda results: draw_curves(results, (50, 300, 1500)), ()),
}


def load_arms(name: str, arms: tuple[str, ...]) -> ComparisonResults:
    """Load stored results, with these arms alone if any are named."""
    stored = json.loads((ROOT / "benchmarks" / "results" / f"{name}.json").read_text(encoding="utf-8"))
    if arms:
        stored.pop("sha256")  # of the whole file
        stored["recipe"]["arms"] = {arm: stored["recipe"]["arms"][arm] for arm in arms}
        stored["cells"] = [cell for cell in stored["cells"] if cell["asked"]["arm"] in arms]
    return ComparisonResults(stored)


def main() -> None:
    """Write all figures."""
    figures = {figure: draw(load_arms(name, arms)) for figure, (name, draw, arms) in FIGURES.items()}
    for figure, text in (figures | {figure: draw() for figure, draw in GALLERY.items()}).items():
        # An image of a page has no pointer.
        still = re.sub(r'<g class="points".*?</g>', "", text, flags=re.DOTALL)
        write_text(ROOT / "docs" / "images" / f"{figure}.svg", still)
        print(figure)


if __name__ == "__main__":
    main()
