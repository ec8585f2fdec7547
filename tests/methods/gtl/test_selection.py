"""Scores, tournaments, credit and pool of an evolution, compared with numbers worked out by hand."""

import math
from collections import Counter
from dataclasses import replace

import pytest

from germline.methods.gtl.selection import (
    GeneNode,
    draw_by_roulette,
    draw_tournaments,
    merge_pool,
    normalise_fitness,
    share_credit,
)
from germline.randomness import generator

ROOT = GeneNode(
    id=0,
    father=None,
    generation=0,
    similarity=1.0,
    task=0,
    critic_task=0,
    fitness=0.5,
    score=1.0,
    won=True,
)
# A line of descent 0 <- 1 <- 2 <- 3, each step less alike.
LINE = {
    0: ROOT,
    1: replace(ROOT, id=1, father=0, similarity=0.8),
    2: replace(ROOT, id=2, father=1, similarity=0.5),
    3: replace(ROOT, id=3, father=2, similarity=0.9, score=2.0),
}


def test_credit_along_the_gene_tree():
    found = share_credit(LINE[3], LINE, share=1 / math.e, depth=5)
    assert found == pytest.approx(
        {2: math.exp(-1) * 0.9 * 2, 1: math.exp(-2) * 0.9 * 0.5 * 2, 0: math.exp(-3) * 0.9 * 0.5 * 0.8 * 2}
    )
    assert found == pytest.approx({2: 0.662183, 1: 0.121802, 0: 0.035847}, abs=1e-6)


def test_credit_by_the_public_codes_rule():
    found = share_credit(LINE[3], LINE, share=0.5, depth=5, rule="grl")
    assert found == pytest.approx({2: 0.5 * 2, 1: 0.25 * 0.9 * 2, 0: 0.0625 * 0.5 * 2})


def test_credit_stops_at_its_depth_and_at_the_root():
    assert set(share_credit(LINE[3], LINE, share=0.5, depth=2)) == {2, 1}
    assert share_credit(LINE[3], LINE, share=0.5, depth=0) == {}
    assert share_credit(LINE[0], LINE, share=0.5, depth=5) == {}


def test_scores_are_normalised_by_task():
    # Task 0 has members at 0.2 and 0.4, task 1 one at 0.9; the mean is 0.5.
    assert normalise_fitness([0.2, 0.4, 0.9], [0, 0, 1]) == pytest.approx([0.25, 0.5, 0.5])
    assert normalise_fitness([0.0, 0.0, 0.6], [0, 0, 1]) == pytest.approx([0.0, 0.0, 0.2])


def test_tournaments_are_a_partition_with_the_rest_in_a_smaller_group():
    groups = draw_tournaments(11, 3, generator(0))
    assert [len(group) for group in groups] == [3, 3, 3, 2]
    assert sorted(index for group in groups for index in group) == list(range(11))
    assert groups != draw_tournaments(11, 3, generator(1))
    assert groups == draw_tournaments(11, 3, generator(0))


def test_roulette_draws_in_proportion():
    keyed = generator(0)
    counts = Counter(draw_by_roulette({3: 1.0, 7: 3.0, 9: 0.0}, keyed) for _ in range(4000))
    assert counts[9] == 0
    # Five standard deviations of a binomial with p = 3/4.
    assert abs(counts[7] - 3000) < 5 * math.sqrt(4000 * 0.75 * 0.25)
    assert {draw_by_roulette({1: 0.0, 2: 0.0}, keyed) for _ in range(50)} == {1, 2}


SCORES = {0: 0.9, 1: 0.5, 2: 0.4, 3: 0.3, 4: 0.8, 5: 0.45, 6: 0.2}


def test_free_places_go_to_the_best_newcomers():
    assert merge_pool([], [2, 0, 1], SCORES, capacity=2, replaced=0.3) == [0, 1]
    assert merge_pool([1], [2, 6], SCORES, capacity=4, replaced=0.3) == [1, 2, 6]


def test_only_a_share_of_a_full_pool_can_change():
    # A third of four places, rounded down, is one: the lowest resident (3) against the best newcomer (4).
    assert merge_pool([0, 1, 2, 3], [4, 5], SCORES, capacity=4, replaced=1 / 3) == [0, 4, 1, 2]
    # Half of them is two: residents 2 and 3 against 4 and 5.
    assert merge_pool([0, 1, 2, 3], [4, 5], SCORES, capacity=4, replaced=0.5) == [0, 4, 1, 5]
    # Newcomers that are worse change nothing.
    assert merge_pool([0, 1, 2, 3], [6], SCORES, capacity=4, replaced=0.5) == [0, 1, 2, 3]


def test_the_best_resident_always_stays():
    better = {**SCORES, 7: 2.0, 8: 2.0, 9: 2.0, 10: 2.0}
    assert 0 in merge_pool([0, 1, 2, 3], [7, 8, 9, 10], better, capacity=4, replaced=1.0)
