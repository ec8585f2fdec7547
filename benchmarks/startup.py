"""Time of `germline --help` against `import torch`; targets: under 0.5 s, and under a quarter."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from common import in_turn, keep, row, set_up

ROUNDS, TARGET, TARGET_S = 25, 0.25, 0.5


def call(*command: str) -> None:
    """Run a command and check that it succeeds."""
    subprocess.run(command, check=True, capture_output=True)


def main() -> None:
    """Measure the installed command of this environment."""
    set_up(__doc__)
    germline = str(Path(sys.executable).with_name("germline"))
    sides = {"ours": lambda: call(germline, "--help"), "peer": lambda: call(sys.executable, "-c", "import torch")}
    seconds = in_turn(sides, ROUNDS, budget_s=90.0)
    keep("startup", [row("germline --help, import torch", seconds["ours"], seconds["peer"], TARGET)], target_s=TARGET_S)


if __name__ == "__main__":
    main()
