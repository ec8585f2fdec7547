"""The gene tree: who came from whom, and which line led to the gene that was kept."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, TypeAdapter

from germline.reporting.html import Section
from germline.reporting.plotting import COLOURS, svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from matplotlib.figure import Figure

MOST = 400  # genes that are all drawn; of more, those that won
WIDTH = 11.0  # inches
SHADES = 24  # more, and matplotlib would embed the scale as a bitmap


class Gene(BaseModel):
    """What is kept of one gene that was made on the way.

    Attributes:
        id: Its number, rising in the order in which genes were made.
        father: Number of the gene that it came from; None for one that was drawn.
        generation: In which it was made.
        fitness: As it was measured, as a share of 1.
        score: By which it was chosen.
        won: Whether it won its tournament.
        pool: Whether it was in the pool at the end.
        final: Whether it is the gene that was kept.
    """

    # A method may tell more.
    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    id: int
    father: int | None
    generation: int
    fitness: float
    score: float
    won: bool
    pool: bool
    final: bool


Tree = Mapping[int, Gene]
Point = tuple[float, float]
_KEPT = TypeAdapter(tuple[Gene, ...])


def read(value: Any) -> Tree:
    """The gene tree that a gene keeps, by number.

    Raises:
        ValueError: It is not what is kept of genes, empty, or a gene stands before its father.
    """
    tree: dict[int, Gene] = {}
    for gene in _KEPT.validate_python(value):
        if tree and gene.id <= max(tree):
            raise ValueError(f"gene {gene.id} stands out of its order")
        if gene.father is not None and (gene.father not in tree or tree[gene.father].generation >= gene.generation):
            raise ValueError(f"gene {gene.id} has no father {gene.father} of an earlier generation")
        tree[gene.id] = gene
    if not tree or sum(gene.final for gene in tree.values()) > 1:
        raise ValueError("there is at least one gene, and at most one final one")
    return tree


def descent(tree: Tree) -> list[int]:
    """From a gene without a father down to the final one; empty where none is final."""
    found = [gene.id for gene in tree.values() if gene.final]
    while found and (father := tree[found[-1]].father) is not None:
        found.append(father)
    return found[::-1]


def shown(tree: Tree) -> Tree:
    """The genes that are drawn: all of them, or of too many the winners, the final one, and their fathers."""
    if len(tree) <= MOST:
        return tree
    kept: set[int] = set()
    for gene in tree.values():
        line: Gene | None = gene if gene.won or gene.final else None
        while line is not None and line.id not in kept:
            kept.add(line.id)
            line = None if line.father is None else tree[line.father]
    return {at: gene for at, gene in tree.items() if at in kept}


@dataclass(frozen=True)
class Layout:
    """Where genes stand, so that no two lines cross.

    Attributes:
        places: Generation, and height in [0, 1], by gene.
        lines: By gene that has a father, the points from his place to its own.
        rows: The most that stand above each other.
    """

    places: Mapping[int, Point]
    lines: Mapping[int, Sequence[Point]]
    rows: int


def layout(tree: Tree) -> Layout:
    """Lay a tree out, generation by generation from left to right.

    A father stays in the picture, as a line, up to the generation before his last child's. All lines then lead from
    one generation to the next, and none cross where every generation is ordered by its fathers.
    """
    born: dict[tuple[int | None, int], list[int]] = {}
    last = {gene.id: gene.generation for gene in tree.values()}
    for gene in tree.values():
        born.setdefault((gene.father, gene.generation), []).append(gene.id)
        if gene.father is not None:
            last[gene.father] = max(last[gene.father], gene.generation - 1)
    layers: dict[int, list[int]] = {}
    for gene in tree.values():
        if gene.father is None:
            _walk((gene.id, gene.generation), born, last, layers)
    at = {
        (gene, generation): (float(generation), 1 - (rank + 0.5) / len(layer))
        for generation, layer in layers.items()
        for rank, gene in enumerate(layer)
    }
    lines = {
        gene.id: [at[gene.father, then] for then in range(tree[gene.father].generation, gene.generation)]
        + [at[gene.id, gene.generation]]
        for gene in tree.values()
        if gene.father is not None
    }
    places = {gene.id: at[gene.id, gene.generation] for gene in tree.values()}
    return Layout(places, lines, max(map(len, layers.values())))


def _walk(
    root: tuple[int, int],
    born: Mapping[tuple[int | None, int], Sequence[int]],
    last: Mapping[int, int],
    layers: dict[int, list[int]],
) -> None:
    """Enter a gene and all that come from it into the layers, each child right after those before it."""
    waiting = [root]
    while waiting:
        gene, generation = waiting.pop()
        layers.setdefault(generation, []).append(gene)
        after = list(born.get((gene, generation + 1), ()))
        if generation < last[gene]:
            after.insert(len(after) // 2, gene)
        waiting += [(one, generation + 1) for one in reversed(after)]


def among(arms: Sequence[str], found: Mapping[str, Mapping[int, Tree]]) -> list[Section]:
    """The gene tree of each arm that has one, for its first seed."""
    return [
        _section(f"The gene tree of {arm}", next(iter(trees.values())), f"Seed {next(iter(trees))}. ", f"{arm}-")
        for arm, trees in found.items()
    ]


def alone(found: Tree) -> list[Section]:
    """The gene tree of one gene."""
    return [_section("The gene tree", found, "", "")]


def _section(heading: str, whole: Tree, beginning: str, prefix: str) -> Section:
    tree = shown(whole)
    note = (
        f"{beginning}A dot is a gene, {len(whole):,} in all; a line leads to it from its father. Colour is its score; "
        "winners of their tournaments are filled, those left in the pool at the end are ringed, and the thick line "
        "leads to the gene that was kept."
    )
    if len(tree) < len(whole):
        note += f" Only the {len(tree):,} that won, or that these come from, are drawn."
    return Section(heading, note, drawing(tree, prefix))


def drawing(tree: Tree, prefix: str = "") -> str:
    """A tree as SVG; `prefix` tells its elements (`gene-3`, `line-3`, `descent-3`, `ring-3`) from other trees'."""
    where = layout(tree)
    generations = {gene.generation for gene in tree.values()}
    height = min(9.0, max(3.0, 1.4 + 0.16 * where.rows))
    across = WIDTH / (max(generations) - min(generations) + 1)
    side = min(7.0, max(1.8, 0.36 * 72 * min((height - 1) / where.rows, across)))

    def draw(figure: Figure) -> None:
        from matplotlib.ticker import MaxNLocator

        panel = figure.subplots()
        scale = _scale([gene.score for gene in tree.values()])
        _draw_lines(panel, where, descent(tree), prefix)
        _draw_genes(panel, tree.values(), where, scale, side, prefix)
        panel.set_xlabel("generation")
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
        panel.set_yticks([])
        panel.set_ylim(0, 1)
        for edge in ("left", "right", "top"):
            panel.spines[edge].set_visible(False)
        figure.colorbar(scale, ax=panel, label="score", pad=0.01, aspect=30)
        _explain(figure)

    return svg(draw, width=WIDTH, height=height)


def _scale(scores: Sequence[float]) -> ScalarMappable:
    """Colours of scores, dark for high ones, the palest of the map left out as they are lost on white."""
    import matplotlib as mpl
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import ListedColormap, Normalize

    whole = mpl.colormaps["cividis_r"]
    colours = ListedColormap([whole(0.1 + 0.9 * shade / (SHADES - 1)) for shade in range(SHADES)])
    low, high = min(scores), max(scores)
    return ScalarMappable(Normalize(low, high if high > low else low + 1), colours)


def _draw_lines(panel: Axes, where: Layout, line: Sequence[int], prefix: str) -> None:
    for child, points in where.lines.items():
        xs, ys = zip(*points, strict=True)
        panel.plot(xs, ys, color="#b0b0b0", lw=0.6, zorder=1, gid=f"{prefix}line-{child}")
        if child in line:
            panel.plot(xs, ys, color=COLOURS[1], lw=2.6, zorder=2, gid=f"{prefix}descent-{child}")


def _draw_genes(
    panel: Axes, genes: Collection[Gene], where: Layout, scale: ScalarMappable, side: float, prefix: str
) -> None:
    import numpy as np

    colours = scale.to_rgba(np.array([gene.score for gene in genes]))
    for gene, colour in zip(genes, colours, strict=True):
        x, y = where.places[gene.id]
        look: dict[str, Any] = {"mec": colour, "mfc": colour if gene.won else "white", "mew": 0.35 * side**0.5}
        panel.plot(x, y, "o", ms=side, zorder=3, gid=f"{prefix}gene-{gene.id}", **look)
        if gene.pool:
            panel.plot(x, y, "o", ms=1.8 * side, mfc="none", mec="black", zorder=4, gid=f"{prefix}ring-{gene.id}")


def _explain(figure: Figure) -> None:
    from matplotlib.lines import Line2D

    dot: dict[str, Any] = {"marker": "o", "linestyle": "", "color": "#4a4a4a", "ms": 6}
    handles = [
        Line2D([], [], label="won", **dot),
        Line2D([], [], label="lost", **{**dot, "mfc": "white"}),
        Line2D([], [], label="in the pool at the end", **{**dot, "mfc": "none", "color": "black", "ms": 9}),
        Line2D([], [], label="the kept gene's line", color=COLOURS[1], lw=2.6),
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=4, fontsize=8)
