"""Figures of docs/gallery.md, drawn by the report engine from files in benchmarks/results."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from germline.compare.analysis.results import ComparisonResults, Condition, accuracy_at
from germline.compare.report.paths_protocol import family_points
from germline.methods.auto.report import parse as parse_choice
from germline.methods.auto.report_figures import draw_chosen_layers
from germline.methods.gtl.report_gene_tree import draw_tree
from germline.methods.gtl.report_gene_tree import parse as parse_tree
from germline.methods.openworld.report import parse as parse_collective
from germline.methods.openworld.report_figures import draw_heat
from germline.methods.tleg.expansion import block_positions
from germline.reporting.pareto import draw_pareto_fronts
from germline.reporting.plotting import add_legend, arm_style, render_svg
from germline.reporting.statistics import estimate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

RESULTS = Path(__file__).resolve().parents[1] / "benchmarks" / "results"
DEPTHS = (3, 6, 12)


def read_gallery(part: str) -> dict[str, Any]:
    """Return one part of the gallery's numbers."""
    return dict(json.loads((RESULTS / "gallery.json").read_text(encoding="utf-8"))[part])


def draw_tleg_line() -> str:
    """Draw weights over the place of their block, and accuracy over depth before any training."""
    lines = read_gallery("tleg")["lines"]
    results = ComparisonResults.load(RESULTS / "tleg-same-labels.json")

    def draw(figure: Figure) -> None:
        weights, accuracy = figure.subplots(1, 2)
        for offset, slope in lines:
            weights.plot([0, 1], [offset, offset + slope], color="#8a8a8a", lw=1.2, zorder=1)
        for index, depth in enumerate(DEPTHS):
            places = [place for _, place in block_positions(depth, (depth,), "zero")]
            dots = [(place, offset + place * slope) for offset, slope in lines for place in places]
            style = {**arm_style(index), "linestyle": "", "ms": 9 - 2.5 * index, "mfc": "none", "mew": 1.4}
            weights.plot(*zip(*dots, strict=True), label=f"the blocks of depth {depth}", **style)
        weights.set_xlabel("place of the block, from the first (0) to the last")
        weights.set_ylabel("seven weights of a layer")
        _draw_accuracy_by_depth(accuracy, results)
        for panel in (weights, accuracy):
            panel.grid(alpha=0.3)
        add_legend(figure, 1)

    return render_svg(draw, width=9.5, height=4.2)


def _draw_accuracy_by_depth(panel: Axes, results: ComparisonResults) -> None:
    """Draw the accuracy of descendants before any training; bars are 95 % intervals."""
    names = {"gene": "grown from the gene", "layers": "layers of the ancestor", "scratch": "random weights"}
    for index, (arm, name) in enumerate(names.items(), start=len(DEPTHS)):
        points = []
        for size in results.sizes_of(arm):
            for images in results.recipe["images_per_class"]:
                cells = results.cells(arm, Condition(size, images)).values()
                points.append((int(size.partition("=")[2]), estimate([accuracy_at(0)(cell) for cell in cells])))
        depths, means = [depth for depth, _ in points], [100 * value.mean for _, value in points]
        panel.errorbar(depths, means, [100 * value.half for _, value in points], label=name, ms=6, **arm_style(index))
    panel.set_xlabel("depth of the descendant, blocks")
    panel.set_ylabel("accuracy without training, %")
    panel.set_ylim(bottom=0)


def draw_spectra() -> str:
    """Draw the share of energy over the frequencies of depth and of channels."""
    spectra = read_gallery("front")["spectra"]
    titles = {"depth": "along depth", "channels": "along channels, eight bands"}

    def draw(figure: Figure) -> None:
        panels = figure.subplots(1, 2, sharey=True)
        for panel, (key, title) in zip(panels, titles.items(), strict=True):
            for index, name in enumerate(("ancestor", "shuffled")):
                values = [100 * share for share in spectra[name][key]]
                label = "network trained on CIFAR-100" if name == "ancestor" else "the same, shuffled"
                panel.plot(range(len(values)), values, label=label, ms=6, **arm_style(index))
            panel.set_title(title, fontsize=10)
            panel.set_xlabel("frequency, from low to high")
            panel.grid(alpha=0.3)
        panels[0].set_ylabel("share of energy, %")
        panels[0].set_ylim(0, 16)
        add_legend(figure, 2)

    return render_svg(draw, width=8.5, height=3.6)


def draw_evolution() -> str:
    """Draw the gene tree of an evolution on CIFAR-FS."""
    return draw_tree(parse_tree(read_gallery("gtl")["gene_tree"]))


def draw_pool_front() -> str:
    """Draw the Pareto fronts of a pool and of its controls on CIFAR-100."""
    results = ComparisonResults.load(RESULTS / "pool-cifar100.json")
    images = results.recipe["images_per_class"][0]
    families = {arm: points for arm in results.arms if (points := family_points(results, arm, images))}
    return draw_pareto_fronts(results.arms, families, "test accuracy")


def draw_layer_choice() -> str:
    """Draw the layers that `auto` chooses, for the first seed."""
    return draw_chosen_layers(parse_choice(_first_record("auto-cifar-fs", "layers")))


def draw_collective_heat() -> str:
    """Draw the heat of a collective network on CIFAR-FS, for the first seed."""
    return draw_heat(parse_collective(_first_record("openworld-cifar-fs", "collective")))


def _first_record(name: str, kind: str) -> Any:
    results = ComparisonResults.load(RESULTS / f"{name}.json")
    return next(record for arm, _, record in results.records(kind) if arm == results.subject)


GALLERY: dict[str, Callable[[], str]] = {
    "gallery-tleg": draw_tleg_line,
    "gallery-gtl": draw_evolution,
    "gallery-pool": draw_pool_front,
    "gallery-auto": draw_layer_choice,
    "gallery-openworld": draw_collective_heat,
    "gallery-front": draw_spectra,
}
