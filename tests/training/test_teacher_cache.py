"""Saved teacher outputs give equal results, need each image once, and ignore damaged or foreign files."""

from types import SimpleNamespace

import pytest
import torch

import germline as gl
from germline.data import Batch, DataSet, Images
from germline.errors import SettingError
from germline.methods.pool.path_sampling import SampledPathLoss
from germline.network import Network
from germline.randomness import generator, use_generator
from germline.registry import architecture_of, model_spec
from germline.training import Distillation, Run, TrainSettings
from germline.training.teacher_cache import FOLDER, open_teacher_cache

SETTINGS = {"steps": 4, "batch_size": 12, "lr": 1e-3, "augment": False}


@pytest.fixture(scope="module")
def data(pico):
    """30 training images of three classes."""
    small = pico.train.select_classes(pico.classes[:3]).draw_per_class(10, generator(0, "images"))
    images = Images(small.images, small.labels, small.classes)
    return DataSet("small", lambda split: images, augmentation=("shift",))


@pytest.fixture
def ancestor(data):
    """A network with random weights that counts the images it sees."""
    spec = model_spec("vit_pico", image_size=data.train.side, channels=data.train.channels, classes=3)
    with use_generator(generator(0, "ancestor")):
        model = architecture_of(spec).build(spec)
    network = Network(model.eval(), gl.architectures.Preprocess.from_images(data.train.images), data.classes, spec=spec)
    model.seen = 0

    def count(images, **options):
        model.seen += int((images.flatten(1).std(1) > 0).sum())  # the last batch is filled up with empty images
        return forward_features(images, **options)

    forward_features, model.forward_features = model.forward_features, count
    return network


def condense(ancestor, data, folder, method=gl.TLEG, **changes):
    seen = ancestor.model.seen
    gene = method(**{**SETTINGS, **changes}).condense(ancestor, data, Run(folder, quiet=True, seed=1))
    return gene.tensors, ancestor.model.seen - seen


def equal(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"batch_size": 24, "steps": 2, "accumulate": 2},
        {"distillation": "hard", "alpha": 0.5},
        {"target": "features"},
        {"target": "tokens"},
    ],
    ids=["logits", "accumulate", "hard", "features", "tokens"],
)
def test_cache_teacher_gives_the_same_gene_and_computes_each_image_once(data, ancestor, tmp_path, changes):
    plain, uncached_count = condense(ancestor, data, tmp_path / "plain", **changes)
    cached, cached_count = condense(ancestor, data, tmp_path / "cached", cache_teacher=True, **changes)
    assert equal(plain, cached)
    assert uncached_count - cached_count == 18  # of 48 images in all steps
    # With a target, up to three more images measure the width of the features.
    assert cached_count == 30 or ("target" in changes and cached_count <= 33)
    assert len(list((tmp_path / "cached" / FOLDER).iterdir())) == 1


def test_cache_teacher_without_a_folder_computes_each_image_once(data, ancestor):
    assert condense(ancestor, data, None, cache_teacher=True)[1] == 30


def fit(ancestor, data, folder, name):
    network = Network(architecture_of(ancestor.spec).build(ancestor.spec), ancestor.preprocess, data.classes)
    objective, seen = Distillation(ancestor), ancestor.model.seen
    Run(folder, quiet=True).fit(name, network, objective, data.train, TrainSettings(**SETTINGS, cache_teacher=True))
    assert objective.cache is None
    return ancestor.model.seen - seen


def test_other_phases_read_saved_outputs_if_file_and_inputs_fit(data, ancestor, tmp_path):
    assert fit(ancestor, data, tmp_path, "first") == 30
    assert fit(ancestor, data, tmp_path, "second") == 0
    (file,) = (tmp_path / FOLDER).iterdir()
    content = file.read_bytes()
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert fit(ancestor, data, tmp_path, "third") == 30
    assert file.read_bytes() == content
    file.write_bytes(content[:-9])
    assert fit(ancestor, data, tmp_path, "fourth") == 30
    with torch.no_grad():
        next(ancestor.model.parameters()).mul_(1.5)
    assert fit(ancestor, data, tmp_path, "fifth") == 30
    other = DataSet("other", lambda split: data.train.subset(torch.arange(29, -1, -1)))
    assert fit(ancestor, other, tmp_path, "sixth") == 30
    assert len(list((tmp_path / FOLDER).iterdir())) == 3


def test_processes_share_the_teacher_s_images(data, ancestor):
    images, size = data.train.subset(torch.arange(29)), 12
    cpu = {"device": torch.device("cpu"), "is_global_zero": True, "barrier": lambda: None}
    alone = SimpleNamespace(world_size=1, global_rank=0, **cpu)
    expected = open_teacher_cache(Distillation(ancestor), images, size, alone, precision="32-true").outputs
    shares = []
    for rank in (0, 1):
        fabric = SimpleNamespace(world_size=2, global_rank=rank, **cpu)
        fabric.all_gather = lambda outputs: shares.append(outputs) or torch.stack((shares[0], outputs))
        ancestor.model.seen = 0
        gathered = open_teacher_cache(Distillation(ancestor), images, size, fabric, precision="32-true")
        assert ancestor.model.seen == 15  # 29 images and one that fills the last share
    assert torch.equal(gathered.outputs, expected)
    batch = Batch(torch.empty(3, 0), None, indices=torch.tensor([28, 3, 3]))
    assert torch.equal(gathered.read(batch), expected[[28, 3, 3]])


@pytest.mark.parametrize(("name", "value"), [("mixup", 0.8), ("cutmix", 1.0), ("augment", True)])
def test_cache_teacher_is_refused_with_changing_images(name, value):
    settings = {"augment": False, "cache_teacher": True, name: value}
    with pytest.raises(SettingError, match=rf"{name}=\S+ with cache_teacher.*would not repeat.*Set augment=false"):
        TrainSettings(**settings)


def test_pool_computes_each_image_once_in_all_phases(data, ancestor, tmp_path):
    genes = []
    for is_cached in (False, True):
        training = {"augment": False, "steps": 2, "batch_size": 12, "cache_teacher": is_cached}
        method = gl.Pool(preset="tiny", losses="logits", init="random", distil=training, finetune=training)
        ancestor.model.seen = 0
        genes.append(method.condense(ancestor, data, Run(tmp_path / str(is_cached), quiet=True)).tensors)
        assert ancestor.model.seen == (30 if is_cached else 48)
    assert equal(*genes)


def test_pool_cannot_cache_hidden_maps():
    settings = {"init": "random", "distil": {"augment": False, "cache_teacher": True}}
    with pytest.raises(SettingError, match=r"distil.cache_teacher with losses=all.*set losses=logits"):
        gl.Pool(losses="all", **settings)
    assert gl.Pool(losses="logits", **settings).distil.cache_teacher


def test_losses_name_their_cacheable_teacher(ancestor):
    loss = Distillation(ancestor)
    pool = SimpleNamespace(layout=SimpleNamespace(paths=()))
    assert loss.find_cacheable() is loss is SampledPathLoss(pool, loss, 0.0).find_cacheable()
    assert SampledPathLoss(pool, None, 0.0).find_cacheable() is gl.CrossEntropy().find_cacheable() is None


def test_dump_omits_cache_teacher_at_its_default():
    assert "cache_teacher" not in TrainSettings().model_dump()
    assert TrainSettings(augment=False, cache_teacher=True).model_dump()["cache_teacher"] is True
