"""A run that is killed and resumed ends with exactly the same weights."""

import json
from pathlib import Path

import pytest
import torch

from germline.errors import ArtefactError
from germline.training import CrossEntropy, Run, TrainSettings
from helpers.processes import finish, script

KILLS = Path(__file__).resolve().parents[2] / "benchmarks" / "kills.py"


def test_run_resumes_after_sigkill(tmp_path):
    words = ("--kills", 3, "--steps", 16, "--seed", 1, "--out", tmp_path / "out.json")
    done = finish(script(KILLS, *words), tmp_path)
    assert done.returncode == 0, done.stderr + done.stdout
    outcome = json.loads((tmp_path / "out.json").read_text())
    assert [job["job"] for job in outcome["jobs"]] == ["train", "condense", "choose"]
    for job in outcome["jobs"]:
        assert [kill["signal"] for kill in job["kills"]] == [9, 9, 9]
        assert job["begun_at"][0] == 0
        assert len(job["begun_at"]) == 4
        assert all(0 < start <= kill["step"] for start, kill in zip(job["begun_at"][1:], job["kills"], strict=True))
        assert job["sha256"]["alone"] == job["sha256"]["killed"]
    assert len({job["sha256"]["alone"] for job in outcome["jobs"]}) == 3


class Interrupted(CrossEntropy):
    """Cross entropy that stops the run after a given number of batches."""

    def __init__(self, at):
        super().__init__()
        self.left, self.first = at, None

    def forward(self, network, batch):
        if self.left == 0:
            raise KeyboardInterrupt
        self.left -= 1
        return super().forward(network, batch)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"optimizer": "sgd"},
        {"ema": 0.8},
        {"drop_path": 0.3},
        {"mixup": 0.8, "cutmix": 1.0, "accumulate": 2},
        {"randaugment": "rand-m9-mstd0.5-inc1", "color_jitter": 0.4, "erasing": 0.25, "repeats": 3},
    ],
    ids=str,
)
def test_run_resumes_exactly_with_every_setting(pico, make_network, tmp_path, settings):
    train_settings = TrainSettings(
        steps=10, batch_size=24, lr=5e-3, checkpoint_every=3, eval_every=4, log_every=1, **settings
    )

    def fit(folder, objective):
        network = make_network(drop_path=train_settings.drop_path)
        result = Run(folder, device="cpu", quiet=True).fit(
            "phase", network, objective, pico.train, train_settings, val=pico.val, augmentation=pico.augmentation
        )
        return network.model.state_dict(), result

    alone, expected = fit(None, CrossEntropy())
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path, Interrupted(8 * train_settings.accumulate))
    again = Interrupted(100)
    resumed, result = fit(tmp_path, again)
    assert 100 - again.left == 4 * train_settings.accumulate  # from the checkpoint after step 6
    assert all(torch.equal(value, resumed[name]) for name, value in alone.items())
    assert result.losses == expected.losses
    assert result.scores == expected.scores


def test_run_resumes_from_an_older_checkpoint(pico, make_network, tmp_path):
    train_settings = TrainSettings(steps=10, batch_size=24, checkpoint_every=3, log_every=1)

    def fit(folder, objective):
        network = make_network()
        Run(folder, device="cpu", quiet=True).fit("phase", network, objective, pico.train, train_settings)
        return network.model.state_dict()

    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path, Interrupted(8))
    newest = tmp_path / "phase" / "checkpoints" / "step-00000006" / "optimizer.safetensors"
    newest.write_bytes(newest.read_bytes()[:-3])
    again = Interrupted(100)
    resumed = fit(tmp_path, again)
    assert 100 - again.left == 7  # from the checkpoint after step 3
    assert all(torch.equal(value, resumed[name]) for name, value in fit(None, CrossEntropy()).items())


def test_checkpoint_of_another_network_is_refused(pico, make_network, tmp_path):
    train_settings = TrainSettings(steps=6, batch_size=24, checkpoint_every=2)

    def fit(network, objective):
        Run(tmp_path, device="cpu", quiet=True).fit("phase", network, objective, pico.train, train_settings)

    with pytest.raises(KeyboardInterrupt):
        fit(make_network(), Interrupted(3))
    with pytest.raises(ArtefactError, match="step-00000002' does not fit the network"):
        fit(make_network(depth=5), Interrupted(6))


class Scaled(CrossEntropy):
    """Cross entropy with a trained factor on every logit."""

    def __init__(self):
        super().__init__()
        self.factor = torch.nn.Parameter(torch.ones(10))

    def forward(self, network, batch):
        return super().forward(lambda pixels: network(pixels) * self.factor, batch)


def test_fit_restores_the_parameters_of_the_objective(pico, make_network, tmp_path):
    train_settings, objectives = TrainSettings(steps=4, batch_size=24), []
    for objective in (Scaled(), Scaled()):
        Run(tmp_path, device="cpu", quiet=True).fit("phase", make_network(), objective, pico.train, train_settings)
        objectives.append(objective.factor.detach())
    assert not torch.equal(objectives[0], torch.ones(10))
    assert torch.equal(*objectives)
    (tmp_path / "phase" / "objective.safetensors").unlink()
    with pytest.raises(ArtefactError, match="objective"):
        Run(tmp_path, device="cpu", quiet=True).fit("phase", make_network(), Scaled(), pico.train, train_settings)


def test_fit_writes_no_file_without_objective_parameters(pico, make_network, tmp_path):
    train_settings = TrainSettings(steps=1, batch_size=24)
    Run(tmp_path, device="cpu", quiet=True).fit("phase", make_network(), CrossEntropy(), pico.train, train_settings)
    assert {path.name for path in (tmp_path / "phase").iterdir()} >= {"result.json", "result.safetensors"}
    assert not (tmp_path / "phase" / "objective.safetensors").exists()
