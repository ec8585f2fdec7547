"""The report of gene trees: positions, lines of descent, and the genes that are drawn from a large tree."""

import re
from itertools import combinations, pairwise

import pytest
import torch

from germline.methods.gtl import report_gene_tree as lineage
from germline.methods.gtl import report_tree_layout as layout
from germline.randomness import generator
from helpers.comparison import record


def make_tree(*fathers_and_generations, won=(), final=None):
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


def make_random_tree(members, generations):
    """Return a tree with random fathers from all earlier genes, so lines have all lengths."""
    genes = []
    for at in range(members * generations):
        before = at // members * members
        father = torch.randint(max(1, before), (), generator=generator(at, "father"))
        genes.append((int(father) if before else None, at // members))
    return lineage.parse(make_tree(*genes, won=range(0, members * generations, 3), final=members * generations - 1))


def count_crossings(lines):
    """Count pairs of pieces between two generations whose order differs at their ends."""
    pieces = {piece for points in lines.values() for piece in pairwise(points)}
    found = 0
    for (a, b), (c, d) in combinations(sorted(pieces), 2):
        found += a[0] == c[0] and (a[1] - c[1]) * (b[1] - d[1]) < 0
    return found


def find_ids(svg, kind):
    return sorted(int(at) for at in re.findall(rf'id="{kind}-(\d+)"', svg))


def test_layout_equals_hand_calculation():
    # 2 and 3 are children of 0. 4 is a child of 0 one generation later. 1 has no children.
    found = layout.lay_out(lineage.parse(make_tree((None, 0), (None, 0), (0, 1), (0, 1), (0, 2))))
    # The first gene is highest. Between 2 and 3 the line of 0 continues to its last child.
    heights = {0: (0, 3 / 4), 1: (0, 1 / 4), 2: (1, 5 / 6), 3: (1, 1 / 6), 4: (2, 1 / 2)}
    assert {at: pytest.approx(place) for at, place in found.positions.items()} == heights
    assert found.lines.keys() == {2, 3, 4}
    assert found.lines[4] == [found.positions[0], (1.0, 0.5), found.positions[4]]
    assert found.lines[2] == [found.positions[0], found.positions[2]]
    assert found.rows == 3


def test_lines_do_not_cross_and_positions_are_unique():
    tree = make_random_tree(8, 7)
    found = layout.lay_out(tree)
    assert count_crossings({0: [(0.0, 0.0), (1.0, 1.0)], 1: [(0.0, 1.0), (1.0, 0.0)]}) == 1
    assert count_crossings(found.lines) == 0
    assert len(set(found.positions.values())) == len(tree) == 56
    assert all(found.positions[at][0] == gene.generation for at, gene in tree.items())
    for at, points in found.lines.items():
        assert (points[0], points[-1]) == (found.positions[tree[at].father], found.positions[at])
        assert [x for x, _ in points] == list(range(tree[tree[at].father].generation, tree[at].generation + 1))
    # Children of one father are next to each other, in the order of their ids.
    order = sorted((gene for gene in tree.values() if gene.generation == 1), key=lambda g: -found.positions[g.id][1])
    assert [gene.father for gene in order] == sorted(gene.father for gene in order)


def test_descent_is_traced_to_the_final_gene():
    assert layout.trace_descent(lineage.parse(record()["gene_tree"])) == [0, 2, 4]
    assert layout.trace_descent(lineage.parse(make_tree((None, 0), (0, 1)))) == []


def test_figure_has_every_gene_line_and_ring():
    tree = lineage.parse(record()["gene_tree"])
    svg = lineage.draw_tree(tree)
    assert find_ids(svg, "gene") == [0, 1, 2, 3, 4, 5]
    assert find_ids(svg, "line") == [2, 3, 4, 5]
    assert find_ids(svg, "descent") == [2, 4]
    assert find_ids(svg, "ring") == [2, 4]
    assert "<image" not in svg
    # Only winners are filled.
    hollow = [at for at in tree if "fill: #ffffff" in svg.split(f'id="gene-{at}"')[1].split("</g>")[0]]
    assert hollow == [1, 3, 5]
    assert find_ids(lineage.draw_tree(tree, "other-"), "gene") == []
    assert find_ids(lineage.draw_tree(tree, "other-"), "other-gene") == [0, 1, 2, 3, 4, 5]


def test_figure_of_many_genes_has_only_winners_and_their_fathers(monkeypatch):
    # 3 lost, and its child won. 4 lost and has no children. 6 lost and is the final gene.
    rows = make_tree((None, 0), (None, 0), (0, 1), (0, 1), (0, 1), (3, 2), (2, 2), won=(0, 5), final=6)
    (section,) = lineage.gene_sections(lineage.parse(rows))
    assert "one of 7 genes" in section.note
    assert "Only" not in section.note
    monkeypatch.setattr(layout, "MAX_GENES", 6)
    assert list(layout.select_genes(lineage.parse(rows))) == [0, 2, 3, 5, 6]
    (section,) = lineage.gene_sections(lineage.parse(rows))
    assert "Only the 5 genes that won, and their fathers, are drawn." in section.note
    assert find_ids(section.body, "gene") == [0, 2, 3, 5, 6]


def test_figure_of_a_large_tree_fits_the_page():
    tree = layout.select_genes(make_random_tree(50, 12))
    assert 200 <= len(tree) < 600
    svg = lineage.draw_tree(tree)
    width, height = (float(size) for size in re.search(r'width="([\d.]+)pt" height="([\d.]+)pt"', svg).groups())
    assert width == pytest.approx(72 * 11)
    assert height <= 72 * 9


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "at least one gene"),
        (make_tree((None, 0), (None, 0))[::-1], "out of order"),
        (make_tree((None, 0), (3, 1)), "no father 3"),
        (make_tree((None, 0), (0, 0)), "of an earlier generation"),
        ([{**gene, "final": True} for gene in make_tree((None, 0), (None, 0))], "at most one final"),
        ([{"id": 0}], "father"),
        ([{**make_tree((None, 0))[0], "score": float("nan")}], "finite"),
    ],
)
def test_parse_refuses_a_damaged_tree(rows, message):
    with pytest.raises(ValueError, match=message):
        lineage.parse(rows)
