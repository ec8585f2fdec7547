"""A comparison of seconds: killed and gone on with, done once, refused where it must be, and priced."""

import contextlib
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from germline.compare import Comparison, cells
from germline.compare.price import price
from germline.compare.runner import _worker_died
from germline.errors import DataError, SettingError, TrainingError
from germline.files import read_json
from germline.recipe_files import load_recipe

TUNE = "tune={lr: [1e-3, 1e-2], weight_decay: [0], size: depth=3, images_per_class: 2, seed: 7}"


def comparison(recipe_file, out, *changes):
    torch.set_num_threads(1)  # part of what a gene says of its making; another test may have changed it
    return Comparison(load_recipe(str(recipe_file), changes), "micro", out, workers=1, quiet=True)


def results(out):
    """What `results.json` holds, without what the clock says."""
    found = read_json(out / "results.json")
    for entry in (found, *found["cells"], *(gene["training"] for gene in found["genes"])):
        entry.pop("seconds", None)
    found.pop("command")
    found.pop("device")
    return found


def times(out):
    return {str(path.relative_to(out)): path.stat().st_mtime_ns for path in (out / "cells").glob("*.json")}


def begin(recipe_file, out, *more):
    command = [sys.executable, "-m", "germline.cli", "compare", str(recipe_file), "--out", str(out), "--quiet", *more]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command, env=env, start_new_session=True, stdout=-1, stderr=-1, text=True, preexec_fn=_hear_ctrl_c
    )


def _hear_ctrl_c():
    # What is started in the background of a shell inherits that Ctrl-C is ignored.
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def wait_for(found, process, seconds=90):
    deadline = time.monotonic() + seconds
    while not found() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)
    assert found(), process.communicate()


def test_killed_and_resumed_gives_what_an_unbroken_run_gives(recipe_file, tmp_path):
    broken, unbroken = tmp_path / "broken", tmp_path / "unbroken"
    with begin(recipe_file, broken, "--workers", "1", "--set", TUNE) as process:
        wait_for(lambda: list((broken / "cells").glob("gene.*.json")), process)
        os.killpg(process.pid, signal.SIGKILL)
    done = times(broken)
    assert process.returncode == -signal.SIGKILL
    assert 1 <= len(done) < 4
    assert not (broken / "results.json").exists()
    comparison(recipe_file, broken, TUNE).run()
    comparison(recipe_file, unbroken, TUNE).run()
    assert results(broken) == results(unbroken)
    assert {name: times(broken)[name] for name in done} == done
    assert len(times(broken)) == 4


def test_a_finished_comparison_does_nothing_again(recipe_file, tmp_path, monkeypatch):
    comparison(recipe_file, tmp_path / "out").run()
    done = times(tmp_path / "out")
    monkeypatch.setattr(cells.Run, "fit", None)
    comparison(recipe_file, tmp_path / "out").run()
    assert times(tmp_path / "out") == done
    found = results(tmp_path / "out")
    assert [(cell["arm"], cell["seed"]) for cell in found["cells"]] == [
        ("gene", 0),
        ("scratch", 0),
        ("gene", 1),
        ("scratch", 1),
    ]
    assert all([point["step"] for point in cell["curve"]] == [0, 2, 5] for cell in found["cells"])
    assert all(cell["samples"] == 80 and 0 <= cell["test_accuracy"] <= 1 for cell in found["cells"])
    assert [gene["seed"] for gene in found["genes"]] == [0, 1]


def test_another_recipe_in_the_same_folder_is_refused(recipe_file, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "recipe.json").write_text(json.dumps({"title": "another"}))
    with pytest.raises(SettingError, match=r"another recipe.*--overwrite"):
        comparison(recipe_file, out).run()
    assert [path.name for path in out.iterdir()] == ["recipe.json"]


def test_a_folder_that_holds_no_comparison_is_not_resumed(recipe_file, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/mine").write_text("x")
    with pytest.raises(SettingError, match="no comparison to resume"):
        comparison(recipe_file, tmp_path / "out").run()
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine"]


def test_what_cannot_be_run_writes_nothing(recipe_file, tmp_path):
    for change, kind in (("sizes=[width=7]", SettingError), ("images_per_class=[999]", DataError)):
        with pytest.raises(kind):
            comparison(recipe_file, tmp_path / "out", change).run()
    assert not (tmp_path / "out").exists()


def test_two_workers_give_what_one_gives(recipe_file, tmp_path):
    comparison(recipe_file, tmp_path / "one", "one_gene=true").run()
    two = comparison(recipe_file, tmp_path / "two", "one_gene=true")
    two.workers = 2
    two.run()
    assert results(tmp_path / "two") == results(tmp_path / "one")


def test_ctrl_c_with_workers_stops_at_once_and_quietly(recipe_file, tmp_path):
    out = tmp_path / "out"
    with begin(recipe_file, out, "--workers", "2", "--set", "ancestor.train.steps=100000") as process:
        wait_for(lambda: len(list(out.glob("seeds/*/ancestor.*/train/settings.json"))) == 2, process)
        os.killpg(process.pid, signal.SIGINT)
        try:
            _, err = process.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    assert process.returncode == 130
    assert err == "germline: interrupted; the same command with --resume goes on\n"
    deadline = time.monotonic() + 10
    while left := group(process.pid):
        assert time.monotonic() < deadline, left
        time.sleep(0.05)


def group(leader):
    """Processes of a group that are still there, the dead that nobody has asked after left out."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, pgrp = stat.read_text().rpartition(") ")[2].split()[:3]
            found += [stat.parent.name] if int(pgrp) == leader and state != "Z" else []
    return found


def test_an_error_in_a_worker_is_told_as_it_is(recipe_file, tmp_path):
    work = comparison(recipe_file, tmp_path / "out", "ancestor.train.lr=1e30")
    work.workers = 2
    with pytest.raises(TrainingError, match="at step"):
        work.run()
    deadline = time.monotonic() + 10
    while left := multiprocessing.active_children():
        assert time.monotonic() < deadline, left
        time.sleep(0.05)


def test_a_worker_that_was_killed_is_a_failed_training():
    assert _worker_died().exit_code == 3
    assert "--workers" in str(_worker_died())


def test_price_counts(recipe_file):
    found = price(load_recipe(str(recipe_file)))
    # 2 arms x 1 size x 1 number of pictures x 2 seeds, each 5 steps of 16 pictures
    assert (found.cells, found.seeds, found.samples) == (4, 2, 4 * 5 * 16)
    assert (found.tuning_cells, found.tuning_samples) == (0, 0)
    assert (found.ancestors, found.ancestor_samples) == (2, 2 * 3 * 16)
    assert (found.genes, found.gene_samples) == (2, 2 * 3 * 16)


def test_price_counts_the_grid_and_its_seed(recipe_file):
    found = price(load_recipe(str(recipe_file), [TUNE]))
    assert (found.tuning_cells, found.tuning_samples) == (4, 4 * 5 * 16)
    assert (found.ancestors, found.genes) == (3, 3)


@pytest.mark.parametrize(
    ("changes", "ancestors", "genes", "condensed"),
    [
        # one of the ancestor's own form for the gene, one of each further size for the fine-tuned
        (("arms.finetune.method=finetune", "sizes=[depth=1, depth=2]"), 2 * 3, 2 * (1 + 2), 2),
        (("arms.finetune.method=finetune", "sizes=[depth=1, depth=6]"), 2 * 2, 2 * (1 + 2), 2),
        (("arms.gene={method: finetune}", "sizes=[depth=1, depth=2]"), 2 * 2, 2 * 2, 0),
        (("arms.gene={method: finetune}", "sizes=[depth=1, depth=2]", "one_gene=true"), 2, 2, 0),
        (("arms={scratch: {method: scratch}}",), 0, 0, 0),
        (("arms.finetune.method=finetune", TUNE), 2 * 2 + 2, 3 * 2, 3),
    ],
)
def test_price_counts_ancestors_of_their_own_size(recipe_file, changes, ancestors, genes, condensed):
    found = price(load_recipe(str(recipe_file), changes))
    assert (found.ancestors, found.genes) == (ancestors, genes)
    assert found.ancestor_samples == ancestors * 3 * 16
    # a fine-tuned network's gene is the ancestor as it is and costs nothing more
    assert found.gene_samples == condensed * 3 * 16


def test_price_is_what_a_run_makes(recipe_file, tmp_path):
    work = comparison(recipe_file, tmp_path / "out", "arms.finetune.method=finetune", "sizes=[depth=1, depth=6]")
    told = price(work.recipe)
    work.run()
    found = results(tmp_path / "out")
    assert len(found["cells"]) == told.cells
    assert sum(cell["samples"] for cell in found["cells"]) == told.samples
    assert sum(cell["flops"] for cell in found["cells"]) == told.flops
    made = list((tmp_path / "out/seeds").glob("*/ancestor.*"))
    assert len(made) == told.ancestors
    assert len(list((tmp_path / "out/seeds").glob("*/gene.*/learngene.json"))) == told.genes


def test_genes_are_made_for_the_seeds_and_sizes_that_need_them(recipe_file, tmp_path):
    def needs(*changes):
        return comparison(recipe_file, tmp_path, *changes)._workshop().gene_sizes()

    assert needs() == {0: ("depth=1",), 1: ("depth=1",)}
    assert needs(TUNE) == {0: ("depth=1",), 1: ("depth=1",), 7: ("depth=3",)}
    assert needs(TUNE, "one_gene=true") == {0: ("depth=1", "depth=3")}
