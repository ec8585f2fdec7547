"""Change copies of every artefact at random, and count what germline makes of them.

    python tools/fuzz.py --minutes 10

Germline refuses a changed artefact with hashes, or reads the content that was written. No case may
end in a raw error or take more than 30 seconds. The cases of a seed are always the same; time decides how many run.
"""

from __future__ import annotations

import argparse
import platform
import resource
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

import torch  # noqa: E402

from fuzz.artefacts import ARTEFACTS  # noqa: E402
from fuzz.fuzzing import BAD, OUTCOMES, Fuzzer, run_minutes  # noqa: E402
from germline.files import write_json  # noqa: E402
from germline.learngene import library_versions  # noqa: E402

RESULT = ROOT / "benchmarks" / "results" / "fuzz.json"
MEMORY = 2**35  # bytes of address space; a case that asks for more ends in a raw error


def read_commit() -> str:
    """Return the commit of this checkout."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()


def main() -> int:
    """Run the fuzzer and save the counts."""
    parser = argparse.ArgumentParser(description="Change copies of every artefact at random.")
    parser.add_argument("--minutes", type=float, default=10, help="Minutes to run; default: 10.")
    parser.add_argument("--seed", type=int, default=1, help="Random seed of the cases; the tests use 0.")
    parser.add_argument("--only", nargs="*", default=list(ARTEFACTS), help="Names of artefacts; default: all.")
    parser.add_argument("--out", type=Path, default=RESULT, help="File of the counts.")
    options = parser.parse_args()
    commit = read_commit()
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as place:
        fuzzers = [Fuzzer(ARTEFACTS[name], Path(place) / name, options.seed) for name in options.only]
        seconds = run_minutes(fuzzers, options.minutes)
    counts = {fuzzer.artefact.name: {name: fuzzer.counts[name] for name in OUTCOMES} for fuzzer in fuzzers}
    totals = {name: sum(row[name] for row in counts.values()) for name in OUTCOMES}
    result = {
        "command": " ".join(["python", "tools/fuzz.py", *sys.argv[1:]]),
        "commit": commit,
        "versions": {"python": platform.python_version(), **library_versions()},
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "seed": options.seed,
        "seconds": round(seconds, 1),
        "good": not any(totals[name] for name in BAD),
        "cases": sum(totals.values()),
        "totals": totals,
        "counts": counts,
        "bad": [line for fuzzer in fuzzers for line in fuzzer.bad],
    }
    write_json(options.out, result)
    print("\n".join(result["bad"]))
    print(f"{result['cases']:,} cases: " + ", ".join(f"{count:,} {name}" for name, count in totals.items()))
    return 0 if result["good"] else 1


if __name__ == "__main__":
    raise SystemExit(main())
