"""Gene trees as they are drawn: which genes, and where, so that no two lines cross."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict

MAX_GENES = 400  # in a larger tree only winners are drawn


class GeneRecord(BaseModel):
    """Record of one gene of the evolution.

    Attributes:
        id: Number of the gene, rising in the order in which genes were made.
        father: Number of the gene that it was made from; None for a gene that was drawn.
        generation: Generation in which it was made.
        fitness: Measured fitness as a share of 1.
        score: Score by which it was selected.
        won: Whether it won its tournament.
        pool: Whether it was in the pool at the end.
        final: Whether it is the gene that was saved.
    """

    # A method may record more.
    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    id: int
    father: int | None
    generation: int
    fitness: float
    score: float
    won: bool
    pool: bool
    final: bool


GeneTree = Mapping[int, GeneRecord]
Coordinates = tuple[float, float]


@dataclass(frozen=True)
class TreeLayout:
    """Positions of genes, such that no two lines cross.

    Attributes:
        positions: Generation, and height in [0, 1], by gene.
        lines: Points from the father's position to the gene's, by gene that has a father.
        rows: Largest number of genes above each other.
    """

    positions: Mapping[int, Coordinates]
    lines: Mapping[int, Sequence[Coordinates]]
    rows: int


def trace_descent(tree: GeneTree) -> list[int]:
    """Return the line from a gene without a father down to the final one; empty if none is final."""
    line = [gene.id for gene in tree.values() if gene.final]
    while line and (father := tree[line[-1]].father) is not None:
        line.append(father)
    return line[::-1]


def select_genes(tree: GeneTree) -> GeneTree:
    """Return the genes to draw: all, or in a large tree the winners, the final gene, and their fathers."""
    if len(tree) <= MAX_GENES:
        return tree
    selected: set[int] = set()
    for gene in tree.values():
        line: GeneRecord | None = gene if gene.won or gene.final else None
        while line is not None and line.id not in selected:
            selected.add(line.id)
            line = None if line.father is None else tree[line.father]
    return {number: gene for number, gene in tree.items() if number in selected}


def lay_out(tree: GeneTree) -> TreeLayout:
    """Lay a tree out, generation by generation from left to right.

    A father continues as a line up to the generation before that of the last child. Every line then leads from one
    generation to the next. No lines cross if each generation is ordered by its fathers.
    """
    children: dict[tuple[int | None, int], list[int]] = {}
    last = {gene.id: gene.generation for gene in tree.values()}
    for gene in tree.values():
        children.setdefault((gene.father, gene.generation), []).append(gene.id)
        if gene.father is not None:
            last[gene.father] = max(last[gene.father], gene.generation - 1)
    layers: dict[int, list[int]] = {}
    for gene in tree.values():
        if gene.father is None:
            _fill_layers((gene.id, gene.generation), children, last, layers)
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
    positions = {gene.id: at[gene.id, gene.generation] for gene in tree.values()}
    return TreeLayout(positions, lines, max(map(len, layers.values())))


def _fill_layers(
    root: tuple[int, int],
    children: Mapping[tuple[int | None, int], Sequence[int]],
    last: Mapping[int, int],
    layers: dict[int, list[int]],
) -> None:
    """Add a gene and its descendants to the layers, each child right after the ones before it."""
    waiting = [root]
    while waiting:
        gene, generation = waiting.pop()
        layers.setdefault(generation, []).append(gene)
        after = list(children.get((gene, generation + 1), ()))
        if generation < last[gene]:
            after.insert(len(after) // 2, gene)
        waiting += [(child, generation + 1) for child in reversed(after)]
