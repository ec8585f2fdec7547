"""Wrong types and values in Python: each gets one error of germline, before anything is written."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import timm
import torch
from torch import nn

import germline as gl
from germline.errors import ArtefactError, DataError, OutputError, SettingError, UnknownNameError
from germline.training import batch_limit
from helpers.bad_input import snapshot


@pytest.fixture(scope="module")
def own(pico, make_network):
    """A network, its gene, and what else a call needs."""
    network = make_network()
    run = gl.Run(device="cpu", quiet=True)
    gene = gl.condense(gl.WeightSelection(), ancestor=network, data=pico, run=run)
    pair = (pico.train.images, pico.train.labels)
    short = gl.TrainSettings(steps=1, batch_size=8)
    return SimpleNamespace(data=pico, network=network, gene=gene, pair=pair, run=run, short=short)


@dataclass(frozen=True)
class Mistake:
    """One wrong call.

    Attributes:
        call: The call, on what `own` holds.
        says: Parts of the message.
        error: Class of the error.
    """

    call: Callable[[SimpleNamespace], object]
    says: tuple[str, ...]
    error: type[gl.GermlineError] = SettingError


def condense(own, method, **changes):
    return gl.condense(method, **{"ancestor": own.network, "data": own.data, "run": own.run, **changes})


def train(own, **changes):
    given = {"network": own.network, "data": own.data, "settings": own.short, "run": own.run, **changes}
    return gl.train(given.pop("network"), given.pop("data"), given.pop("settings"), **given)


HUGE = {"batch_size": 10**12}
SEED = "A seed is a whole number from 0 to 2^63 - 1"
MISTAKES = {
    # the method
    "method-dict": Mistake(
        lambda own: condense(own, {"steps": 3}), ("method={'steps': 3} is a dict", "gl.TLEG(steps=")
    ),
    "method-name": Mistake(lambda own: condense(own, "tleg"), ("method='tleg' is a name", "Use gl.TLEG(...)")),
    "method-inner-name": Mistake(lambda own: condense(own, "layers"), ("Use germline.baselines.layers.Layers(...)",)),
    "method-typo": Mistake(lambda own: condense(own, "tlge"), ("'tlge'", "Did you mean tleg"), UnknownNameError),
    "method-class": Mistake(lambda own: condense(own, gl.TLEG), ("method=gl.TLEG is a class", "Use gl.TLEG(...)")),
    "method-settings": Mistake(lambda own: condense(own, own.short), ("method= is a TrainSettings", "gl.TLEG(steps=")),
    "method-none": Mistake(lambda own: condense(own, None), ("method=None", "gl.TLEG(steps=")),
    "run-name": Mistake(lambda own: condense(own, gl.FRONT(), run="out"), ("run='out' is a str", "gl.Run(")),
    "run-class": Mistake(lambda own: condense(own, gl.FRONT(), run=gl.Run), ("run=gl.Run is a class", "gl.Run(...)")),
    "ancestor-number": Mistake(
        lambda own: condense(own, gl.FRONT(), ancestor=3), ("ancestor=3 is an int",), ArtefactError
    ),
    "ancestor-child": Mistake(
        lambda own: condense(own, gl.FRONT(), ancestor=own.gene.inherit()),
        ("is a Descendant", "Pass the network of the descendant"),
        ArtefactError,
    ),
    # settings
    "key": Mistake(lambda own: gl.TLEG(stpes=3), ("TLEG: unknown key 'stpes'", "Did you mean steps")),
    "nested-key": Mistake(lambda own: gl.GTL(life={"stps": 3}), ("unknown key 'life.stps'", "Did you mean life.steps")),
    "value": Mistake(lambda own: gl.TrainSettings(lr=-1), ("TrainSettings: lr=-1", "Set lr to a number above 0")),
    "choice": Mistake(lambda own: gl.TLEG(optimizer="adam"), ("optimizer='adam'", "'adamw' or 'sgd'")),
    "change": Mistake(lambda own: setattr(gl.TLEG(), "steps", 3), ("TLEG.steps cannot be changed", "TLEG(steps=...)")),
    "statistics": Mistake(
        lambda own: gl.Preprocess(channels=1, image_size=8, mean=0.5, std=(1,)), ("mean=0.5", "a list")
    ),
    # training
    "module": Mistake(
        lambda own: train(own, network=nn.Linear(3, 4)),
        ("network= is a Linear", "no class names and no preprocessing", "Use gl.Network(module, gl.Preprocess(...)"),
    ),
    "timm-module": Mistake(
        lambda own: train(own, network=timm.create_model("vit_tiny_patch16_224", depth=1)), ("is a VisionTransformer",)
    ),
    "network-name": Mistake(
        lambda own: train(own, network="runs/a"), ("'runs/a' is a str", 'gl.load_network("runs/a")')
    ),
    "network-gene": Mistake(lambda own: train(own, network=own.gene), ("network= is a Learngene", "inherit(size=")),
    "settings-dict": Mistake(
        lambda own: train(own, settings={"steps": 1}), ("settings={'steps': 1} is a dict", "gl.TrainSettings(steps=")
    ),
    "settings-class": Mistake(
        lambda own: train(own, settings=gl.TrainSettings), ("is a class", "gl.TrainSettings(...)")
    ),
    "settings-method": Mistake(lambda own: train(own, settings=gl.Scratch()), ("settings= is a Scratch",)),
    "objective-torch": Mistake(
        lambda own: train(own, objective=nn.CrossEntropyLoss()), ("is a CrossEntropyLoss", "gl.CrossEntropy()")
    ),
    "objective-class": Mistake(
        lambda own: train(own, objective=gl.CrossEntropy), ("is a class", "gl.CrossEntropy(...)")
    ),
    "teacher-module": Mistake(lambda own: gl.Distillation(nn.Linear(3, 4)), ("teacher= is a Linear", "gl.Network(")),
    "kind": Mistake(lambda own: gl.Distillation(own.network, kind="sfot"), ("Did you mean soft",), UnknownNameError),
    "alpha": Mistake(lambda own: gl.Distillation(own.network, alpha="half"), ("alpha='half' is a str", "alpha=1.0")),
    "smoothing": Mistake(lambda own: gl.CrossEntropy(2.0), ("label_smoothing=2.0", "below 1")),
    "fit-settings": Mistake(
        lambda own: own.run.fit("a", own.network, gl.CrossEntropy(), own.data.train, {"steps": 1}), ("is a dict",)
    ),
    "fit-data": Mistake(
        lambda own: own.run.fit("a", own.network, gl.CrossEntropy(), own.data, own.short),
        ("images= is a DataSet", "data.train"),
    ),
    "batch": Mistake(
        lambda own: train(own, settings=gl.TrainSettings(**HUGE)),
        ("batch_size=1000000000000 needs 4,096,000 GB", "GB of memory", "Use for example batch_size=128"),
    ),
    "batch-of-a-method": Mistake(lambda own: condense(own, gl.TLEG(steps=1, **HUGE)), ("needs 4,096,000 GB",)),
    "batch-of-a-part": Mistake(
        lambda own: condense(own, gl.GTL(preset="tiny", life=HUGE), ancestor=None), ("life.batch_size=128",)
    ),
    "batch-of-fit": Mistake(
        lambda own: own.run.fit("a", own.network, gl.CrossEntropy(), own.data.train, gl.TrainSettings(**HUGE)),
        ("needs 4,096,000 GB",),
    ),
    # runs
    "run-file": Mistake(lambda own: gl.Run("file", device="cpu"), ("'file' is a file", "folder"), OutputError),
    "run-in-a-file": Mistake(lambda own: gl.Run("file/run", device="cpu"), ("annot write 'file/run'",), OutputError),
    "run-number": Mistake(lambda own: gl.Run(3), ("folder=3 is an int", 'folder="runs/first"')),
    "run-settings": Mistake(lambda own: gl.Run(own.short), ("folder= is a TrainSettings",)),
    "run-empty": Mistake(lambda own: gl.Run(""), ("folder= is empty",)),
    "seed-negative": Mistake(lambda own: gl.Run("new", seed=-1), ("seed=-1", SEED)),
    "seed-text": Mistake(lambda own: gl.Run("new", seed="a"), ("seed='a'", SEED)),
    "seed-fraction": Mistake(lambda own: gl.Run("new", seed=1.5), ("seed=1.5", SEED)),
    "seed-none": Mistake(lambda own: gl.Run("new", seed=None), ("seed=None", SEED)),
    "seed-large": Mistake(lambda own: gl.Run("new", seed=2**63), (SEED,)),
    "device-object": Mistake(lambda own: gl.Run(device=torch.device("cpu")), ("device(type='cpu')", "Use auto, cpu")),
    "precision-number": Mistake(lambda own: gl.Run(precision=16), ("16", "32-true")),
    "quiet-text": Mistake(lambda own: gl.Run("new", quiet="no"), ("quiet='no' is a str", "quiet=False")),
    "logger-text": Mistake(lambda own: gl.Run("new", logger="wandb"), ("logger='wandb' is a str", "CSVLogger")),
    # genes
    "gene-none": Mistake(lambda own: gl.Learngene.load(None), ("place=None", 'place="genes/quick"')),
    "gene-gene": Mistake(lambda own: gl.Learngene.load(own.gene), ("place= is a Learngene",)),
    "gene-empty": Mistake(lambda own: gl.Learngene.load(""), ("place= is empty",)),
    "gene-network": Mistake(
        lambda own: gl.Learngene.load("network"), ("is a network", "gl.load_network("), ArtefactError
    ),
    "network-of-a-gene": Mistake(
        lambda own: gl.load_network("gene"), ("is a learngene", "Learngene.load"), ArtefactError
    ),
    "network-module": Mistake(lambda own: gl.load_network(own.network.model), ("is a VisionTransformer", "gl.Network")),
    "network-none": Mistake(lambda own: gl.load_network(None), ("name=None", 'name="runs/ancestor"')),
    "network-empty": Mistake(lambda own: gl.load_network(""), ("The name of the network is empty",), ArtefactError),
    "mean-number": Mistake(lambda own: gl.load_network("a.pth", mean=0.5, std=0.5), ("mean=0.5", "Use mean=[0.5]")),
    "image-size-text": Mistake(lambda own: gl.load_network("a.pth", image_size="32"), ("image_size='32' is a str",)),
    "names-number": Mistake(
        lambda own: gl.Network(own.network.model, own.network.preprocess, 10), ("classes=10 is an int",)
    ),
    "no-preprocess": Mistake(lambda own: gl.Network(own.network.model, None, ("a", "b")), ("preprocess=None",)),
    "save-none": Mistake(lambda own: own.gene.save(None), ("folder=None",)),
    "save-empty": Mistake(lambda own: own.network.save(""), ("folder= is empty",)),
    "save-child": Mistake(lambda own: own.gene.inherit().save(3), ("folder=3 is an int",)),
    "overwrite-text": Mistake(lambda own: own.gene.save("gene", overwrite="no"), ("overwrite='no'", "overwrite=False")),
    "push-none": Mistake(lambda own: own.gene.push_to_hub(None), ("'None' is not the name of a hub",)),
    # descendants
    "size-number": Mistake(lambda own: own.gene.inherit(size=3), ("size=3 is an int", "gl.Size(depth=3)")),
    "size-text": Mistake(lambda own: own.gene.inherit(size="depth=3"), ("is a str", "gl.Size(depth=3)")),
    "size-dict": Mistake(lambda own: own.gene.inherit(size={"depth": 3}), ("is a dict", "gl.Size(depth=3)")),
    "size-typo": Mistake(lambda own: own.gene.inherit(size=gl.Size(dept=3)), ("'dept'", "Did you mean depth", "width")),
    "size-without-key": Mistake(lambda own: gl.Size(4), ("gl.Size(4)", "gl.Size(depth=4)")),
    "size-of-text": Mistake(lambda own: gl.Size(depth="3"), ("depth='3'", "whole numbers")),
    "size-fraction": Mistake(lambda own: gl.Size(depth=3.0), ("depth=3.0", "whole numbers")),
    "size-none": Mistake(lambda own: gl.Size(depth=None), ("depth=None", "whole numbers")),
    "classes-text": Mistake(
        lambda own: own.gene.inherit(classes="abc"), ("classes='abc' is one text", '["cat", "dog"]')
    ),
    "classes-true": Mistake(lambda own: own.gene.inherit(classes=True), ("classes=True", "whole", "classes=1 or more")),
    "classes-fraction": Mistake(lambda own: own.gene.inherit(classes=2.5), ("classes=2.5", "whole")),
    "classes-numbers": Mistake(lambda own: own.gene.inherit(classes=[1, 2]), ("classes= has 1, an int",)),
    "classes-data": Mistake(lambda own: own.gene.inherit(classes=own.data), ("classes= is a DataSet",)),
    "channels-text": Mistake(lambda own: own.gene.inherit(channels="3"), ("channels='3'", "Use 1 or 3")),
    "pixels-text": Mistake(lambda own: own.gene.inherit(image_size="32"), ("image_size='32'", "image_size=32")),
    "pixels-pair": Mistake(lambda own: own.gene.inherit(image_size=(32, 32)), ("image_size=(32, 32)",)),
    "inherit-seed": Mistake(lambda own: own.gene.inherit(seed="a"), ("seed='a'", SEED)),
    "inherit-model": Mistake(lambda own: own.gene.inherit(model=3), ("model=3 is an int",)),
    # data
    "split": Mistake(
        lambda own: gl.evaluate(own.network, "digits", split="tset"), ("Did you mean test",), UnknownNameError
    ),
    "split-none": Mistake(lambda own: own.data.split(None), ("Known: test, train, val",), UnknownNameError),
    "evaluate-module": Mistake(lambda own: gl.evaluate(own.network.model, own.data), ("is a VisionTransformer",)),
    "evaluate-run": Mistake(lambda own: own.run.evaluate(own.network, own.data), ("images= is a DataSet", "data.val")),
    "data-path": Mistake(lambda own: gl.load_data(Path("photos")), ("is a path", '"folder:photos"'), DataError),
    "data-classes-text": Mistake(lambda own: gl.load_data(own.pair, classes="abc"), ("is one text",), DataError),
    "data-classes-number": Mistake(lambda own: gl.load_data(own.pair, classes=3), ("classes=3 is an int",), DataError),
    "data-classes-none": Mistake(lambda own: gl.load_data("digits", classes=None), ("classes=None",), DataError),
    "augmentation-text": Mistake(
        lambda own: gl.load_data(own.pair, augmentation="shift"), ("augmentation='shift' is a str", '["shift"]')
    ),
    "augmentation-typo": Mistake(
        lambda own: gl.load_data(own.pair, augmentation=["miror"]), ("Did you mean mirror",), UnknownNameError
    ),
    "few-none": Mistake(lambda own: own.data.draw_per_class(0), ("count=0", "at least 1")),
    "few-negative": Mistake(lambda own: own.data.draw_per_class(-1), ("count=-1", "at least 1")),
    "few-text": Mistake(lambda own: own.data.draw_per_class("5"), ("count='5'", "count=5")),
    "few-seed": Mistake(lambda own: own.data.draw_per_class(1, seed="a"), (SEED,)),
    "images-list": Mistake(lambda own: gl.Images([1, 2], None, ()), ("images=[1, 2] is a list", "gl.load_data")),
    "labels-list": Mistake(lambda own: gl.Images(own.pair[0], [0, 1], ("a", "b")), ("labels=[0, 1] is a list",)),
    "images-classes": Mistake(lambda own: gl.Images(*own.pair, "abcdefghij"), ("is one text",)),
    "floats": Mistake(lambda own: gl.Preprocess.from_images(torch.rand(2, 1, 8, 8)), ("torch.float32", "uint8")),
}


@pytest.fixture
def place(own, tmp_path, monkeypatch):
    """A folder with a gene, a network and a file, which is the working folder."""
    monkeypatch.chdir(tmp_path)
    own.gene.save("gene")
    own.network.save("network")
    Path("file").write_text("text")
    return tmp_path


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_gets_one_message_and_writes_nothing(name, own, place):
    mistake, before = MISTAKES[name], snapshot(place)
    weights = {key: tensor.clone() for key, tensor in own.network.model.state_dict().items()}
    with pytest.raises(gl.GermlineError) as raised:
        mistake.call(own)
    message = str(raised.value)
    assert type(raised.value) is mistake.error
    assert [part for part in mistake.says if part not in message] == [], message
    assert "\n" not in message
    assert len(message) < 300
    assert snapshot(place) == before
    assert all(torch.equal(weights[key], tensor) for key, tensor in own.network.model.state_dict().items())


def test_a_phase_stays_in_the_folder_of_its_run(own, tmp_path):
    run = gl.Run(tmp_path / "run", device="cpu", quiet=True)
    before = snapshot(tmp_path)
    for name in ("../outside", None):
        with pytest.raises(SettingError, match="Its name is a path within the run's folder"):
            train(own, run=run, name=name)
    assert snapshot(tmp_path) == before


def test_whole_numbers_of_numpy_are_taken(own, tmp_path):
    child = own.gene.inherit(gl.Size(depth=np.int64(1)), classes=np.int64(4), channels=np.int64(3), seed=np.int64(5))
    assert (child.network.spec.depth, child.network.spec.channels, child.gene["seed"]) == (1, 3, 5)
    assert child.network.classes == ("new-0", "new-1", "new-2", "new-3")
    child.save(tmp_path / "child")
    assert gl.Run(tmp_path / "run", seed=np.int64(5), device="cpu").facts()["seed"] == 5


def test_class_names_in_a_list_are_those_in_a_tuple(own):
    network = gl.Network(own.network.model, own.network.preprocess, list(own.data.classes))
    assert network.classes == own.data.classes


def test_a_batch_may_fill_the_memory_of_each_process(own, monkeypatch):
    monkeypatch.setattr(batch_limit, "_measure_memory", lambda: 8 * 32 * 32 * 4)
    images = own.data.train
    batch_limit.check_batch_memory(gl.TrainSettings(batch_size=8), images)
    with pytest.raises(SettingError, match="batch_size=9 needs"):
        batch_limit.check_batch_memory(gl.TrainSettings(batch_size=9), images)
    monkeypatch.setenv("WORLD_SIZE", "2")
    batch_limit.check_batch_memory(gl.TrainSettings(batch_size=16), images)
    monkeypatch.setattr(batch_limit, "_measure_memory", lambda: None)
    batch_limit.check_batch_memory(gl.TrainSettings(batch_size=10**12), images)


def test_python_proposes_the_name_of_a_misspelt_class():
    with pytest.raises(AttributeError, match="no attribute 'Tleg'") as raised:
        gl.Tleg  # noqa: B018
    assert (raised.value.name, raised.value.obj) == ("Tleg", gl)
