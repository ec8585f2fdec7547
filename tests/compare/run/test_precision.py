"""A recipe's precision: used by every training and evaluation, in keys and records, and left out if it is float32."""

import pytest

from germline.compare.recipe.loader import load_recipe
from germline.compare.report.report import write_report
from germline.compare.run.cells import list_main_cells
from germline.compare.run.train_cell import cell_path
from germline.errors import SettingError
from germline.files import read_json
from germline.training import Run
from helpers.comparison import comparison


def list_paths(recipe_file, out, *changes):
    """Paths of an ancestor, a gene and a cell, relative to the store."""
    store = comparison(recipe_file, out, *changes)._artifact_store({})
    cell = next(cell for cell in list_main_cells(store.recipe) if cell.arm == "gene")
    paths = store.ancestor_path(0), store.gene_path(store.get_method("gene"), 0, cell.size), cell_path(store, cell)
    return [path.name for path in paths]


def test_precision_is_part_of_keys_unless_it_is_float32(recipe_file, tmp_path):
    plain = list_paths(recipe_file, tmp_path / "out")
    assert plain == list_paths(recipe_file, tmp_path / "out", "precision=32-true")
    low, true = (list_paths(recipe_file, tmp_path / "out", f"precision=bf16-{kind}") for kind in ("mixed", "true"))
    assert len({*plain, *low, *true}) == 9
    assert "precision" not in load_recipe(str(recipe_file), ()).model_dump(mode="json")


def test_an_unknown_precision_is_refused(recipe_file):
    with pytest.raises(SettingError, match="precision"):
        load_recipe(str(recipe_file), ("precision=16",))


def test_a_comparison_computes_in_its_precision(recipe_file, tmp_path, monkeypatch):
    fitted, scored, fit, evaluate = [], [], Run.fit, Run.evaluate

    def record_fit(run, name, *given, **options):
        fitted.append((name, run.precision))
        return fit(run, name, *given, **options)

    def record_evaluation(run, *given):
        scored.append(run.precision)
        return evaluate(run, *given)

    monkeypatch.setattr(Run, "fit", record_fit)
    monkeypatch.setattr(Run, "evaluate", record_evaluation)
    out = tmp_path / "out"
    comparison(recipe_file, out, "precision=bf16-mixed", "seeds=[0]").run()
    # The gene asks for the ancestor again, and gets the saved one.
    assert [name for name, _ in fitted] == ["ancestor", "ancestor", "auxiliary", "descendant", "descendant"]
    assert {precision for _, precision in fitted} == {"bf16-mixed"}
    assert scored == ["bf16-mixed"] * 2
    assert read_json(out / "results.json")["recipe"]["precision"] == "bf16-mixed"
    assert read_json(out / "results.json")["genes"][0]["training"]["precision"] == "bf16-mixed"
    write_report(out)
    assert "threads, precision bf16-mixed; " in (out / "report.md").read_text()
