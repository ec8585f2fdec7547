"""Tuning of initial positions beside rate and decay, and grids that grow where the best rate is at an edge."""

import json

import pytest

from germline.compare import write_report
from germline.compare.analysis.results import ComparisonResults
from germline.compare.analysis.tuning import choose_point, extend_rates, find_edge, has_failed
from germline.compare.cost.estimate import estimate_cost
from germline.compare.recipe.loader import load_recipe
from germline.compare.recipe.schema import Recipe
from germline.compare.report.cost_tables import cost_table, tuning_table
from germline.compare.run.cells import Cell, list_tuning_cells
from germline.compare.run.runner import Comparison
from germline.compare.run.train_cell import cell_path
from germline.errors import GermlineError, SettingError
from helpers.comparison import comparison, list_stored, results

TUNE = "tune={lr: [1e-3, 1e-2], weight_decay: [0], size: depth=1, images_per_class: 2, seed: 7"
POSITIONS = f"{TUNE}, positions: [0.02, 0.5, sin-cos]}}"
CELL = Cell("scratch", "depth=1", 3, 0)
CNN = ("ancestor.model=vgg11_x025", "arms.gene={method: circuit}", "sizes=['']")


def make_points(*accuracies, rates=(1e-3, 1e-2, 1e-1)):
    return [
        {"lr": rate, "weight_decay": 0.05, "accuracy": accuracy}
        for rate, accuracy in zip(rates, accuracies, strict=False)
    ]


@pytest.mark.parametrize(
    ("accuracies", "lr", "edge", "following"),
    [
        ((0.5, 0.6, 0.4), 1e-2, None, None),
        ((0.6, 0.5, 0.4), 1e-3, "lowest", 1e-4),
        ((0.4, 0.5, 0.6), 1e-1, "highest", 1.0),
        # the first of equal points; a failed one is never chosen
        ((0.6, 0.6, 0.6), 1e-3, "lowest", 1e-4),
        ((0.4, 0.6, None), 1e-2, None, None),
        ((None, 0.6), 1e-2, "highest", 1e-1),
        # there is no edge with one rate
        ((0.6,), 1e-3, None, None),
    ],
)
def test_edges_match_hand_calculation(accuracies, lr, edge, following):
    tuned = choose_point(make_points(*accuracies))
    assert (tuned["lr"], find_edge(tuned)) == (lr, edge)
    assert extend_rates({"a": tuned}) == ({} if following is None else {"a": pytest.approx(following)})


def test_a_grid_that_failed_keeps_its_first_point():
    tuned = choose_point(make_points(None, None))
    # A rate that was never compared is at no edge, and the next one would fail as well.
    assert (find_edge(tuned), extend_rates({"a": tuned}), has_failed(tuned)) == (None, {}, True)
    assert not has_failed(choose_point(make_points(None, 0.1)))
    assert (tuned["lr"], tuned["accuracy"]) == (1e-3, -1.0)


def test_rates_grow_by_the_ratio_of_the_last_two():
    tuned = choose_point(make_points(0.1, 0.2, 0.3, rates=(1e-3, 3e-3, 6e-3)))
    assert extend_rates({"a": tuned})["a"] == pytest.approx(1.2e-2)
    tuned = choose_point(make_points(0.3, 0.2, rates=(1e-3, 3e-3)))
    assert extend_rates({"a": tuned})["a"] == pytest.approx(3.33e-4)


def test_positions_are_tried_by_arms_that_draw_them(recipe_file):
    more = ["arms.distil={method: distil}", "arms.xavier={method: xavier}"]
    more += [
        "arms.given={method: scratch, settings: {positions: 0.1}}",
        "arms.twin={method: scratch, draw: 1, tuned_as: scratch}",
    ]
    recipe = load_recipe(str(recipe_file), [*more, POSITIONS])
    tried = {}
    for cell in list_tuning_cells(recipe):
        tried.setdefault(cell.arm, set()).add((cell.positions, cell.lr))
    rates = (1e-3, 1e-2)
    every = {(positions, lr) for positions in (0.02, 0.5, "sin-cos") for lr in rates}
    assert tried == {
        "gene": {(None, lr) for lr in rates},
        "given": {(None, lr) for lr in rates},
        "scratch": every,
        "distil": every,
        "xavier": every,
    }
    names = [cell.name for cell in list_tuning_cells(recipe)]
    assert len(set(names)) == len(names)


def test_check_states_the_cost_of_the_grid(recipe_file):
    found = estimate_cost(load_recipe(str(recipe_file), [f"{POSITIONS[:-1]}, extend: 2}}"]))
    # 2 rates for the gene, 2 x 3 for scratch, of 5 steps of 16
    assert (found.tuning.count, found.tuning.samples) == (8, 8 * 80)
    assert "tuning grid: 2 rates x 1 decays, and 3 initial positions for scratch; at most 8 cells more" in found.text()
    assert f"at an edge: {8 * 80:,} samples" in found.text()
    assert "tuning grid" not in estimate_cost(load_recipe(str(recipe_file), [TUNE + "}"])).text()


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ((f"{TUNE}, positions: [0]}}",), "positions"),
        ((f"{TUNE}, positions: [waves]}}",), "positions"),
        ((f"{TUNE}, positions: [0.1, 0.2, 0.3, 0.4, 0.5]}}",), "positions"),
        ((f"{TUNE}, extend: 3}}",), "extend"),
        ((f"{TUNE}, extend: -1}}",), "extend"),
        (("arms.scratch.method=layers", POSITIONS), "No tuned arm starts from random weights"),
        (("arms.scratch.settings={positions: 0.5}", POSITIONS), "No tuned arm starts from random weights"),
        (("arms.gene.settings.positions=0.5",), "positions"),
    ],
)
def test_wrong_grids_are_refused(recipe_file, changes, match):
    with pytest.raises(GermlineError, match=match):
        load_recipe(str(recipe_file), changes)


@pytest.mark.parametrize(
    "changes", [(*CNN, POSITIONS.replace("depth=1", "''")), (*CNN, "arms.scratch.settings={positions: 0.5}")]
)
def test_positions_for_a_cnn_are_refused_before_anything_runs(recipe_file, tmp_path, changes):
    with pytest.raises(SettingError, match="Only ViTs have a table of positions"):
        comparison(recipe_file, tmp_path / "out", *changes).run()
    assert not (tmp_path / "out").exists()


def test_saved_recipes_leave_new_keys_out(recipe_file):
    plain = load_recipe(str(recipe_file), [TUNE + "}"]).model_dump(mode="json")
    assert plain["tune"].keys() == {"lr", "weight_decay", "size", "images_per_class", "seed", "scaling"}
    full = load_recipe(str(recipe_file), [f"{POSITIONS[:-1]}, extend: 1}}"]).model_dump(mode="json")
    assert (full["tune"]["positions"], full["tune"]["extend"]) == ([0.02, 0.5, "sin-cos"], 1)
    assert Recipe.model_validate(json.loads(json.dumps(full))).tune.positions == (0.02, 0.5, "sin-cos")


def make_store(recipe_file, tmp_path, *changes, tuned=None):
    return comparison(recipe_file, tmp_path / "out", *changes)._artifact_store(tuned or {})


def test_cells_keep_their_path_at_the_default(recipe_file, tmp_path):
    plain = cell_path(make_store(recipe_file, tmp_path), CELL)
    for changes, tuned in (
        (("arms.scratch.settings={positions: 0.02}",), {}),
        ((POSITIONS,), {"scratch": {"positions": 0.02}}),
        (("arms.scratch.settings={positions: null}",), {}),
    ):
        assert cell_path(make_store(recipe_file, tmp_path, *changes, tuned=tuned), CELL) == plain
    for changes, tuned in (
        (("arms.scratch.settings={positions: 0.5}",), {}),
        ((POSITIONS,), {"scratch": {"positions": "sin-cos"}}),
    ):
        assert cell_path(make_store(recipe_file, tmp_path, *changes, tuned=tuned), CELL) != plain


def test_an_arm_takes_the_positions_of_the_arm_it_is_tuned_as(recipe_file, tmp_path):
    twin = "arms.twin={method: xavier, tuned_as: scratch}"
    found = make_store(recipe_file, tmp_path, twin, POSITIONS, tuned={"scratch": {"lr": 0.1, "positions": 0.5}})
    assert found.cell_method(Cell("twin", "depth=1", 3, 0)).positions == 0.5
    assert found.cell_method(Cell("gene", "depth=1", 3, 0)) == found.get_method("gene")
    # while it is tuned, a cell has the positions that it tries, and no others
    assert found.cell_method(Cell("scratch", "depth=1", 2, 7, tuning=True)).positions is None


@pytest.fixture(scope="module")
def tuned_run(tmp_path_factory):
    """A run in which scratch and distil tune their positions, and grids can grow."""
    from helpers.comparison import RECIPE

    place = tmp_path_factory.mktemp("tuned")
    (place / "micro.yaml").write_text(RECIPE)
    changes = ("seeds=[0]", "arms.distil={method: distil}", f"{POSITIONS[:-1]}, extend: 1}}")
    work = comparison(place / "micro.yaml", place / "out", *changes)
    work.run()
    assert work.failed == {}
    return place


def test_best_point_of_the_grid_is_used(tuned_run):
    found = results(tuned_run / "out")
    for arm in ("scratch", "distil"):
        tuned = found["tuned"][arm]
        best = max(tuned["grid"], key=lambda point: point["accuracy"])
        keys = ("lr", "weight_decay", "positions", "accuracy")
        assert [tuned[key] for key in keys] == [best[key] for key in keys]
        rates = {point["lr"] for point in tuned["grid"]}
        # one rate more at an edge, with every position
        assert len(tuned["grid"]) == 3 * len(rates)
        assert len(rates) == 3
        (cell,) = [c for c in found["cells"] if c["asked"]["arm"] == arm]
        assert cell["lr"] == tuned["lr"]
        expected = None if tuned["positions"] == 0.02 else tuned["positions"]
        assert cell.get("positions") == expected
        assert "positions" not in cell["asked"]
    assert all("positions" not in point for point in found["tuned"]["gene"]["grid"])


def test_a_second_run_reuses_every_part(tuned_run):
    before = list_stored(tuned_run / "out" / "store")
    changes = ("seeds=[0]", "arms.distil={method: distil}", f"{POSITIONS[:-1]}, extend: 1}}")
    again = comparison(tuned_run / "micro.yaml", tuned_run / "again", *changes, store=tuned_run / "out" / "store")
    again.run()
    assert list_stored(tuned_run / "out" / "store") == before
    assert results(tuned_run / "again") == results(tuned_run / "out")


def test_the_report_shows_positions_and_edges(tuned_run):
    write_report(tuned_run / "out")
    text = (tuned_run / "out" / "report.md").read_text(encoding="utf-8")
    table = text.partition("## How each arm was tuned")[2].partition("\n## ")[0]
    assert "| arm | learning rate | weight decay | initial positions | validation accuracy, % |" in table
    assert "| scratch | 0.001 | 0 | sin-cos | " in table
    found = results(tuned_run / "out")["tuned"]
    edges = [arm for arm, tuned in found.items() if find_edge(tuned)]
    assert table.count("rate tried") == len(edges)
    assert ("At an edge of the grid" in table) == bool(edges)


LAYER_SCALE = f"{TUNE.replace(', 1e-2', '')}, layer_scale: [1e-4, 0.1]}}"


@pytest.fixture
def layered(make_network, tmp_path):
    """Changes for a recipe whose ancestor has LayerScale."""
    make_network(init_values=1e-5).save(tmp_path / "layered")
    arms = "arms={even: {method: layers}, scratch: {method: scratch}, distil: {method: distil}}"
    return (f"ancestor={{data: digits, path: {tmp_path / 'layered'}}}", arms, "seeds=[0]", LAYER_SCALE)


def test_layer_scale_is_tuned_with_positions(recipe_file, tmp_path, layered):
    both = LAYER_SCALE.replace("layer_scale", "positions: [0.02, 0.5], layer_scale")
    recipe = load_recipe(str(recipe_file), [*layered, both])
    tried = {}
    for cell in list_tuning_cells(recipe):
        tried.setdefault(cell.arm, []).append((cell.positions, cell.layer_scale))
    every = [(positions, scale) for positions in (0.02, 0.5) for scale in (1e-4, 0.1)]
    assert tried == {"even": [(None, None)], "scratch": every, "distil": every}
    found = estimate_cost(recipe)
    assert found.tuning.count == 9
    text = "1 rates x 1 decays, and 2 initial positions for scratch, distil x 2 initial LayerScale for scratch, distil"
    assert f"tuning grid: {text}" in found.text()
    saved = recipe.model_dump(mode="json")
    assert saved["tune"]["layer_scale"] == [1e-4, 0.1]
    assert Recipe.model_validate(saved).tune == recipe.tune


def test_the_best_layer_scale_is_used(recipe_file, tmp_path, layered):
    work = comparison(recipe_file, tmp_path / "out", *layered[:1], "arms={scratch: {method: scratch}}", *layered[2:])
    work.run()
    assert work.failed == {}
    found = ComparisonResults.load(tmp_path / "out")
    tuned = found.stored["tuned"]["scratch"]
    assert [point["layer_scale"] for point in tuned["grid"]] == [1e-4, 0.1]
    assert tuned["layer_scale"] == max(tuned["grid"], key=lambda point: point["accuracy"])["layer_scale"]
    (cell,) = found.stored["cells"]
    assert cell["layer_scale"] == tuned["layer_scale"]
    assert "layer_scale" not in cell["asked"]
    head, *rows = tuning_table(found)
    assert head == ["arm", "learning rate", "weight decay", "initial LayerScale", "validation accuracy, %"]
    assert [row[3] for row in rows] == ["0.0001", "0.1"]
    assert cost_table(found)[0][-1] == "initial LayerScale"


def test_tuned_layer_scale_makes_another_cell(recipe_file, tmp_path, layered):
    plain, tuned = (
        cell_path(make_store(recipe_file, tmp_path, *layered[:3], tuned=tuned), CELL)
        for tuned in ({}, {"scratch": {"layer_scale": 0.1}})
    )
    assert plain != tuned


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ((LAYER_SCALE,), "for a network without LayerScale"),
        ((LAYER_SCALE.replace("0.1]", "2]"),), "layer_scale"),
        ((LAYER_SCALE, "arms.scratch.settings.layer_scale=0.1"), "without layer_scale of its own"),
    ],
)
def test_wrong_layer_scales_are_refused(recipe_file, tmp_path, changes, match):
    with pytest.raises(GermlineError, match=match):
        comparison(recipe_file, tmp_path / "out", *changes).run()
    assert not (tmp_path / "out").exists()


def test_grids_grow_at_most_twice(recipe_file, tmp_path, monkeypatch):
    """The highest rate is always the best."""
    tried = []

    def record_point(self, store, cell):
        tried.append((cell.arm, cell.lr))
        return {"lr": cell.lr, "weight_decay": 0.0, "accuracy": min(cell.lr, 1.0), "samples": 1, "flops": 1}

    monkeypatch.setattr(Comparison, "_tuning_point", record_point)
    monkeypatch.setattr(Comparison, "_run_cells", lambda *_: None)
    for extend, rates in ((0, [1e-3, 1e-2]), (1, [1e-3, 1e-2, 0.1]), (2, [1e-3, 1e-2, 0.1, 1.0])):
        tried.clear()
        work = comparison(recipe_file, tmp_path / "out", f"{TUNE}, extend: {extend}}}")
        tuned = work._tune_arms(work._artifact_store({}))
        assert [lr for arm, lr in tried if arm == "scratch"] == pytest.approx(rates)
        assert tuned["scratch"]["lr"] == pytest.approx(rates[-1])
        assert find_edge(tuned["scratch"]) == "highest"
