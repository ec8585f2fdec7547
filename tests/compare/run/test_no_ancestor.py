"""Arms whose method makes its own ancestor: none is trained for them, and they are checked and counted like others."""

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
from helpers.comparison import Bred, comparison, kept, results

BRED = "arms.gene={method: bred, settings: {steps: 1, batch_size: 8, lives: 3}}"
RANDOM = "arms.random={method: random-gene, settings: {method: bred, settings: {steps: 1, batch_size: 8, lives: 3}}}"
VGG = ("ancestor.model=vgg11", "sizes=[width=2]", "train.steps=1", BRED)
FAMILY = "family={counts: [1, 5], size: width=2, images_per_class: 3}"


@pytest.fixture
def work(recipe_file, tmp_path, bred):
    return lambda *changes, **more: comparison(recipe_file, tmp_path / "out", *VGG, *changes, **more)


def test_it_is_priced_as_it_runs_and_no_ancestor_is_made(work, tmp_path):
    asked = work(RANDOM, FAMILY, "seeds=[0]")
    told, store = estimate_cost(asked.recipe), asked._artifact_store({})
    form = spec_flops(store.descendant_spec("width=2"))
    assert told.ancestors == Cost()
    # three lives of a step of 8 pictures; the shuffled gene is the same one
    assert told.genes == Cost(1, 3 * 8, 3 * 8 * 3 * form)
    assert compute_family_budgets(store) == [
        # 5 is a step of 16 pictures for scratch; half as many again for the gene, shared by five
        {"count": 1, "with_ancestor": False, "steps": 1 + round(24 / 16)},
        {"count": 5, "with_ancestor": False, "steps": 1 + round(24 / 16 / 5)},
    ]
    asked.run()
    assert asked.failed == {}
    found = results(tmp_path / "out")
    store = tmp_path / "out" / "store"
    assert [len(kept(store, kind)) for kind in ("ancestor", "gene")] == [0, 1]
    assert found["ancestors"] == []
    assert found["costs"]["ancestor"] is None
    assert found["costs"]["genes"] == {"gene": asdict(told.genes), "scratch": None, "random": asdict(told.genes)}
    assert {arm["arm"]: bool(arm["record"]) for arm in found["genes"]} == {"gene": True, "random": False}
    write_report(tmp_path / "out")
    page = (tmp_path / "out" / "report.md").read_text()
    family = page.split("## What the whole family costs")[1].split("\n## ")[0]
    assert family.count("| gene, descendants |") == 3
    assert "ancestor, gene, descendants" not in family
    assert "ancestors:" not in page


def test_an_ancestor_that_another_arm_needs_is_its_alone(work):
    found = work("arms.finetune.method=finetune", FAMILY)
    told = estimate_cost(found.recipe)
    assert told.ancestors.count == 2
    assert {budget["with_ancestor"] for budget in compute_family_budgets(found._artifact_store({}))} == {False}


def test_an_ancestor_of_another_comparison_is_not_told(work, tmp_path, recipe_file):
    store = tmp_path / "store"
    comparison(recipe_file, tmp_path / "other", "seeds=[0]", "train.steps=1", store=store).run()
    assert len(results(tmp_path / "other")["ancestors"]) == 1
    # the same ancestor lies there, asked for by nobody
    vit = ("ancestor.model=vit_pico", "sizes=[depth=1]")
    own = ("arms.gene.settings.model=vit_pico", "arms.gene.settings.size=depth=2", "seeds=[0]")
    work(*vit, *own, store=store).run()
    assert results(tmp_path / "out")["ancestors"] == []
    assert len(kept(store, "ancestor")) == 1


def test_sizes_are_held_against_it(work):
    work().check()
    with pytest.raises(SettingError, match="nowhere above the ancestor"):
        work("sizes=[width=4]").check()
    with pytest.raises(SettingError, match="It takes those of its ancestor"):
        work("sizes=['width=2,depth=13']").check()
    with pytest.raises(SettingError, match="Arm 'gene' at width=2 has widths="):
        work("ancestor.model=resnet12").check()


def test_samples_of_condensing():
    spec = model_spec("vit_pico", image_size=8, channels=1, classes=10)
    assert (Finetune().cost(spec, 100, 5).samples, Finetune().cost(spec, 100, 5).flops) == (0, 0)
    taught = TLEG(steps=7, batch_size=4)
    assert (taught.cost(spec, 100, 5).samples, taught.cost(spec, 100, 5).flops) == (28, 28 * (3 * spec_flops(spec) + 5))
    assert TLEG(steps=7, batch_size=4, distillation="none").cost(spec, 100, 5).flops == 28 * 3 * spec_flops(spec)
    # three epochs of 100 pictures are 10 steps of 30 and a part of one
    assert TLEG(epochs=3, batch_size=32).cost(spec, 100, 0).samples == 10 * 32
    spec = Bred().condense_spec(None, load_data("digits"))
    cost = Bred(steps=2, batch_size=4, lives=3).cost(spec, 100, 5)
    assert (cost.samples, cost.flops) == (24, 24 * 3 * spec_flops(spec))
