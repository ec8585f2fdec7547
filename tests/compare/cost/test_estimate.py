"""Costs: FLOPs counted by architectures or torch, and estimates compared with runs."""

import pytest
import timm
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from germline.architectures import Preprocess
from germline.compare.cost.cost import Cost, forward_flops, spec_flops, sum_costs, training_cost
from germline.compare.cost.estimate import estimate_cost
from germline.compare.cost.storage import count_headless_elements, count_network_parameters, storage_ratio
from germline.compare.recipe.loader import load_recipe
from germline.data import MissingDataError
from germline.loading import wrap_module
from germline.methods.gtl.method import GTL
from germline.network import Network
from germline.registry import architecture_of, model_spec
from germline.training import TrainSettings
from helpers.comparison import TUNE, comparison, list_stored, results

CLASSES = tuple("0123456789")
STEP = 16  # images


def count_with_torch(network):
    preprocess = network.preprocess
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network.model.eval()(torch.rand(1, preprocess.channels, preprocess.image_size, preprocess.image_size))
    return counter.get_total_flops()


def unknown_networks():
    """Yield networks that no architecture knows."""
    layers = (nn.Conv2d(1, 4, 3, stride=2), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    plain = nn.Sequential(*layers, nn.Linear(4, 10))
    preprocess = Preprocess.from_images(torch.randint(0, 255, (4, 1, 32, 32), dtype=torch.uint8))
    yield Network(plain.train(), preprocess, CLASSES)
    model = timm.create_model("resnet10t", pretrained=False, num_classes=10)
    yield wrap_module(model.train(), preprocess.adapt(3, 32), CLASSES)


def vit_block(tokens, width):
    """Multiply-adds of one block: q, k, v and projection, an MLP of four times the width, two attention products."""
    return tokens * (3 + 1) * width**2 + 2 * tokens * width * (4 * width) + 2 * tokens**2 * width


def basic_block(reads, writes, side, shortcut=0):
    """Multiply-adds of two convolutions of 3 x 3 weights and of a shortcut of 1 x 1, on maps of side x side."""
    return side**2 * (9 * reads * writes + 9 * writes * writes + shortcut * reads * writes)


# Multiply-adds of one grey image of 32 x 32 and ten classes. Norms, biases, activations, sums and pools are left out.
MULTIPLY_ADDS = {
    # 16 patches of 8 x 8 pixels to width 16, two blocks, the head
    "vit": 16 * 64 * 16 + 2 * vit_block(16, 16) + 16 * 10,
    # 16 patches to width 8; with the class token 17 tokens: one block of 8, a stitch to 16, two blocks of 16, the head
    "stitched": 16 * 64 * 8 + vit_block(17, 8) + 17 * 8 * 16 + 2 * vit_block(17, 16) + 16 * 10,
    # eight convolutions of 3 x 3 weights; five stages, each half as high as the last; the head
    "vgg": 9
    * (
        32**2 * 1 * 4
        + 16**2 * 4 * 8
        + 8**2 * (8 * 16 + 16 * 16)
        + 4**2 * (16 * 32 + 32 * 32)
        + 2**2 * (32 * 32 + 32 * 32)
    )
    + 32 * 10,
    # four stages of one block: three convolutions of 3 x 3 and a shortcut of 1 x 1; the head
    "resnet12": 32**2 * (9 * (1 * 4 + 4 * 4 + 4 * 4) + 1 * 4)
    + 16**2 * (9 * (4 * 8 + 8 * 8 + 8 * 8) + 4 * 8)
    + 8**2 * (9 * (8 * 16 + 16 * 16 + 16 * 16) + 8 * 16)
    + 4**2 * (9 * (16 * 32 + 32 * 32 + 32 * 32) + 16 * 32)
    + 32 * 10,
    # a stem of three convolutions at 16 x 16, widths 2, 2 and 4; a pool; four stages of two basic blocks; the head
    "resnet": 16**2 * 9 * (1 * 2 + 2 * 2 + 2 * 4)
    + 2 * basic_block(4, 4, 8)
    + basic_block(4, 8, 4, shortcut=1)
    + basic_block(8, 8, 4)
    + basic_block(8, 16, 2, shortcut=1)
    + basic_block(16, 16, 2)
    + basic_block(16, 32, 1, shortcut=1)
    + basic_block(32, 32, 1)
    + 32 * 10,
}
FLOPS = {"vit": 262_464, "stitched": 302_304, "vgg": 1_254_016, "resnet12": 2_933_376, "resnet": 335_488}


@pytest.mark.parametrize("architecture", list(MULTIPLY_ADDS))
def test_flops_of_known_networks_match_hand_calculation(ancestors, architecture):
    network = ancestors[architecture]
    assert forward_flops(network) == spec_flops(network.spec) == architecture_of(network.spec).flops(network.spec)
    assert forward_flops(network) == 2 * MULTIPLY_ADDS[architecture] == FLOPS[architecture]


@pytest.mark.parametrize("architecture", ["vgg", "resnet12", "resnet"])
def test_torch_counts_equal_flops_for_cnns(ancestors, architecture):
    assert forward_flops(ancestors[architecture]) == count_with_torch(ancestors[architecture])


def test_unknown_network_is_counted_and_not_changed():
    for network in unknown_networks():
        assert network.spec is None
        before = {name: tensor.clone() for name, tensor in network.model.state_dict().items()}
        found = forward_flops(network)
        after = network.model.state_dict()
        assert network.model.training
        assert all(after[name].device.type == "cpu" and after[name].equal(before[name]) for name in before)
        assert found == count_with_torch(network) > 0


def test_flops_of_unknown_network_match_hand_calculation():
    # A convolution of 4 maps of 15 x 15 with 9 weights each, and a layer of 4 x 10. A multiply-add is two operations.
    assert forward_flops(next(unknown_networks())) == 2 * (4 * 15 * 15 * 9 + 4 * 10)


def test_costs_add_up():
    assert sum_costs([Cost(1, 2, 3), Cost(4, 5, 6)]) == Cost(5, 7, 9)
    assert sum_costs([]) == Cost()


def test_cost_of_a_training_matches_hand_calculation(ancestor):
    settings, forward = TrainSettings(epochs=2, batch_size=16), spec_flops(ancestor.spec)
    # Two epochs of 40 images in batches of 16 are 5 full steps.
    assert training_cost(ancestor.spec, settings, 40) == Cost(1, 80, 80 * 3 * forward)
    assert training_cost(ancestor.spec, settings, 40, teacher=7) == Cost(1, 80, 80 * (3 * forward + 7))


@pytest.fixture
def estimate_changed(recipe_file):
    return lambda *changes: estimate_cost(load_recipe(str(recipe_file), changes))


def compute_descendant_flops(recipe_file, tmp_path, size):
    return spec_flops(comparison(recipe_file, tmp_path)._artifact_store({}).descendant_spec(size))


def test_estimate_matches_hand_calculation(estimate_changed, recipe_file, tmp_path):
    found = estimate_changed()
    one, six = (compute_descendant_flops(recipe_file, tmp_path, size) for size in ("depth=1", ""))
    # 2 arms x 1 size x 1 number of images x 2 seeds, with 5 steps of 16 images each.
    assert found.cells == Cost(4, 4 * 5 * STEP, 4 * 5 * STEP * 3 * one)
    assert found.tuning == Cost()
    assert found.ancestors == Cost(2, 2 * 3 * STEP, 2 * 3 * STEP * 3 * six)
    # The gene's network is as large as the ancestor, its teacher.
    assert found.genes == Cost(2, 2 * 3 * STEP, 2 * 3 * STEP * 4 * six)
    assert "4 cells (2 x 2 seeds): 320 samples" in found.text()
    assert found.text().splitlines()[1].startswith("kind: quick, ")


def test_estimate_counts_the_teacher_of_descendants(estimate_changed, recipe_file, tmp_path):
    found = estimate_changed("arms={pupil: {method: distil}, scratch: {method: scratch}}")
    one, six = (compute_descendant_flops(recipe_file, tmp_path, size) for size in ("depth=1", ""))
    assert found.cells.flops == 2 * 5 * STEP * (3 * one + 3 * one + six)
    assert (found.genes.count, found.genes.flops) == (2, 0)


def test_tasks_multiply_costs(estimate_changed):
    plain, some = estimate_changed(), estimate_changed("tasks={ways: 3, count: 4}")
    assert some.cells == Cost(4, 4 * plain.cells.samples, some.cells.flops)
    # Heads for fewer classes make the networks slightly smaller.
    assert 0.9 * 4 * plain.cells.flops < some.cells.flops <= 4 * plain.cells.flops
    # An epoch has the images of the task: 3 per class, for 3 or for 10 classes.
    epochs = ("train.steps=null", "train.epochs=16")
    assert estimate_changed(*epochs).cells.samples == 4 * 30 * 16
    assert estimate_changed(*epochs, "tasks={ways: 3, count: 4}").cells.samples == 4 * 4 * 9 * 16


def test_estimate_counts_every_grid_point(estimate_changed):
    found = estimate_changed("protocol=sensitivity", "grid={lr: [1e-3, 1e-2, 1e-1], weight_decay: [0, 0.1]}")
    assert found.cells.count == 4 * 6


def test_estimate_counts_tuning_and_its_seed(estimate_changed):
    found = estimate_changed(TUNE)
    assert (found.tuning.count, found.tuning.samples) == (4, 4 * 5 * STEP)
    assert (found.ancestors.count, found.genes.count) == (3, 3)


RANDOM = "arms.random={method: random-gene, settings: {method: tleg, settings: {steps: 3, batch_size: 16}}}"
LIKE = "arms.like={method: tleg, settings: {steps: 3, batch_size: 16}, draw: 1}"


@pytest.mark.parametrize(
    ("changes", "ancestors", "genes", "condensed"),
    [
        # One of the ancestor's own spec for the gene, and one per other size for fine-tuning.
        (("arms.finetune.method=finetune", "sizes=[depth=1, depth=2]"), 2 * 3, 2 * (1 + 2), 2),
        (("arms.finetune.method=finetune", "sizes=[depth=1, depth=6]"), 2 * 2, 2 * (1 + 2), 2),
        (("arms.gene={method: finetune}", "sizes=[depth=1, depth=2]"), 2 * 2, 2 * 2, 0),
        (("arms.gene={method: finetune}", "sizes=[depth=1, depth=2]", "one_gene=true"), 2, 2, 0),
        (("arms={scratch: {method: scratch}}",), 0, 0, 0),
        (("arms.finetune.method=finetune", TUNE), 2 * 2 + 2, 3 * 2, 3),
        # A random gene and a second arm of the same method use the same gene.
        ((RANDOM, LIKE), 2, 2, 2),
    ],
)
def test_estimate_counts_ancestors_and_genes(estimate_changed, changes, ancestors, genes, condensed):
    found = estimate_changed(*changes)
    assert (found.ancestors.count, found.genes.count) == (ancestors, genes)
    assert found.ancestors.samples == ancestors * 3 * STEP
    # The gene of fine-tuning is the ancestor itself, at no further cost.
    assert found.genes.samples == condensed * 3 * STEP


def test_estimate_matches_run(recipe_file, tmp_path):
    more = ("arms.finetune.method=finetune", "arms.pupil.method=distil", RANDOM, "sizes=[depth=1, depth=6]")
    work = comparison(recipe_file, tmp_path / "out", *more, "seeds=[0]")
    estimate = estimate_cost(work.recipe)
    work.run()
    found = results(tmp_path / "out")
    assert len(found["cells"]) == estimate.cells.count
    assert sum(cell["samples"] for cell in found["cells"]) == estimate.cells.samples
    assert sum(cell["flops"] for cell in found["cells"]) == estimate.cells.flops
    store = tmp_path / "out" / "store"
    assert len(list_stored(store, "ancestor")) == estimate.ancestors.count
    assert len(list_stored(store, "gene")) == estimate.genes.count
    samples = [gene["training"].get("samples", 0) for gene in found["genes"] if gene["arm"] == "gene"]
    assert sum(samples) == estimate.genes.samples


def test_estimate_of_tasks_matches_run(recipe_file, tmp_path):
    work = comparison(recipe_file, tmp_path / "out", "tasks={ways: 3, count: 2}", "arms={scratch: {method: scratch}}")
    estimate = estimate_cost(work.recipe)
    work.run()
    cells = results(tmp_path / "out")["cells"]
    assert sum(cell["samples"] for cell in cells) == estimate.cells.samples
    # The estimate assumes heads for all classes.
    assert estimate.cells.flops == pytest.approx(sum(cell["flops"] for cell in cells), rel=0.01)


def test_ratios_of_paper_follow_from_sizes():
    sizes = "sizes=[" + ", ".join(f"depth={depth}" for depth in range(3, 13)) + "]"
    # 250 steps of 512 images per epoch. Ratios do not depend on the number of images.
    found = estimate_cost(load_recipe("paper/tleg-imagenet", [sizes, "described.images=128000"])).family
    assert found.gene == 14_918_400
    assert found.networks["depth=6"] / found.gene == pytest.approx(2.900, abs=5e-4)
    even = sum(found.networks[f"depth={depth}"] for depth in (4, 6, 8, 10, 12))
    assert even / found.gene == pytest.approx(19.25, abs=5e-3)
    assert found.alone / found.together == pytest.approx(2.0)
    assert found.alone / 2 / found.gene_samples == pytest.approx(5.0)
    assert "36.13 times the gene" in found.lines()[0]
    assert "2.00 times gene and descendants" in found.lines()[1]


def test_several_data_sets_can_be_described():
    found = estimate_cost(load_recipe("paper/auto-cifar-fs"))
    # two hundred epochs of 64 classes with 400 images each, in batches of 128, for each of three seeds
    assert found.ancestors.samples == 3 * 200 * 64 * 400
    # The published choice costs nothing. The search takes 12,500 steps with three batches of 64 each.
    assert found.genes.samples == 3 * 12_500 * 3 * 64
    assert found.family.networks == {"depth=11": 9_223_232}


def test_missing_data_give_a_note_and_are_refused_in_a_run(estimate_changed, recipe_file, tmp_path):
    missing = ("data=fashion-mnist", "ancestor.data=fashion-mnist")
    found = estimate_changed(*missing)
    # 10 classes as in the digits, images of the same shape
    assert found.cells == estimate_changed().cells
    assert found.ancestors == estimate_changed().ancestors
    (note,) = [line for line in found.text().splitlines() if line.startswith("note: ")]
    assert note.startswith("note: Data are missing. The estimate uses their known numbers, but a run is refused. ")
    assert "dataset-fashion-mnist" in note
    assert "GERMLINE_DATA" in note
    assert estimate_changed().missing == ()
    assert "note" not in estimate_changed().text()
    with pytest.raises(MissingDataError, match="Fashion-mnist needs a folder"):
        comparison(recipe_file, tmp_path / "out", *missing).check()
    assert not (tmp_path / "out").exists()


def test_notes_name_every_missing_data_set():
    found = estimate_cost(load_recipe("paper/gtl-cifar-fs"))
    assert len(found.missing) == 2
    assert all("No cifar100 in /data" in note for note in found.missing)


def test_buffers_of_circuit_are_not_parameters():
    """A circuit is a fifth of the backbone, so one network is five times the gene."""
    spec = model_spec("vgg11_x025", image_size=32, channels=1, classes=5)
    stored = count_headless_elements(spec, GTL().cost(spec, 0, 0).stored)
    assert storage_ratio(stored, [count_network_parameters(spec)[1]]) == pytest.approx(5, abs=0.01)
