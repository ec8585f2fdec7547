"""Kill an evolution by SIGKILL at ten random times, resume it each time, and compare its gene with one left alone.

The chain is right if its gene equals the other's to the bit and if kept generations were not made again.

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
from germline.files import tensor_hash
from germline.learngene import Learngene

SETTINGS = {"preset": "tiny", "ways": 3, "population": 6, "generations": 12, "patience": 20, "life.steps": 10}


def begin(out: Path) -> subprocess.Popen[bytes]:
    """The evolution as a user runs it."""
    command = [sys.executable, "-m", "germline.cli", "condense", "--method", "gtl", "--data", "digits", "--quiet"]
    changes = [f"--set={key}={value}" for key, value in SETTINGS.items()]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    whole = [*command, *changes, "--device", "cpu", "--out", str(out), "--resume"]
    return subprocess.Popen(whole, env=env, stdout=subprocess.DEVNULL)


def last(out: Path) -> int:
    """The last generation that is kept; -1 before the first."""
    kept = sorted(out.with_name(f"{out.name}.run").glob("generation-*/kept.json"))
    return int(kept[-1].parent.name.removeprefix("generation-")) if kept else -1


def main() -> int:
    """Run both and keep the outcome."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    draw, kills = random.Random(asked.seed), []
    with tempfile.TemporaryDirectory() as place:
        alone, killed = (Path(place) / name for name in ("alone", "killed"))
        began = time.monotonic()
        begin(alone).wait()
        whole = time.monotonic() - began
        for _ in range(asked.kills):
            wait, before, child = draw.uniform(0.35, 0.6) * whole, last(killed), begin(killed)
            try:
                child.wait(timeout=wait)
            except subprocess.TimeoutExpired:
                child.send_signal(signal.SIGKILL)
                child.wait()
            kills.append({"after_s": round(wait, 2), "signal": -child.returncode, "from": before, "to": last(killed)})
        begin(killed).wait()
        one, other = ({n: tensor_hash(t) for n, t in Learngene.load(out).tensors.items()} for out in (alone, killed))
    good = one == other and all(kill["to"] >= kill["from"] for kill in kills)
    keep("gtl_kills", [], settings=SETTINGS, seconds_alone=round(whole, 1), kills=kills, equal=one == other)
    print(kills, "equal to the bit" if good else "DIFFERENT")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
