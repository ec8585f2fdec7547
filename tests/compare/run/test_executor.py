"""Engines give the same results, and show their progress."""

import threading
import time

import pytest

from germline.compare.run import progress as task_progress
from germline.compare.run.executor import ProcessEngine, SerialEngine, TaskResult
from germline.compare.run.progress import ProgressDisplay, TaskProgress
from germline.training import progress
from germline.training.progress import Progress, watch_progress
from helpers.comparison import comparison, results


class Threads:
    """Custom engine that runs each task in a thread, one after another."""

    def __init__(self):
        self.done = []

    def run(self, tasks, store, display):
        for task in tasks:
            thread = threading.Thread(target=task, args=(store,))
            thread.start()
            thread.join()
            self.done.append(task.name)
            yield TaskResult(task)

    def describe(self):
        return "threads of a test"


def test_custom_engine_gives_same_results(recipe_file, tmp_path, finished_results):
    engine = Threads()
    work = comparison(recipe_file, tmp_path / "out", engine=engine)
    work.run()
    assert results(tmp_path / "out") == finished_results
    assert '"device": "threads of a test"' in (tmp_path / "out" / "results.json").read_text()
    assert engine.done[:4] == ["ancestor seed=0", "ancestor seed=1", "gene of gene seed=0", "gene of gene seed=1"]
    assert sorted(engine.done[4:]) == [
        f"{arm} depth=1 3 images per class seed={seed}" for arm in ("gene", "scratch") for seed in (0, 1)
    ]


def test_processes_give_same_results_as_one_process(recipe_file, tmp_path, finished_results):
    comparison(recipe_file, tmp_path / "out", workers=2).run()
    assert results(tmp_path / "out") == finished_results


def test_number_of_workers_selects_engine(recipe_file, tmp_path, monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 6)
    one, two, all_ = (comparison(recipe_file, tmp_path, workers=count)._get_engine() for count in (1, 2, 0))
    assert (type(one), two, all_) == (SerialEngine, ProcessEngine(2), ProcessEngine(6))
    assert two.describe() == "cpu, 2 processes of 3 threads"
    assert ProcessEngine(7).threads == 1


@pytest.fixture
def clock(monkeypatch):
    """Clock that only the test advances."""
    now = [time.monotonic()]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def test_finished_task_prints_line_with_time_left(clock, capsys):
    with ProgressDisplay("cells", 4) as display:
        clock[0] += 10
        display.end_task("gene seed=0", None)
        clock[0] += 20
        display.end_task("gene seed=1", "the loss is nan")
        display.end_task("gene seed=2", None)
    assert capsys.readouterr().err.splitlines() == [
        "cells 1/4: gene seed=0; about 30 s left in this stage",
        "cells 2/4: gene seed=1 FAILED: the loss is nan",
        "cells 3/4: gene seed=2; about 10 s left in this stage",
    ]


def test_running_task_prints_line_every_thirty_seconds(clock, capsys):
    with ProgressDisplay("cells", 2) as display:
        for second in range(0, 70, 10):
            clock[0] += 10
            display.show_task(TaskProgress("one", "descendant", second, 70, 70 - second))
    assert capsys.readouterr().err.splitlines() == [
        "  one: descendant, step 30/70, 40 s left",
        "  one: descendant, step 60/70, 10 s left",
    ]


def test_quiet_display_prints_nothing(clock, capsys):
    with ProgressDisplay("cells", 2, quiet=True) as display:
        display.show_task(TaskProgress("one", "descendant", 1, 70, 70))
        clock[0] += 100
        display.show_task(TaskProgress("one", "descendant", 2, 70, 70))
        display.end_task("one", None)
        display.end_task("two", "why")
    assert capsys.readouterr() == ("", "")


def test_comparison_prints_its_stages(recipe_file, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(task_progress, "TASK_LINE_SECONDS", 0.0)
    monkeypatch.setattr(progress, "WATCH_SECONDS", 0.0)
    comparison(recipe_file, tmp_path / "out", "seeds=[0]", quiet=False).run()
    lines = capsys.readouterr().err.splitlines()
    ended = [line.split(";")[0] for line in lines if not line.startswith("  ")]
    assert ended == [
        "ancestors 1/1: ancestor seed=0",
        "genes 1/1: gene of gene seed=0",
        "cells 1/2: gene depth=1 3 images per class seed=0",
        "cells 2/2: scratch depth=1 3 images per class seed=0",
    ]
    running = [line.split(",")[0].strip() for line in lines if line.startswith("  ")]
    assert {"ancestor seed=0: ancestor", "gene depth=1 3 images per class seed=0: descendant"} <= set(running)


def test_watcher_receives_training_progress(clock):
    reports = []
    with Progress("fit", 100, quiet=True) as bar:
        with watch_progress(lambda *report: reports.append(report)):
            for step in range(1, 6):
                clock[0] += 0.3
                bar.update(step, 1.0)
        clock[0] += 10
        bar.update(6, 1.0)
    # every half second at most: steps 2 and 4, at 3.33 steps a second
    assert [report[:3] for report in reports] == [("fit", 2, 100), ("fit", 4, 100)]
    assert [report[3] for report in reports] == pytest.approx([98 * 0.3, 96 * 0.3])


def test_watcher_is_removed_after_error():
    with pytest.raises(RuntimeError), watch_progress(print):
        raise RuntimeError
    assert progress._WATCHERS == []
