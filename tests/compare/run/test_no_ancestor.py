"""Arms whose method makes its own ancestor: the comparison trains none for them, and costs are correct."""

from dataclasses import asdict

import pytest

from germline.baselines.finetune import Finetune
from germline.compare import write_report
from germline.compare.cost.cost import Cost, spec_flops
from germline.compare.cost.estimate import estimate_cost
from germline.compare.run.longer_scratch import compute_family_budgets
from germline.data import load_data
from germline.errors import SettingError
from germline.methods.tleg.method import TLEG
from germline.registry import model_spec
from helpers.comparison import SelfMadeAncestor, comparison, list_stored, results

BRED = "arms.gene={method: bred, settings: {steps: 1, batch_size: 8, lives: 3}}"
RANDOM = "arms.random={method: random-gene, settings: {method: bred, settings: {steps: 1, batch_size: 8, lives: 3}}}"
VGG = ("ancestor.model=vgg11", "sizes=[width=2]", "train.steps=1", BRED)
FAMILY = "family={counts: [1, 5], size: width=2, images_per_class: 3}"


@pytest.fixture
def work(recipe_file, tmp_path, self_made_ancestor):
    return lambda *changes, **more: comparison(recipe_file, tmp_path / "out", *VGG, *changes, **more)


def test_estimate_matches_run_and_no_ancestor_is_made(work, tmp_path):
    run = work(RANDOM, FAMILY, "seeds=[0]")
    estimate, store = estimate_cost(run.recipe), run._artifact_store({})
    flops = spec_flops(store.descendant_spec("width=2"))
    assert estimate.ancestors == Cost()
    # Three lives with one step of 8 images. The shuffled gene needs no second gene.
    assert estimate.genes == Cost(1, 3 * 8, 3 * 8 * 3 * flops)
    assert compute_family_budgets(store) == [
        # scratch has one step of 16 images; the gene has 24 images, which one or five descendants share
        {"count": 1, "with_ancestor": False, "steps": 1 + round(24 / 16)},
        {"count": 5, "with_ancestor": False, "steps": 1 + round(24 / 16 / 5)},
    ]
    run.run()
    assert run.failed == {}
    found = results(tmp_path / "out")
    store = tmp_path / "out" / "store"
    assert [len(list_stored(store, kind)) for kind in ("ancestor", "gene")] == [0, 1]
    assert found["ancestors"] == []
    assert found["costs"]["ancestor"] is None
    assert found["costs"]["genes"] == {
        "gene": asdict(estimate.genes),
        "scratch": None,
        "random": asdict(estimate.genes),
    }
    assert {arm["arm"]: bool(arm["record"]) for arm in found["genes"]} == {"gene": True, "random": False}
    write_report(tmp_path / "out")
    page = (tmp_path / "out" / "report.md").read_text()
    family = page.split("## What the whole family costs")[1].split("\n## ")[0]
    assert family.count("| gene, descendants |") == 3
    assert "ancestor, gene, descendants" not in family
    assert "ancestors:" not in page


def test_ancestor_of_another_arm_is_not_in_family_budget(work):
    found = work("arms.finetune.method=finetune", FAMILY)
    estimate = estimate_cost(found.recipe)
    assert estimate.ancestors.count == 2
    assert {budget["with_ancestor"] for budget in compute_family_budgets(found._artifact_store({}))} == {False}


def test_ancestor_of_another_comparison_is_not_listed(work, tmp_path, recipe_file):
    store = tmp_path / "store"
    comparison(recipe_file, tmp_path / "other", "seeds=[0]", "train.steps=1", store=store).run()
    assert len(results(tmp_path / "other")["ancestors"]) == 1
    # The store holds the same ancestor, but no arm needs it.
    vit = ("ancestor.model=vit_pico", "sizes=[depth=1]")
    own = ("arms.gene.settings.model=vit_pico", "arms.gene.settings.size=depth=2", "seeds=[0]")
    work(*vit, *own, store=store).run()
    assert results(tmp_path / "out")["ancestors"] == []
    assert len(list_stored(store, "ancestor")) == 1


def test_sizes_are_checked_against_the_methods_networks(work):
    work().check()
    with pytest.raises(SettingError, match="no number above the ancestor"):
        work("sizes=[width=4]").check()
    with pytest.raises(SettingError, match="It takes those of its ancestor"):
        work("sizes=['width=2,depth=13']").check()
    with pytest.raises(SettingError, match="Arm 'gene' at width=2 has widths="):
        work("ancestor.model=resnet12").check()


def test_condensing_samples_match_hand_calculation():
    spec = model_spec("vit_pico", image_size=8, channels=1, classes=10)
    assert (Finetune().cost(spec, 100, 5).samples, Finetune().cost(spec, 100, 5).flops) == (0, 0)
    distilled = TLEG(steps=7, batch_size=4)
    assert (distilled.cost(spec, 100, 5).samples, distilled.cost(spec, 100, 5).flops) == (
        28,
        28 * (3 * spec_flops(spec) + 5),
    )
    assert TLEG(steps=7, batch_size=4, distillation="none").cost(spec, 100, 5).flops == 28 * 3 * spec_flops(spec)
    # Three epochs of 100 images in batches of 32 are 10 steps.
    assert TLEG(epochs=3, batch_size=32).cost(spec, 100, 0).samples == 10 * 32
    spec = SelfMadeAncestor().condense_spec(None, load_data("digits"))
    cost = SelfMadeAncestor(steps=2, batch_size=4, lives=3).cost(spec, 100, 5)
    assert (cost.samples, cost.flops) == (24, 24 * 3 * spec_flops(spec))
