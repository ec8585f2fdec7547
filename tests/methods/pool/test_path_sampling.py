"""Training a pool: which paths are drawn, what is moved, and what is not."""

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
    forms = PathSpecs.of(LAYOUT, ancestor.spec, (1, 2))
    return PoolNetwork({width: VIT.build(spec) for width, spec in forms.models.items()}, LAYOUT)


@pytest.fixture
def batch(pico):
    return Batch(pico.train.images[::10].float() / 255, pico.train.labels[::10])


def drawn(pool, objective, steps, seed=0, name="pool"):
    found = []
    for step in range(steps):
        objective.before_step(seed, name, step)
        found.append(pool.chosen)
    return found


def test_paths_are_drawn_all_alike(pool):
    found = Counter(drawn(pool, SampledPathLoss(pool, None, 0.0), 600))
    assert set(found) == {(path,) for path in LAYOUT.paths}
    assert min(found.values()) > 60  # of 100 each


def test_the_draw_depends_on_seed_phase_and_step_alone(pool):
    one, other = SampledPathLoss(pool, None, 0.0), SampledPathLoss(pool, None, 0.0)
    first = drawn(pool, one, 30)
    torch.manual_seed(123)
    other.before_step(0, "pool", 20)
    assert pool.chosen == first[20]
    assert drawn(pool, other, 30) == first
    assert drawn(pool, other, 30, seed=1) != first
    assert drawn(pool, other, 30, name="again") != first


def test_a_step_moves_its_path_alone(pool, pico, ancestor):
    """In the one loop, decay and all; gradients of what is left out are none."""
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


def test_the_loss_of_one_path_is_the_labels_or_the_mixture(pool, ancestor, batch):
    def forward(pixels):
        return pool(ancestor.preprocess(pixels))

    labels = SampledPathLoss(pool, None, 0.0)
    labels.before_step(0, "pool", 3)
    with torch.no_grad():
        assert torch.equal(labels(forward, batch), cross_entropy(forward(batch.pixels), batch.labels))
        for kind in ("soft", "hard"):
            teacher = Distillation(ancestor, kind=kind, alpha=0.3)
            taught = SampledPathLoss(pool, teacher, 0.0)
            taught.before_step(0, "pool", 3)
            assert torch.equal(taught(forward, batch), teacher(forward, batch))


def test_the_sandwich_takes_the_ends_and_one_between(pool, ancestor, batch):
    ends = (LAYOUT.paths[0], LAYOUT.paths[-1])
    objective = SampledPathLoss(pool, Distillation(ancestor, alpha=0.5), 0.0, ends)
    found = drawn(pool, objective, 60)
    assert all(taken[:2] == ends and len(taken) == 3 and taken[2] not in ends for taken in found)
    assert {taken[2] for taken in found} == set(LAYOUT.paths) - set(ends)
    calls = []
    handle = ancestor.model.register_forward_pre_hook(lambda *_: calls.append(1))
    with torch.no_grad():
        loss = objective(lambda pixels: pool(ancestor.preprocess(pixels)), batch)
        each = []
        for path in found[-1]:
            pool.choose(path)
            each.append(Distillation(ancestor, alpha=0.5)(lambda pixels: pool(ancestor.preprocess(pixels)), batch))
    handle.remove()
    assert len(calls) == 1 + 3
    assert float(loss) == pytest.approx(float(torch.stack(each).mean()), rel=1e-6)


def test_a_sandwich_of_all_paths_draws_none(ancestor):
    spec = VitSpec.model_validate({**ancestor.spec.model_dump(), "depth": 1})
    layout = PoolLayout((8, 16), 1)
    forms = PathSpecs.of(layout, spec, (1, 2))
    pool = PoolNetwork({width: VIT.build(one) for width, one in forms.models.items()}, layout)
    objective = SampledPathLoss(pool, None, 0.0, layout.paths)
    assert drawn(pool, objective, 3) == [layout.paths] * 3


def test_neither_pool_nor_teacher_is_a_part_of_the_loss(pool, ancestor):
    objective = SampledPathLoss(pool, Distillation(ancestor), 0.0)
    assert not list(objective.parameters())
    assert not objective.state_dict()
