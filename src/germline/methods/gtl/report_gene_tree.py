"""Report on the record `gene_tree`: which gene was made from which, and the line of the saved gene."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter

from germline.methods.gtl.report_tree_layout import (
    GeneRecord,
    GeneTree,
    TreeLayout,
    lay_out,
    select_genes,
    trace_descent,
)
from germline.reporting.hover import describe_points
from germline.reporting.html import Section
from germline.reporting.plotting import COLOUR_STEPS, COLOURS, PAGE_WIDTH, render_svg, use_whole_numbers

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from matplotlib.figure import Figure

_STORED = TypeAdapter(tuple[GeneRecord, ...])


def parse(value: Any) -> GeneTree:
    """Check the gene tree that a gene records, and return it by number.

    Raises:
        ValueError: It is damaged or empty, or a gene comes before its father.
    """
    tree: dict[int, GeneRecord] = {}
    for gene in _STORED.validate_python(value):
        if tree and gene.id <= max(tree):
            raise ValueError(f"gene {gene.id} is out of order")
        if gene.father is not None and (gene.father not in tree or tree[gene.father].generation >= gene.generation):
            raise ValueError(f"gene {gene.id} has no father {gene.father} of an earlier generation")
        tree[gene.id] = gene
    if not tree or sum(gene.final for gene in tree.values()) > 1:
        raise ValueError("there is at least one gene, and at most one final one")
    return tree


def comparison_sections(arms: Sequence[str], records: Mapping[str, Mapping[int, GeneTree]]) -> list[Section]:
    """Show the gene tree of each arm's first seed."""
    sections = []
    for arm, trees in records.items():
        seed, tree = next(iter(trees.items()))
        sections.append(_tree_section(f"Gene tree of {arm}", tree, f"Seed {seed}. ", f"{arm}-"))
    return sections


def gene_sections(record: GeneTree) -> list[Section]:
    """Show the gene tree of one gene."""
    return [_tree_section("Gene tree", record, "", "")]


def _tree_section(heading: str, tree: GeneTree, beginning: str, prefix: str) -> Section:
    drawn = select_genes(tree)
    note = (
        f"{beginning}Each dot is one of {len(tree):,} genes; a line leads to it from its father. Colour is the score. "
        "Filled dots won their tournament, and dots with a ring were in the pool at the end. The thick line leads to "
        "the saved gene."
    )
    if len(drawn) < len(tree):
        note += f" Only the {len(drawn):,} genes that won, and their fathers, are drawn."
    return Section(heading, note, draw_tree(drawn, prefix))


def draw_tree(tree: GeneTree, prefix: str = "") -> str:
    """Draw a tree as SVG.

    Args:
        tree: Genes to draw.
        prefix: Text before the names of its elements (`gene-3`, `line-3`, `descent-3`, `ring-3`), for pages with
            several trees.
    """
    layout = lay_out(tree)
    generations = {gene.generation for gene in tree.values()}
    height = min(9.0, max(3.0, 1.4 + 0.16 * layout.rows))
    column_width = PAGE_WIDTH / (max(generations) - min(generations) + 1)
    marker_size = min(7.0, max(1.8, 0.36 * 72 * min((height - 1) / layout.rows, column_width)))

    def draw(figure: Figure) -> None:
        panel = figure.subplots()
        scale = _colour_scale([gene.score for gene in tree.values()])
        _draw_lines(panel, layout, trace_descent(tree), prefix)
        _draw_genes(panel, tree.values(), layout, scale, marker_size, prefix)
        xs, ys = zip(*(layout.positions[number] for number in tree), strict=True)
        describe_points(panel, xs, ys, list(map(_describe_gene, tree.values())))
        panel.set_xlabel("generation")
        use_whole_numbers(panel)
        panel.set_yticks([])
        panel.set_ylim(0, 1)
        for edge in ("left", "right", "top"):
            panel.spines[edge].set_visible(False)
        figure.colorbar(scale, ax=panel, label="score", pad=0.01, aspect=30)
        _add_key(figure)

    return render_svg(draw, width=PAGE_WIDTH, height=height, is_light=True)


def _describe_gene(gene: GeneRecord) -> str:
    fate = ("won" if gene.won else "lost") + (", in the pool at the end" if gene.pool else "")
    return f"gene {gene.id}, generation {gene.generation}: score {gene.score:.3g}, {fate}"


def _colour_scale(scores: Sequence[float]) -> ScalarMappable:
    """Map scores to colours, dark for high ones; the palest colours are left out because they are lost on white."""
    import matplotlib as mpl
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import ListedColormap, Normalize

    colour_map = mpl.colormaps["cividis_r"]
    colours = ListedColormap([colour_map(0.1 + 0.9 * step / (COLOUR_STEPS - 1)) for step in range(COLOUR_STEPS)])
    low, high = min(scores), max(scores)
    return ScalarMappable(Normalize(low, high if high > low else low + 1), colours)


def _draw_lines(panel: Axes, layout: TreeLayout, descent: Sequence[int], prefix: str) -> None:
    for child, points in layout.lines.items():
        xs, ys = zip(*points, strict=True)
        panel.plot(xs, ys, color="#b0b0b0", lw=0.6, zorder=1, gid=f"{prefix}line-{child}")
        if child in descent:
            panel.plot(xs, ys, color=COLOURS[1], lw=2.6, zorder=2, gid=f"{prefix}descent-{child}")


def _draw_genes(
    panel: Axes, genes: Collection[GeneRecord], layout: TreeLayout, scale: ScalarMappable, size: float, prefix: str
) -> None:
    import numpy as np

    colours = scale.to_rgba(np.array([gene.score for gene in genes]))
    for gene, colour in zip(genes, colours, strict=True):
        x, y = layout.positions[gene.id]
        marker: dict[str, Any] = {"mec": colour, "mfc": colour if gene.won else "white", "mew": 0.35 * size**0.5}
        panel.plot(x, y, "o", ms=size, zorder=3, gid=f"{prefix}gene-{gene.id}", **marker)
        if gene.pool:
            panel.plot(x, y, "o", ms=1.8 * size, mfc="none", mec="black", zorder=4, gid=f"{prefix}ring-{gene.id}")


def _add_key(figure: Figure) -> None:
    from matplotlib.lines import Line2D

    dot: dict[str, Any] = {"marker": "o", "linestyle": "", "color": "#4a4a4a", "ms": 6}
    handles = [
        Line2D([], [], label="won", **dot),
        Line2D([], [], label="lost", **{**dot, "mfc": "white"}),
        Line2D([], [], label="in the pool at the end", **{**dot, "mfc": "none", "color": "black", "ms": 9}),
        Line2D([], [], label="line of the saved gene", color=COLOURS[1], lw=2.6),
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=4, fontsize=8)
