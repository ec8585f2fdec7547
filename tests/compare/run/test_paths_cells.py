"""Descendants without training, and arms with some of the sizes."""

from dataclasses import replace

import pytest

from germline.architectures import Size
from germline.baselines.distillation import Distil
from germline.baselines.layers import Layers
from germline.compare import write_report
from germline.compare.cost.estimate import estimate_cost
from germline.compare.recipe.loader import load_recipe
from germline.compare.run.cells import list_main_cells, list_tuning_cells
from germline.data import load_data
from germline.errors import SettingError
from germline.learngene import Learngene
from germline.loading import load_network
from germline.methods.tleg.method import TLEG
from germline.registry import model_spec
from germline.training import score_model
from germline.traits import Sizes
from helpers.comparison import comparison, list_stored, results

# Two families without further training, and scratch only at the smallest size.
PATHS = """\
title: Depths as they are grown
protocol: paths
kind: quick
minutes: 1
data: digits
ancestor:
  data: digits
  model: vit_pico
  train: {steps: 3, batch_size: 16}
arms:
  gene: {method: tleg, settings: {steps: 3, batch_size: 16}, train: {steps: 0}}
  even: {method: layers, settings: {choose: even}, train: {steps: 0}}
  scratch: {method: scratch, sizes: [depth=1]}
sizes: [depth=1, depth=2, depth=4]
images_per_class: [3]
seeds: [0, 1]
train: {steps: 2, batch_size: 16, lr: 1e-3}
"""
TUNE = "tune={lr: [1e-3, 1e-2], weight_decay: [0], size: depth=1, images_per_class: 2, seed: 7}"
FINETUNE = "arms.tuned={method: finetune, train: {steps: 0}, sizes: [depth=2, depth=4]}"


@pytest.fixture
def recipe_file(tmp_path):
    (tmp_path / "paths.yaml").write_text(PATHS)
    return tmp_path / "paths.yaml"


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Output folder and estimate of the comparison, with tuning and an arm that needs ancestors of each size."""
    place = tmp_path_factory.mktemp("paths")
    (place / "paths.yaml").write_text(PATHS)
    work = comparison(place / "paths.yaml", place / "out", TUNE, FINETUNE)
    estimate = estimate_cost(work.recipe)
    work.run()
    assert work.failed == {}
    return place / "out", estimate


def find_cells(out, **request):
    return [c for c in results(out)["cells"] if all(c["asked"][key] == value for key, value in request.items())]


def test_cells_follow_sizes_of_arms(finished):
    counts = {arm: len(find_cells(finished[0], arm=arm)) for arm in ("gene", "even", "scratch", "tuned")}
    assert counts == {"gene": 2 * 3, "even": 2 * 3, "scratch": 2 * 1, "tuned": 2 * 2}
    assert {cell["asked"]["size"] for cell in find_cells(finished[0], arm="tuned")} == {"depth=2", "depth=4"}


def test_untrained_cell_equals_inherited_network(finished, tmp_path):
    out, digits = finished[0], load_data("digits")
    genes = [Learngene.load(path) for path in (out / "store").glob("gene-*/") if (path / "learngene.json").exists()]
    for method in ("tleg", "layers"):
        by_seed = [gene for gene in genes if gene.method == method]
        assert len(by_seed) == 2
        expected = []
        for at, gene in enumerate(by_seed):
            for size in ("depth=1", "depth=2", "depth=4"):
                gene.inherit(Size.parse(size)).save(tmp_path / f"{method}-{at}-{size}")
                network = load_network(tmp_path / f"{method}-{at}-{size}")
                scores = [score_model(network.model, network.logits, part) for part in (digits.val, digits.test)]
                expected.append((size, scores[0].accuracy, scores[0].loss, scores[1].accuracy))
        cells = find_cells(out, arm={"tleg": "gene", "layers": "even"}[method])
        measured = [
            (c["asked"]["size"], c["curve"][0]["accuracy"], c["curve"][0]["loss"], c["test_accuracy"]) for c in cells
        ]
        assert sorted(measured) == sorted(expected)


def test_untrained_cell_costs_nothing_and_has_no_probe(finished):
    for arm in ("gene", "even", "tuned"):
        for cell in find_cells(finished[0], arm=arm):
            assert [point["step"] for point in cell["curve"]] == [0]
            assert (cell["steps"], cell["samples"], cell["flops"], cell["probe_accuracy"]) == (0, 0, 0, None)
            assert "fresh" not in cell["origins"]
    assert {cell["steps"] for cell in find_cells(finished[0], arm="scratch")} == {2}
    assert all(cell["probe_accuracy"] is not None for cell in find_cells(finished[0], arm="scratch"))


def test_only_trained_arms_are_tuned(finished, recipe_file):
    recipe = load_recipe(str(recipe_file), [TUNE])
    assert {cell.arm for cell in list_tuning_cells(recipe)} == {"scratch"}
    assert list(results(finished[0])["tuned"]) == ["scratch"]
    # No gene and no ancestor is made for the tuning seed.
    assert len(list_stored(finished[0] / "store", "gene")) == 2 * (1 + 1 + 2)


def test_estimate_matches_run(finished):
    out, estimate = finished
    cells, store = results(out)["cells"], out / "store"
    assert (estimate.cells.count, estimate.cells.samples) == (len(cells), sum(cell["samples"] for cell in cells))
    assert estimate.cells.samples == 2 * 2 * 16  # scratch at one size, two seeds
    assert estimate.cells.flops == sum(cell["flops"] for cell in cells)
    assert estimate.genes.count == len(list_stored(store, "gene"))
    # One ancestor of six blocks for the two families, and one per fine-tuned size.
    assert estimate.ancestors.count == len(list_stored(store, "ancestor")) == 2 * (1 + 2)
    assert estimate.tuning.count == 2


def test_estimate_contains_storage_of_arms(finished, recipe_file):
    stored = {gene["arm"]: gene["headless_elements"] for gene in results(finished[0])["genes"]}
    family = finished[1].family
    assert (family.gene, family.others) == (stored["gene"], {"even": stored["even"]})
    assert family.alone == 0  # scratch does not have all sizes
    text = finished[1].text()
    assert f"genes of other arms, relative to this gene: even {stored['even'] / stored['gene']:.2f}" in text
    assert "scratch at all sizes" not in text
    all_sizes = estimate_cost(load_recipe(str(recipe_file), ["arms.scratch.sizes=null"])).family
    assert (all_sizes.alone, all_sizes.together) == (3 * 2 * 16, 3 * 16)
    # With many sizes, only the range is shown.
    depths = ", ".join(f"depth={depth}" for depth in range(1, 13))
    arms = "arms={gene: {method: tleg, settings: {steps: 3, batch_size: 16}, train: {steps: 0}}}"
    many = estimate_cost(load_recipe(str(recipe_file), [f"sizes=[{depths}]", arms]))
    ratios = [count / many.family.gene for count in many.family.networks.values()]
    assert f"(one network: {min(ratios):.2f} to {max(ratios):.2f})" in many.text()


def test_report_of_a_run_has_claims_storage_and_costs(finished):
    out = finished[0]
    printed = write_report(out)
    page = (out / "report.md").read_text()
    assert "gene is above even in the mean over sizes" in printed
    genes = {gene["arm"]: gene for gene in results(out)["genes"]}
    counts = results(out)["costs"]["parameters"]
    for arm, what, headless in (
        ("gene", "one gene", genes["gene"]["headless_elements"]),
        ("even", "one gene", genes["even"]["headless_elements"]),
        ("tuned", "2 networks", counts["depth=2"]["headless"] + counts["depth=4"]["headless"]),
        ("scratch", "1 network", counts["depth=1"]["headless"]),
    ):
        assert f"| {arm} | {what} | {headless:,} |" in page
    # Three steps of 16 images each for an ancestor, a gene and two ancestors of single sizes; two steps of scratch.
    assert "| gene | 3 | 48 | 48 | 0 |" in page
    assert "| even | 3 | 48 | 0 | 0 |" in page
    assert "| tuned | 2 | 96 | 0 | 0 |" in page
    assert "| scratch | 1 | 0 | 0 | 32 |" in page


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["protocol=sizes"], "The protocol sizes compares trained descendants. Set its steps to 1 or more"),
        (["train.steps=0"], "Arm 'scratch' has steps=0. 'scratch' passes no head on"),
        (["arms.even={method: distil, train: {steps: 0}}"], "'distil' passes no head on"),
        (["arms.even={method: last-layers, train: {steps: 0}}"], "'last-layers' passes no head on"),
        (
            ["arms.even.tuned_as=scratch"],
            "Arm 'even' has steps=0. An arm without training is not tuned. Remove tuned_as",
        ),
        (["arms.scratch.tuned_as=even"], "arms.scratch.tuned_as=even. That arm is not tuned itself"),
        (["data=glyphs/novel"], "for the classes of digits, and a fresh head only guesses. Use data: digits"),
        (["data=glyphs/base", "ancestor.data=glyphs/base", "final=true"], "for the classes of glyphs/base"),
        (["tasks={ways: 3, count: 2}"], "Each task has its own classes"),
        (["one_gene=true"], "every seed repeats the same evaluation. Remove one_gene, use a single seed"),
        (
            ["ancestor={path: packaged, data: digits}"],
            "'layers' has the same gene for every seed of ancestor.path=pack",
        ),
        (["arms.even.sizes=[depth=5]"], "arms.even.sizes: 'depth=5'. It is not one of the recipe's sizes"),
        (["arms.even.sizes=[]"], "arms.even.sizes"),
        (
            ["arms.gene.sizes=[depth=1]", "arms.even.sizes=[depth=4]"],
            "No arm uses size 'depth=2'. It would never be built. Remove it",
        ),
        (["sizes=['*', depth=1]"], "'*' means every size. Remove '*' or the others"),
        (["family={size: depth=2, images_per_class: 3}"], "'gene' and 'scratch' both have"),
    ],
)
def test_invalid_recipes_are_refused(recipe_file, changes, message):
    with pytest.raises(SettingError) as caught:
        load_recipe(str(recipe_file), changes)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "changes",
    [
        ["one_gene=true", "seeds=[3]"],
        ["arms.random={method: random-gene, settings: {method: layers}, train: {steps: 0}}"],
        ["family={size: depth=1, images_per_class: 3}"],
    ],
)
def test_valid_recipes_load(recipe_file, changes):
    assert load_recipe(str(recipe_file), changes).protocol == "paths"


def test_a_stored_gene_is_not_measured_once_per_seed(recipe_file, gene, tmp_path):
    gene.save(tmp_path / "gene")
    arm = f"arms.gene={{method: stored, settings: {{gene: {tmp_path / 'gene'}}}, train: {{steps: 0}}}}"
    with pytest.raises(SettingError, match=r"steps=0. 'stored' has the same gene for every seed. Use a single seed"):
        load_recipe(str(recipe_file), [arm])
    assert load_recipe(str(recipe_file), [arm, "seeds=[0]"]).seeds == (0,)


def test_family_needs_two_sizes(recipe_file, tmp_path):
    with pytest.raises(SettingError, match=r"only the sizes \['depth=1'\].*at least two sizes"):
        comparison(recipe_file, tmp_path / "out", "arms.gene.sizes=[depth=1]").check()


def test_trained_ancestor_must_know_the_classes(recipe_file, tmp_path):
    trained = "ancestor={path: packaged, data: digits}"
    packaged = (trained, "arms.gene={method: layers, train: {steps: 0}}", "seeds=[0]")
    with pytest.raises(SettingError, match=r"steps=0 with ancestor.path=packaged. That network knows \d+ classes"):
        comparison(recipe_file, tmp_path / "out", *packaged).check()
    comparison(recipe_file, tmp_path / "out", *packaged, "data=glyphs/base", "ancestor.data=glyphs/base").check()


def test_fresh_head_without_training_fails(recipe_file, tmp_path, monkeypatch):
    # A method that declares to pass its head on, and does not.
    monkeypatch.setattr(Distil, "traits", replace(Distil.traits, inherits_head=True))
    arms = "arms={gene: {method: distil, train: {steps: 0}}, scratch: {method: scratch}}"
    work = comparison(recipe_file, tmp_path / "out", arms, "sizes=[depth=1, depth=2]", "seeds=[0]")
    work.run()
    assert list(work.failed) == ["gene depth=1 3 images per class seed=0", "gene depth=2 3 images per class seed=0"]
    assert "Arm 'gene' has steps=0 and a fresh head. Its gene knows other classes" in next(iter(work.failed.values()))


def test_star_expands_to_sizes_of_first_method(recipe_file, tmp_path, monkeypatch):
    def list_sizes(method, spec, gene=None):
        return Sizes("odd depths", tuple(f"depth={depth}" for depth in range(1, spec.depth + 1, 2)))

    monkeypatch.setattr(Layers, "describe_sizes", list_sizes)
    changes = (
        "sizes=['*']",
        "arms={gene: {method: layers, train: {steps: 0}}, scratch: {method: scratch, sizes: [depth=3]}}",
    )
    work = comparison(recipe_file, tmp_path / "out", *changes)
    assert work.recipe.sizes == ("*",)
    work.check()
    assert work.recipe.sizes == ("depth=1", "depth=3", "depth=5")
    assert [(c.arm, c.size) for c in list_main_cells(work.recipe) if c.seed == 0] == [
        ("gene", "depth=1"),
        ("gene", "depth=3"),
        ("scratch", "depth=3"),
        ("gene", "depth=5"),
    ]
    assert estimate_cost(load_recipe(str(recipe_file), changes)).cells.count == 2 * 4
    with pytest.raises(SettingError, match=r"arms.scratch.sizes: 'depth=2'"):
        comparison(recipe_file, tmp_path / "out", *changes, "arms.scratch.sizes=[depth=2]").check()


def test_star_is_refused_without_list_of_sizes(recipe_file, tmp_path):
    with pytest.raises(
        SettingError, match=r"sizes=\['\*'\] with 'tleg' in the first arm. That method does not list .* Use the names"
    ):
        comparison(recipe_file, tmp_path / "out", "sizes=['*']", "arms.scratch.sizes=null").check()
    assert TLEG().describe_sizes(model_spec("vit_pico", image_size=8, channels=1, classes=2)).names == ()
