"""Gene trees: positions, lines of descent, and which genes of a large tree are drawn."""

import re
from itertools import combinations, pairwise

import pytest
import torch

from germline.methods.gtl import report_gene_tree as lineage
from germline.methods.gtl import report_tree_layout as layout
from germline.randomness import generator
from helpers.comparison import record


def born(*fathers_and_generations, won=(), final=None):
    """Return a stored tree of genes 0, 1, ... with these fathers and generations."""
    return [
        {
            "id": at,
            "father": father,
            "generation": generation,
            "fitness": 0.5,
            "score": 0.1 * at,
            "won": at in won,
            "pool": False,
            "final": at == final,
        }
        for at, (father, generation) in enumerate(fathers_and_generations)
    ]


def drawn(members, generations):
    """Return a tree whose fathers are drawn from all earlier genes, so that lines have all lengths."""
    genes = []
    for at in range(members * generations):
        before = at // members * members
        drawn = torch.randint(max(1, before), (), generator=generator(at, "father"))
        genes.append((int(drawn) if before else None, at // members))
    return lineage.parse(born(*genes, won=range(0, members * generations, 3), final=members * generations - 1))


def crossings(lines):
    """Count pairs of pieces between two generations whose order differs at their ends."""
    pieces = {piece for points in lines.values() for piece in pairwise(points)}
    found = 0
    for (a, b), (c, d) in combinations(sorted(pieces), 2):
        found += a[0] == c[0] and (a[1] - c[1]) * (b[1] - d[1]) < 0
    return found


def names(svg, kind):
    return sorted(int(at) for at in re.findall(rf'id="{kind}-(\d+)"', svg))


def test_layout_by_hand():
    # 2 and 3 come from 0; 4 comes from 0 too, one generation later; 1 has no children
    found = layout.lay_out(lineage.parse(born((None, 0), (None, 0), (0, 1), (0, 1), (0, 2))))
    # the first is highest; between 2 and 3 the line of 0 continues to its last child
    heights = {0: (0, 3 / 4), 1: (0, 1 / 4), 2: (1, 5 / 6), 3: (1, 1 / 6), 4: (2, 1 / 2)}
    assert {at: pytest.approx(place) for at, place in found.positions.items()} == heights
    assert found.lines.keys() == {2, 3, 4}
    assert found.lines[4] == [found.positions[0], (1.0, 0.5), found.positions[4]]
    assert found.lines[2] == [found.positions[0], found.positions[2]]
    assert found.rows == 3


def test_no_two_lines_cross_and_no_two_genes_share_a_place():
    tree = drawn(8, 7)
    found = layout.lay_out(tree)
    assert crossings({0: [(0.0, 0.0), (1.0, 1.0)], 1: [(0.0, 1.0), (1.0, 0.0)]}) == 1
    assert crossings(found.lines) == 0
    assert len(set(found.positions.values())) == len(tree) == 56
    assert all(found.positions[at][0] == gene.generation for at, gene in tree.items())
    for at, points in found.lines.items():
        assert (points[0], points[-1]) == (found.positions[tree[at].father], found.positions[at])
        assert [x for x, _ in points] == list(range(tree[tree[at].father].generation, tree[at].generation + 1))
    # children of one father are in the order in which they were made, without others between them
    order = sorted((gene for gene in tree.values() if gene.generation == 1), key=lambda g: -found.positions[g.id][1])
    assert [gene.father for gene in order] == sorted(gene.father for gene in order)


def test_the_line_of_descent():
    assert layout.trace_descent(lineage.parse(record()["gene_tree"])) == [0, 2, 4]
    assert layout.trace_descent(lineage.parse(born((None, 0), (0, 1)))) == []


def test_the_drawing_holds_every_gene_line_and_mark():
    tree = lineage.parse(record()["gene_tree"])
    svg = lineage.draw_tree(tree)
    assert names(svg, "gene") == [0, 1, 2, 3, 4, 5]
    assert names(svg, "line") == [2, 3, 4, 5]
    assert names(svg, "descent") == [2, 4]
    assert names(svg, "ring") == [2, 4]
    assert "<image" not in svg
    # winners are filled, others are not
    hollow = [at for at in tree if "fill: #ffffff" in svg.split(f'id="gene-{at}"')[1].split("</g>")[0]]
    assert hollow == [1, 3, 5]
    assert names(lineage.draw_tree(tree, "other-"), "gene") == []
    assert names(lineage.draw_tree(tree, "other-"), "other-gene") == [0, 1, 2, 3, 4, 5]


def test_of_too_many_genes_only_winners_and_their_lines_are_drawn(monkeypatch):
    # 3 lost, and its child won; 4 lost and has no children; 6 lost and is the final one
    rows = born((None, 0), (None, 0), (0, 1), (0, 1), (0, 1), (3, 2), (2, 2), won=(0, 5), final=6)
    (section,) = lineage.gene_sections(lineage.parse(rows))
    assert "one of 7 genes" in section.note
    assert "Only" not in section.note
    monkeypatch.setattr(layout, "MAX_GENES", 6)
    assert list(layout.select_genes(lineage.parse(rows))) == [0, 2, 3, 5, 6]
    (section,) = lineage.gene_sections(lineage.parse(rows))
    assert "Only the 5 genes that won, and their fathers, are drawn." in section.note
    assert names(section.body, "gene") == [0, 2, 3, 5, 6]


def test_a_large_tree_stays_small_on_the_page():
    tree = layout.select_genes(drawn(50, 12))
    assert 200 <= len(tree) < 600
    svg = lineage.draw_tree(tree)
    width, height = (float(size) for size in re.search(r'width="([\d.]+)pt" height="([\d.]+)pt"', svg).groups())
    assert width == pytest.approx(72 * 11)
    assert height <= 72 * 9


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([], "at least one gene"),
        (born((None, 0), (None, 0))[::-1], "out of order"),
        (born((None, 0), (3, 1)), "no father 3"),
        (born((None, 0), (0, 0)), "of an earlier generation"),
        ([{**gene, "final": True} for gene in born((None, 0), (None, 0))], "at most one final"),
        ([{"id": 0}], "father"),
        ([{**born((None, 0))[0], "score": float("nan")}], "finite"),
    ],
)
def test_parse_refuses_a_damaged_tree(rows, says):
    with pytest.raises(ValueError, match=says):
        lineage.parse(rows)
