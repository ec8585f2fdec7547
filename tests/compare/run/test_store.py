"""The store: each part is made once and found again, at a path that its facts determine."""

import json
import multiprocessing
import pickle
import re
import shutil
import time
from dataclasses import replace

import pytest

from germline.compare.cost.cost import cell_cost
from germline.compare.recipe.loader import load_recipe
from germline.compare.run import part_keys
from germline.compare.run import store as store_module
from germline.compare.run.cells import Cell, list_main_cells
from germline.compare.run.executor import _process_context
from germline.compare.run.train_cell import cell_path
from germline.errors import ArtefactError
from germline.files import append_json, file_lock, read_json
from germline.learngene import Learngene
from germline.methods.tleg.method import TLEG
from germline.randomness import generator
from helpers.comparison import TUNE, comparison, list_stored, results

SAME_GENE = "arms.like={method: tleg, settings: {steps: 3, batch_size: 16}, draw: 1}"
RANDOM = "arms.random={method: random-gene, settings: {method: tleg, settings: {steps: 3, batch_size: 16}}}"


@pytest.fixture
def store(recipe_file, tmp_path):
    """Function that makes the store of the recipe with changes; it makes no part."""
    return lambda *changes: comparison(recipe_file, tmp_path / "out", *changes)._artifact_store({})


CELL = Cell("gene", "depth=1", 3, 0)


def test_finished_comparison_reuses_every_part(finished_out, recipe_file, tmp_path):
    before = list_stored(finished_out / "store")
    assert len(before) == 2 + 2 + 4
    again = comparison(recipe_file, tmp_path / "again", store=finished_out / "store")
    again.run()
    assert list_stored(finished_out / "store") == before
    assert results(tmp_path / "again") == results(finished_out)
    assert not (tmp_path / "again" / "store").exists()


def test_damaged_parts_are_named_with_the_way_to_make_them_again(finished_out, recipe_file, tmp_path):
    """A run that resumes finds them again, so running the command again is no help."""
    shutil.copytree(finished_out / "store", tmp_path / "store")
    again = comparison(recipe_file, tmp_path / "again", store=tmp_path / "store")
    cell = next((tmp_path / "store").glob("cell-*.json"))
    for text in ("", "{", "[]", "{}"):
        cell.write_text(text)
        with pytest.raises(ArtefactError, match=f"Remove '{re.escape(str(cell))}', and pass --resume"):
            again.run()
    cell.unlink()
    gene = next(place for place in (tmp_path / "store").glob("gene-*") if place.suffix == "")
    tensors = gene / "learngene.safetensors"
    tensors.write_bytes(tensors.read_bytes()[:-8])
    with pytest.raises(ArtefactError, match=f"Remove '{re.escape(str(gene))}', and pass --resume"):
        comparison(recipe_file, tmp_path / "again", store=tmp_path / "store").run()
    shutil.rmtree(gene)
    comparison(recipe_file, tmp_path / "again", store=tmp_path / "store").run()
    assert results(tmp_path / "again") == results(finished_out)


def test_two_comparisons_share_parts_of_one_store(recipe_file, tmp_path, monkeypatch):
    condensed, condense = [], TLEG.condense
    monkeypatch.setattr(TLEG, "condense", lambda *given: condensed.append(1) or condense(*given))
    changes, store = ("seeds=[0]",), tmp_path / "store"
    comparison(recipe_file, tmp_path / "one", *changes, store=store).run()
    first = list_stored(store)
    assert (len(condensed), len(first)) == (1, 1 + 1 + 2)
    # Another protocol, another size and one more arm with the same gene.
    more = ("protocol=sizes", "sizes=[depth=1, depth=2]", "title=Another", SAME_GENE, RANDOM)
    comparison(recipe_file, tmp_path / "other", *changes, *more, store=store).run()
    both = list_stored(store)
    assert len(condensed) == 1
    assert {name: both[name] for name in first} == first
    # Still one ancestor and one gene. Cells: two from before, two of depth=2, and two sizes of two more arms.
    assert [len(list_stored(store, kind)) for kind in ("ancestor", "gene", "cell")] == [1, 1, 8]
    shared = {cell["asked"]["arm"]: cell["curve"] for cell in results(tmp_path / "one")["cells"]}
    for cell in results(tmp_path / "other")["cells"]:
        if cell["asked"]["size"] == "depth=1" and cell["asked"]["arm"] in shared:
            assert cell["curve"] == shared[cell["asked"]["arm"]]


def test_random_gene_is_the_stored_gene_shuffled(store):
    found = store(SAME_GENE, RANDOM)
    own, like, random = (found.get_gene(arm, 0, "depth=1") for arm in ("gene", "like", "random"))
    (place,) = list_stored(found.folder, "gene")
    assert Learngene.load(found.folder / place).tensors.keys() == own.tensors.keys() == like.tensors.keys()
    assert all((own.tensors[name] == like.tensors[name]).all() for name in own.tensors)
    again = found.get_method("random").derive(own, generator(0, "random-gene"))
    assert random.method == "random-gene"
    assert all((random.tensors[name] == again.tensors[name]).all() for name in own.tensors)
    assert any((random.tensors[name] != own.tensors[name]).any() for name in own.tensors)
    ordered = [[gene.tensors[name].flatten().sort().values for name in own.tensors] for gene in (own, random)]
    assert all(one.equal(other) for one, other in zip(*ordered, strict=True))


@pytest.mark.parametrize(
    "changes",
    [
        ("title=Other", "kind=full", "minutes=9"),
        ("seeds=[0, 5]", "sizes=[depth=1, depth=2]", "images_per_class=[3, 4]"),
        ("protocol=convergence", "scratch_until_plateau={}"),
        ("arms.like={method: scratch, draw: 1}",),
        ("arms.scratch.train.lr=1",),
        ("arms.gene.settings.alpha=1.0",),
        ("arms.gene.train.lr=1e-3",),
    ],
)
def test_unrelated_changes_keep_the_path(store, changes):
    assert cell_path(store(*changes), CELL) == cell_path(store(), CELL)


@pytest.mark.parametrize(
    "changes",
    [
        ("ancestor.train.steps=4",),
        ("ancestor.train.lr=2e-3",),
        ("ancestor.model=vit_nano",),
        ("ancestor.data=glyphs/novel",),
        ("arms.gene.settings.steps=4",),
        ("arms.gene.method=layers", "arms.gene.settings={}"),
        ("arms.gene.train.lr=2e-3",),
        ("arms.gene.draw=1",),
        ("train.steps=6",),
        ("train.eval_at=[0, 3]",),
        ("tasks={ways: 2, count: 1}",),
    ],
)
def test_changed_facts_change_the_path(store, changes):
    assert cell_path(store(*changes), CELL) != cell_path(store(), CELL)


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 1},
        {"images": 4},
        {"size": "depth=2"},
        {"arm": "scratch"},
        {"lr": 0.5, "weight_decay": 0.0},
        {"steps": 7},
        {"tuning": True},
    ],
)
def test_every_cell_has_its_own_path(store, changes):
    assert cell_path(store(), replace(CELL, **changes)) != cell_path(store(), CELL)


@pytest.mark.parametrize(
    ("changes", "paths"),
    [
        ((), ("b46e7f69b75e78c8e7c8", "8ad6e9ad9ea5f0a0eea9", "7745cd7a2d738a9f2072")),
        # An ancestor of each descendant's size.
        (
            ("arms.gene={method: finetune}", "sizes=[depth=2]"),
            ("068120d7dcd4b37d8d5e", "0ef981189a86e39d3f55", "5988cfb2e40037bbf0ab"),
        ),
        (
            ("ancestor={path: packaged, data: glyphs/base}",),
            ("795ba706fb2e1905da79", "4c9b3a69ff517de48c80", "b0c32220fae601462fcd"),
        ),
    ],
)
def test_paths_are_stable_across_versions(store, monkeypatch, changes, paths):
    # A change here invalidates every existing store. A new training setting is such a change.
    monkeypatch.setattr(store_module, "read_version", lambda name: "0")
    monkeypatch.setattr(part_keys, "fingerprint_data", lambda name: "pictures")
    found = store(*changes)
    method, size = found.get_method("gene"), found.recipe.sizes[0]
    ancestor = found.ancestor_path(1, size if method.traits.needs_own_size else None)
    parts = (ancestor, found.gene_path(method, 1, size), cell_path(found, Cell("gene", size, 3, 1)))
    assert [part.stem for part in parts] == [
        f"{kind}-{place}" for kind, place in zip(("ancestor", "gene", "cell"), paths, strict=True)
    ]


def test_ancestor_is_not_built_for_every_path(store, monkeypatch):
    built, build = [], store_module.ArtifactStore.build_ancestor
    monkeypatch.setattr(
        store_module.ArtifactStore,
        "build_ancestor",
        lambda self, *given, **how: built.append(given) or build(self, *given, **how),
    )
    found = store("arms.finetune.method=finetune", "arms.pupil.method=distil", "sizes=[depth=1, depth=2]")
    for cell in list_main_cells(found.recipe):
        cell_path(found, cell)
        cell_cost(found, cell)
    # One of the ancestor's own size, and one of each size for fine-tuning.
    assert sorted(built, key=str) == [(0, "depth=1"), (0, "depth=2"), (0, None)]
    built.clear()
    # Known specs are pickled with the store.
    other = pickle.loads(pickle.dumps(found))
    paths = [cell_path(other, cell) for cell in list_main_cells(found.recipe)]
    assert (built, len(set(paths))) == ([], 2 * 2 * 4)


def test_other_data_of_same_name_change_the_path(store, monkeypatch):
    before = cell_path(store(), CELL)
    monkeypatch.setattr(part_keys, "fingerprint_data", lambda name: "other images")
    assert cell_path(store(), CELL) != before


def test_tuned_settings_are_facts_and_one_gene_serves_all_seeds(recipe_file, tmp_path):
    work = comparison(recipe_file, tmp_path / "out", "one_gene=true")
    one, other = (work._artifact_store({"gene": {"lr": lr, "weight_decay": 0.0, "grid": []}}) for lr in (0.1, 0.2))
    assert cell_path(one, CELL) != cell_path(other, CELL)
    assert cell_path(one, Cell("scratch", "depth=1", 3, 0)) == cell_path(other, Cell("scratch", "depth=1", 3, 0))
    assert [one.gene_seed(seed) for seed in (0, 1, 7)] == [0, 0, 0]


def test_gene_sizes_include_those_of_tuning(store):
    assert store().gene_sizes("gene") == {0: ("depth=1",), 1: ("depth=1",)}
    assert store(TUNE).gene_sizes("gene") == {0: ("depth=1",), 1: ("depth=1",), 7: ("depth=3",)}
    assert store(TUNE, "one_gene=true").gene_sizes("gene") == {0: ("depth=1", "depth=3")}
    # An arm that uses the tuned settings of another, or has only some sizes.
    like = "arms.like={method: layers, tuned_as: gene, sizes: [depth=2]}"
    found = store(TUNE, "sizes=[depth=1, depth=2]", like)
    assert found.gene_sizes("like") == {0: ("depth=2",), 1: ("depth=2",)}
    assert found.gene_sizes("gene")[7] == ("depth=3",)


def _hold(lock, log, name):
    with file_lock(lock):
        append_json(log, [name, "in"])
        time.sleep(0.2)
        append_json(log, [name, "out"])


def test_file_lock_is_held_by_one_process_at_a_time(tmp_path):
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_hold, args=(tmp_path / "a.lock", tmp_path / "log", n)) for n in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(timeout=30)
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert [what for _, what in lines] == ["in", "out"] * 3
    assert [lines[at][0] == lines[at + 1][0] for at in (0, 2, 4)] == [True] * 3


def _run(recipe_file, out, store):
    recipe = load_recipe(str(recipe_file), ["seeds=[0]"])
    assert recipe.seeds == (0,)
    comparison(recipe_file, out, "seeds=[0]", store=store).run()


def test_two_processes_make_each_part_once(recipe_file, tmp_path):
    # A part made twice would write its log in the store twice.
    context = _process_context()
    outs, store = [tmp_path / name for name in ("one", "two")], tmp_path / "store"
    workers = [context.Process(target=_run, args=(recipe_file, out, store)) for out in outs]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(timeout=120)
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert [len(list_stored(store, kind)) for kind in ("ancestor", "gene", "cell")] == [1, 1, 2]
    one, two = (results(out) for out in outs)
    assert one == two
    # Each cell was trained by one process only, so both report the same seconds.
    seconds = [[cell["seconds"] for cell in read_json(out / "results.json")["cells"]] for out in outs]
    assert seconds[0] == seconds[1]
