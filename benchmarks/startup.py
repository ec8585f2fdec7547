"""Time of commands against `import torch`: to their end, or to their first line of output.

Targets: help under 0.5 s; lists, facts of a gene and first lines under 1 s; refusals of wrong names under 2 s. Seconds
depend on the machine, so each row also has the ratio to `import torch` on the same machine, taken in turn.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from common import in_turn, keep, row, set_up

ROUNDS, BUDGET_S = 15, 150.0
GERMLINE = str(Path(sys.executable).with_name("germline"))
# Words of the command, seconds that are allowed, exit code.
TO_THE_END = {
    "germline --help": (("--help",), 0.5, 0),
    "germline --version": (("--version",), 0.5, 0),
    "germline list methods": (("list", "methods"), 1.0, 0),
    "germline list methods --for resnet18": (("list", "methods", "--for", "resnet18"), 1.0, 0),
    "germline list models": (("list", "models"), 1.0, 0),
    "germline list data": (("list", "data"), 1.0, 0),
    "germline list recipes": (("list", "recipes"), 1.0, 0),
    "germline list settings tleg": (("list", "settings", "tleg"), 1.0, 0),
    "germline show demo": (("show", "demo"), 1.0, 0),
    "germline inspect GENE --brief": (("inspect", "gene", "--brief"), 1.0, 0),
    "germline inspect MODEL --brief": (("inspect", "model", "--brief"), 1.0, 0),
    "wrong method": (("condense", "--method", "tlge", "--data", "digits", "--out", "x"), 2.0, 2),
    "wrong model": (("train", "--model", "vit_pcio", "--data", "digits", "--out", "x"), 2.0, 2),
    "wrong data set": (("train", "--model", "vit_pico", "--data", "digit", "--out", "x"), 2.0, 2),
    "wrong setting": (("train", "--model", "vit_pico", "--data", "digits", "--out", "x", "--set", "lrr=1"), 2.0, 2),
    "wrong network": (("evaluate", "nowhere", "--data", "digits"), 2.0, 2),
    "wrong recipe": (("compare", "dmeo", "--out", "x"), 2.0, 2),
}
TO_THE_FIRST_LINE = {
    "first line of inspect GENE": ("inspect", "gene"),
    "first line of inspect MODEL": ("inspect", "model"),
    "first line of train": ("train", "--model", "model", "--data", "digits", "--out", "new", "--set", "steps=1"),
    "first line of condense": ("condense", "--method", "tleg", "--data", "digits", "--ancestor", "model", "--out", "x"),
    "first line of evaluate": ("evaluate", "model", "--data", "digits"),
    "first line of export": ("export", "model", "--out", "model.pt2"),
    "first line of inherit": ("inherit", "gene", "--out", "child"),
    "first line of check": ("check", "demo"),
    "first line of compare": ("compare", "demo", "--out", "compared"),
}


def run_to_the_end(folder: Path, words: tuple[str, ...], code: int) -> None:
    """Run a command and check its exit code."""
    done = subprocess.run([GERMLINE, *words], capture_output=True, cwd=folder, check=False)
    assert done.returncode == code, done


def run_to_the_first_line(folder: Path, words: tuple[str, ...]) -> None:
    """Run a command until it prints a line on either stream, then stop it."""
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    with subprocess.Popen([GERMLINE, *words], cwd=folder, **streams) as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        process.kill()


def make_inputs(folder: Path) -> None:
    """Write a network with random weights and a gene that is condensed in two steps."""
    import germline as gl
    from germline.api import build_start_network

    data = gl.load_data("digits")
    network = build_start_network("vit_pico", data, gl.TrainSettings(), 0)
    network.save(folder / "model")
    gl.condense(gl.TLEG(steps=2, batch_size=16), ancestor=network, data=data).save(folder / "gene")


def main() -> None:
    """Measure the installed command of this environment."""
    set_up(__doc__)
    rows = []
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        make_inputs(folder)
        cases = {
            name: (lambda w=words, c=code: run_to_the_end(folder, w, c), target)
            for name, (words, target, code) in TO_THE_END.items()
        }
        cases |= {
            name: (lambda w=words: run_to_the_first_line(folder, w), 1.0) for name, words in TO_THE_FIRST_LINE.items()
        }
        sides = {name: call for name, (call, _) in cases.items()}
        sides["peer"] = lambda: subprocess.run([sys.executable, "-c", "import torch"], check=True)
        seconds = in_turn(sides, ROUNDS, warmup=1, budget_s=BUDGET_S, least=3)
    for name, (_, target) in cases.items():
        found = row(name, seconds[name], seconds["peer"], 1.0, target_s=target)
        rows.append({**found, "fastest_s": min(seconds[name]), "is_met": found["ours_s"] <= target})
    keep("startup", rows)


if __name__ == "__main__":
    main()
