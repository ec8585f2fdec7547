"""The notebooks of the documentation run from top to bottom, with fewer steps."""

import importlib.util
import json
import re
from pathlib import Path

import matplotlib.pyplot as plt
import pytest

from germline import load_data
from germline.registry import METHODS

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))
MODULE = importlib.util.spec_from_file_location("run_notebooks", ROOT / "tools" / "run_notebooks.py")
tool = importlib.util.module_from_spec(MODULE)
MODULE.loader.exec_module(tool)
PRINTED = {
    "family-of-sizes": r"depth 4: [\d,]+ parameters, [\d.]+% as inherited, .*2 steps\nVisionTransformer 2 blocks",
    "few-labels": r"140 training images.*gene: rate 0.002, [\d.]+% on test images\nscratch: .*is taken for",
    "own-method": r"depth 3: [\d.]+% before training, origins \{'copied': 1.0\}",
}


@pytest.fixture
def session(tmp_path, monkeypatch):
    """Work in an empty folder, open no windows, and unregister methods afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(plt, "show", lambda: plt.close("all"))
    monkeypatch.setattr(METHODS, "_session", {})


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_run_and_print_the_expected_text(path, session, capsys):
    notebook = json.loads(path.read_text(encoding="utf-8"))
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    # Notebooks are saved without outputs, so no output can be out of date.
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in cells)
    names = {"__name__": "__main__"}
    for cell in cells:
        text = tool.shorten("".join(cell["source"]))
        exec(compile(text, path.name, "exec"), names)
    assert re.search(PRINTED[path.stem], capsys.readouterr().out, re.DOTALL)


def test_every_pattern_matches_a_notebook():
    text = "\n".join(path.read_text(encoding="utf-8") for path in NOTEBOOKS)
    lines = [line.strip().strip('",').removesuffix("\\n") for line in text.splitlines()]
    for pattern, _ in tool.FEWER:
        assert any(re.search(pattern, line) for line in lines), pattern


def test_ci_executes_the_notebooks_in_a_kernel():
    assert "\npython tools/run_notebooks.py\n" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_links_of_notebooks_resolve(path):
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    text = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    assert all((path.parent / link).exists() for link in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in link)


def test_draw_per_class_selects_equal_counts_by_seed():
    digits = load_data("digits")
    few, again, other = (digits.draw_per_class(3, seed=seed) for seed in (1, 1, 2))
    assert few.train.labels.bincount().tolist() == [3] * 10
    assert few.fingerprint() == again.fingerprint() != other.fingerprint()
    assert few.val is digits.val
    assert few.name == "digits, 3 per class"
