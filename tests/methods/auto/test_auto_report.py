"""The report of chosen layers: a figure of the blocks, and heat maps of the matching weights."""

import re

import pytest

from germline.methods.auto import report as layer_choice


def make_record(**changes):
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


def find_ids(svg, kind):
    return re.findall(rf'id="([^"]*{kind}-\d+)"', svg)


def read_fill(svg, name):
    inside = svg[svg.index(f'id="{name}"') :]
    return re.search(r"fill: (#\w+)", inside)[1]


def test_one_gene_has_a_section_of_blocks_and_one_of_weights():
    blocks, weights = layer_choice.gene_sections(layer_choice.parse(make_record()))
    assert blocks.heading == "The chosen layers"
    assert find_ids(blocks.body, "ancestor") == ["ancestor-0", "ancestor-1", "ancestor-2"]
    assert [read_fill(blocks.body, f"descendant-{at}") for at in range(3)] == ["#0072b2", "#ffffff", "#0072b2"]
    assert "0.50" in blocks.body
    assert "(a, b)" in weights.note
    # Six of the eight steps are shown, and the last is one of them.
    assert find_ids(weights.body, "weights") == [f"weights-{step}" for step in (5, 10, 20, 25, 30, 40)]
    assert "<image" not in weights.body


def test_record_without_scores_has_only_the_blocks():
    given = make_record(select="given", scores=[], matrix=[], against=[], history=[])
    (blocks,) = layer_choice.gene_sections(layer_choice.parse(given))
    assert "The layers were given." in blocks.note


def test_record_without_training_has_one_panel():
    by_cka = make_record(select="cka", against=["labels"], matrix=[[0.1], [0.2], [0.3]], history=[])
    assert find_ids(layer_choice.gene_sections(layer_choice.parse(by_cka))[1].body, "weights") == ["weights-0"]


def test_comparison_shows_the_first_seed_of_each_arm_with_scores():
    scored, given = (
        layer_choice.parse(make_record()),
        layer_choice.parse(make_record(scores=[], matrix=[], history=[])),
    )
    found = layer_choice.comparison_sections(["gene", "first"], {"gene": {3: scored, 4: scored}, "first": {3: given}})
    assert [section.heading for section in found] == ["The chosen layers of gene", "Matching weights of gene"]
    assert found[0].note.startswith("Seed 3.")
    assert find_ids(found[0].body, "ancestor")[0] == "gene-ancestor-0"


def test_layer_of_several_blocks_is_named_by_first_and_last():
    choice = layer_choice.parse(make_record(layers=[[0], [1, 2]], scores=[0.5, 0.5], matrix=[], history=[]))
    assert [choice.layer_name(at) for at in range(2)] == ["0", "1-2"]


@pytest.mark.parametrize(
    ("changes", "message"),
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
def test_parse_refuses_a_damaged_record(changes, message):
    with pytest.raises(ValueError, match=message):
        layer_choice.parse(make_record(**changes))
