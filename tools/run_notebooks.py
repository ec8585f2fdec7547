"""Execute the notebooks of the documentation by nbconvert, each in a new kernel. Needs the extra `docs`.

    python tools/run_notebooks.py         # with few steps: a minute
    python tools/run_notebooks.py --full  # as they are: ten minutes
    python tools/run_notebooks.py --out build/notebooks few-labels

Faults are cells that raise, notebooks that are not valid, and notebooks that are stored with outputs. Exits with 1 if
there is a fault.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

NOTEBOOKS = Path(__file__).resolve().parents[1] / "docs" / "notebooks"
# What makes a notebook short, as a pattern of a line and its replacement.
FEWER = (
    (r"^(\w*STEPS) = \d+", r"\1 = 2"),
    (r"^DEPTHS = .*", "DEPTHS = (2, 4)"),
    (r"^RATES = .*", "RATES = (2e-3,)"),
    (r"for depth in \(3, 6, 9\)", "for depth in (3,)"),
)
CELL_SECONDS = 1800


def shorten(source: str) -> str:
    """Return the text of a cell with fewer steps."""
    for pattern, fewer in FEWER:
        source = re.sub(pattern, fewer, source, flags=re.MULTILINE)
    return source


def execute(path: Path, *, full: bool) -> Any:
    """Return a notebook with its outputs, executed in an empty folder.

    Raises:
        nbclient.exceptions.CellExecutionError: A cell raises.
        nbformat.ValidationError: The file is no valid notebook.
    """
    import nbformat
    from nbconvert.preprocessors import ExecutePreprocessor

    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    if any(cell.outputs for cell in cells):
        raise nbformat.ValidationError(f"{path.name} is stored with outputs. They may be out of date. Remove them.")
    for cell in cells:
        cell.source = cell.source if full else shorten(cell.source)
    with tempfile.TemporaryDirectory() as folder:
        # A kernel may start slowly on a busy machine.
        run = ExecutePreprocessor(timeout=CELL_SECONDS, startup_timeout=300, kernel_name="python3")
        run.preprocess(notebook, {"metadata": {"path": folder}})
    return notebook


def main() -> int:
    """Execute; 1 if there is a fault."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", help="names of notebooks; default: all")
    parser.add_argument("--full", action="store_true", help="as they are, not with few steps")
    parser.add_argument("--out", type=Path, help="folder for the executed notebooks")
    asked = parser.parse_args()
    import nbformat
    from nbclient.exceptions import CellExecutionError

    faults = 0
    for path in [NOTEBOOKS / f"{name}.ipynb" for name in asked.names] or sorted(NOTEBOOKS.glob("*.ipynb")):
        start = time.perf_counter()
        try:
            notebook = execute(path, full=asked.full)
        except (CellExecutionError, nbformat.ValidationError, OSError) as error:
            print(f"{path.name}: {error}", file=sys.stderr)
            faults += 1
            continue
        count = sum(len(cell.get("outputs", ())) for cell in notebook.cells)
        print(f"{path.name}: {count} outputs, {time.perf_counter() - start:.0f} s", flush=True)
        if asked.out:
            asked.out.mkdir(parents=True, exist_ok=True)
            nbformat.write(notebook, asked.out / path.name)
    return 1 if faults else 0


if __name__ == "__main__":
    raise SystemExit(main())
