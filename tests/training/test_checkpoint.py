"""Checkpoints: bounded in number, atomic, and skipped if damaged."""

import json
import logging

import pytest
import torch

from germline.errors import OutputError
from germline.training.checkpoint import Checkpoint, CheckpointFolder


def checkpoint(step):
    return Checkpoint(step, {"model": {"w": torch.full((3,), float(step))}, "objective": {}}, {"losses": [(step, 0.5)]})


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def folder_of_two(tmp_path):
    kept = CheckpointFolder(tmp_path / "checkpoints", keep=2)
    for step in (5, 10, 100):
        kept.save(checkpoint(step))
    return kept


def test_checkpoint_folder_keeps_the_newest(folder_of_two, tmp_path):
    assert names(tmp_path / "checkpoints") == ["step-00000010", "step-00000100"]
    assert folder_of_two.latest_path() == tmp_path / "checkpoints" / "step-00000100"


def test_load_latest_is_exact(folder_of_two):
    found = folder_of_two.load_latest()
    assert found.step == 100
    assert torch.equal(found.tensors["model"]["w"], torch.full((3,), 100.0))
    assert found.tensors["objective"] == {}
    assert found.facts == {"losses": [[100, 0.5]]}


def truncate(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1])


def flip(folder):
    path = folder / "model.safetensors"
    damaged = bytearray(path.read_bytes())
    damaged[-1] ^= 1
    path.write_bytes(damaged)


@pytest.mark.parametrize(
    "damage",
    [
        truncate,
        flip,
        lambda folder: (folder / "model.safetensors").unlink(),
        lambda folder: (folder / "state.json").write_text("{"),
        lambda folder: (folder / "state.json").write_text("{}"),
        lambda folder: (folder / "state.json").unlink(),
        lambda folder: torch.save({}, folder / "model.safetensors"),
    ],
    ids=["truncated", "flipped", "no tensors", "bad json", "empty state", "no state", "pickle"],
)
def test_load_latest_skips_a_damaged_one_with_a_warning(folder_of_two, tmp_path, caplog, damage):
    damage(tmp_path / "checkpoints" / "step-00000100")
    with caplog.at_level(logging.WARNING, "germline"):
        assert folder_of_two.load_latest().step == 10
    assert "step-00000100 is skipped" in caplog.text


def test_load_latest_gives_none_if_all_are_damaged(folder_of_two, tmp_path):
    for name in names(tmp_path / "checkpoints"):
        truncate(tmp_path / "checkpoints" / name)
    assert folder_of_two.load_latest() is None


def test_load_latest_gives_none_without_a_folder(tmp_path):
    empty = CheckpointFolder(tmp_path / "nowhere", keep=1)
    assert (empty.load_latest(), empty.latest_path()) == (None, None)


@pytest.mark.parametrize("where", ["write_tensors", "write_json"])
def test_save_leaves_the_old_ones_after_a_crash(folder_of_two, tmp_path, monkeypatch, where):
    def crash(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(f"germline.training.checkpoint.{where}", crash)
    with pytest.raises(KeyboardInterrupt):
        folder_of_two.save(checkpoint(200))
    assert names(tmp_path / "checkpoints") == ["step-00000010", "step-00000100"]
    assert folder_of_two.load_latest().step == 100


def test_save_leaves_the_old_ones_on_a_full_disk(folder_of_two, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("germline.training.checkpoint.write_tensors", full)
    with pytest.raises(OutputError, match="No space left"):
        folder_of_two.save(checkpoint(200))
    assert folder_of_two.load_latest().step == 100


def test_load_latest_ignores_a_killed_save(folder_of_two, tmp_path):
    part = tmp_path / "checkpoints" / ".step-00000200.abcd.part"
    part.mkdir()
    (part / "state.json").write_text(json.dumps({"step": 200}))
    assert folder_of_two.load_latest().step == 100
