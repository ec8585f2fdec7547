"""Comparisons on a Ray cluster: a killed node or driver changes no result and repeats no finished part."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from germline.compare.run.progress import ProgressDisplay
from germline.compare.run.ray_engine import RayEngine
from germline.errors import SettingError, TrainingError
from helpers.comparison import comparison, list_stored, results
from helpers.ray_tasks import NamedTask

LONG = "train.steps=500"


@pytest.fixture(scope="module")
def one_process(tmp_path_factory):
    """Results of the recipe with long cells in one process."""
    from helpers.comparison import RECIPE

    place = tmp_path_factory.mktemp("one")
    (place / "micro.yaml").write_text(RECIPE)
    comparison(place / "micro.yaml", place / "out", LONG).run()
    return results(place / "out")


class KillingEngine:
    """Runs tasks on Ray, and kills a node of the cluster as soon as both nodes have trained a cell for a while."""

    def __init__(self, cluster, store):
        self._cluster, self._store, self._engine = cluster, store, RayEngine()
        self._victim = next(node for node in cluster.worker_nodes)
        self.steps, self.finished, self.ended = {}, None, []

    def run(self, tasks, store, display):
        self.steps.clear()
        for result in self._engine.run(tasks, store, self):
            self.ended.append(result.task.name)
            yield result

    def describe(self):
        return self._engine.describe()

    def show_task(self, progress):
        """Note the steps of each task; Ray's engine calls this as it calls a display."""
        self.steps.setdefault(progress.task, []).append(progress.step)
        busy = [task for task, steps in self.steps.items() if task not in self.ended and len(steps) >= 3]
        if self.finished is None and len(busy) == 2 and progress.phase == "descendant":
            self.finished = list_stored(self._store)
            self._cluster.remove_node(self._victim, allow_graceful=False)


def test_killed_node_changes_no_result(start_cluster, recipe_file, tmp_path, one_process):
    engine = KillingEngine(start_cluster(), tmp_path / "out" / "store")
    work = comparison(recipe_file, tmp_path / "out", LONG, engine=engine)
    work.run()
    assert work.failed == {}
    assert results(tmp_path / "out") == one_process
    # The killed node ran a task, which started again from its first step.
    assert engine.finished is not None
    assert any(steps != sorted(steps) for steps in engine.steps.values())
    after = list_stored(tmp_path / "out" / "store")
    assert len(engine.finished) >= 4
    assert {name: after[name] for name in engine.finished} == engine.finished


def start_driver(recipe, out, address):
    options = ["--engine", "ray", "--address", address, "--resume", "--quiet", "--set", LONG]
    command = [sys.executable, "-m", "germline.cli", "compare", str(recipe), "--out", str(out), *options]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True)


def test_killed_driver_resumes(start_cluster, recipe_file, tmp_path, one_process):
    cluster, out = start_cluster(connect=False), tmp_path / "out"
    driver = start_driver(recipe_file, out, cluster.address)
    while driver.poll() is None and not list_stored(out / "store", "cell"):
        time.sleep(0.1)
    os.killpg(driver.pid, signal.SIGKILL)
    assert driver.wait() == -signal.SIGKILL
    finished = list_stored(out / "store")
    assert 1 <= len(list_stored(out / "store", "cell")) < 4
    assert start_driver(recipe_file, out, cluster.address).wait() == 0
    after = list_stored(out / "store")
    assert {name: after[name] for name in finished} == finished
    assert {**results(out), "name": "micro"} == one_process
    assert "Ray" in (out / "report.md").read_text()


def test_two_nodes_share_a_store_behind_a_url(start_cluster, recipe_file, tmp_path, monkeypatch):
    monkeypatch.setenv("GERMLINE_CACHE", str(tmp_path / "cache"))
    start_cluster()
    comparison(recipe_file, tmp_path / "one").run()
    store = f"file://{tmp_path / 'remote'}"
    comparison(recipe_file, tmp_path / "out", engine=RayEngine(), store=store).run()
    assert results(tmp_path / "out") == results(tmp_path / "one")
    assert len(list((tmp_path / "remote" / "manifests").iterdir())) == 2 + 2 + 4


def test_failures_are_told_apart(start_cluster, recipe_file, tmp_path):
    start_cluster(1)
    store = comparison(recipe_file, tmp_path / "out")._artifact_store({})
    tasks = [NamedTask("good"), NamedTask("bad", TrainingError), NamedTask("dead", SystemExit)]
    with ProgressDisplay("tasks", 3, quiet=True) as display:
        ended = {result.task.name: result.error for result in RayEngine(retries=1).run(tasks, store, display)}
        assert ended.pop("dead").startswith("Its node or worker died 2 times. The last reason is WorkerCrashedError")
        assert ended == {"good": None, "bad": "The loss is nan."}
        with pytest.raises(KeyError):
            list(RayEngine().run([NamedTask("bug", KeyError)], store, display))
        with pytest.raises(SettingError, match=r"^No node of the cluster has 2 CPUs and 0 GPUs\."):
            list(RayEngine(cpus=2).run(tasks, store, display))
    # Workers may have no access to the output folder of the driver.
    assert Path((store.folder / "good").read_text()) != store.out
    assert {path.name for path in store.folder.iterdir()} == {"good", ".identity", ".identity.lock"}


def test_missing_cluster_is_named(recipe_file, tmp_path):
    command = [sys.executable, "-m", "germline.cli", "compare", str(recipe_file), "--out", str(tmp_path / "out")]
    ended = subprocess.run([*command, "--engine", "ray", "--address", "auto"], capture_output=True, text=True)
    assert ended.returncode == 2
    assert "No Ray cluster answers at 'auto'." in ended.stderr
    assert "Traceback" not in ended.stderr
