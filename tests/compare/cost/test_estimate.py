"""What work costs: counted by an architecture or by torch, and what a recipe would cost against what its run did."""

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
from germline.methods.gtl.method import GTL
from germline.network import Network, wrap_module
from germline.registry import architecture_of, model_spec
from germline.training import TrainSettings
from helpers.comparison import TUNE, comparison, kept, results

CLASSES = tuple("0123456789")
STEP = 16  # pictures


def counted(network):
    seen = network.preprocess
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network.model.eval()(torch.rand(1, seen.channels, seen.image_size, seen.image_size))
    return counter.get_total_flops()


def strangers():
    """Networks that no architecture knows."""
    layers = (nn.Conv2d(1, 4, 3, stride=2), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    plain = nn.Sequential(*layers, nn.Linear(4, 10))
    seen = Preprocess.from_images(torch.randint(0, 255, (4, 1, 32, 32), dtype=torch.uint8))
    yield Network(plain.train(), seen, CLASSES)
    model = timm.create_model("resnet10t", pretrained=False, num_classes=10)
    yield wrap_module(model.train(), seen, CLASSES)


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
def test_a_known_network_costs_what_its_architecture_says(ancestors, architecture):
    network = ancestors[architecture]
    assert forward_flops(network) == spec_flops(network.spec) == architecture_of(network.spec).flops(network.spec)
    assert forward_flops(network) == 2 * MULTIPLY_ADDS[architecture] == FLOPS[architecture]


@pytest.mark.parametrize("architecture", ["vgg", "resnet12", "resnet"])
def test_torch_counts_the_same_where_there_is_no_attention(ancestors, architecture):
    assert forward_flops(ancestors[architecture]) == counted(ancestors[architecture])


def test_an_unknown_network_is_counted_and_left_as_it_is():
    for network in strangers():
        assert network.spec is None
        before = {name: tensor.clone() for name, tensor in network.model.state_dict().items()}
        found = forward_flops(network)
        after = network.model.state_dict()
        assert network.model.training
        assert all(after[name].device.type == "cpu" and after[name].equal(before[name]) for name in before)
        assert found == counted(network) > 0


def test_flops_by_hand():
    # a convolution of 4 maps of 15 x 15 with 9 weights each, and a layer of 4 x 10; a multiply-add is two
    assert forward_flops(next(strangers())) == 2 * (4 * 15 * 15 * 9 + 4 * 10)


def test_costs_add_up():
    assert sum_costs([Cost(1, 2, 3), Cost(4, 5, 6)]) == Cost(5, 7, 9)
    assert sum_costs([]) == Cost()


def test_one_training(ancestor):
    settings, forward = TrainSettings(epochs=2, batch_size=16), spec_flops(ancestor.spec)
    # 40 pictures twice in batches of 16 are 5 steps, the last of them whole
    assert training_cost(ancestor.spec, settings, 40) == Cost(1, 80, 80 * 3 * forward)
    assert training_cost(ancestor.spec, settings, 40, teacher=7) == Cost(1, 80, 80 * (3 * forward + 7))


@pytest.fixture
def priced(recipe_file):
    return lambda *changes: estimate_cost(load_recipe(str(recipe_file), changes))


def form(recipe_file, tmp_path, size):
    return spec_flops(comparison(recipe_file, tmp_path)._artifact_store({}).descendant_spec(size))


def test_price_by_hand(priced, recipe_file, tmp_path):
    found = priced()
    one, six = (form(recipe_file, tmp_path, size) for size in ("depth=1", ""))
    # 2 arms x 1 size x 1 number of pictures x 2 seeds, each 5 steps of 16 pictures
    assert found.cells == Cost(4, 4 * 5 * STEP, 4 * 5 * STEP * 3 * one)
    assert found.tuning == Cost()
    assert found.ancestors == Cost(2, 2 * 3 * STEP, 2 * 3 * STEP * 3 * six)
    # the gene's network is as large as the ancestor, which looks at every picture
    assert found.genes == Cost(2, 2 * 3 * STEP, 2 * 3 * STEP * 4 * six)
    assert "4 cells (2 x 2 seeds): 320 samples" in found.text()


def test_a_teacher_of_descendants_counts(priced, recipe_file, tmp_path):
    found = priced("arms={pupil: {method: distil}, scratch: {method: scratch}}")
    one, six = (form(recipe_file, tmp_path, size) for size in ("depth=1", ""))
    assert found.cells.flops == 2 * 5 * STEP * (3 * one + 3 * one + six)
    assert (found.genes.count, found.genes.flops) == (2, 0)


def test_tasks_multiply(priced):
    plain, some = priced(), priced("tasks={ways: 3, count: 4}")
    assert some.cells == Cost(4, 4 * plain.cells.samples, some.cells.flops)
    # smaller heads make the networks a little smaller than with ten classes
    assert 0.9 * 4 * plain.cells.flops < some.cells.flops <= 4 * plain.cells.flops
    # in epochs it is the task's own pictures that count: 3 a class of 3 classes, or of 10
    epochs = ("train.steps=null", "train.epochs=16")
    assert priced(*epochs).cells.samples == 4 * 30 * 16
    assert priced(*epochs, "tasks={ways: 3, count: 4}").cells.samples == 4 * 4 * 9 * 16


def test_the_grid_counts_every_point(priced):
    found = priced("protocol=sensitivity", "grid={lr: [1e-3, 1e-2, 1e-1], weight_decay: [0, 0.1]}")
    assert found.cells.count == 4 * 6


def test_price_counts_tuning_and_its_seed(priced):
    found = priced(TUNE)
    assert (found.tuning.count, found.tuning.samples) == (4, 4 * 5 * STEP)
    assert (found.ancestors.count, found.genes.count) == (3, 3)


RANDOM = "arms.random={method: random-gene, settings: {method: tleg, settings: {steps: 3, batch_size: 16}}}"
LIKE = "arms.like={method: tleg, settings: {steps: 3, batch_size: 16}, draw: 1}"


@pytest.mark.parametrize(
    ("changes", "ancestors", "genes", "condensed"),
    [
        # one of the ancestor's own form for the gene, one of each further size for the fine-tuned
        (("arms.finetune.method=finetune", "sizes=[depth=1, depth=2]"), 2 * 3, 2 * (1 + 2), 2),
        (("arms.finetune.method=finetune", "sizes=[depth=1, depth=6]"), 2 * 2, 2 * (1 + 2), 2),
        (("arms.gene={method: finetune}", "sizes=[depth=1, depth=2]"), 2 * 2, 2 * 2, 0),
        (("arms.gene={method: finetune}", "sizes=[depth=1, depth=2]", "one_gene=true"), 2, 2, 0),
        (("arms={scratch: {method: scratch}}",), 0, 0, 0),
        (("arms.finetune.method=finetune", TUNE), 2 * 2 + 2, 3 * 2, 3),
        # a random gene and an arm of the same method are of the same gene
        ((RANDOM, LIKE), 2, 2, 2),
    ],
)
def test_price_counts_ancestors_and_genes(priced, changes, ancestors, genes, condensed):
    found = priced(*changes)
    assert (found.ancestors.count, found.genes.count) == (ancestors, genes)
    assert found.ancestors.samples == ancestors * 3 * STEP
    # a fine-tuned network's gene is the ancestor as it is and costs nothing more
    assert found.genes.samples == condensed * 3 * STEP


def test_price_is_what_a_run_makes(recipe_file, tmp_path):
    more = ("arms.finetune.method=finetune", "arms.pupil.method=distil", RANDOM, "sizes=[depth=1, depth=6]")
    work = comparison(recipe_file, tmp_path / "out", *more, "seeds=[0]")
    told = estimate_cost(work.recipe)
    work.run()
    found = results(tmp_path / "out")
    assert len(found["cells"]) == told.cells.count
    assert sum(cell["samples"] for cell in found["cells"]) == told.cells.samples
    assert sum(cell["flops"] for cell in found["cells"]) == told.cells.flops
    store = tmp_path / "out" / "store"
    assert len(kept(store, "ancestor")) == told.ancestors.count
    assert len(kept(store, "gene")) == told.genes.count
    samples = [gene["training"].get("samples", 0) for gene in found["genes"] if gene["arm"] == "gene"]
    assert sum(samples) == told.genes.samples


def test_tasks_are_priced_as_they_run(recipe_file, tmp_path):
    work = comparison(recipe_file, tmp_path / "out", "tasks={ways: 3, count: 2}", "arms={scratch: {method: scratch}}")
    told = estimate_cost(work.recipe)
    work.run()
    cells = results(tmp_path / "out")["cells"]
    assert sum(cell["samples"] for cell in cells) == told.cells.samples
    # the price is that of networks with a head for all classes
    assert told.cells.flops == pytest.approx(sum(cell["flops"] for cell in cells), rel=0.01)


def test_the_papers_ratios_come_from_sizes_alone():
    sizes = "sizes=[" + ", ".join(f"depth={depth}" for depth in range(3, 13)) + "]"
    # 250 steps of 512 pictures an epoch; ratios of epochs do not depend on how many there are
    found = estimate_cost(load_recipe("paper/tleg-imagenet", [sizes, "described.images=128000"])).family
    assert found.gene == 14_918_400
    assert found.networks["depth=6"] / found.gene == pytest.approx(2.900, abs=5e-4)
    even = sum(found.networks[f"depth={depth}"] for depth in (4, 6, 8, 10, 12))
    assert even / found.gene == pytest.approx(19.25, abs=5e-3)
    assert found.alone / found.together == pytest.approx(2.0)
    assert found.alone / 2 / found.gene_samples == pytest.approx(5.0)
    assert "36.13 times the gene" in found.lines()[0]
    assert "2.00 times gene and descendants" in found.lines()[1]


def test_several_data_sets_are_described():
    found = estimate_cost(load_recipe("paper/auto-cifar-fs"))
    # two hundred epochs of 64 classes with 400 pictures each, in batches of 128, for each of three seeds
    assert found.ancestors.samples == 3 * 200 * 64 * 400
    # the published choice costs nothing; the search 12,500 steps, three batches of 64 each
    assert found.genes.samples == 3 * 12_500 * 3 * 64
    assert found.family.networks == {"depth=11": 9_223_232}


def test_missing_data_are_priced_with_a_note_and_refused_in_a_run(priced, recipe_file, tmp_path):
    missing = ("data=fashion-mnist", "ancestor.data=fashion-mnist")
    found = priced(*missing)
    # 10 classes as in the digits, images of the same shape
    assert found.cells == priced().cells
    assert found.ancestors == priced().ancestors
    (note,) = [line for line in found.text().splitlines() if line.startswith("note: ")]
    assert note.startswith("note: Data are missing. The estimate uses their known numbers, but a run is refused. ")
    assert "dataset-fashion-mnist" in note
    assert "GERMLINE_DATA" in note
    assert priced().missing == ()
    assert "note" not in priced().text()
    with pytest.raises(MissingDataError, match="Fashion-mnist needs a folder"):
        comparison(recipe_file, tmp_path / "out", *missing).check()
    assert not (tmp_path / "out").exists()


def test_the_notes_name_every_missing_set_that_a_recipe_describes():
    found = estimate_cost(load_recipe("paper/gtl-cifar-fs"))
    assert len(found.missing) == 2
    assert all("No cifar100 in /data" in note for note in found.missing)


def test_buffers_of_a_circuit_are_no_parameters():
    """A fifth of the backbone: five times the gene is one network."""
    form = model_spec("vgg11_x025", image_size=32, channels=1, classes=5)
    kept = count_headless_elements(form, GTL().cost(form, 0, 0).stored)
    assert storage_ratio(kept, [count_network_parameters(form)[1]]) == pytest.approx(5, abs=0.01)
