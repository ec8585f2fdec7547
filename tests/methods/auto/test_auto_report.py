"""The record of a choice of layers: figure of the blocks, and heat maps of the matching weights."""

import re

import pytest

from germline.methods.auto import report as layer_choice


def stored_record(**changes):
    record = {
        "select": "meta",
        "rule": "top",
        "stages": [1, 2],
        "layers": [[0], [1], [2]],
        "scores": [0.5, 0.2, 0.3],
        "kept": [0, 2],
        "against": ["a", "b"],
        "matrix": [[0.0, 1.0], [0.4, 0.1], [0.6, 0.2]],
        "history": [{"step": 5 * at, "matrix": [[0.1 * at] * 2] * 3} for at in range(1, 9)],
    }
    return {**record, **changes}


def named(svg, what):
    return re.findall(rf'id="([^"]*{what}-\d+)"', svg)


def fills(svg, name):
    inside = svg[svg.index(f'id="{name}"') :]
    return re.search(r"fill: (#\w+)", inside)[1]


def test_the_sections_of_one_gene():
    drawn, weighed = layer_choice.gene_sections(layer_choice.parse(stored_record()))
    assert drawn.heading == "The chosen layers"
    assert named(drawn.body, "ancestor") == ["ancestor-0", "ancestor-1", "ancestor-2"]
    assert [fills(drawn.body, f"descendant-{at}") for at in range(3)] == ["#0072b2", "#ffffff", "#0072b2"]
    assert "0.50" in drawn.body
    assert "(a, b)" in weighed.note
    # six of the eight times, the last among them
    assert named(weighed.body, "weights") == [f"weights-{step}" for step in (5, 10, 20, 25, 30, 40)]
    assert "<image" not in weighed.body


def test_without_scores_only_the_blocks_are_drawn():
    given = stored_record(select="given", scores=[], matrix=[], against=[], history=[])
    (drawn,) = layer_choice.gene_sections(layer_choice.parse(given))
    assert "The layers were given." in drawn.note


def test_without_a_training_there_is_one_panel():
    alike = stored_record(select="cka", against=["labels"], matrix=[[0.1], [0.2], [0.3]], history=[])
    assert named(layer_choice.gene_sections(layer_choice.parse(alike))[1].body, "weights") == ["weights-0"]


def test_in_a_comparison_the_first_seed_of_each_arm_that_scored():
    scored, given = (
        layer_choice.parse(stored_record()),
        layer_choice.parse(stored_record(scores=[], matrix=[], history=[])),
    )
    found = layer_choice.comparison_sections(["gene", "first"], {"gene": {3: scored, 4: scored}, "first": {3: given}})
    assert [section.heading for section in found] == ["The chosen layers of gene", "Matching weights of gene"]
    assert found[0].note.startswith("Seed 3.")
    assert named(found[0].body, "ancestor")[0] == "gene-ancestor-0"


def test_layers_of_several_blocks_are_named_by_their_ends():
    choice = layer_choice.parse(stored_record(layers=[[0], [1, 2]], scores=[0.5, 0.5], matrix=[], history=[]))
    assert [choice.layer_name(at) for at in range(2)] == ["0", "1-2"]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"kept": [3]}, "not among the ancestor's 3"),
        ({"kept": []}, "not among the ancestor's 3"),
        ({"scores": [1.0]}, "one score per layer"),
        ({"matrix": [[0.0, 1.0]]}, "one row per layer"),
        ({"against": ["a"]}, "one row per layer"),
        ({"matrix": [[float("nan")] * 2] * 3}, "finite"),
        ({"stages": None}, "stages"),
    ],
)
def test_parse_refuses_a_damaged_record(changes, says):
    with pytest.raises(ValueError, match=says):
        layer_choice.parse(stored_record(**changes))
