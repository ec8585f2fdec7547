"""The protocols on tasks of a few classes, with a network of convolutions."""

import pytest

from germline.compare import write_report
from germline.compare.cost.estimate import estimate_cost
from germline.compare.run.validate import check_recipe
from germline.errors import SettingError
from helpers.comparison import comparison, results

ARMS = "arms={finetune: {method: finetune}, scratch: {method: scratch}}"
VGG = ("ancestor.model=vgg11", ARMS, "tasks={ways: 3, count: 1}", "seeds=[0]", "sizes=[width=2]", "train.steps=3")
CHANGES = {
    "samples": ("images_per_class=[2]", "tasks.count=2"),
    "sizes": ("sizes=['width=2', 'width=2,depth=13']",),
    "convergence": ("scratch_until_plateau={tolerance: 0.99, most: 2}", "train.eval_at=[0, 1, 2]"),
    "instincts": ("train.steps=100", "train.eval_at=[0, 1, 5, 10, 50, 100]", "train.batch_size=2"),
}


@pytest.mark.parametrize("protocol", list(CHANGES))
def test_protocols_run_on_cnn_tasks(recipe_file, tmp_path, protocol):
    out = tmp_path / "out"
    work = comparison(recipe_file, out, *VGG, f"protocol={protocol}", *CHANGES[protocol])
    estimate = estimate_cost(work.recipe)
    work.run()
    assert work.failed == {}
    stored = results(out)
    cells = [cell for cell in stored["cells"] if cell["asked"]["steps"] is None]
    assert len(cells) == estimate.cells.count
    assert sum(cell["samples"] for cell in cells) == estimate.cells.samples
    tasks = work.recipe.tasks.count
    for cell in cells:
        assert len(cell["task_accuracies"]) == tasks
        assert 0 <= cell["probe_accuracy"] <= 1
        # a head of three classes on the last stage's 16 channels
        assert cell["parameters"] - cell["headless_parameters"] == 3 * 16 + 3
        assert set(cell["origins"]) == ({"fresh"} if cell["asked"]["arm"] == "scratch" else {"copied", "fresh"})
    write_report(out)
    assert "finetune" in (out / "report.md").read_text()


def test_dropped_paths_of_a_cnn_are_refused_before_anything_runs(recipe_file, tmp_path):
    changes = (*VGG, *CHANGES["sizes"], "protocol=sizes", "arms.scratch.train={drop_path: 0.1}")
    with pytest.raises(SettingError, match=r"drop_path=0.1. A vgg has no paths to drop"):
        check_recipe(comparison(recipe_file, tmp_path / "out", *changes).recipe)
