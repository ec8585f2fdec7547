"""Protocol `frozen`: heads on planted features, the number of feature passes, and a complete comparison."""

import pytest
import torch
from torch import nn

from germline.architectures import Preprocess
from germline.compare.analysis.results import ComparisonResults
from germline.compare.cost.cost import spec_flops
from germline.compare.cost.estimate import estimate_cost
from germline.compare.recipe.loader import load_recipe
from germline.compare.recipe.schema import Recipe
from germline.compare.report.cost_tables import tuning_table
from germline.compare.report.tables import frozen_table
from germline.compare.run import frozen_body
from germline.compare.run.cells import Cell, list_tuning_cells
from germline.compare.run.frozen_body import PENALTIES, fit_frozen_body
from germline.compare.run.linear_probe import pooled_features
from germline.compare.run.train_cell import cell_path
from germline.data import load_data
from germline.errors import SettingError
from helpers.comparison import RECIPE, comparison, list_stored, results

FROZEN = RECIPE.replace("protocol: samples", "protocol: frozen").replace(RECIPE.splitlines()[-1], "")
TUNE = "tune={size: depth=1, images_per_class: 2, seed: 7, positions: [0.02, 0.5]}"


@pytest.fixture
def frozen_file(tmp_path):
    (tmp_path / "frozen.yaml").write_text(FROZEN)
    return tmp_path / "frozen.yaml"


@pytest.fixture
def passes(monkeypatch):
    """Number of images of each feature pass, in order. No features are saved from other tests."""
    counts = []
    monkeypatch.setattr(frozen_body, "PENALTIES", (1.0, 0.01))

    def count(network, images, device):
        counts.append(len(images))
        return pooled_features(network, images, device)

    monkeypatch.setattr(frozen_body, "pooled_features", count)
    monkeypatch.setattr(frozen_body, "_SAVED", type(frozen_body._SAVED)())
    return counts


@pytest.fixture(scope="module")
def scored_images(pico):
    """Four validation images per class, used as test images."""
    return pico.val.draw_per_class(4, torch.Generator().manual_seed(1))


def plant(images, *, shuffled=False):
    """Paint the label of each image on it as one bright column out of ten."""
    pixels = torch.zeros_like(images.images)
    labels = images.labels
    if shuffled:
        labels = labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(3))]
    for column, label in enumerate(labels.tolist()):
        pixels[column, :, :, 3 * label : 3 * label + 3] = 200
    return type(images)(pixels, images.labels, images.classes)


class Columns(nn.Module):
    """Network whose features are the means of the columns."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(32, 10)

    def forward_features(self, pixels):
        return pixels.mean(dim=(1, 2))

    def forward_head(self, features, pre_logits=False):
        return features if pre_logits else self.head(features)


@pytest.fixture
def columns(make_network, pico):
    # a spec of a ViT, whose head has the same name
    network = make_network()
    return type(network)(Columns(), Preprocess.from_images(pico.train.images), network.classes, spec=network.spec)


def test_separable_features_give_full_accuracy(columns, pico, passes, scored_images):
    train, val, test = (plant(split) for split in (pico.train, pico.val, scored_images))
    fit = fit_frozen_body(columns, train, val, test)
    assert (fit.val_accuracy, fit.test_accuracy) == (1.0, 1.0)
    assert passes == [len(train), len(val), len(test)]
    assert fit.samples == sum(passes)
    # the largest of equal penalties
    assert fit.penalty == max(PENALTIES) == PENALTIES[0]


def test_shuffled_labels_give_chance_accuracy(columns, pico, passes, scored_images):
    train, val, test = (plant(split, shuffled=True) for split in (pico.train, pico.val, scored_images))
    fit = fit_frozen_body(columns, train, val, test)
    assert 0 <= fit.test_accuracy <= 0.3
    assert fit.val_accuracy <= 0.4


def test_tuning_reads_no_test_images(columns, pico, passes):
    fit = fit_frozen_body(columns, plant(pico.train), plant(pico.val), None)
    assert fit.test_accuracy is None
    assert fit.samples == sum(passes) == len(pico.train) + len(pico.val)


def test_features_of_equal_bodies_are_computed_once(make_network, pico, passes, scored_images):
    few = pico.train.draw_per_class(3, torch.Generator().manual_seed(0))
    first = fit_frozen_body(make_network(), pico.train, pico.val, scored_images)
    passes.clear()
    twin = make_network()
    nn.init.normal_(twin.model.head.weight)  # another head on the same body
    again = fit_frozen_body(twin, pico.train, pico.val, scored_images)
    assert passes == [len(pico.train)]
    assert (again.test_accuracy, again.samples) == (first.test_accuracy, first.samples)
    fit_frozen_body(twin, few, pico.val, scored_images)
    assert passes == [len(pico.train), len(few)]
    passes.clear()
    twin.model.blocks[0].mlp.fc1.weight.data[0, 0] += 1
    fit_frozen_body(twin, few, pico.val, scored_images)
    assert passes == [len(few), len(pico.val), len(scored_images)]


def test_saved_features_are_bounded(make_network, pico, passes, monkeypatch, scored_images):
    monkeypatch.setattr(frozen_body, "MAX_SAVED_FEATURES", 16 * len(pico.val))
    for _ in range(2):
        fit_frozen_body(make_network(), pico.val, pico.val, scored_images)
    assert len(frozen_body._SAVED) == 1
    assert passes == 2 * [len(pico.val), len(pico.val), len(scored_images)]


@pytest.mark.usefixtures("passes")
def test_fit_changes_no_network_and_no_random_state(make_network, pico, scored_images):
    network = make_network()
    before = {name: tensor.clone() for name, tensor in network.model.state_dict().items()}
    state = torch.get_rng_state()
    fit_frozen_body(network, pico.val, pico.val, scored_images)
    assert torch.get_rng_state().equal(state)
    assert all(tensor.equal(before[name]) for name, tensor in network.model.state_dict().items())


@pytest.fixture(scope="module")
def frozen_run(tmp_path_factory):
    """A comparison with few images and all, in which scratch tunes its positions."""
    place = tmp_path_factory.mktemp("frozen")
    (place / "frozen.yaml").write_text(FROZEN)
    changes = ("seeds=[0]", "images_per_class=[3, all]", TUNE, "arms.finetune={method: finetune}")
    work = comparison(place / "frozen.yaml", place / "out", *changes)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(frozen_body, "PENALTIES", PENALTIES[:2])  # the fewest that allow a choice
        work.run()
    assert work.failed == {}
    return work, changes


def test_cells_contain_their_complete_cost(frozen_run):
    work, _ = frozen_run
    digits = load_data("digits")
    stored, estimate = results(work.out), estimate_cost(work.recipe)
    assert len(stored["cells"]) == estimate.cells.count == 2 * 3
    scored = len(digits.val) + len(digits.test)
    for cell in stored["cells"]:
        images = len(digits.train) if cell["asked"]["images"] == "all" else 30
        assert (cell["steps"], cell["samples"], cell["lr"]) == (0, images + scored, None)
        assert cell["flops"] == cell["samples"] * stored["costs"]["parameters"]["depth=1"]["flops"]
        assert set(cell["penalties"]) <= set(PENALTIES)
        assert [point["step"] for point in cell["curve"]] == [0]
        assert 0 <= cell["test_accuracy"] <= 1
    assert sum(cell["samples"] for cell in stored["cells"]) == estimate.cells.samples
    assert sum(cell["flops"] for cell in stored["cells"]) == estimate.cells.flops
    # scratch tunes two positions, and other arms tune nothing
    grids = {arm: [point["positions"] for point in tuned["grid"]] for arm, tuned in stored["tuned"].items()}
    assert grids == {"scratch": [0.02, 0.5]}
    tuning = stored["tuned"]["scratch"]["grid"]
    assert sum(point["samples"] for point in tuning) == estimate.tuning.samples == 2 * (20 + len(digits.val))
    assert "tuning grid: 2 initial positions for scratch" in estimate.text()
    assert spec_flops(work._artifact_store({}).descendant_spec("depth=1")) * estimate.tuning.samples == (
        estimate.tuning.flops
    )


def test_report_of_frozen_bodies_has_its_tables(frozen_run):
    work, _ = frozen_run
    found = ComparisonResults.load(work.out)
    assert tuning_table(found)[0] == ["arm", "initial positions", "validation accuracy, %"]
    head, *rows = frozen_table(found)
    assert head[-1] == "penalties"
    assert [row[:2] for row in rows][:2] == [["depth=1, 3 images per class", arm] for arm in ("gene", "scratch")]


def test_a_second_run_reuses_every_part(frozen_run):
    work, changes = frozen_run
    before = list_stored(work.out / "store")
    again = comparison(work.out.parent / "frozen.yaml", work.out.parent / "again", *changes, store=work.out / "store")
    again.run()
    assert list_stored(work.out / "store") == before
    assert results(again.out)["cells"] == results(work.out)["cells"]


def test_saved_recipe_has_no_training(frozen_file):
    recipe = load_recipe(str(frozen_file), [TUNE])
    saved = recipe.model_dump(mode="json")
    assert "train" not in saved
    assert not {"lr", "weight_decay"} & set(saved["tune"])
    assert Recipe.model_validate(saved) == recipe
    assert [cell.lr for cell in list_tuning_cells(recipe)] == [None, None]


def test_recipes_of_one_question_share_ancestor_and_gene():
    frozen, transfer = (load_recipe(f"lab/tleg-{name}-cifar-fs") for name in ("frozen", "transfer"))
    assert (frozen.ancestor, frozen.one_gene, frozen.seeds) == (transfer.ancestor, transfer.one_gene, transfer.seeds)
    both = frozen.arms.keys() & transfer.arms.keys()
    assert len(both) == 7
    assert all(frozen.arms[arm] == transfer.arms[arm] for arm in both)


def test_trained_and_frozen_cells_have_different_paths(recipe_file, frozen_file, tmp_path):
    cell = Cell("scratch", "depth=1", 3, 0)
    trained, frozen = (comparison(file, tmp_path / "out")._artifact_store({}) for file in (recipe_file, frozen_file))
    assert cell_path(trained, cell) != cell_path(frozen, cell)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["train.steps=10"], "cannot use train"),
        (["arms.gene.train.steps=10"], "cannot use arms.gene.train"),
        (["scratch_until_plateau={}"], "cannot use scratch_until_plateau"),
        (["arms.teacher={method: distil}"], "Its teacher acts in training"),
        ([TUNE.replace("{", "{lr: [0.1], ")], "cannot use tune.lr"),
        ([TUNE.replace("{", "{weight_decay: [0.0], ")], "cannot use tune.weight_decay"),
        ([TUNE.replace("{", "{extend: 1, ")], "cannot use tune.extend"),
        ([TUNE.replace(", positions: [0.02, 0.5]", "")], "tune without positions"),
        (["images_per_class=all", "one_gene=true"], "fit the same head to the same features"),
    ],
)
def test_settings_without_effect_are_refused(frozen_file, tmp_path, changes, message):
    with pytest.raises(SettingError, match=message):
        comparison(frozen_file, tmp_path / "out", *changes).run()
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "changes",
    [
        ["images_per_class=all", "one_gene=true", "seeds=[3]"],
        ["images_per_class=all", "one_gene=true", "tasks={ways: 5, count: 2}"],
        ["images_per_class=[2, 5]", "one_gene=true"],
    ],
)
def test_seeds_that_differ_are_accepted(frozen_file, tmp_path, changes):
    comparison(frozen_file, tmp_path / "out", *changes).check()
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("protocol: frozen", "protocol: samples", "No train with protocol=samples"),
        (
            "protocol: frozen",
            f"train: {{steps: 5}}\nprotocol: samples\n{TUNE.replace('=', ': ', 1)}",
            "tune without lr",
        ),
    ],
)
def test_training_without_its_settings_is_refused(frozen_file, old, new, message):
    frozen_file.write_text(FROZEN.replace(old, new))
    with pytest.raises(SettingError, match=message):
        load_recipe(str(frozen_file))
