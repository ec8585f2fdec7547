"""Checks of a Ray worker before its first task, and options of the Ray engine. Ray is not needed."""

import ast
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

import germline
from germline.cli import app
from germline.compare.run import ray_engine, ray_worker
from germline.compare.run.progress import TaskProgress
from germline.compare.run.progress_mailbox import ProgressMailbox
from germline.compare.run.ray_worker import IDENTITY_FILE, StageContext, fingerprint_all, run_on_node
from germline.data.final_readings import log_final_reading
from germline.errors import SettingError, UnknownNameError
from germline.learngene import library_versions
from helpers.comparison import comparison
from helpers.ray_tasks import NamedTask


@pytest.fixture
def store(recipe_file, tmp_path):
    store = comparison(recipe_file, tmp_path / "out")._artifact_store({})
    store.folder.mkdir(parents=True)
    return store


@pytest.fixture
def context(store, tmp_path):
    (store.folder / IDENTITY_FILE).write_text("same")
    return StageContext("1", "same", library_versions(), fingerprint_all(store), 1, str(tmp_path), "/nonexistent")


@pytest.fixture(autouse=True)
def new_worker(monkeypatch, tmp_path):
    monkeypatch.setattr(ray_worker, "_STORES", {})
    monkeypatch.chdir(tmp_path)


def test_worker_runs_task_in_the_store(store, context):
    assert run_on_node(NamedTask("one"), (store, context, None)) == (None, "")
    assert (store.folder / "one").exists()
    assert run_on_node(NamedTask("two", SettingError), (store, context, None)) == ("The loss is nan.", "")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"identity": "other"}, "does not see the store"),
        ({"versions": {**library_versions(), "torch": "0.4"}}, "has other versions of torch. Results would depend"),
        ({"fingerprints": {"digits": "0"}}, "has other images of digits. Results would depend on the node"),
    ],
)
def test_node_that_differs_is_refused(store, context, changes, message):
    error, _ = run_on_node(NamedTask("one"), (store, replace(context, **changes), None))
    assert message in error
    assert not (store.folder / "one").exists()


class ReadingTask(NamedTask):
    """Task that notes a reading of final data."""

    def __call__(self, store):
        log_final_reading(store.out / "final-readings.jsonl", self.name)


def test_readings_of_final_data_return_to_the_driver(store, context):
    error, readings = run_on_node(ReadingTask("cell 1"), (store, context, None))
    assert error is None
    assert '"why": "cell 1"' in readings
    assert run_on_node(NamedTask("two"), (store, context, None)) == (None, "")
    assert not store.out.joinpath("final-readings.jsonl").exists()


def test_mailbox_holds_the_latest_progress_of_each_task():
    mailbox = ProgressMailbox()
    for task, step in (("a", 1), ("b", 1), ("a", 2)):
        mailbox.put_progress(TaskProgress(task, "fit", step, 9, 1.0))
    assert [(progress.task, progress.step) for progress in mailbox.collect_progress()] == [("a", 2), ("b", 1)]
    assert mailbox.collect_progress() == []


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (["--engine", "rya"], UnknownNameError, "Unknown engine 'rya'. Did you mean ray?"),
        (["--address", "auto"], SettingError, "--address is for --engine ray. The engine is processes. Remove"),
        (["--task-gpus", "0.5"], SettingError, "--task-gpus is for --engine ray. The engine is processes. Remove"),
        (["--engine", "ray", "--workers", "2"], SettingError, "--workers is not for --engine ray."),
        (["--engine", "ray"], SettingError, "It is not installed. Run pip install 'germline[ray]'."),
    ],
)
def test_options_that_do_not_fit_are_refused(recipe_file, tmp_path, monkeypatch, options, error, message):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    out = tmp_path / "out"
    result = CliRunner().invoke(app, ["compare", str(recipe_file), "--out", str(out), *options])
    assert isinstance(result.exception, error)
    assert result.exception.exit_code == 2
    assert message in str(result.exception)
    assert not out.exists()


def test_ray_is_imported_only_when_its_engine_connects():
    places = []
    for path in Path(germline.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
            if any(name.split(".")[0] == "ray" for name in names):
                places.append((path.name, node.col_offset > 0))
    assert places == [("ray_engine.py", True)] * 2


class RayWithoutNodes:
    """Ray without nodes: the first wait ends without a task, the second with all."""

    waits = 0

    def nodes(self):
        return [{"Alive": False, "Resources": {"CPU": 8.0, "GPU": 1.0}}]

    def wait(self, waiting, **_):
        self.waits += 1
        return ([], waiting) if self.waits == 1 else (waiting, [])


def test_tasks_that_no_node_can_run_are_announced(monkeypatch, capsys):
    monkeypatch.setattr(ray_engine, "LONG_WAIT_SECONDS", -1.0)
    mailbox = SimpleNamespace(collect_progress=SimpleNamespace(remote=lambda: None))
    pending = {"reference": NamedTask("one")}
    share = {"num_cpus": 1.0, "num_gpus": 0.5}
    for reference in ray_engine._wait_for_each(RayWithoutNodes(), pending, share, mailbox, None):
        del pending[reference]
    expected = "germline: No node of the cluster has 1 CPUs and 0.5 GPUs now. Tasks wait for one.\n"
    assert capsys.readouterr().err == expected
