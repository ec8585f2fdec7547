"""Tasks of ancestors and genes: each part has one, and only parts that are missing."""

import pytest

from germline.compare.run.gene_tasks import AncestorTask, GeneTask, find_missing_gene, list_missing_genes
from germline.compare.run.runner import Comparison
from helpers.comparison import TUNE, comparison

LIKE = "arms.like={method: tleg, settings: {steps: 3, batch_size: 16}, draw: 1}"
RANDOM = "arms.random={method: random-gene, settings: {method: tleg, settings: {steps: 3, batch_size: 16}}}"
LONGER = "arms.longer={method: tleg, settings: {steps: 4, batch_size: 16}}"
FINETUNE = "arms.finetune={method: finetune}"


@pytest.fixture
def tasks(recipe_file, tmp_path):
    """Function that lists the tasks of the recipe with changes, in a store without parts."""

    def list_tasks(*changes):
        store = comparison(recipe_file, tmp_path / "out", *changes)._artifact_store({})
        return list(list_missing_genes(store).values())

    return list_tasks


def test_arms_of_equal_settings_share_one_task(tasks):
    first, second = AncestorTask(0), AncestorTask(1)
    assert tasks(LIKE, RANDOM, LONGER) == [
        GeneTask("gene", 0, "depth=1", first),
        GeneTask("gene", 1, "depth=1", second),
        GeneTask("longer", 0, "depth=1", first),
        GeneTask("longer", 1, "depth=1", second),
    ]


def test_one_gene_needs_one_task_for_all_seeds_sizes_and_the_tuning(tasks):
    assert tasks("one_gene=true", "sizes=[depth=1, depth=2]", TUNE) == [GeneTask("gene", 0, "depth=1", AncestorTask(0))]


def test_a_method_with_an_ancestor_of_each_size_has_a_task_per_size(tasks):
    found = [task for task in tasks(FINETUNE, "one_gene=true", "sizes=[depth=1, depth=2]") if task.arm == "finetune"]
    assert [task.ancestor for task in found] == [AncestorTask(0, "depth=1"), AncestorTask(0, "depth=2")]
    assert [task.name for task in found] == ["gene of finetune depth=1 seed=0", "gene of finetune depth=2 seed=0"]
    assert [task.ancestor.name for task in found] == ["ancestor depth=1 seed=0", "ancestor depth=2 seed=0"]


def test_an_ancestor_is_no_task_where_the_recipe_or_the_method_has_its_own(tasks, self_made_ancestor):
    (given, *others) = tasks(
        "ancestor={path: packaged, data: glyphs/base}",
        "data=glyphs/base",
        "arms.gene.method=layers",
        "arms.gene.settings={choose: even}",
    )
    assert [task.ancestor for task in (given, *others)] == [None, None]
    own = [task.ancestor for task in tasks("arms.gene.method=bred", "arms.gene.settings={}", "ancestor.model=vgg11")]
    assert own == [None, None]


def test_genes_of_a_finished_comparison_are_no_tasks(finished_out, recipe_file, tmp_path):
    work = comparison(recipe_file, tmp_path / "again", LONGER, store=finished_out / "store")
    store = work._artifact_store({})
    missing = list_missing_genes(store)
    assert [task.name for task in missing.values()] == ["gene of longer seed=0", "gene of longer seed=1"]
    assert find_missing_gene(store, "gene", 0, "depth=1") is None
    assert find_missing_gene(store, "scratch", 0, "depth=1") is None
    assert [find_missing_gene(store, "longer", seed, "depth=1") for seed in (0, 1)] == list(missing)


def test_genes_that_are_there_need_no_ancestor(finished_out, recipe_file, tmp_path, monkeypatch):
    stages = []

    def record(self, name, tasks, store):
        stages.append((name, [task.name for task in tasks]))

    monkeypatch.setattr(Comparison, "_run_stage", record)
    work = comparison(recipe_file, tmp_path / "again", store=finished_out / "store")
    work._make_genes(work._artifact_store({}))
    assert stages == [("ancestors", []), ("genes", [])]


def test_workers_make_genes_of_one_seed_at_the_same_time(recipe_file, tmp_path):
    """One gene serves all seeds, so a task per seed would leave all workers but one idle."""
    stages = []

    class Engine:
        def run(self, tasks, store, display):
            stages.append([task.name for task in tasks])
            return iter(())

        def describe(self):
            return "engine of a test"

    work = comparison(recipe_file, tmp_path / "out", "one_gene=true", LONGER, FINETUNE, engine=Engine())
    work._make_genes(work._artifact_store({}))
    assert stages == [
        ["ancestor seed=0", "ancestor depth=1 seed=0"],
        ["gene of gene seed=0", "gene of longer seed=0", "gene of finetune depth=1 seed=0"],
    ]
