"""Stopped commands: killed, interrupted, a full disk, an infinite loss. Which files are left, and how work resumes."""

import errno
import json
import os
import signal
import tempfile
import time
from pathlib import Path

import pytest
from safetensors.torch import load_file

import germline.files
import germline.training.checkpoint
from germline.errors import OutputError
from germline.outputs import check_output_folder
from germline.training.trainer import Trainer
from helpers.bad_input import RECIPE, snapshot
from helpers.processes import command, finish, started

WORK = ("train", "--model", "ancestor", "--data", "digits", "--device", "cpu", "--quiet", "--set", "batch_size=20")
SHORT = (*WORK, "--set", "steps=12", "--set", "checkpoint_every=3")


def have_same_weights(one, other):
    one, other = (load_file(folder / "model.safetensors") for folder in (one, other))
    return one.keys() == other.keys() and all(bool((one[name] == other[name]).all()) for name in one)


def raise_disk_full(*_, **__):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_killed_training_resumes_to_the_same_weights(workdir, run):
    steps = ("--set", "steps=160", "--set", "checkpoint_every=8")
    with started(command(*WORK, *steps, "--out", "killed"), workdir) as process:
        process.wait_for(lambda: list(workdir.glob("killed.run/train/checkpoints/step-*")))
        process.kill(signal.SIGKILL)
        assert process.wait().returncode == -signal.SIGKILL
    assert list(workdir.glob("killed.run/train/checkpoints/step-*"))
    assert not (workdir / "killed").exists()
    refused = run(*WORK, *steps, "--out", "killed")
    assert refused.code == 2
    assert "--resume" in refused.err
    assert run(*WORK, *steps, "--out", "killed", "--resume").code == 0
    assert run(*WORK, *steps, "--out", "unbroken").code == 0
    assert have_same_weights(workdir / "unbroken", workdir / "killed")


@pytest.mark.parametrize("at", [1, 4, 11])
def test_interrupted_training_exits_with_130_and_resumes(workdir, run, monkeypatch, at):
    assert run(*SHORT, "--out", "unbroken").code == 0
    step = Trainer._step

    def interrupted(self, number):
        if number == at:
            raise KeyboardInterrupt
        return step(self, number)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_step", interrupted)
        done = run(*SHORT, "--out", "stopped")
    assert done.code == 130
    assert done.err == "germline: Interrupted. Run the same command with --resume to continue.\n"
    assert not (workdir / "stopped").exists()
    assert run(*SHORT, "--out", "stopped", "--resume").code == 0
    assert have_same_weights(workdir / "unbroken", workdir / "stopped")


@pytest.fixture
def terminal_handler():
    """Handler of Ctrl-C as in a terminal. A shell starts background commands with SIGINT ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("terminal_handler")
@pytest.mark.parametrize(("number", "code", "word"), [(signal.SIGINT, 130, "Inter"), (signal.SIGTERM, 143, "Termina")])
def test_signal_that_other_code_turns_into_an_error_still_stops(workdir, run, monkeypatch, number, code, word):
    """Ctrl-C while another package is imported can become a RecursionError."""

    def disguise(*given):
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
        raise RecursionError

    monkeypatch.setattr(Trainer, "_step", disguise)
    handlers = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)]
    done = run(*SHORT, "--out", "stopped")
    assert done.code == code
    assert done.err.startswith(f"germline: {word}")
    assert done.err.count("\n") == 1
    assert [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)] == handlers
    assert not (workdir / "stopped").exists()


def test_terminated_training_exits_with_143_and_resumes(workdir, run):
    """A real SIGTERM to a real process, as cluster managers send it."""
    steps = ("--set", "steps=160", "--set", "checkpoint_every=8")
    with started(command(*WORK, *steps, "--out", "ended"), workdir) as process:
        process.wait_for(lambda: list(workdir.glob("ended.run/train/checkpoints/step-*")))
        process.kill(signal.SIGTERM)
        done = process.wait()
    assert done.returncode == 143
    assert done.stderr == "germline: Terminated. Run the same command with --resume to continue.\n"
    assert not (workdir / "ended").exists()
    assert not list(workdir.rglob("*.part"))
    assert run(*WORK, *steps, "--out", "ended", "--resume").code == 0


@pytest.mark.parametrize("verb", ["train", "inherit", "compare"])
def test_termination_during_a_write_keeps_the_old_files(workdir, run, monkeypatch, verb):
    (workdir / "r.yaml").write_text(RECIPE)
    words = {
        "train": (*WORK, "--set", "steps=1"),
        "inherit": ("inherit", "gene"),
        "compare": ("compare", "r.yaml", "--workers", "1", "--quiet", "--set", "seeds=[0]"),
    }[verb]
    before = snapshot(workdir)
    write = germline.files._replace_folder if verb != "compare" else germline.files._sync

    def terminate(*given):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(1)
        write(*given)

    monkeypatch.setattr(germline.files, "_sync" if verb == "compare" else "_replace_folder", terminate)
    handler = signal.getsignal(signal.SIGTERM)
    done = run(*words, "--out", "new")
    assert (done.code, done.err.count("\n")) == (143, 1)
    assert done.err.startswith("germline: Terminated.")
    assert signal.getsignal(signal.SIGTERM) is handler
    assert not (workdir / "new/model.safetensors").exists()
    assert not list(workdir.rglob("*.part"))
    assert {name: data for name, data in snapshot(workdir).items() if name in before} == before


@pytest.mark.parametrize("change", ["log_every=1", "steps=1"])
def test_infinite_loss_exits_with_3_and_names_the_step(workdir, run, change):
    done = run(*SHORT, "--set", "lr=1e30", "--set", change, "--out", "new")
    assert done.code == 3
    assert done.err.count("\n") == 1
    assert "at step" in done.err
    assert "lower lr" in done.err
    assert not (workdir / "new").exists()


def test_comparison_with_a_failed_part_exits_with_3_and_has_a_report(workdir, run):
    (workdir / "r.yaml").write_text(RECIPE)
    words = ("compare", "r.yaml", "--out", "new", "--workers", "1", "--quiet", "--set", "seeds=[0]")
    done = run(*words, "--set", "arms.burst={method: scratch, train: {lr: 1e30}}")
    assert done.code == 3
    assert done.err.startswith(
        "germline: 1 parts of the comparison failed. The first is burst depth=2 2 images per class seed=0. "
    )
    assert done.err.count("\n") == 1
    assert "at step" in done.err
    assert "--resume" in done.err
    assert "report: new/report.html" in done.out
    assert "<p class=failed>1 part failed" in (workdir / "new/report.html").read_text()
    cells = json.loads((workdir / "new/results.json").read_text())["cells"]
    assert [cell["asked"]["arm"] for cell in cells] == ["gene", "scratch"]


def test_out_of_memory_exits_with_3_and_proposes_a_smaller_batch(workdir, run, monkeypatch):
    def full(self, number):
        raise MemoryError("no room")

    monkeypatch.setattr(Trainer, "_step", full)
    done = run(*SHORT, "--out", "new")
    assert done.code == 3
    assert "batch_size" in done.err
    assert done.err.count("\n") == 1


@pytest.mark.parametrize("verb", ["train", "condense", "inherit"])
def test_full_disk_during_a_save_keeps_the_old_folder(workdir, run, monkeypatch, verb):
    words = {
        "train": (*WORK, "--set", "steps=1"),
        "condense": (
            "condense",
            "--method",
            "finetune",
            "--ancestor",
            "ancestor",
            "--data",
            "digits",
            "--device",
            "cpu",
            "--quiet",
        ),
        "inherit": ("inherit", "gene"),
    }[verb]
    assert run(*words, "--out", "new").code == 0
    before = snapshot(workdir / "new")
    write = germline.files.write_tensors

    def write_half(path, tensors, metadata=None):
        write(path, tensors, metadata)
        path.write_bytes(path.read_bytes()[:100])
        raise_disk_full()

    for place in ("germline.network", "germline.learngene"):
        monkeypatch.setattr(f"{place}.write_tensors", write_half)
    done = run(*words, "--out", "new", "--overwrite")
    assert done.code == 2
    assert "No space left on device" in done.err
    assert "free some space" in done.err
    assert done.err.count("\n") == 1
    assert snapshot(workdir / "new") == before
    assert not list(workdir.glob(".*"))


def test_full_disk_during_a_checkpoint_stops_work_that_can_resume(workdir, run, monkeypatch):
    assert run(*SHORT, "--out", "unbroken").code == 0
    write, count = germline.files.write_tensors, 0

    def fail_at_fourth_write(path, tensors):
        nonlocal count
        count += 1
        if count > 3:
            raise_disk_full()
        write(path, tensors)

    with monkeypatch.context() as patch:
        patch.setattr(germline.training.checkpoint, "write_tensors", fail_at_fourth_write)
        done = run(*SHORT, "--out", "full")
    assert done.code == 2
    assert "No space left" in done.err
    assert [path.name for path in (workdir / "full.run/train/checkpoints").iterdir()] == ["step-00000003"]
    assert run(*SHORT, "--out", "full", "--resume").code == 0
    assert have_same_weights(workdir / "unbroken", workdir / "full")


def test_resume_skips_a_damaged_checkpoint(workdir, run, monkeypatch, caplog):
    assert run(*SHORT, "--out", "unbroken").code == 0
    step = Trainer._step
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_step", lambda self, number: raise_disk_full() if number == 10 else step(self, number))
        assert run(*SHORT, "--out", "hurt").code == 2
    newest = workdir / "hurt.run/train/checkpoints/step-00000009/model.safetensors"
    newest.write_bytes(newest.read_bytes()[:-7])
    assert run(*SHORT, "--out", "hurt", "--resume").code == 0
    assert "step-00000009 is skipped" in caplog.text
    assert have_same_weights(workdir / "unbroken", workdir / "hurt")


@pytest.mark.parametrize("kind", ["inherit", "log"])
def test_file_size_limit_is_reported(workdir, kind):
    """The kernel refuses the write, so the error is the real one of Python or safetensors."""
    words = {"inherit": ("inherit", "gene", "--out", "new", "--quiet")}.get(kind, (*SHORT, "--out", "new"))
    before = snapshot(workdir)
    done = finish(command(*words), workdir, limit=4000)
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("germline: Cannot write '")
    assert done.stderr.count("\n") == 1
    after = snapshot(workdir)
    assert {name: after[name] for name in before} == before
    if kind == "inherit":
        assert after == before


@pytest.mark.parametrize("verb", ["train", "condense", "inherit", "compare"])
def test_folder_without_write_permission_is_refused(workdir, run, monkeypatch, verb):
    """Permission bits do not stop root, so the test raises the error itself."""

    def refused(*_, **__):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    (workdir / "r.yaml").write_text(RECIPE)
    before = snapshot(workdir)
    monkeypatch.setattr(tempfile, "TemporaryFile", refused)
    done = run(
        *{
            "train": SHORT,
            "condense": ("condense", "--method", "finetune", "--ancestor", "ancestor", "--data", "digits"),
            "inherit": ("inherit", "gene"),
            "compare": ("compare", "r.yaml"),
        }[verb],
        "--out",
        "new",
    )
    assert done.code == 2
    assert "Cannot write 'new'. Permission denied. Choose another folder" in done.err
    assert done.err.count("\n") == 1
    assert snapshot(workdir) == before


def test_cuda_without_a_gpu_is_refused(workdir, run, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    before = snapshot(workdir)
    done = run(*SHORT, "--out", "new", "--device", "cuda")
    assert done.code == 2
    assert "Device 'cuda'" in done.err
    assert "--device cpu" in done.err
    assert snapshot(workdir) == before


def test_bug_of_germline_keeps_its_traceback(run, monkeypatch):
    """A bug must not look like bad input."""
    monkeypatch.setattr("germline.cli.listing._entries", lambda kind: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run("list", "methods")


@pytest.mark.parametrize("place", ["/", "~", "."])
def test_root_home_and_current_folder_are_not_overwritten(place):
    with pytest.raises(OutputError, match="not overwritten"):
        check_output_folder(Path(place).expanduser(), overwrite=True)
