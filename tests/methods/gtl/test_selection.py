"""Scores, tournaments, credit and pool of an evolution equal hand calculations."""

import json
import math
from collections import Counter
from dataclasses import replace

import pytest

from germline.methods.gtl.selection import (
    GeneNode,
    admit_all,
    draw_by_roulette,
    draw_tournaments,
    merge_pool,
    normalise_fitness,
    score_wins,
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
# A line of descent 0 <- 1 <- 2 <- 3 with different similarities.
LINE = {
    0: ROOT,
    1: replace(ROOT, id=1, father=0, similarity=0.8),
    2: replace(ROOT, id=2, father=1, similarity=0.5),
    3: replace(ROOT, id=3, father=2, similarity=0.9, score=2.0),
}


def test_credit_decreases_along_the_gene_tree():
    found = share_credit(LINE[3], LINE, share=1 / math.e, depth=5)
    assert found == pytest.approx(
        {2: math.exp(-1) * 0.9 * 2, 1: math.exp(-2) * 0.9 * 0.5 * 2, 0: math.exp(-3) * 0.9 * 0.5 * 0.8 * 2}
    )
    assert found == pytest.approx({2: 0.662183, 1: 0.121802, 0: 0.035847}, abs=1e-6)


def test_rule_grl_equals_hand_calculation():
    found = share_credit(LINE[3], LINE, share=0.5, depth=5, rule="grl")
    assert found == pytest.approx({2: 0.5 * 2, 1: 0.25 * 0.9 * 2, 0: 0.0625 * 0.5 * 2})


def test_credit_ends_at_its_depth_or_the_root():
    assert set(share_credit(LINE[3], LINE, share=0.5, depth=2)) == {2, 1}
    assert share_credit(LINE[3], LINE, share=0.5, depth=0) == {}
    assert share_credit(LINE[0], LINE, share=0.5, depth=5) == {}


def test_fitness_is_normalised_by_task():
    # Task 0 has the fitness values 0.2 and 0.4, task 1 has 0.9; the mean is 0.5.
    assert normalise_fitness([0.2, 0.4, 0.9], [0, 0, 1]) == pytest.approx([0.25, 0.5, 0.5])
    assert normalise_fitness([0.0, 0.0, 0.6], [0, 0, 1]) == pytest.approx([0.0, 0.0, 0.2])


@pytest.mark.parametrize(
    ("rule", "expected"),
    [("raw", [0.2, 0.4, 0.9]), ("global", [1 / 9, 2 / 9, 0.5]), ("per-task", [0.25, 0.5, 0.5])],
)
def test_accuracies_and_losses_have_the_same_scores(rule, expected):
    assert score_wins([0.2, 0.4, 0.9], [0, 0, 1], rule) == pytest.approx(expected)
    # Negative losses are log probabilities. Those of these accuracies give the same scores.
    losses = [math.log(value) for value in (0.2, 0.4, 0.9)]
    assert score_wins(losses, [0, 0, 1], rule, is_loss=True) == pytest.approx(expected)


@pytest.mark.parametrize("rule", ["raw", "global", "per-task"])
@pytest.mark.parametrize(("fitness", "is_loss"), [([0.0, 0.0], False), ([-800.0, -800.0], True), ([0.4, 0.4], False)])
def test_equal_fitness_has_equal_nonnegative_scores(rule, fitness, is_loss):
    first, second = score_wins(fitness, [0, 0], rule, is_loss=is_loss)
    assert first == second >= 0


def test_per_task_scores_do_not_distinguish_winners_of_different_tasks():
    """The winners of three tournaments, each with a task of its own."""
    fitness, tasks = [0.5, 0.7, 0.9], [0, 1, 2]
    assert len(set(score_wins(fitness, tasks, "per-task"))) == 1
    assert len(set(score_wins(fitness, tasks, "raw"))) == len(set(score_wins(fitness, tasks, "global"))) == 3


def test_genes_are_restored_from_rows():
    later = replace(ROOT, tournament=2, lives=3, accuracy=0.5, marks=(0.1, 0.2))
    for gene in (ROOT, later):
        assert GeneNode.from_row(json.loads(json.dumps(gene.to_row()))) == gene
    assert later.to_row().keys() - ROOT.to_row().keys() == {"tournament", "lives", "accuracy", "marks"}


def test_tournaments_are_a_partition_and_the_last_may_be_smaller():
    groups = draw_tournaments(11, 3, generator(0))
    assert [len(group) for group in groups] == [3, 3, 3, 2]
    assert sorted(index for group in groups for index in group) == list(range(11))
    assert groups != draw_tournaments(11, 3, generator(1))
    assert groups == draw_tournaments(11, 3, generator(0))


def test_roulette_draws_in_proportion_to_scores():
    keyed = generator(0)
    counts = Counter(draw_by_roulette({3: 1.0, 7: 3.0, 9: 0.0}, keyed) for _ in range(4000))
    assert counts[9] == 0
    # Five standard deviations of a binomial with p = 3/4.
    assert abs(counts[7] - 3000) < 5 * math.sqrt(4000 * 0.75 * 0.25)
    assert {draw_by_roulette({1: 0.0, 2: 0.0}, keyed) for _ in range(50)} == {1, 2}


SCORES = {0: 0.9, 1: 0.5, 2: 0.4, 3: 0.3, 4: 0.8, 5: 0.45, 6: 0.2}


def test_best_newcomers_fill_free_places():
    assert merge_pool([], [2, 0, 1], SCORES, capacity=2, replaced=0.3) == [0, 1]
    assert merge_pool([1], [2, 6], SCORES, capacity=4, replaced=0.3) == [1, 2, 6]


def test_share_limits_changes_of_a_full_pool():
    # A third of four, rounded down, is one: the best newcomer (4) replaces the lowest resident (3).
    assert merge_pool([0, 1, 2, 3], [4, 5], SCORES, capacity=4, replaced=1 / 3) == [0, 4, 1, 2]
    # Half of four is two: newcomers 4 and 5 replace residents 3 and 2.
    assert merge_pool([0, 1, 2, 3], [4, 5], SCORES, capacity=4, replaced=0.5) == [0, 4, 1, 5]
    # Newcomers that are worse are not admitted.
    assert merge_pool([0, 1, 2, 3], [6], SCORES, capacity=4, replaced=0.5) == [0, 1, 2, 3]


def test_best_resident_is_never_replaced():
    better = {**SCORES, 7: 2.0, 8: 2.0, 9: 2.0, 10: 2.0}
    assert 0 in merge_pool([0, 1, 2, 3], [7, 8, 9, 10], better, capacity=4, replaced=1.0)


def test_all_winners_are_admitted_before_the_best_residents():
    assert admit_all([0, 1, 2, 3], [6, 5], SCORES, capacity=4) == [0, 1, 5, 6]
    assert admit_all([0, 1], [6, 5], SCORES, capacity=2) == [5, 6]
    # All winners are admitted even if they are more than the capacity.
    assert admit_all([0], [6, 5, 4], SCORES, capacity=2) == [4, 5, 6]
    assert admit_all([], [6], SCORES, capacity=4) == [6]
