"""The report of fitness over generations, and its table of claims about selection."""

import math
import re

import pytest

from germline.methods.gtl import report_fitness as evolution
from germline.reporting.claims import CLAIM_COLUMNS
from helpers.comparison import generations


def parse_histories(**arms):
    return {
        arm: {seed: evolution.parse(generations(*fitness)) for seed, fitness in enumerate(seeds)}
        for arm, seeds in arms.items()
    }


@pytest.fixture
def histories():
    """Two arms and three seeds; the last seed of the second arm ends a generation earlier."""
    return parse_histories(
        gene=[(0.9, 0.30, 0.50), (0.9, 0.30, 0.60), (0.9, 0.50, 0.60)],
        drawn=[(0.1, 0.20, 0.30), (0.1, 0.20, 0.30), (0.1, 0.20)],
    )


def test_claims_equal_hand_calculation(histories):
    ends, all_along = evolution.fitness_claims(histories)
    assert ends.text == "gene ends with a fitter population than drawn"
    assert ends.differences == pytest.approx((0.2, 0.3, 0.3))
    assert ends.where == "generations the last of both arms"
    # Generation 0, where the arms differ most, is left out: (0.1 + 0.2) / 2, (0.1 + 0.3) / 2, and only 0.3.
    assert all_along.text == "gene has fitter populations than drawn"
    assert all_along.differences == pytest.approx((0.15, 0.2, 0.3))
    assert all_along.where == "generations 1 to the last of both arms"


def test_table_equals_hand_calculation(histories):
    figure, table = evolution.comparison_sections(["gene", "drawn"], histories)
    assert (figure.heading, table.heading) == ("Fitness over generations", "Does evolution select?")
    assert table.body[0] == CLAIM_COLUMNS
    # Mean 0.26667, deviation 0.05774: t = 8, p = 0.01527, doubled by Holm. Half the interval is 4.303 * 0.0333.
    assert table.body[1][2:] == ["+26.7 ± 14.3 points", "0.031", "holds", ""]
    # Mean 0.21667, deviation 0.07638: t = 4.914, p = 0.039, the larger of the two and not doubled.
    assert table.body[2][2:] == ["+21.7 ± 19.0 points", "0.039", "holds", ""]
    assert table.note.startswith("2 of 2 claims: holds.")


def test_claims_name_the_compared_generations():
    same = parse_histories(gene=[(0.2, 0.3, 0.4)], drawn=[(0.2, 0.2, 0.2)], other=[(0.1, 0.1)])
    assert [claim.where for claim in evolution.fitness_claims(same)] == [
        "generation 2",
        "generations 1 to 2",
        "generation 1",
        "generation 1",
    ]
    rows = evolution.comparison_sections(["gene", "drawn", "other"], same)[1].body
    assert {row[4] for row in rows[1:]} == {"one seed shows nothing"}


def test_unpaired_seeds_and_generations_are_left_out():
    some = parse_histories(gene=[(0.2, 0.3), (0.2, 0.5)], drawn=[(0.1, 0.1)])
    assert [len(claim.differences) for claim in evolution.fitness_claims(some)] == [1, 1]
    # With only generation 0, there is no selection.
    short = parse_histories(gene=[(0.2,)], drawn=[(0.1, 0.2)])
    ends, all_along = evolution.fitness_claims(short)
    assert ends.differences == pytest.approx((0.1,))
    assert all_along.differences == ()


def test_means_include_only_generations_of_all_seeds(histories):
    points = evolution.mean_fitness(histories["drawn"])
    assert list(points) == [0, 1]
    points = evolution.mean_fitness(histories["gene"])
    assert [point.mean for point in points.values()] == pytest.approx([0.9, 1.1 / 3, 1.7 / 3])
    assert points[2].half == pytest.approx(4.3027 * math.sqrt(1 / 300) / math.sqrt(3), rel=1e-3)


def test_figure_has_one_line_per_arm_and_per_seed(histories):
    arms = ["gene", "scratch", "drawn"]
    svg = evolution.comparison_sections(arms, histories)[0].body
    assert re.findall(r'id="(fitness-[^"]*)"', svg) == [
        f"fitness-{arm}{end}" for arm in ("gene", "drawn") for end in ("-seed-0", "-seed-1", "-seed-2", "")
    ]
    # An arm has the same colour in every figure.
    lines = {arm: svg.split(f'id="fitness-{arm}"')[1].split("</g>")[0].lower() for arm in ("gene", "drawn")}
    assert "#0072b2" in lines["gene"]
    assert "#009e73" in lines["drawn"]


def test_one_arm_has_a_figure_but_no_claims(histories):
    (figure,) = evolution.comparison_sections(["gene"], {"gene": histories["gene"]})
    assert figure.heading == "Fitness over generations"


def test_one_evolution_has_three_lines():
    (section,) = evolution.gene_sections(evolution.parse(generations(0.2, 0.4)))
    assert re.findall(r'id="(fitness-[^"]*)"', section.body) == [
        "fitness-population",
        "fitness-winners",
        "fitness-best",
    ]


@pytest.mark.parametrize("kept", [[], generations(0.1, 0.2)[::-1], [{"generation": 0}], "none"])
def test_parse_refuses_a_damaged_history(kept):
    with pytest.raises(ValueError, match=r"generation|fitness|tuple"):
        evolution.parse(kept)


def make_loss_history(*fitness):
    entries = generations(*fitness)
    return [{**entry, "measure": "loss", "accuracy": 0.5 + entry["generation"] / 10} for entry in entries]


def test_losses_are_compared_in_nats():
    records = {
        arm: {seed: evolution.parse(make_loss_history(*fitness)) for seed, fitness in enumerate(seeds)}
        for arm, seeds in {"gene": [(-1.6, -1.2), (-1.6, -1.3)], "drawn": [(-1.6, -1.4), (-1.6, -1.4)]}.items()
    }
    ends, _ = evolution.fitness_claims(records)
    assert ends.differences == pytest.approx((0.2, 0.1))
    assert evolution.fitness_claims_table(records)[1][2].startswith("+15.0 ± ")
    assert evolution.fitness_claims_table(records)[1][2].endswith(" hundredths of a nat")
    head, row, _ = evolution.generations_table(records)
    assert head[1:] == ["generation 0, nats", "generation 1, nats"]
    assert row[1] == "-1.600 ± 0.000"
    figure = evolution.comparison_sections(["gene", "drawn"], records)[0]
    assert "fitness, nats" in figure.body
    assert "minus the loss of critics" in figure.note
    assert "fitness, nats" in evolution.gene_sections(records["gene"][0])[0].body


def test_arms_with_other_measures_are_compared_by_accuracy():
    records = parse_histories(old=[(0.2, 0.3)]) | {"new": {0: evolution.parse(make_loss_history(-1.6, -1.2))}}
    ends, _ = evolution.fitness_claims(records)
    assert ends.differences == pytest.approx((0.3 - 0.6,))
    assert ends.unit == "points"
    assert evolution.generations_table(records)[2][1:] == ["50.0", "60.0"]
