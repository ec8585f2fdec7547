"""Saved phases: work runs once, reading is exact, and damage or a kill only repeats work."""

import json
import logging
import signal

import pytest
import torch

from germline.errors import SettingError
from germline.training import CrossEntropy, Run, TrainSettings
from helpers.processes import code, finish

PHASE_STATE = {
    "zeta": torch.tensor([[1.5, -0.0], [float("nan"), 3e-39]]),
    "count": torch.tensor(7),
    "half": torch.arange(3).to(torch.bfloat16),
    "alpha": torch.tensor([], dtype=torch.int32),
    "mask": torch.tensor([True, False]),
}
FACTS = {"pair": (1, 2.5), "by step": {3: "drei"}, "none": None, "text": "ä"}
READ = {"pair": [1, 2.5], "by step": {"3": "drei"}, "none": None, "text": "ä"}


class Work:
    """Work that counts its calls."""

    def __init__(self, tensors=PHASE_STATE, facts=FACTS):
        self.calls, self.answer = 0, (tensors, facts)

    def __call__(self):
        self.calls += 1
        return self.answer


def make_run(folder=None):
    return Run(folder, device="cpu", quiet=True)


def check_state(found):
    tensors, facts = found
    assert list(tensors) == list(PHASE_STATE)
    for name, value in PHASE_STATE.items():
        assert (tensors[name].dtype, tensors[name].shape) == (value.dtype, value.shape)
        assert torch.equal(tensors[name].flatten().view(torch.uint8), value.flatten().view(torch.uint8))
    assert facts == READ
    assert type(facts["pair"]) is list


def test_keep_does_the_work_once(tmp_path):
    work = Work()
    check_state(make_run(tmp_path).keep("generation-0", work))
    check_state(make_run(tmp_path).keep("generation-0", work))
    assert work.calls == 1
    other = Work({}, {"other": 1})
    assert make_run(tmp_path).keep("generation-1", other) == ({}, {"other": 1})
    assert make_run(tmp_path).keep("generation-1", other) == ({}, {"other": 1})
    assert other.calls == 1


def test_keep_saves_nothing_without_a_folder():
    work, run = Work(), make_run()
    check_state(run.keep("phase", work))
    check_state(run.keep("phase", work))
    assert work.calls == 2
    run.forget("phase")


@pytest.mark.parametrize("folder", [False, True])
def test_keep_returns_tensors_of_their_own(tmp_path, folder):
    original = torch.arange(6.0).reshape(2, 3)
    tied = {"first": original, "second": original, "column": original[:, 1]}
    found, _ = make_run(tmp_path if folder else None).keep("phase", lambda: (tied, {}))
    found["first"].zero_()
    assert original.tolist() == [[0, 1, 2], [3, 4, 5]]
    assert found["second"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert found["column"].tolist() == [1, 4]
    assert found["column"].is_contiguous()


def cut(path):
    path.write_bytes(path.read_bytes()[:-1])


def flip(path):
    damaged = bytearray(path.read_bytes())
    damaged[-1] ^= 1
    path.write_bytes(damaged)


def change_facts(path):
    state = json.loads(path.read_text())
    state["facts"]["pair"] = [1, 3.5]
    path.write_text(json.dumps(state))


DAMAGES = {
    "cut tensors": ("kept.safetensors", cut),
    "flipped bit": ("kept.safetensors", flip),
    "no tensors": ("kept.safetensors", lambda path: path.unlink()),
    "altered facts": ("kept.json", change_facts),
    "no hashes": ("kept.json", lambda path: path.write_text('{"facts": {}}')),
    "not JSON": ("kept.json", lambda path: path.write_text("{")),
    "another JSON": ("kept.json", lambda path: path.write_text("[]")),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_keep_computes_a_damaged_phase_again(tmp_path, caplog, damage):
    make_run(tmp_path).keep("phase", Work())
    name, apply_damage = DAMAGES[damage]
    apply_damage(tmp_path / "phase" / name)
    work = Work()
    with caplog.at_level(logging.WARNING, "germline"):
        check_state(make_run(tmp_path).keep("phase", work))
    assert work.calls == 1
    assert f"The saved phase {tmp_path / 'phase'} is damaged and computed again" in caplog.text
    caplog.clear()
    check_state(make_run(tmp_path).keep("phase", work))
    assert (work.calls, caplog.text) == (1, "")


def test_forget_removes_a_phase(tmp_path):
    run, work, other = make_run(tmp_path), Work(), Work()
    run.keep("phase", work)
    run.keep("other", other)
    run.forget("phase")
    assert not (tmp_path / "phase").exists()
    run.forget("phase")
    run.keep("phase", work)
    run.keep("other", other)
    assert (work.calls, other.calls) == (2, 1)


def test_keep_saves_nothing_of_failed_work(tmp_path):
    def fails():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_run(tmp_path).keep("phase", fails)
    work = Work()
    make_run(tmp_path).keep("phase", work)
    assert work.calls == 1


def test_keep_removes_phases_below_it(tmp_path, pico, make_network):
    network, run = make_network(), make_run(tmp_path)
    settings = TrainSettings(steps=1, batch_size=8)

    def work():
        run.fit("phase/life", network, CrossEntropy(), pico.train, settings)
        assert (tmp_path / "phase" / "life" / "result.json").exists()
        return network.model.state_dict(), {}

    tensors, _ = run.keep("phase", work)
    assert sorted(path.name for path in (tmp_path / "phase").iterdir()) == ["kept.json", "kept.safetensors"]
    assert all(torch.equal(tensors[name], value) for name, value in network.model.state_dict().items())


KILLED = """
import os, signal, sys, torch
from germline.training import Run, phase_store
def kill_now(*_):
    assert list(__import__("pathlib").Path(sys.argv[1]).glob(".phase.*/kept.safetensors"))
    os.kill(os.getpid(), signal.SIGKILL)
phase_store.write_json = kill_now
Run(sys.argv[1], device="cpu", quiet=True).keep("phase", lambda: ({"w": torch.ones(2)}, {}))
"""


def test_keep_killed_during_a_write(tmp_path):
    done = finish(code(KILLED, tmp_path), tmp_path)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert not (tmp_path / "phase").exists()
    work = Work()
    check_state(make_run(tmp_path).keep("phase", work))
    check_state(make_run(tmp_path).keep("phase", work))
    assert work.calls == 1


@pytest.mark.parametrize("facts", [{"loss": float("nan")}, {"tensor": torch.ones(1)}], ids=["nan", "tensor"])
@pytest.mark.parametrize("folder", [False, True])
def test_keep_refuses_facts_that_json_cannot_represent(tmp_path, folder, facts):
    with pytest.raises(SettingError, match="The facts of phase 'phase' cannot be saved"):
        make_run(tmp_path if folder else None).keep("phase", Work({}, facts))
    assert not (tmp_path / "phase").exists()


@pytest.mark.parametrize("name", ["", ".", "..", "a/../..", "/tmp/phase"])
def test_keep_refuses_names_outside_the_folder(tmp_path, name):
    (tmp_path / "run").mkdir()
    work = Work()
    for call in (lambda run: run.keep(name, work), lambda run: run.forget(name)):
        with pytest.raises(SettingError, match="within the run's"):
            call(make_run(tmp_path / "run"))
    assert work.calls == 0
    assert (tmp_path / "run" / "run.json").exists()
