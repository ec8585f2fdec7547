"""Two processes that share a global batch compute the same as one."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from germline.files import read_tensors

# Two processes add in another order, which rounds otherwise. AdamW divides by the size of the gradient: where that is
# almost zero, one weight in thousands differs by up to 1.03e-5. SGD does not divide, and differs by 2e-8.
BOUNDS = {"adamw": 2e-5, "sgd": 1e-7}
SCRIPT = Path(__file__).parents[1] / "helpers" / "two_processes.py"


def launched(folder, *launcher):
    folder.mkdir()
    done = subprocess.run(
        [sys.executable, *launcher, str(SCRIPT), str(folder)], capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads((folder / "facts.json").read_text())


def test_fit_in_two_processes_equals_one(tmp_path):
    one = launched(tmp_path / "one")
    torchrun = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    two = launched(tmp_path / "two", *torchrun)
    assert (one.pop("processes"), two.pop("processes")) == (1, 2)
    cases = ("plain", "active", "parts", "owned", "paths", "sandwich")
    assert one.keys() == two.keys() == {f"{case}-{optimizer}" for case in cases for optimizer in BOUNDS}
    for name, facts in one.items():
        assert len(facts["losses"]) == 8
        assert two[name]["losses"] == pytest.approx(facts["losses"], abs=1e-5)
        assert two[name]["accuracy"] == pytest.approx(facts["accuracy"], abs=0.02)
        ours, theirs = (read_tensors(tmp_path / place / f"{name}.safetensors") for place in ("one", "two"))
        assert ours.keys() == theirs.keys()
        bound = BOUNDS[name.partition("-")[2]]
        assert max(float((value - theirs[key]).abs().max()) for key, value in ours.items()) <= bound
