"""Training of a pool: the sampled paths, and the weights that a step changes."""

from collections import Counter

import pytest
import torch
from torch.nn.functional import cross_entropy

from germline.architectures import VIT, VitSpec
from germline.data import Batch
from germline.methods.pool.path_sampling import SampledPathLoss
from germline.methods.pool.paths import PoolLayout
from germline.methods.pool.sizes import PathSpecs
from germline.methods.pool.supernet import PoolNetwork
from germline.network import Network
from germline.training import Distillation, Run, TrainSettings

LAYOUT = PoolLayout((8, 16), 2)


@pytest.fixture
def pool(ancestor):
    torch.manual_seed(0)
    specs = PathSpecs.of(LAYOUT, ancestor.spec, (1, 2))
    return PoolNetwork({width: VIT.build(spec) for width, spec in specs.models.items()}, LAYOUT)


@pytest.fixture
def batch(pico):
    return Batch(pico.train.images[::10].float() / 255, pico.train.labels[::10])


def draw_paths(pool, objective, steps, seed=0, name="pool"):
    found = []
    for step in range(steps):
        objective.before_step(seed, name, step)
        found.append(pool.chosen)
    return found


def test_paths_are_drawn_uniformly(pool):
    found = Counter(draw_paths(pool, SampledPathLoss(pool, None, 0.0), 600))
    assert set(found) == {(path,) for path in LAYOUT.paths}
    assert min(found.values()) > 60  # the expected count is 100


def test_draw_depends_only_on_seed_phase_and_step(pool):
    one, other = SampledPathLoss(pool, None, 0.0), SampledPathLoss(pool, None, 0.0)
    first = draw_paths(pool, one, 30)
    torch.manual_seed(123)
    other.before_step(0, "pool", 20)
    assert pool.chosen == first[20]
    assert draw_paths(pool, other, 30) == first
    assert draw_paths(pool, other, 30, seed=1) != first
    assert draw_paths(pool, other, 30, name="again") != first


def test_step_changes_only_its_path(pool, pico, ancestor):
    """Weights outside the path have no gradients, so even weight decay does not change them."""
    objective = SampledPathLoss(pool, None, 0.0)
    before = {name: value.clone() for name, value in pool.state_dict().items()}
    network = Network(pool, ancestor.preprocess, pico.classes)
    settings = TrainSettings(steps=1, batch_size=20, lr=1e-2, weight_decay=0.5, warmup=0.0, schedule="constant")
    Run(device="cpu", quiet=True).fit("pool", network, objective, pico.train, settings)
    (path,) = pool.chosen
    own = {id(parameter) for step in pool.route(path).steps for parameter in step.parameters()}
    for name, parameter in pool.named_parameters():
        if ".blocks." in name or name.startswith("stitch."):
            assert torch.equal(parameter, before[name]) == (id(parameter) not in own), name


def test_loss_of_one_path_is_that_of_labels_or_teacher(pool, ancestor, batch):
    def forward(pixels):
        return pool(ancestor.preprocess(pixels))

    labels = SampledPathLoss(pool, None, 0.0)
    labels.before_step(0, "pool", 3)
    with torch.no_grad():
        assert torch.equal(labels(forward, batch), cross_entropy(forward(batch.pixels), batch.labels))
        for kind in ("soft", "hard"):
            teacher = Distillation(ancestor, kind=kind, alpha=0.3)
            sampled = SampledPathLoss(pool, teacher, 0.0)
            sampled.before_step(0, "pool", 3)
            assert torch.equal(sampled(forward, batch), teacher(forward, batch))


def test_sandwich_has_both_ends_and_one_random_path(pool, ancestor, batch):
    ends = (LAYOUT.paths[0], LAYOUT.paths[-1])
    objective = SampledPathLoss(pool, Distillation(ancestor, alpha=0.5), 0.0, ends)
    found = draw_paths(pool, objective, 60)
    assert all(paths[:2] == ends and len(paths) == 3 and paths[2] not in ends for paths in found)
    assert {paths[2] for paths in found} == set(LAYOUT.paths) - set(ends)
    calls = []
    handle = ancestor.model.register_forward_pre_hook(lambda *_: calls.append(1))
    with torch.no_grad():
        loss = objective(lambda pixels: pool(ancestor.preprocess(pixels)), batch)
        losses = []
        for path in found[-1]:
            pool.choose(path)
            losses.append(Distillation(ancestor, alpha=0.5)(lambda pixels: pool(ancestor.preprocess(pixels)), batch))
    handle.remove()
    assert len(calls) == 1 + 3
    assert float(loss) == pytest.approx(float(torch.stack(losses).mean()), rel=1e-6)


def test_sandwich_of_all_paths_draws_no_other(ancestor):
    spec = VitSpec.model_validate({**ancestor.spec.model_dump(), "depth": 1})
    layout = PoolLayout((8, 16), 1)
    specs = PathSpecs.of(layout, spec, (1, 2))
    pool = PoolNetwork({width: VIT.build(one) for width, one in specs.models.items()}, layout)
    objective = SampledPathLoss(pool, None, 0.0, layout.paths)
    assert draw_paths(pool, objective, 3) == [layout.paths] * 3


def test_loss_has_no_parameters_of_pool_or_teacher(pool, ancestor):
    objective = SampledPathLoss(pool, Distillation(ancestor), 0.0)
    assert not list(objective.parameters())
    assert not objective.state_dict()
