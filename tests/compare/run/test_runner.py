"""A short comparison: killed and resumed, refused, and with failed parts."""

import contextlib
import json
import multiprocessing
import os
import random
import signal
import time
from pathlib import Path

import pytest

from germline.compare.run import train_cell
from germline.compare.run.gene_tasks import AncestorTask
from germline.compare.run.store import ArtifactStore
from germline.errors import DataError, SettingError
from helpers.comparison import comparison, list_stored, results
from helpers.processes import command, started

# A learning rate so large that the loss becomes infinite at once.
BURST = "arms.burst={method: scratch, train: {lr: 1e30}}"


def start_process(recipe_file, out, *more):
    words = command("compare", recipe_file, "--out", out, "--quiet", *more)
    return started(words, recipe_file.parent)


@pytest.mark.parametrize("nth", [0, 1, 2])
def test_killed_and_resumed_run_equals_unbroken_run(recipe_file, finished_out, tmp_path, nth):
    broken = tmp_path / "broken"
    # Each case kills the process when the store contains another kind of part.
    pattern = ("ancestor-*", "gene-*/learngene.json", "cell-*.json")[nth]
    with start_process(recipe_file, broken, "--workers", "1") as process:
        process.wait_for(lambda: list((broken / "store").glob(pattern)))
        time.sleep(random.Random(nth).random() * 0.1)
        os.killpg(process.pid, signal.SIGKILL)
        assert process.wait().returncode == -signal.SIGKILL
    assert not (broken / "results.json").exists()
    cells, parts = list_stored(broken / "store", "cell"), list_stored(broken / "store", "gene")
    assert len(cells) < 4
    assert bool(cells) == (nth == 2)
    comparison(recipe_file, broken).run()
    assert results(broken) == results(finished_out)
    after = list_stored(broken / "store")
    assert {name: after[name] for name in (*cells, *parts)} == {**cells, **parts}
    assert after.keys() == list_stored(finished_out / "store").keys()


def test_results_contain_no_local_path(finished_out):
    text = (finished_out / "results.json").read_text()
    assert str(finished_out.parent) not in text
    assert f"{Path.home()}/" not in text


def test_stored_results_have_every_cell_and_gene(finished_results):
    assert [(cell["asked"]["arm"], cell["asked"]["seed"]) for cell in finished_results["cells"]] == [
        ("gene", 0),
        ("scratch", 0),
        ("gene", 1),
        ("scratch", 1),
    ]
    for cell in finished_results["cells"]:
        assert [point["step"] for point in cell["curve"]] == [0, 2, 5]
        assert (cell["samples"], cell["lr"], cell["steps"]) == (80, 1e-3, 5)
        assert 0 <= cell["test_accuracy"] <= 1
        assert 0 <= cell["probe_accuracy"] <= 1
        assert sum(cell["origins"].values()) == cell["parameters"] > cell["headless_parameters"]
    assert [gene["seed"] for gene in finished_results["genes"]] == [0, 1]
    assert finished_results["failed"] == {}


def test_finished_comparison_trains_nothing_again(finished_out, recipe_file, monkeypatch):
    monkeypatch.setattr(train_cell.Run, "fit", None)
    before, stored = list_stored(finished_out / "store"), results(finished_out)
    comparison(recipe_file, finished_out).run()
    assert (list_stored(finished_out / "store"), results(finished_out)) == (before, stored)


def test_other_recipe_in_same_folder_is_refused(recipe_file, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "recipe.json").write_text(json.dumps({"title": "another"}))
    with pytest.raises(SettingError, match=r"another comparison.*--overwrite"):
        comparison(recipe_file, out).run()
    assert [path.name for path in out.iterdir()] == ["recipe.json"]


def test_folder_without_comparison_is_not_resumed(recipe_file, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/mine").write_text("x")
    with pytest.raises(SettingError, match="no comparison to resume"):
        comparison(recipe_file, tmp_path / "out").run()
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine"]


def test_refused_recipe_writes_nothing(recipe_file, tmp_path):
    for change, kind in (
        ("sizes=[width=7]", SettingError),
        ("sizes=['', depth=6]", SettingError),
        ("images_per_class=[999]", DataError),
        ("tasks={ways: 11, count: 1}", DataError),
        ("protocol=sizes", SettingError),
    ):
        with pytest.raises(kind):
            comparison(recipe_file, tmp_path / "out", change).run()
    assert not (tmp_path / "out").exists()


def test_arm_must_build_same_network_as_scratch(recipe_file, tmp_path):
    # The own size of the gene comes from its settings, not from the ancestor.
    with pytest.raises(SettingError, match=r"Arm 'gene' at own size has depth=2, scratch has depth=6"):
        comparison(recipe_file, tmp_path / "out", "arms.gene.settings.depth=2", "sizes=['']").check()
    with pytest.raises(SettingError, match=r"Arm 'gene' at depth=1 has width=32, scratch has width=64"):
        comparison(recipe_file, tmp_path / "out", "arms.gene.settings.width=32").check()


def test_failed_cell_is_reported_and_others_run(recipe_file, tmp_path, finished_results):
    work = comparison(recipe_file, tmp_path / "out", BURST)
    work.run()
    found = results(tmp_path / "out")
    names = [f"burst depth=1 3 images per class seed={seed}" for seed in (0, 1)]
    assert list(found["failed"]) == names
    assert all("at step" in reason for reason in found["failed"].values())
    assert work.failed == found["failed"]
    assert found["cells"] == finished_results["cells"]


def test_worker_reports_failed_cell_like_one_process(recipe_file, tmp_path):
    one, two = (comparison(recipe_file, tmp_path / str(n), BURST, "seeds=[0]", workers=n) for n in (1, 2))
    one.run()
    two.run()
    assert one.failed == two.failed != {}
    assert results(tmp_path / "1") == results(tmp_path / "2")
    deadline = time.monotonic() + 10
    while left := multiprocessing.active_children():
        assert time.monotonic() < deadline, left
        time.sleep(0.05)


def test_arm_without_ancestor_fails_and_scratch_runs(recipe_file, tmp_path, finished_results):
    work = comparison(recipe_file, tmp_path / "out", "ancestor.train.lr=1e30")
    work.run()
    found = results(tmp_path / "out")
    reason = found["failed"][AncestorTask(0).name]
    assert "at step" in reason
    assert found["failed"]["gene of gene seed=0"] == reason
    assert found["failed"]["gene depth=1 3 images per class seed=0"] == reason
    assert len(found["failed"]) == 6
    assert found["genes"] == []
    scratch = [cell for cell in finished_results["cells"] if cell["asked"]["arm"] == "scratch"]
    assert found["cells"] == scratch
    assert len(list_stored(tmp_path / "out" / "store", "cell")) == 2


def test_failed_parts_are_retried(recipe_file, tmp_path, monkeypatch, finished_results):
    out = tmp_path / "out"
    gene = ArtifactStore._make_gene

    def fail(self, *arguments):
        raise RuntimeError("out of memory\nand more")

    monkeypatch.setattr(ArtifactStore, "_make_gene", fail)
    comparison(recipe_file, out).run()
    assert results(out)["failed"]["gene of gene seed=0"] == "RuntimeError: out of memory"
    monkeypatch.setattr(ArtifactStore, "_make_gene", gene)
    again = comparison(recipe_file, out)
    again.run()
    assert again.failed == {}
    assert results(out) == finished_results


def test_torch_error_of_one_arm_leaves_the_genes_of_others(recipe_file, tmp_path, monkeypatch, finished_results):
    gene = ArtifactStore._make_gene

    def fail(self, method, *arguments):
        if method.steps == 2:
            raise RuntimeError("out of memory")
        return gene(self, method, *arguments)

    monkeypatch.setattr(ArtifactStore, "_make_gene", fail)
    hungry = "{method: tleg, settings: {steps: 2, batch_size: 16}}"
    arms = "gene: {method: tleg, settings: {steps: 3, batch_size: 16}}, scratch: {method: scratch}"
    comparison(recipe_file, tmp_path / "out", f"arms={{hungry: {hungry}, {arms}}}").run()
    found = results(tmp_path / "out")
    assert list(found["failed"]) == [
        *(f"gene of hungry seed={seed}" for seed in (0, 1)),
        *(f"hungry depth=1 3 images per class seed={seed}" for seed in (0, 1)),
    ]
    assert found["cells"] == finished_results["cells"]


def test_unexpected_error_is_raised(recipe_file, tmp_path, monkeypatch):
    def fail(self, *arguments):
        raise KeyError("a fault")

    monkeypatch.setattr(ArtifactStore, "get_gene", fail)
    with pytest.raises(KeyError, match="a fault"):
        comparison(recipe_file, tmp_path / "out").run()


def test_killed_worker_ends_with_exit_code_three(recipe_file, tmp_path):
    out = tmp_path / "out"
    with start_process(recipe_file, out, "--workers", "2", "--set", "ancestor.train.steps=100000") as process:
        process.wait_for(lambda: len(list(out.glob("store/ancestor-*/ancestor/settings.json"))) == 2)
        (server,) = [pid for pid in list_children(process.pid) if "forkserver" in read_command(pid)]
        workers = list_children(server)
        assert len(workers) == 2
        os.kill(workers[-1], signal.SIGKILL)
        done = process.wait()
    assert done.returncode == 3
    assert done.stderr.startswith("germline: A worker process was killed. It probably ran out of memory.")
    assert "--workers" in done.stderr


def test_ctrl_c_stops_workers_quietly(recipe_file, tmp_path):
    out = tmp_path / "out"
    with start_process(recipe_file, out, "--workers", "2", "--set", "ancestor.train.steps=100000") as process:
        process.wait_for(lambda: len(list(out.glob("store/ancestor-*/ancestor/settings.json"))) == 2)
        os.killpg(process.pid, signal.SIGINT)
        done = process.wait()
    assert done.returncode == 130
    assert done.stderr == "germline: Interrupted. Run the same command with --resume to continue.\n"
    deadline = time.monotonic() + 60
    while left := list_group(process.pid):
        assert time.monotonic() < deadline, left
        time.sleep(0.05)


def list_children(pid):
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def read_command(pid):
    return Path(f"/proc/{pid}/cmdline").read_text()


def list_group(leader):
    """List the running processes of a group; zombies are excluded."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, pgrp = stat.read_text().rpartition(") ")[2].split()[:3]
            found += [stat.parent.name] if int(pgrp) == leader and state != "Z" else []
    return found
