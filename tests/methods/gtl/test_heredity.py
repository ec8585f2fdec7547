"""Heritability, repeatability and differential of planted fitness equal the planted values."""

import json
import math
import random
from dataclasses import replace
from pathlib import Path
from statistics import NormalDist, fmean, stdev, variance

import pytest

from germline.methods.gtl.heredity import (
    count_line_lives,
    measure_heredity,
    regress_on_fathers,
    selection_differential,
)
from germline.methods.gtl.repeatability import average_seeds, pool_marks
from germline.methods.gtl.selection import GeneNode
from helpers.planted_fitness import ROOT, plant

RESULTS = Path(__file__).parents[3] / "benchmarks" / "results"
KEYS = {
    "spread",
    "noise",
    "reliability",
    "repeatability_tasks",
    "repeatability_seeds",
    "heritability",
    "heritability_error",
    "correlation",
    "correlation_error",
    "pairs",
    "differential",
    "intensity",
    "line_lives",
    "line_images",
    "images",
}


@pytest.mark.parametrize("breeding", ["random", "best"])
@pytest.mark.parametrize("h2", [0.0, 0.2, 0.5, 0.8])
def test_heritability_equals_the_planted_value_within_its_error(h2, breeding):
    many = [regress_on_fathers(plant(h2, fathers=60, children=60, seed=seed, breeding=breeding)) for seed in range(200)]
    slopes, errors = [found.slope for found in many], [found.slope_error for found in many]
    assert fmean(slopes) == pytest.approx(h2, abs=4 * stdev(slopes) / math.sqrt(200))
    # The standard error equals the deviation over repeats, although brothers share their father's true value.
    assert fmean(errors) == pytest.approx(stdev(slopes), rel=0.25)
    covered = sum(abs(slope - h2) < 1.96 * error for slope, error in zip(slopes, errors, strict=True))
    assert covered >= 170


@pytest.mark.parametrize("shares_critics", [True, False])
@pytest.mark.parametrize("h2", [0.0, 0.4, 0.9])
def test_difficulty_of_critics_does_not_bias_heritability(h2, shares_critics):
    """Forty pairs of generations of nine; each generation, or each tournament, has critics of random difficulty."""
    draw, genes = random.Random(7), []
    for repeat in range(40):
        for gene in plant(h2, fathers=9, children=9, seed=repeat):
            father = None if gene.father is None else gene.father + 18 * repeat
            changes = {"id": gene.id + 18 * repeat, "father": father, "generation": gene.generation + 2 * repeat}
            genes.append(replace(gene, **changes))
    difficulty = {(gene.generation, None if shares_critics else gene.tournament): draw.gauss(0, 5) for gene in genes}
    genes = [
        replace(gene, fitness=gene.fitness + difficulty[gene.generation, None if shares_critics else gene.tournament])
        for gene in genes
    ]
    found = regress_on_fathers(genes, shares_critics=shares_critics)
    assert found.slope == pytest.approx(h2, abs=3 * found.slope_error)
    assert 0.03 < found.slope_error < 0.12
    differential = selection_differential(genes, shares_critics=shares_critics)
    assert differential == pytest.approx(0, abs=0.2)


def test_correlation_is_the_slope_in_units_of_deviations():
    found = regress_on_fathers(plant(0.5, fathers=2000, children=2000, seed=1))
    # The variance of children is 1 + 0.3 squared, that of fathers is 1.
    assert found.correlation == pytest.approx(0.5 / math.sqrt(1.09), abs=4 * found.correlation_error)
    assert found.correlation / found.correlation_error == pytest.approx(found.slope / found.slope_error)
    assert found.pairs == 2000


@pytest.mark.parametrize("h2", [0.0, 0.4])
def test_truncation_selection_agrees_with_the_breeder_s_equation(h2):
    """The best third of a normal population is above its mean by the density at the cut, times three."""
    genes = plant(h2, fathers=6000, children=6000, seed=4, breeding="best")
    found = measure_heredity(genes, 6000, 1, 1, 1)
    intensity = 3 * NormalDist().pdf(NormalDist().inv_cdf(2 / 3))
    assert intensity == pytest.approx(1.0908, abs=1e-4)
    assert found["differential"] == pytest.approx(intensity, abs=0.04)
    assert found["intensity"] == pytest.approx(found["differential"] / math.sqrt(mean_variance(genes)), rel=1e-9)
    # The breeder's equation: children are above the fathers' generation by heritability times differential.
    means = [fmean(gene.fitness for gene in genes if gene.generation == number) for number in (0, 1)]
    assert means[1] - means[0] == pytest.approx(h2 * intensity, abs=0.06)
    assert found["heritability"] == pytest.approx(h2, abs=4 * found["heritability_error"])


def mean_variance(genes):
    return fmean(variance([gene.fitness for gene in genes if gene.generation == number]) for number in (0, 1))


def test_shift_of_a_generation_does_not_change_heritability():
    genes = plant(0.0, fathers=500, children=500, seed=2)
    shifted = [replace(gene, fitness=gene.fitness + 10 * gene.generation) for gene in genes]
    assert regress_on_fathers(shifted).slope == pytest.approx(regress_on_fathers(genes).slope, abs=1e-9)
    assert selection_differential(shifted) == pytest.approx(selection_differential(genes), abs=1e-9)


def test_children_without_noise_have_heritability_one():
    fathers = [replace(ROOT, id=number, fitness=0.1 * number) for number in range(5)]
    children = [
        replace(ROOT, id=5 + number, father=number, generation=1, fitness=0.1 * number + 3) for number in range(5)
    ]
    found = regress_on_fathers([*fathers, *children])
    assert (found.slope, found.correlation) == (pytest.approx(1), pytest.approx(1))
    assert found.slope_error == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("fitness", [0.0, 0.3, -1.6094379124341003])
def test_constant_fitness_has_no_heritability(fitness):
    genes = [
        replace(ROOT, id=number, generation=number // 6, father=None if number < 6 else number - 6, fitness=fitness)
        for number in range(18)
    ]
    genes = [replace(gene, tournament=gene.id % 6 // 3, marks=(fitness,) * 6) for gene in genes]
    found = measure_heredity(genes, 17, 3, 100, 5000)
    assert (found["spread"], found["noise"], found["differential"]) == (0, 0, 0)
    for key in (
        "reliability",
        "repeatability_tasks",
        "repeatability_seeds",
        "heritability",
        "correlation",
        "intensity",
    ):
        assert found[key] is None
    assert (found["line_lives"], found["line_images"], found["images"]) == (3, 300, 5000)


def test_equal_children_have_a_slope_but_no_correlation():
    fathers = [replace(ROOT, id=number, fitness=float(number)) for number in range(4)]
    children = [replace(ROOT, id=4 + number, father=number, generation=1, fitness=0.1) for number in range(4)]
    found = regress_on_fathers([*fathers, *children])
    assert (found.slope, found.correlation, found.correlation_error) == (pytest.approx(0, abs=1e-12), None, None)


def test_evolutions_of_the_first_release_have_no_heritability():
    """The saved trees of `lab/gtl-no-mutation` have a mean correlation of 0 over five evolutions."""
    results = json.loads((RESULTS / "gtl-no-mutation.json").read_text(encoding="utf-8"))
    trees = [gene["record"]["gene_tree"] for gene in results["genes"] if gene["arm"] == "gene"]
    assert len(trees) == 5
    found = []
    for tree in trees:
        rows = [{key: value for key, value in row.items() if key not in ("pool", "final")} for row in tree]
        found.append(regress_on_fathers([GeneNode.from_row(row) for row in rows], shares_critics=False))
    assert [one.pairs for one in found] == [54] * 5
    assert abs(fmean(one.correlation for one in found)) < 2 * stdev(one.correlation for one in found) / math.sqrt(5)


@pytest.mark.parametrize("count", [0, 1, 2])
def test_fewer_than_three_children_have_no_heritability(count):
    fathers = [replace(ROOT, id=number, fitness=float(number)) for number in range(3)]
    children = [replace(ROOT, id=3 + number, father=number, generation=1) for number in range(count)]
    assert regress_on_fathers([*fathers, *children]) is None


def test_two_fathers_have_a_slope_without_error():
    fathers = [replace(ROOT, id=number, fitness=float(number)) for number in range(2)]
    children = [
        replace(ROOT, id=2 + number, father=number % 2, generation=1, fitness=number * 0.5) for number in range(4)
    ]
    found = regress_on_fathers([*fathers, *children])
    assert found.slope == pytest.approx(0.5)
    assert found.slope_error is None


def test_repeatability_equals_hand_calculation():
    # Rows are genes with the means 2, 3 and 7. Columns are critics with the means 3 and 5.
    found = pool_marks([[[1.0, 3.0], [3.0, 3.0], [5.0, 9.0]]])
    # Between: 2 ((2-4)^2 + (3-4)^2 + (7-4)^2) / 2. Residuals: 0, 0; 1, -1; -1, 1, so 4 / 2.
    assert (found.genes, found.error, found.critics) == (pytest.approx(14), pytest.approx(2), 2)
    assert found.repeatability == pytest.approx((14 - 2) / (14 + 2))
    assert found.reliability == pytest.approx(1 - 2 / 14)
    assert found.noise == pytest.approx(1)


def test_repeatability_equals_the_planted_value():
    draw = random.Random(3)
    tables = []
    for _ in range(300):
        critics = [draw.gauss(0, 5) for _ in range(4)]
        genes = [draw.gauss(0, 1) for _ in range(6)]
        tables.append([[gene + critic + draw.gauss(0, 2) for critic in critics] for gene in genes])
    found = pool_marks(tables)
    # The variance between genes is 1, that of the noise is 4. Critics that are hard for all genes change nothing.
    assert found.repeatability == pytest.approx(1 / 5, abs=0.03)
    assert found.reliability == pytest.approx(1 / 2, abs=0.05)
    assert found.noise == pytest.approx(1, abs=0.03)


def test_marks_without_noise_have_repeatability_one():
    found = pool_marks([[[0.1 + critic, 0.3 + critic, 0.7 + critic] for critic in (0.0, 0.2)]])
    assert found.repeatability == pytest.approx(1)
    assert (found.error, found.noise) == (0, 0)


@pytest.mark.parametrize("tables", [[], [[]], [[[1.0], [2.0]]], [[[1.0, 2.0]]], [[(), ()]]])
def test_one_mark_or_one_gene_has_no_repeatability(tables):
    assert pool_marks(tables) is None


def test_marks_are_ordered_by_task_and_then_seed():
    assert average_seeds((1.0, 3.0, 10.0, 20.0), 2) == [2.0, 15.0]
    assert average_seeds((), 2) == []
    # Seeds agree and tasks do not.
    genes = [
        replace(ROOT, id=number, fitness=fmean(marks), marks=marks)
        for number, marks in enumerate([(1.0, 1.0, 5.0, 5.0), (2.0, 2.0, 1.0, 1.0), (3.0, 3.0, 3.0, 3.0)])
    ]
    found = measure_heredity(genes, 0, 2, 10, 20)
    assert found["repeatability_seeds"] == pytest.approx(1)
    assert found["repeatability_tasks"] < 0
    assert found.keys() == KEYS


def test_tournaments_with_own_critics_are_analysed_separately():
    hard, easy = (0.0, 4.0), (10.0, 2.0)
    genes = [
        replace(ROOT, id=2 * tournament + number, tournament=tournament, marks=tuple(mark + number for mark in marks))
        for tournament, marks in enumerate((hard, easy))
        for number in range(2)
    ]
    genes = [replace(gene, fitness=fmean(gene.marks)) for gene in genes]
    assert measure_heredity(genes, 0, 2, 1, 1, shares_critics=False)["noise"] == 0
    assert measure_heredity(genes, 0, 2, 1, 1)["noise"] > 1


def test_single_accuracies_have_binomial_noise():
    draw = random.Random(5)
    genes = [replace(ROOT, id=number, tournament=number // 3) for number in range(3000)]
    # All genes have a true accuracy of 0.6, so all differences are noise.
    shares = [sum(draw.random() < 0.6 for _ in range(50)) / 50 for _ in genes]
    genes = [replace(gene, fitness=share, marks=(share,)) for gene, share in zip(genes, shares, strict=True)]
    found = measure_heredity(genes, 0, 1, 1, 1, val_images=50)
    assert found["noise"] == pytest.approx(math.sqrt(0.6 * 0.4 / 50), rel=0.02)
    assert found["spread"] == pytest.approx(found["noise"], rel=0.05)
    assert found["reliability"] == pytest.approx(0, abs=0.1)
    assert measure_heredity(genes, 0, 1, 1, 1)["noise"] is None
    same = [replace(gene, fitness=1.0, marks=(1.0,)) for gene in genes]
    constant = measure_heredity(same, 0, 1, 1, 1, val_images=50)
    assert (constant["noise"], constant["spread"], constant["reliability"]) == (0, 0, None)


def test_spread_and_differential_equal_hand_calculation():
    fitness = (1.0, 3.0, 10.0, 10.0)
    fathers = [replace(ROOT, id=number, fitness=value, tournament=number // 2) for number, value in enumerate(fitness)]
    children = [
        replace(ROOT, id=4 + number, father=father, generation=1, fitness=0.0)
        for number, father in enumerate((1, 2, 2, 3))
    ]
    found = measure_heredity([*fathers, *children], 5, 1, 10, 20)
    # Within tournaments: 2 + 0 over two degrees of freedom in the first generation, 0 over three in the second.
    assert found["spread"] == pytest.approx(math.sqrt(2 / 5))
    # Fathers have the fitness 3, 10, 10 and 10, and the mean of their generation is 6.
    assert found["differential"] == pytest.approx(9 / 4)
    assert found["intensity"] == pytest.approx(9 / 4 / math.sqrt((25 + 9 + 16 + 16) / 6))


def test_lives_of_a_line_are_counted_from_its_first_gene():
    genes = [
        ROOT,
        replace(ROOT, id=1),
        replace(ROOT, id=2, father=1, generation=1, lives=5),
        replace(ROOT, id=3, father=2, generation=3),
    ]
    assert [count_line_lives(genes, number) for number in range(4)] == [1, 1, 6, 7]
