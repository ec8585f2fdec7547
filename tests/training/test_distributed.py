"""Two processes that share a global batch compute the same as one."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from germline.files import read_tensors
from helpers.processes import finish, script

# Two processes add in another order, so rounding differs. AdamW divides by the size of the gradient. Where that is
# almost zero, one weight in thousands differs by up to 1.03e-5. SGD does not divide, and differs by 2e-8.
BOUNDS = {"adamw": 2e-5, "sgd": 1e-7}
SCRIPT = Path(__file__).parents[1] / "helpers" / "two_processes.py"


def read_facts(folder, done):
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads((folder / "facts.json").read_text())


def test_fit_in_two_processes_equals_one(tmp_path):
    folders = [tmp_path / name for name in ("one", "two")]
    for folder in folders:
        folder.mkdir()
    one = read_facts(folders[0], finish(script(SCRIPT, folders[0]), tmp_path))
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [*torchrun, str(SCRIPT), str(folders[1])]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    two = read_facts(folders[1], done)
    assert (one.pop("processes"), two.pop("processes")) == (1, 2)
    cases = ("plain", "active", "parts", "owned", "paths", "sandwich")
    assert one.keys() == two.keys() == {f"{case}-{optimizer}" for case in cases for optimizer in BOUNDS}
    for name, facts in one.items():
        assert len(facts["losses"]) == 6
        assert two[name]["losses"] == pytest.approx(facts["losses"], abs=1e-5)
        assert two[name]["accuracy"] == pytest.approx(facts["accuracy"], abs=0.02)
        ours, theirs = (read_tensors(tmp_path / place / f"{name}.safetensors") for place in ("one", "two"))
        assert ours.keys() == theirs.keys()
        bound = BOUNDS[name.partition("-")[2]]
        assert max(float((value - theirs[key]).abs().max()) for key, value in ours.items()) <= bound
