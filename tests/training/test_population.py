"""Populations: every engine equals the loop, or gives the reason why it cannot train."""

import copy
from dataclasses import replace

import pytest
import torch

from germline.data import ImageFiles, Images
from germline.errors import SettingError, TrainingError, UnknownNameError
from germline.training import CrossEntropy, Distillation, Run, TrainSettings
from germline.training import progress as progress_module
from helpers.populations import CLASSES, SPECS, difference, states, train

OPTIMIZERS = {"sgd": {"optimizer": "sgd", "lr": 0.05, "weight_decay": 0.01}, "adamw": {"optimizer": "adamw"}}


@pytest.fixture
def double():
    """Compute in float64, so that rounding neither hides nor imitates a difference."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


class DoubleInputs(CrossEntropy):
    """Cross entropy on images of float64."""

    def forward(self, network, batch):
        return super().forward(network, replace(batch, pixels=batch.pixels.double()))


class Scaled(CrossEntropy):
    """Cross entropy with a parameter of its own."""

    def __init__(self):
        super().__init__()
        self.factor = torch.nn.Parameter(torch.ones(5))


class BeforeStep(CrossEntropy):
    """Cross entropy with a `before_step`."""

    def before_step(self, seed, name, step):
        self.step = step


class AfterStep(CrossEntropy):
    """Cross entropy with an `after_step`."""

    def after_step(self, model, first):
        self.first = first


def losses(results):
    return [loss for result in results for _, loss in result.losses]


def check_equal_in_double(make_members, kind="vgg", prepare=lambda members: None, objective=None, **settings):
    found = []
    for engine in ("loop", "vmap"):
        members = make_members(kind, dtype=torch.float64)
        prepare(members)
        before = states(members)
        results = train(members, engine=engine, objective=copy.deepcopy(objective) or DoubleInputs(), **settings)
        assert difference(before, states(members)) > 1e-3
        found.append((members, results))
    (one, first), (other, second) = found
    assert difference(states(one), states(other)) < 1e-9
    assert [result.losses for result in first] != [[]] * 3
    assert losses(second) == pytest.approx(losses(first), abs=1e-10)
    assert [r.steps for r in first] == [r.steps for r in second]
    assert [r.samples for r in first] == [r.samples for r in second]
    return other, second


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("kind", SPECS)
def test_vmap_engine_equals_the_loop(make_members, double, kind, optimizer):
    members, results = check_equal_in_double(make_members, kind, **OPTIMIZERS[optimizer])
    for member in members:
        counters = [v for name, v in member.network.model.state_dict().items() if name.endswith("tracked")]
        assert bool(counters) == (kind != "vit")
        assert all(int(counter) == 6 for counter in counters)
    assert all([step for step, _ in result.losses] == [1, 2, 3, 4, 5, 6] for result in results)


def test_vmap_engine_trains_members_of_unequal_steps(make_members, double):
    members, results = check_equal_in_double(make_members, steps=None, epochs=2)
    assert [result.steps for result in results] == [7, 5, 4]
    counters = [
        int(member.network.model.state_dict()["stages.0.blocks.0.norm.num_batches_tracked"]) for member in members
    ]
    assert counters == [7, 5, 4]


def test_vmap_engine_has_the_random_changes_and_repeats_of_the_loop(make_members, double):
    check_equal_in_double(make_members, randaugment="rand-m9-mstd0.5-inc1", erasing=0.5, repeats=3)


def test_vmap_engine_clips_gradients_per_member(make_members, double):
    settings = {"optimizer": "sgd", "momentum": 0.0, "weight_decay": 0.0, "lr": 1.0, "warmup": 0.0, "steps": 1}
    check_equal_in_double(make_members, clip=0.05, **settings)
    members = make_members(dtype=torch.float64)
    before = states(members)
    train(members, engine="vmap", objective=DoubleInputs(), clip=0.05, **settings)
    for old, member in zip(before, members, strict=True):
        weights = member.network.model.named_parameters()
        moved = sum(float((weight.detach() - old[name]).square().sum()) for name, weight in weights)
        assert moved**0.5 == pytest.approx(0.05, rel=1e-3)


def test_vmap_engine_keeps_frozen_parameters(make_members, double):
    def freeze(members):
        for member in members:
            member.network.model.stages[0].blocks[0].conv.weight.requires_grad_(False)

    frozen = [state["stages.0.blocks.0.conv.weight"] for state in states(make_members(dtype=torch.float64))]
    members, _ = check_equal_in_double(make_members, prepare=freeze)
    now = [state["stages.0.blocks.0.conv.weight"] for state in states(members)]
    assert all(torch.equal(one, other) for one, other in zip(frozen, now, strict=True))


def test_vmap_engine_stacks_other_objectives(make_members, double):
    class DoubleDistillation(Distillation):
        def forward(self, network, batch):
            return super().forward(network, replace(batch, pixels=batch.pixels.double()))

    teacher = make_members("resnet12", dtype=torch.float64)[2].network
    objective = DoubleDistillation(teacher, alpha=0.7, temperature=2.0)
    before = copy.deepcopy(teacher.model.state_dict())
    check_equal_in_double(make_members, objective=objective)
    assert difference([before], [teacher.model.state_dict()]) == 0


@pytest.mark.parametrize("kind", SPECS)
def test_vmap_engine_evaluates_and_logs_as_the_loop(make_members, kind):
    settings = {"steps": 5, "lr": 1e-3, "eval_every": 2, "eval_at": (0,), "log_every": 3, "checkpoint_every": 4}
    one, other = (make_members(kind, val=True, augmentation=("shift", "rotate")) for _ in range(2))
    first, second = train(one, engine="loop", **settings), train(other, engine="vmap", **settings)
    for loop, vmap in zip(first, second, strict=True):
        assert [step for step, _ in vmap.losses] == [step for step, _ in loop.losses] == [3, 4, 5]
        assert [score["step"] for score in vmap.scores] == [score["step"] for score in loop.scores] == [0, 2, 4, 5]
        assert vmap.scores[0] == loop.scores[0]
        for mine, theirs in zip(vmap.scores, loop.scores, strict=True):
            assert mine["loss"] == pytest.approx(theirs["loss"], abs=1e-4)
            assert mine["accuracy"] == pytest.approx(theirs["accuracy"], abs=1 / 15 + 1e-6)  # one image of 15
        assert vmap.seconds > 0
    assert losses(second) == pytest.approx(losses(first), abs=1e-4)
    for member in other:
        assert not any(module.training for module in member.network.model.modules())
        assert all(p.device.type == "cpu" and p.grad is None for p in member.network.model.parameters())


def test_loop_engine_equals_fit_exactly(make_members):
    settings = TrainSettings(steps=5, batch_size=12, log_every=2, eval_every=2, label_smoothing=0.1, mixup=0.3, ema=0.5)
    one, other = make_members(val=True), make_members(val=True)
    together = Run(device="cpu", quiet=True).fit_population("all", one, settings, engine="loop")
    for member, found in zip(other, together, strict=True):
        alone = Run(device="cpu", quiet=True, seed=member.seed).fit(
            member.name,
            member.network,
            CrossEntropy(0.1),
            member.images,
            settings,
            val=member.val,
            augmentation=member.augmentation,
        )
        assert replace(found, seconds=0) == replace(alone, seconds=0)
        assert len(found.scores) == 3
    assert difference(states(one), states(other)) == 0


@pytest.mark.parametrize("engine", ["loop", "vmap"])
def test_fit_population_does_not_depend_on_grouping_or_order(make_members, double, engine):
    expected_members = make_members(dtype=torch.float64)
    results = train(expected_members, engine=engine, objective=DoubleInputs())
    tolerance = 0 if engine == "loop" else 1e-10
    for together, order in ((1, (0, 1, 2)), (2, (0, 1, 2)), (2, (2, 0, 1)), (None, (1, 2, 0))):
        members = make_members(dtype=torch.float64)
        found = train([members[place] for place in order], engine=engine, together=together, objective=DoubleInputs())
        assert difference(states(expected_members), states(members)) <= tolerance
        assert losses(found) == pytest.approx(losses(results[place] for place in order), abs=1e-10)


REFUSED_SETTINGS = {
    "Mixup or cutmix is on": {"mixup": 0.2},
    "accumulate=2 splits": {"accumulate": 2},
    r"\(ema\) is on": {"ema": 0.9},
    "torch.compile": {"compile": True},
    "below float32": {"precision": "bf16-mixed"},
    "parameters or buffers of its own": {"objective": Scaled()},
    "draws for every step": {"objective": BeforeStep()},
    "after every step": {"objective": AfterStep()},
}


@pytest.mark.parametrize("reason", REFUSED_SETTINGS)
def test_vmap_engine_refuses_settings(make_members, reason):
    members = make_members()
    before = states(members)
    with pytest.raises(SettingError, match=f"Engine 'vmap' cannot train these members.*{reason}.*Use engine='loop'"):
        train(members, engine="vmap", **REFUSED_SETTINGS[reason])
    assert difference(before, states(members)) == 0


def with_dropout(member):
    member.network.model.head.drop.p = 0.5
    return member


def without_labels(member):
    return replace(member, images=Images(member.images.images, None, ()))


def with_files(member):
    return replace(member, images=ImageFiles(member.images.labels, CLASSES, (None,) * len(member.images)))


def with_colour(member):
    images = member.images.images.expand(-1, 3, -1, -1)
    return replace(member, images=Images(images, member.images.labels, CLASSES))


def with_frozen_parameter(member):
    next(member.network.model.parameters()).requires_grad_(False)
    return member


def without_spec(member):
    return replace(member, network=replace(member.network, spec=None))


REFUSED_MEMBERS = {
    with_dropout: "drops units or paths",
    without_labels: "have no labels",
    with_files: "decoded from files",
    with_colour: "have several sizes",
    with_frozen_parameter: "not have one shape",
    without_spec: "not have one shape",
}


@pytest.mark.parametrize("change", REFUSED_MEMBERS, ids=lambda change: change.__name__)
def test_vmap_engine_refuses_members(make_members, change):
    members = make_members()
    members[1] = change(members[1])
    with pytest.raises(SettingError, match=f"'vmap' cannot.*{REFUSED_MEMBERS[change]}"):
        train(members, engine="vmap")


def test_auto_takes_the_loop_for_a_mixed_population(make_members, tmp_path):
    def mixed():
        return [*make_members("vgg", 2), replace(make_members("resnet12")[2], name="odd")]

    members, expected = mixed(), mixed()
    with pytest.raises(SettingError, match="not have one shape of a known architecture"):
        train(members, engine="vmap")
    train(members, engine="auto", folder=tmp_path)
    train(expected, engine="loop")
    assert difference(states(members), states(expected)) == 0
    assert not (tmp_path / "engine.json").exists()  # only one engine was possible


def test_fit_population_refuses_bad_arguments(make_members):
    members = make_members()
    with pytest.raises(UnknownNameError, match=r"Unknown population engine 'vmup'.*vmap"):
        train(members, engine="vmup")
    with pytest.raises(SettingError, match="together=0"):
        train(members, together=0)
    with pytest.raises(SettingError, match="Several members share a network"):
        train([members[0], replace(members[1], network=members[0].network)])
    assert train([], engine="auto") == []


@pytest.mark.parametrize("engine", ["loop", "vmap"])
def test_fit_population_names_a_broken_member(make_members, engine):
    members = make_members()
    with torch.no_grad():
        members[1].network.model.head.fc.bias[0] = float("nan")
    message = r"^The loss or the weights of 'member-1' are not finite numbers at step 1\. There is no checkpoint"
    with pytest.raises(TrainingError, match=f"(?i){message}"):
        train(members, engine=engine, log_every=4)


@pytest.mark.parametrize("engine", ["loop", "vmap"])
def test_fit_population_refuses_broken_weights(make_members, engine):
    members = make_members()
    settings = {"optimizer": "sgd", "lr": 1e38, "weight_decay": 1e3, "warmup": 0.0, "steps": 1}
    with pytest.raises(TrainingError, match=r"^The loss or the weights of 'member-0' .* at step 1\."):
        train(members, engine=engine, **settings)


@pytest.mark.parametrize("engine", ["loop", "vmap"])
def test_fit_population_progress_counts_all_members(make_members, monkeypatch, engine):
    monkeypatch.setattr(progress_module, "WATCH_SECONDS", 0.0)
    reported = []
    with progress_module.watch_progress(lambda *facts: reported.append(facts[:3])):
        train(make_members(), engine=engine, together=2, steps=4, log_every=2)
    expected = [2, 4, 6, 8, 10, 12] if engine == "loop" else [4, 8, 10, 12]
    assert reported == [("all", step, 12) for step in expected]
