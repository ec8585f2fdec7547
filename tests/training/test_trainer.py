"""The training loop: effect of each setting on a tiny real training."""

import json

import pytest
import torch

from germline.data import iterate_batches
from germline.errors import SettingError, TrainingError
from germline.training import CrossEntropy, Run, TrainSettings, score_model
from germline.training.checkpoint import CheckpointFolder

SHORT = {"steps": 6, "batch_size": 24, "lr": 5e-3, "log_every": 1}


@pytest.fixture
def train(pico, make_network):
    """Function that trains a fresh network and returns it with its result."""

    def run(folder=None, *, network=None, objective=None, seed=0, precision="32-true", images=None, **settings):
        network = network or make_network()
        result = Run(folder, device="cpu", seed=seed, precision=precision, quiet=True).fit(
            "phase",
            network,
            objective or CrossEntropy(settings.get("label_smoothing", 0.0)),
            images or pico.train,
            TrainSettings(**{**SHORT, **settings}),
            val=pico.val,
            augmentation=pico.augmentation,
        )
        return network, result

    return run


def weights(network):
    return {name: value.clone() for name, value in network.model.state_dict().items()}


def has_equal_weights(first, second, tolerance=0.0):
    a, b = weights(first), weights(second)
    return a.keys() == b.keys() and all(float((a[k] - b[k]).abs().max()) <= tolerance for k in a)


def test_fit_lowers_the_loss_and_raises_accuracy(train):
    network, result = train(steps=150, lr=1e-2, batch_size=40, augment=False, eval_at=(0,), eval_every=50)
    losses = [loss for _, loss in result.losses]
    assert sum(losses[-10:]) < 0.8 * sum(losses[:10])
    assert [score["step"] for score in result.scores] == [0, 50, 100, 150]
    assert result.accuracy > result.scores[0]["accuracy"] + 0.15
    assert (result.steps, result.samples) == (150, 6000)
    assert not network.model.training


def test_fit_result_accuracy_is_that_of_the_network(train, pico):
    network, result = train(ema=0.5)
    assert result.accuracy == score_model(network.model, network.logits, pico.val).accuracy


def test_fit_depends_only_on_the_seed(train):
    first, second, other = train()[0], train()[0], train(seed=1)[0]
    assert has_equal_weights(first, second)
    assert not has_equal_weights(first, other)


def test_fit_leaves_the_global_generator_alone(train):
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    train(drop_path=0.1)
    assert torch.equal(torch.rand(2), expected)


def test_fit_accumulate_equals_one_batch(train):
    for settings in ({}, {"clip": 0.1}, {"mixup": 0.8, "cutmix": 1.0}):
        (whole, one), (parts, two) = train(**settings), train(accumulate=2, **settings)
        assert [loss for _, loss in two.losses] == pytest.approx([loss for _, loss in one.losses], abs=1e-5)
        assert has_equal_weights(whole, parts, 1e-5)


def test_fit_weighs_unequal_parts_by_images(train):
    (whole, one), (parts, two) = train(batch_size=23), train(batch_size=23, accumulate=4)
    assert [loss for _, loss in two.losses] == pytest.approx([loss for _, loss in one.losses], abs=1e-5)
    assert has_equal_weights(whole, parts, 1e-5)


def test_fit_returns_the_weight_average(train, make_network):
    start, seen = make_network(), []

    class Watch(CrossEntropy):
        def forward(self, network, batch):
            seen.append(weights(watched))
            return super().forward(network, batch)

    watched = make_network()
    train(network=watched, objective=Watch(), ema=0.5)
    raw = train()[0]
    trail = [*seen[1:], weights(raw)]
    expected = weights(start)
    for step, now in enumerate(trail, start=1):
        decay = min(0.5, (1 + step) / (10 + step))
        expected = {name: decay * value + (1 - decay) * now[name] for name, value in expected.items()}
    found = weights(watched)
    assert all(torch.allclose(found[name], value, atol=1e-6) for name, value in expected.items())
    assert not has_equal_weights(watched, raw, 1e-4)


def test_fit_clips_the_gradient(train, make_network):
    start = weights(make_network())
    settings = {"steps": 1, "optimizer": "sgd", "momentum": 0.0, "lr": 1.0, "weight_decay": 0.0, "warmup": 0.0}

    def measure_change(**more):
        now = weights(train(**settings, **more)[0])
        return float(sum((now[name] - value).square().sum() for name, value in start.items()) ** 0.5)

    assert measure_change(clip=1e-2) == pytest.approx(1e-2, rel=1e-3)
    assert measure_change() > 2e-2


def test_fit_follows_the_schedule(train, make_network):
    start, settings = weights(make_network()), {"optimizer": "sgd", "momentum": 0.0, "weight_decay": 0.0, "clip": 1e-6}
    now = weights(train(**settings, steps=4, lr=1.0, warmup=0.5, min_lr=0.5, batch_size=120, augment=False)[0])
    distance = float(sum((now[name] - value).square().sum() for name, value in start.items()) ** 0.5)
    # The clipped gradient hardly changes its direction in four steps, so the rates 0.5, 1, 1 and 0.75 add up.
    assert distance == pytest.approx(3.25e-6, rel=0.1)


def test_fit_uses_label_smoothing(train, ancestor, pico):
    plain = CrossEntropy()
    smooth = CrossEntropy(0.2)
    batch = next(iterate_batches(pico.train, 120))
    with torch.no_grad():
        assert float(smooth(ancestor.logits, batch)) > float(plain(ancestor.logits, batch)) + 0.05
    assert not has_equal_weights(train(label_smoothing=0.2)[0], train()[0])


@pytest.mark.parametrize("other", [{"optimizer": "adamw"}, {"optimizer": "sgd"}, {"clip": 1.0}], ids=str)
def test_fit_stops_at_a_loss_that_is_not_finite(train, tmp_path, other):
    class BreaksLoss(CrossEntropy):
        steps = 0

        def forward(self, network, batch):
            self.steps += 1
            return super().forward(network, batch) * (float("nan") if self.steps == 5 else 1)

    with pytest.raises(
        TrainingError, match="The loss or the weights of 'phase' are not finite numbers at step 5"
    ) as caught:
        train(tmp_path, objective=BreaksLoss(), checkpoint_every=2, **other)
    assert caught.value.exit_code == 3
    assert str(tmp_path / "phase" / "checkpoints" / "step-00000004") in str(caught.value)
    assert not (tmp_path / "phase" / "result.json").exists()


def test_fit_names_the_broken_step_with_rare_logs(train):
    class BreaksLoss(CrossEntropy):
        steps = 0

        def forward(self, network, batch):
            self.steps += 1
            return super().forward(network, batch) * (float("inf") if self.steps == 3 else 1)

    with pytest.raises(TrainingError, match=r"at step 3\. There is no checkpoint before it"):
        train(objective=BreaksLoss(), log_every=100)


def test_fit_saves_no_broken_weights(train, tmp_path):
    class Steep(CrossEntropy):
        def forward(self, network, batch):
            return super().forward(network, batch) * 1e4

    with pytest.raises(TrainingError, match="at step 1"):
        train(tmp_path, objective=Steep(), optimizer="sgd", lr=1e38, warmup=0.0, checkpoint_every=1)
    kept = CheckpointFolder(tmp_path / "phase" / "checkpoints", 2).load_latest()
    assert kept is None or all(torch.isfinite(value).all() for value in kept.tensors["model"].values())


def test_fit_stops_at_weights_that_are_too_large_to_compute_with(train, tmp_path):
    """The loss before the last step and the weights after it are finite; the loss on validation images is not."""
    with pytest.raises(TrainingError, match=r"'phase' are not finite numbers at step 1\. There is no checkpoint"):
        train(tmp_path, steps=1, lr=1e30, warmup=0.0)
    assert not (tmp_path / "phase" / "result.json").exists()


def test_fit_returns_the_saved_result_of_a_finished_phase(train, tmp_path, make_network):
    first, result = train(tmp_path)
    second, stored = train(tmp_path, network=make_network(seed=9))
    assert stored == result
    assert has_equal_weights(first, second)
    assert not (tmp_path / "phase" / "checkpoints").exists()


def test_fit_logs_every_loss_and_score(train, tmp_path):
    _, result = train(tmp_path, eval_every=3)
    lines = [json.loads(line) for line in (tmp_path / "phase" / "log.jsonl").read_text().splitlines()]
    assert [(line["step"], line["loss"]) for line in lines if "loss" in line] == result.losses
    assert [line["val_accuracy"] for line in lines if "val_loss" in line] == [s["accuracy"] for s in result.scores]
    assert [line["step"] for line in lines] == sorted(line["step"] for line in lines)


def test_fit_refuses_changed_settings(train, tmp_path):
    train(tmp_path)
    with pytest.raises(SettingError, match=r"was started with lr=0\.005, now 0\.1"):
        train(tmp_path, lr=0.1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"objective": CrossEntropy(0.1)}, r"objective=CrossEntropy\(label_smoothing=0.0\), now CrossEntropy\(.*0.1\)"),
        ({"augmentation": ()}, r"augmentation=\['shift'\], now \[\]"),
        ({"val": "train"}, "val=.*, now "),
    ],
    ids=["objective", "augmentation", "val"],
)
def test_fit_refuses_another_loss_augmentation_or_validation_set(pico, make_network, tmp_path, change, message):
    def start(**changes):
        call = {"objective": CrossEntropy(), "augmentation": ("shift",), "val": "val", **changes}
        call["val"] = getattr(pico, call["val"])
        settings = TrainSettings(steps=2, batch_size=10)
        return Run(tmp_path, device="cpu", quiet=True).fit(
            "phase", make_network(), images=pico.train, settings=settings, **call
        )

    first = start()
    with pytest.raises(SettingError, match=f"was started with {message}"):
        start(**change)
    # A run of an older version did not save these facts.
    path = tmp_path / "phase" / "settings.json"
    saved = json.loads(path.read_text())
    path.write_text(json.dumps({key: saved[key] for key in saved.keys() - {"objective", "augmentation", "val"}}))
    assert start(**change).losses == first.losses


def test_fit_refuses_another_seed_in_the_same_folder(train, tmp_path):
    train(tmp_path)
    with pytest.raises(SettingError, match="was started with seed=0, now 1"):
        train(tmp_path, seed=1)


def test_fit_with_no_steps_changes_nothing(train, make_network):
    network, result = train(steps=0)
    assert has_equal_weights(network, make_network())
    assert result.losses == []
    assert len(result.scores) == 1


@pytest.mark.parametrize("precision", ["bf16-mixed", "bf16-true"])
def test_fit_bf16_is_near_full_precision(train, pixels, tmp_path, precision):
    plain, low = train()[1], train(tmp_path, precision=precision)
    assert [loss for _, loss in low[1].losses] == pytest.approx([loss for _, loss in plain.losses], abs=0.1)
    assert low[1].losses != plain.losses
    assert {value.dtype for value in low[0].model.state_dict().values()} == {torch.float32}
    with torch.no_grad():
        assert torch.isfinite(low[0].logits(pixels)).all()


def test_fit_compiled_equals_the_plain_run(train, pixels):
    (plain, one), (compiled, two) = train(steps=3), train(steps=3, compile=True)
    assert [loss for _, loss in two.losses] == pytest.approx([loss for _, loss in one.losses], abs=1e-4)
    assert weights(plain).keys() == weights(compiled).keys()
    assert two.accuracy == one.accuracy


def test_run_refuses_bad_devices_and_precisions(tmp_path):
    with pytest.raises(SettingError, match="Precision '16'"):
        Run(precision="16")
    with pytest.raises(SettingError, match="Device 'tpu'"):
        Run(device="tpu")


def test_run_logs_to_the_logger(pico, make_network):
    logged = []

    class Logger:
        def log_metrics(self, metrics, step):
            logged.append((step, *metrics))

        def finalize(self, status):
            logged.append(status)

    run = Run(device="cpu", quiet=True, logger=Logger())
    run.fit("phase", make_network(), CrossEntropy(), pico.train, TrainSettings(**SHORT), val=pico.val)
    assert logged[0] == (1, "phase/loss")
    assert logged[-2:] == [(6, "phase/val_accuracy"), "success"]


def test_run_keeps_its_thread_count(tmp_path):
    Run(tmp_path, device="cpu")
    assert json.loads((tmp_path / "run.json").read_text())["threads"] == 1
    torch.set_num_threads(2)
    try:
        Run(tmp_path, device="cpu")
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(1)


class Halved(CrossEntropy):
    """Cross entropy that halves the head's bias after each step, and records its arguments."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def after_step(self, model, first):
        rate = first.param_groups[0]["lr"]
        self.seen.append((rate, float(model.head.weight.grad.abs().sum()), torch.is_grad_enabled()))
        model.head.bias.mul_(0.5)


def test_fit_calls_after_step_with_gradients_and_rate(train, make_network):
    plain = train(steps=1, warmup=0.0)[0]
    changed = Halved()
    network, _ = train(steps=1, objective=changed, warmup=0.0)
    assert torch.equal(network.model.head.bias, plain.model.head.bias * 0.5)
    network, _ = train(steps=4, objective=(changed := Halved()), accumulate=2)
    assert [rate for rate, _, _ in changed.seen] == [TrainSettings(**SHORT).learning_rate(step, 4) for step in range(4)]
    assert all(gradient > 0 for _, gradient, _ in changed.seen)
    assert not any(recorded for _, _, recorded in changed.seen)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_steps_on_a_gpu_do_not_wait_for_it(pico, make_network):
    class Watched(CrossEntropy):
        def before_step(self, seed, name, step):
            # The first steps set up libraries and the optimiser, and the last step waits for the logged loss.
            torch.cuda.set_sync_debug_mode("error" if 2 <= step < 8 else "default")

    network, settings = make_network(), TrainSettings(steps=9, batch_size=24, log_every=9)
    try:
        run = Run(device="cuda", quiet=True)
        result = run.fit("phase", network, Watched(), pico.train, settings, augmentation=("shift", "mirror"))
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert result.steps == 9
