"""A batch that is larger than the training set: one warning for users, none in comparisons, and the same training."""

import logging

import pytest
import torch

import germline as gl
from germline.data.pixels import warn_once
from germline.methods.gtl.method import GTL
from helpers.comparison import RECIPE, comparison

QUIET = {"device": "cpu", "quiet": True}
CIRCUIT = {"preset": "tiny", "generations": 0, "population": 3}


@pytest.fixture(autouse=True)
def warnings(caplog):
    """Function that returns the warnings so far, which are logged once per process."""
    warn_once.cache_clear()
    caplog.set_level(logging.WARNING)
    return lambda: [record.getMessage() for record in caplog.records]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"steps": 1, "batch_size": 121},
            "batch_size=121 is more than the 120 training images. Each step then repeats images, where PyTorch's "
            "DataLoader would give a smaller batch. Use batch_size=120 or less.",
        ),
        (
            {"epochs": 2, "batch_size": 200},
            "batch_size=200 is more than the 120 training images. Each step then repeats images, where PyTorch's "
            "DataLoader would give a smaller batch, and epochs=2 is 2 steps. Use batch_size=120 or less.",
        ),
        (
            {"epochs": 0.5, "batch_size": 250, "repeats": 2},
            "batch_size=250 is more than the 120 training images with repeats=2. Each step then repeats images, where "
            "PyTorch's DataLoader would give a smaller batch, and epochs=0.5 is 1 step. Use batch_size=240 or less.",
        ),
    ],
)
def test_batch_above_the_image_count_is_warned_about_once(pico, make_network, warnings, settings, message):
    for _ in range(2):
        gl.train(make_network(), pico, gl.TrainSettings(augment="repeats" in settings, **settings), run=gl.Run(**QUIET))
    assert warnings() == [message]


@pytest.mark.parametrize(
    "settings",
    [{"steps": 1, "batch_size": 120}, {"steps": 0, "batch_size": 500}, {"steps": 1, "batch_size": 240, "repeats": 2}],
)
def test_other_batches_give_no_warning(pico, make_network, warnings, settings):
    gl.train(make_network(), pico, gl.TrainSettings(**settings), run=gl.Run(**QUIET))
    assert warnings() == []


def test_condense_warning_names_the_method_s_setting(pico, ancestor, warnings):
    gl.condense(gl.TLEG(depth=2, steps=1, batch_size=128), ancestor=ancestor, data=pico, run=gl.Run(**QUIET))
    gl.condense(GTL(**CIRCUIT, life={"steps": 1, "batch_size": 125}), data=pico, run=gl.Run(**QUIET))
    gl.condense(gl.Finetune(), ancestor=ancestor, data=pico, run=gl.Run(**QUIET))
    assert [text.partition(" Each")[0] for text in warnings()] == [
        "batch_size=128 is more than the 120 training images.",
        "life.batch_size=125 is more than the 120 training images.",
    ]
    assert warnings()[1].endswith("Use life.batch_size=120 or less.")


def test_small_data_are_sampled_evenly(pico, make_network):
    """Of 10 images in batches of 55, each occurs five or six times in a step, and eleven times in two steps."""
    few = gl.load_data(pico.train.subset(torch.arange(0, 120, 12)), val=pico.val, classes=pico.classes)
    loader = gl.data.Loader(few.train, 55, 0)
    counts = [torch.bincount(loader.batch(step).indices, minlength=10).tolist() for step in range(2)]
    assert [sum(column) for column in zip(*counts, strict=True)] == [11] * 10
    assert {count for step in counts for count in step} == {5, 6}


def test_comparison_with_few_images_gives_no_warning(tmp_path, warnings):
    """The descendants of 10 images and the ancestor are trained in this process, and neither gives a warning."""
    few = RECIPE.replace("images_per_class: [3]", "images_per_class: [1]").replace("seeds: [0, 1]", "seeds: [0]")
    (tmp_path / "few.yaml").write_text(few.replace("{steps: 3, batch_size: 16}", "{steps: 1, batch_size: 1300}", 1))
    comparison(tmp_path / "few.yaml", tmp_path / "out").run()
    assert (tmp_path / "out" / "results.json").exists()
    assert warnings() == []
