"""Cells of several tasks, tuned settings, null comparisons and headline numbers."""

import json
import math
from statistics import fmean

import pytest
import torch

from germline.compare import write_report
from germline.compare.recipe.loader import load_recipe
from germline.compare.run import train_cell
from germline.compare.run.cells import Cell
from germline.compare.run.validate import check_recipe
from germline.data import draw_task_list, load_data
from germline.data.sets import glyphs as glyphs_module
from germline.errors import DataError, SettingError
from germline.randomness import derive
from helpers.comparison import TUNE, comparison, results

TASKS = "tasks={ways: 3, count: 2}"
ALONE = "arms={scratch: {method: scratch}}"


def test_cell_is_mean_over_tasks_from_fresh_copies(recipe_file, tmp_path, monkeypatch):
    starts, fit = [], train_cell.Run.fit

    def record_fit(self, name, network, objective, images, *given, **more):
        weights = {key: tensor.clone() for key, tensor in network.model.state_dict().items()}
        result = fit(self, name, network, objective, images, *given, **more)
        if name == "descendant":
            starts.append((images.classes, len(images), weights, result.scores))
        return result

    monkeypatch.setattr(train_cell.Run, "fit", record_fit)
    comparison(recipe_file, tmp_path / "out", TASKS, "seeds=[4]").run()
    cells = results(tmp_path / "out")["cells"]
    tasks = draw_task_list(load_data("digits"), 3, None, 2, derive(4, "tasks"))
    for cell, part in zip(cells, (starts[:2], starts[2:]), strict=True):
        # Classes of the tasks with three images each, the same for every arm.
        assert [(classes, count) for classes, count, _, _ in part] == [(task.classes, 9) for task in tasks]
        first, second = (weights for _, _, weights, _ in part)
        assert all(first[key].equal(second[key]) for key in first)
        assert len(cell["task_accuracies"]) == 2
        assert cell["test_accuracy"] == pytest.approx(fmean(cell["task_accuracies"]))
        for at, point in enumerate(cell["curve"]):
            assert point["accuracy"] == pytest.approx(fmean(scores[at]["accuracy"] for *_, scores in part))
        assert cell["samples"] == 2 * 5 * 16
        assert cell["parameters"] < 10 * cell["headless_parameters"]
    assert tasks[0].classes != tasks[1].classes


def test_tasks_of_other_sizes_need_steps(recipe_file):
    """Curves of two seeds had no common steps, so that the report of a finished comparison could not be written."""
    every = (TASKS, "images_per_class=all", "train={epochs: 1, batch_size: 2}")
    with pytest.raises(SettingError, match=r"epochs=1 with tasks and images_per_class=all. Tasks have \d+ to "):
        check_recipe(load_recipe(str(recipe_file), every))
    for change in ("train.steps=5", "images_per_class=3", "train.batch_size=1000"):
        check_recipe(load_recipe(str(recipe_file), (*every, change)))


@pytest.mark.parametrize("arm", ["gene", "scratch"])
def test_order_of_tasks_changes_nothing(recipe_file, tmp_path, arm):
    inherits = "arms={gene: {method: auto, settings: {preset: tiny, layers: [0]}}, scratch: {method: scratch}}"
    store = comparison(recipe_file, tmp_path / "out", "tasks={ways: 3, count: 3}", inherits)._artifact_store({})
    cell = Cell(arm, "depth=1", 3, 4)
    gene, tasks = store.get_gene(arm, 4, cell.size), list(enumerate(store.load_cell_data(cell)))

    def train_in_order(order):
        runs = {task: train_cell._train(store, cell, gene, source, task) for task, source in order}
        return {task: (run.test_accuracy, run.fit.losses, run.fit.scores) for task, run in sorted(runs.items())}

    assert train_in_order(tasks) == train_in_order(tasks[::-1])


def test_seed_determines_images_and_tasks_of_every_arm(recipe_file, tmp_path):
    store = comparison(recipe_file, tmp_path, TASKS)._artifact_store({})
    one, other, third = (
        [source.classes for source in store.load_cell_data(Cell(arm, "depth=1", 3, seed))]
        for arm, seed in (("gene", 0), ("scratch", 0), ("gene", 1))
    )
    assert one == other != third


# Tuned settings


def tuned(recipe_file, out, *changes):
    store = comparison(recipe_file, out, *changes)._artifact_store({})
    return store, comparison(recipe_file, out, *changes)._artifact_store(
        {"gene": {"lr": 0.5, "weight_decay": 0.25}, "scratch": {"lr": 0.125, "weight_decay": 0.0}}
    )


def rates(store, *cells):
    return [(settings.lr, settings.weight_decay) for settings in map(store.cell_settings, cells)]


def test_tuned_settings_are_used_except_in_tuning_and_grids(recipe_file, tmp_path):
    before, after = tuned(recipe_file, tmp_path, TUNE)
    gene, scratch = (Cell(arm, "depth=1", 3, 0) for arm in ("gene", "scratch"))
    tried = Cell("gene", "depth=3", 2, 7, 1e-2, 0.0, tuning=True)
    assert rates(before, gene, scratch) == [(1e-3, 0.05), (1e-3, 0.05)]
    assert rates(after, gene, scratch, tried) == [(0.5, 0.25), (0.125, 0.0), (1e-2, 0.0)]
    assert after.cell_settings(Cell("scratch", "depth=1", 3, 0, steps=9)).steps == 9


def test_tuned_as_uses_settings_of_other_arm(recipe_file, tmp_path):
    _, after = tuned(recipe_file, tmp_path, TUNE, "arms.again={method: scratch, draw: 1, tuned_as: gene}")
    assert rates(after, Cell("again", "depth=1", 3, 0)) == [(0.5, 0.25)]


def test_rates_scale_with_the_width(recipe_file, tmp_path):
    scaled = f"{TUNE[:-1]}, scaling: width}}"
    sizes = "sizes=['width=32', 'width=128', depth=2]"
    _, after = tuned(recipe_file, tmp_path, ALONE, scaled, sizes)
    _, plain = tuned(recipe_file, tmp_path, ALONE, TUNE, sizes)
    cells = [Cell("scratch", size, 3, 0) for size in ("width=32", "width=128", "depth=2")]
    # Tuned at the ancestor's width of 64. Twice the width has half the rate.
    assert [lr for lr, _ in rates(after, *cells)] == [0.25, 0.0625, 0.125]
    assert [lr for lr, _ in rates(plain, *cells)] == [0.125] * 3
    assert {decay for _, decay in rates(after, *cells)} == {0.0}


@pytest.mark.parametrize("model", ["vgg11", "resnet12"])
def test_rates_scale_with_the_width_of_a_cnn(recipe_file, tmp_path, model):
    grid = "tune={lr: [1e-3], weight_decay: [0], size: width=4, images_per_class: 2, seed: 7, scaling: width}"
    sizes = "sizes=['width=2', 'width=8']"
    _, after = tuned(recipe_file, tmp_path, ALONE, grid, sizes, f"ancestor.model={model}")
    assert [lr for lr, _ in rates(after, *(Cell("scratch", f"width={n}", 3, 0) for n in (2, 4, 8)))] == [
        0.25,
        0.125,
        0.0625,
    ]


def test_best_grid_point_is_chosen_and_stored(recipe_file, tmp_path):
    grid = "tune={lr: [1e-3, 1e-2, 1e30], weight_decay: [0], size: depth=1, images_per_class: 2, seed: 7}"
    work = comparison(recipe_file, tmp_path / "out", ALONE, grid, "seeds=[0]")
    work.run()
    found = results(tmp_path / "out")
    entry = found["tuned"]["scratch"]
    known = [tried["accuracy"] for tried in entry["grid"]]
    assert known[2] is None
    assert entry["accuracy"] == max(known[:2])
    assert entry["lr"] == (1e-3, 1e-2)[known.index(entry["accuracy"])]
    assert [cell["lr"] for cell in found["cells"]] == [entry["lr"]]
    assert len(work.failed) == 1


def test_tuning_uses_no_test_images(recipe_file, tmp_path, monkeypatch):
    evaluations, evaluate = [], train_cell.Run.evaluate
    monkeypatch.setattr(train_cell.Run, "evaluate", lambda *given: evaluations.append(1) or evaluate(*given))
    store = comparison(recipe_file, tmp_path / "out", ALONE, TUNE)._artifact_store({})
    made = train_cell.run_cell(store, Cell("scratch", "depth=3", 2, 7, 1e-2, 0.0, tuning=True))
    assert (evaluations, made["test_accuracy"], made["probe_accuracy"]) == ([], None, None)
    assert [point["step"] for point in made["curve"]] == [5]
    train_cell.run_cell(store, Cell("scratch", "depth=3", 2, 7))
    assert evaluations == [1]


# Equal arms


def test_equal_arms_differ_in_their_draw_and_claim_nothing(recipe_file, tmp_path):
    arms = "arms={scratch: {method: scratch}, again: {method: scratch, draw: 1, tuned_as: scratch}}"
    work = comparison(recipe_file, tmp_path / "out", arms, "seeds=[0, 1, 2, 3, 4]", "train.steps=20")
    store = work._artifact_store({})
    drawn = load_data("digits").train
    one, other = (
        train_cell._build_descendant(store, Cell(arm, "depth=1", 3, 0), None, drawn).model.state_dict()
        for arm in ("scratch", "again")
    )
    assert any(not one[name].equal(other[name]) for name in one if name.endswith("weight"))
    work.run()
    cells = results(tmp_path / "out")["cells"]
    curves = {(c["asked"]["arm"], c["asked"]["seed"]): c["curve"] for c in cells}
    assert all(curves["scratch", seed] != curves["again", seed] for seed in range(5))
    text = write_report(tmp_path / "out")
    assert "no difference shown" in text
    assert "holds" not in text
    assert math.isfinite(float(text.split("no difference shown")[1].split()[0]))


# Headline numbers


@pytest.fixture
def small_glyphs(monkeypatch):
    """Every part of the glyphs with few test images, to evaluate fast."""
    read = glyphs_module._read

    def read_few(part, split):
        found = read(part, split)
        return found if split == "train" else found.draw_per_class(3, torch.Generator().manual_seed(0))

    monkeypatch.setattr(glyphs_module, "_read", read_few)


@pytest.fixture
def used(monkeypatch):
    """Data name of each trained cell, and whether it is a tuning cell, in order."""
    cells, train = [], train_cell._train

    def record_cell(store, cell, gene, source, task):
        cells.append((source.name, cell.tuning))
        return train(store, cell, gene, source, task)

    monkeypatch.setattr(train_cell, "_train", record_cell)
    return cells


def test_final_uses_final_part_logs_it_and_tunes_elsewhere(recipe_file, tmp_path, small_glyphs, used):
    glyphs = ("data=glyphs/novel", "ancestor={path: packaged, data: glyphs/base}", ALONE, "seeds=[0, 1]", "final=true")
    out = tmp_path / "out"
    comparison(recipe_file, out, *glyphs, TUNE).run()
    assert used == [("glyphs/novel", True)] * 2 + [("glyphs/final", False)] * 2
    notes = [json.loads(line) for line in (out / "final-readings.jsonl").read_text().splitlines()]
    assert [note["why"] for note in notes] == [
        f"Two arms on digits: scratch depth=1 3 images per class seed={seed}" for seed in (0, 1)
    ]
    # Stored cells do not read the data again.
    comparison(recipe_file, out, *glyphs, TUNE).run()
    assert len((out / "final-readings.jsonl").read_text().splitlines()) == 2
    write_report(out)
    assert "trained on glyphs/final" in (out / "report.md").read_text()


def test_final_data_of_a_recipe_are_read_only_for_cells_and_logged(recipe_file, tmp_path, small_glyphs, used):
    chosen = ("data=glyphs/novel", "ancestor={path: packaged, data: glyphs/base}", ALONE, "seeds=[0, 1]")
    final = ("final=true", "final_data=glyphs/open")
    out = tmp_path / "out"
    comparison(recipe_file, out, *chosen, *final, TUNE).run()
    assert used == [("glyphs/novel", True)] * 2 + [("glyphs/open", False)] * 2
    assert len((out / "final-readings.jsonl").read_text().splitlines()) == 2
    write_report(out)
    assert "trained on glyphs/open, genes" in (out / "report.md").read_text()


def test_final_cells_have_other_paths(recipe_file, tmp_path):
    glyphs = ("data=glyphs/novel", "ancestor={path: packaged, data: glyphs/base}", ALONE)
    plain, final = (
        comparison(recipe_file, tmp_path, *glyphs, *more)._artifact_store({}) for more in ((), ("final=true",))
    )
    cell, tried = Cell("scratch", "depth=1", 3, 0), Cell("scratch", "depth=1", 3, 7, 1e-2, 0.0, tuning=True)
    assert train_cell.cell_path(plain, cell) != train_cell.cell_path(final, cell)
    assert train_cell.cell_path(plain, tried) == train_cell.cell_path(final, tried)


def test_missing_final_data_are_refused_before_anything_is_made(recipe_file, tmp_path):
    place = tmp_path / "missing"
    later = comparison(recipe_file, tmp_path / "out", "final=true", f"final_data=folder:{place}")
    with pytest.raises(DataError, match=f"folder:{place} is not a folder"):
        later.run()
    assert not (tmp_path / "out").exists()
