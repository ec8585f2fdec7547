"""Kill ten evolutions by SIGKILL at random times, resume them, and compare their genes with an undisturbed one.

The benchmark passes if every gene equals the undisturbed one to the bit.

    python benchmarks/gtl_kills.py --kills 10
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from common import keep
from germline.files import hash_tensor
from germline.learngene import Learngene

SETTINGS = {"preset": "tiny", "ways": 3, "population": 6, "generations": 12, "patience": 20, "life.steps": 10}


def start_evolution(out: Path) -> subprocess.Popen[bytes]:
    """Start the evolution as a user runs it."""
    command = [sys.executable, "-m", "germline.cli", "condense", "--method", "gtl", "--data", "digits", "--quiet"]
    changes = [f"--set={key}={value}" for key, value in SETTINGS.items()]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    whole = [*command, *changes, "--device", "cpu", "--out", str(out), "--resume"]
    return subprocess.Popen(whole, env=env, stdout=subprocess.DEVNULL)


def last_generation(out: Path) -> int:
    """Return the last generation that is saved; -1 before the first."""
    kept = sorted(out.with_name(f"{out.name}.run").glob("generation-*/kept.json"))
    return int(kept[-1].parent.name.removeprefix("generation-")) if kept else -1


def hash_tensors(out: Path) -> dict[str, str]:
    """Hash every tensor of a gene."""
    return {name: hash_tensor(tensor) for name, tensor in Learngene.load(out).tensors.items()}


def main() -> int:
    """Run all evolutions and save the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    draw, kills = random.Random(asked.seed), []
    with tempfile.TemporaryDirectory() as place:
        alone = Path(place) / "alone"
        began = time.monotonic()
        start_evolution(alone).wait()
        whole, wanted = time.monotonic() - began, hash_tensors(alone)
        while len(kills) < asked.kills:
            out, wait = Path(place) / f"killed-{draw.randrange(2**32)}", draw.uniform(0.3, 0.95) * whole
            child = start_evolution(out)
            try:
                child.wait(timeout=wait)
                continue  # it ended before the kill
            except subprocess.TimeoutExpired:
                child.send_signal(signal.SIGKILL)
                child.wait()
            kept = last_generation(out)
            start_evolution(out).wait()
            kill = {"after_s": round(wait, 2), "signal": -child.returncode, "last_generation": kept}
            kills.append({**kill, "equal": hash_tensors(out) == wanted})
            print(kills[-1], flush=True)
    good = all(kill["equal"] for kill in kills)
    keep("gtl_kills", [], settings=SETTINGS, seconds_alone=round(whole, 1), kills=kills, equal=good)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
