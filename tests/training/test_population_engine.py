"""`auto`: engines are measured on copies at a small cost, and the choice is saved."""

import json
import time

import pytest

from germline.training import CrossEntropy, Run, TrainSettings
from germline.training import population_engine as engines
from germline.training.population import Population
from germline.training.trainer import TrainingLog
from helpers.populations import difference, states, train


class Idle:
    """A third engine that trains no member and takes a given time."""

    def __init__(self, seconds=0.0, error=None):
        self.name, self.calls, self._seconds, self._error = "idle", [], seconds, error

    def unsupported_reason(self, population):
        return None

    def members_at_once(self, population):
        return 1

    def train(self, population, progress):
        self.calls.append(len(population.members))
        if self._error:
            raise self._error
        time.sleep(self._seconds)
        return [(TrainingLog(), 0.0) for _ in population.members]


@pytest.fixture
def register_idle(monkeypatch):
    """Function that registers a third engine, without a limit on the measuring cost."""

    def make(*given, **options):
        engine = Idle(*given, **options)
        monkeypatch.setitem(engines.ENGINES, "idle", engine)
        monkeypatch.setattr(engines, "PLANNED_SHARE", 10.0)
        monkeypatch.setattr(engines, "MAX_SHARE", 10.0)
        return engine

    return make


def read_choices(folder):
    (choice,) = json.loads((folder / "engine.json").read_text()).values()
    return choice


def test_auto_measures_on_copies_and_takes_the_fastest(make_members, register_idle, tmp_path):
    idle, members = register_idle(), make_members(val=True)
    before, objective = states(members), CrossEntropy()
    train(members, engine="auto", folder=tmp_path, objective=objective)
    assert idle.calls == [1, 1, 3]  # two measurements, then the training
    assert difference(before, states(members)) == 0  # the engines were measured on copies
    choice = read_choices(tmp_path)
    assert (choice["way"], choice["why"]) == ("idle", "measured")
    assert choice["seconds_a_member_step"].keys() == {"loop", "vmap", "idle"}
    assert choice["seconds_a_member_step"]["idle"] < choice["seconds_a_member_step"]["loop"]
    (key,) = json.loads((tmp_path / "engine.json").read_text())
    for part in ("VGG(image_size=16", "3 members", "all together", "batch 12", "18 member-steps", "cpu"):
        assert part in key


def test_engine_chooser_follows_the_saved_choice(make_members, register_idle, tmp_path):
    register_idle()
    train(make_members(), engine="auto", folder=tmp_path)
    slow = register_idle(0.5)
    train(make_members(), engine="auto", folder=tmp_path)
    assert slow.calls == [3]  # it was not measured again
    known = json.loads((tmp_path / "engine.json").read_text())
    for choice in known.values():
        choice["way"] = "vmap"
    (tmp_path / "engine.json").write_text(json.dumps(known))
    followed, stacked, looped = make_members(), make_members(), make_members()
    train(followed, engine="auto", folder=tmp_path)
    train(stacked, engine="vmap")
    train(looped, engine="loop")
    assert slow.calls == [3]
    assert difference(states(followed), states(stacked)) == 0
    assert difference(states(followed), states(looped)) > 0
    assert json.loads((tmp_path / "engine.json").read_text()) == known


def test_engine_chooser_replaces_an_unknown_choice(make_members, register_idle, tmp_path, monkeypatch):
    register_idle()
    train(make_members(), engine="auto", folder=tmp_path)
    monkeypatch.delitem(engines.ENGINES, "idle")
    train(make_members(), engine="auto", folder=tmp_path)
    assert read_choices(tmp_path)["way"] in ("loop", "vmap")


def test_engine_chooser_remembers_without_a_folder(make_members, register_idle):
    idle = register_idle()
    run, settings = Run(device="cpu", quiet=True), TrainSettings(steps=6, batch_size=12)
    for _ in range(2):
        run.fit_population("all", make_members(), settings)
    assert idle.calls == [1, 1, 3, 3]
    run.fit_population("all", make_members(), settings.model_copy(update={"batch_size": 8}))
    assert idle.calls == [1, 1, 3, 3, 1, 1, 3]


def test_engine_chooser_does_not_measure_few_steps(make_members, tmp_path):
    one, other = make_members(), make_members()
    train(one, engine="auto", folder=tmp_path)
    train(other, engine="loop")
    assert difference(states(one), states(other)) == 0
    choice = read_choices(tmp_path)
    assert choice["way"] == "loop"
    assert choice["why"].startswith("not measured")
    assert choice["seconds_a_member_step"] == {}


def test_measure_engines_skips_one_that_fails(make_members, register_idle, tmp_path, monkeypatch):
    broken = register_idle(error=RuntimeError("out of memory\nand more"))
    monkeypatch.delitem(engines.ENGINES, "vmap")
    train(make_members(), engine="auto", folder=tmp_path)
    assert broken.calls == [1]
    assert (read_choices(tmp_path)["way"], read_choices(tmp_path)["why"]) == (
        "loop",
        "measured; idle failed on trial: out of memory",
    )


def test_measure_engines_stops_at_the_cost_limit(make_members, register_idle, monkeypatch):
    members = make_members()
    slow = register_idle(0.2)
    monkeypatch.delitem(engines.ENGINES, "vmap")
    settings = TrainSettings(steps=6, batch_size=12)
    population = Population(tuple(members), CrossEntropy(), settings, Run(device="cpu", quiet=True).fabric)
    monkeypatch.setattr(engines, "MAX_SHARE", 0.5)
    seconds, _ = engines.measure_engines(population, engines.ENGINES)
    assert slow.calls == [1]  # one step is enough to stop
    assert seconds["idle"] > 0.2
    assert engines.choose_fastest(seconds) == "loop"


def test_choose_fastest_needs_a_clear_margin():
    assert engines.choose_fastest({"loop": 1.0, "vmap": 0.97}) == "loop"
    assert engines.choose_fastest({"loop": 1.0, "vmap": 0.9, "third": 0.8}) == "third"
    assert engines.choose_fastest({}) == "loop"
