"""The recipes of benchmarks/gpu.sh, which need a GPU and CIFAR-100: they load, and their quick versions are small."""

import subprocess
from pathlib import Path

import pytest

from germline.compare.recipe.loader import load_recipe

ROOT = Path(__file__).resolve().parents[3]
RECIPES = sorted((ROOT / "benchmarks" / "gpu").glob("*.yaml"))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_gpu_recipe_is_named_in_the_script_and_its_quick_version_uses_packaged_data(path):
    recipe, quick = load_recipe(str(path)), load_recipe(str(path), quick=True)
    assert (ROOT / "benchmarks" / "gpu.sh").read_text().count(f"benchmarks/gpu/{path.name}") == 3
    assert recipe.data.startswith("cifar")
    assert recipe.question is not None
    assert recipe.question.name.endswith("-gpu")
    assert {recipe.kind, quick.kind} == {"full", "quick"}
    assert quick.data.startswith("glyphs/")
    assert quick.ancestor.data.startswith("glyphs/")
    assert quick.ancestor.train.steps == quick.train.steps == 4
    assert len(quick.seeds) == len(quick.sizes) == 1


def test_gpu_script_refuses_a_call_without_data():
    done = subprocess.run([ROOT / "benchmarks" / "gpu.sh"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "No data folder is given" in done.stderr
