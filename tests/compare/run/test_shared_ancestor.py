"""One ancestor for all seeds: made once, found by every seed, and named in the report."""

import pytest

from germline.compare import write_report
from germline.compare.analysis.shared_gene import has_one_gene
from germline.compare.cost.estimate import estimate_cost
from germline.compare.recipe.loader import load_recipe
from germline.errors import GermlineError
from germline.files import read_json
from helpers.comparison import comparison, list_stored

SHARED = "ancestor.seed=1"


def test_seeds_share_the_ancestor_and_make_their_own_genes(recipe_file, tmp_path):
    made = comparison(recipe_file, tmp_path / "out", SHARED)
    made.run()
    names = [name.split("-")[0] for name in list_stored(tmp_path / "out" / "store")]
    assert (names.count("ancestor"), names.count("gene"), names.count("cell")) == (1, 2, 4)
    stored = read_json(tmp_path / "out" / "results.json")
    assert [entry["seed"] for entry in stored["ancestors"]] == [1]
    genes = [entry["seed"] for entry in stored["genes"]]
    assert genes == [0, 1]
    write_report(tmp_path / "out")
    page = (tmp_path / "out" / "report.html").read_text()
    assert "one ancestor serves all seeds, and each seed makes its own gene" in page
    assert "2 seeds, all with one ancestor, each with its own gene" in page
    assert "other ancestors" in page


def test_shared_ancestor_is_that_of_its_seed(recipe_file, tmp_path):
    own = comparison(recipe_file, tmp_path / "own")._artifact_store({})
    shared = comparison(recipe_file, tmp_path / "shared", SHARED)._artifact_store({})
    assert shared.ancestor_path(0).name == shared.ancestor_path(1).name == own.ancestor_path(1).name
    assert own.ancestor_path(0).name != own.ancestor_path(1).name
    method = own.get_method("gene")
    at_1 = [store.gene_path(method, 1, "depth=1").name for store in (own, shared)]
    at_0 = [store.gene_path(method, 0, "depth=1").name for store in (own, shared)]
    assert at_1[0] == at_1[1]
    assert at_0[0] != at_0[1]


def test_training_of_a_shared_ancestor_is_counted_once(recipe_file):
    each, one = (estimate_cost(load_recipe(str(recipe_file), changes)) for changes in ((), (SHARED,)))
    assert (each.ancestors.count, one.ancestors.count) == (2, 1)
    assert each.ancestors.flops == 2 * one.ancestors.flops
    assert each.genes == one.genes


def test_a_saved_recipe_leaves_the_seed_out_without_one(recipe_file):
    assert "seed" not in load_recipe(str(recipe_file)).model_dump(mode="json")["ancestor"]
    assert load_recipe(str(recipe_file), (SHARED,)).model_dump(mode="json")["ancestor"]["seed"] == 1


def test_a_trained_network_has_no_seed(recipe_file):
    with pytest.raises(GermlineError, match=r"remove ancestor\.seed"):
        load_recipe(str(recipe_file), (SHARED, "ancestor.path=packaged"))


@pytest.mark.parametrize(
    ("ancestor", "arm", "expected"),
    [
        ({}, "weight-selection", False),
        ({"seed": 0}, "weight-selection", True),
        ({"path": "packaged"}, "weight-selection", True),
        ({"seed": 0}, "tleg", False),
        ({"seed": 0}, "random-gene", False),
        ({"seed": 0}, "unknown", False),
        # A gene from a folder needs no ancestor, and evolution is random.
        ({}, "stored", True),
        ({}, "gtl", False),
    ],
)
def test_seeds_share_a_gene_where_nothing_is_random(ancestor, arm, expected):
    recipe = {"one_gene": False, "ancestor": ancestor, "arms": {arm: {"method": arm}}}
    assert has_one_gene(recipe, arm) is expected
    assert has_one_gene(recipe | {"one_gene": True}, arm)
