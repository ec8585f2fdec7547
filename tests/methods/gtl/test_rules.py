"""Settings of selection: defaults of each set of rules, and dumps that are equal to those of earlier genes."""

import json
from pathlib import Path

import pytest

from germline.baselines.circuit import CircuitBaseline
from germline.baselines.random_gene import RandomGene
from germline.errors import SettingError
from germline.learngene import Learngene
from germline.methods.gtl.method import GTL
from germline.methods.gtl.rules import NEW_SETTINGS, PUBLISHED

GOLDEN = Path(__file__).parents[2] / "golden" / "genes"


def test_default_rules_are_the_current_ones():
    rules = GTL()
    assert (rules.rules, rules.scores, rules.breeders, rules.fitness) == ("current", "raw", "winners", "loss")
    assert (rules.tasks_per_gene, rules.critic_seeds, rules.critics_per_gene) == (3, 2, 6)
    assert rules.protected_steps > 0


@pytest.mark.parametrize("preset", ["full", "lab", "tiny"])
def test_published_rules_override_the_preset_but_not_given_settings(preset):
    rules = GTL(preset=preset, rules="published")
    assert {key: getattr(rules, key) for key in PUBLISHED} == dict(PUBLISHED)
    changed = GTL(preset=preset, rules="published", critic_seeds=2, fitness="life")
    assert (changed.critic_seeds, changed.fitness, changed.scores) == (2, "life", "per-task")


@pytest.mark.parametrize("fitness", ["critic", "life"])
@pytest.mark.parametrize("selection", ["fitness", "drift"])
def test_dump_of_published_rules_has_the_keys_of_the_first_release(selection, fitness):
    rules = GTL(preset="lab", rules="published", selection=selection, fitness=fitness)
    dump = rules.model_dump(mode="json")
    saved = json.loads((GOLDEN / "gtl" / "learngene.json").read_text(encoding="utf-8"))["settings"]
    assert dump.keys() == saved.keys()
    assert GTL.model_validate(dump) == rules


def test_gene_of_the_first_release_keeps_its_rules():
    gene = Learngene.load(GOLDEN / "gtl")
    method = gene.bound_method()
    assert (method.rules, method.scores, method.protected_steps) == ("published", "per-task", 0)
    assert method.model_dump(mode="json") == gene.settings
    shuffled = RandomGene(method="gtl", settings=dict(gene.settings))
    assert shuffled.settings == gene.settings
    assert shuffled.delegate() == method


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"rules": "published", "scores": "raw"},
        {"rules": "published", "protected_steps": 2},
        {**PUBLISHED},
        {"selection": "line"},
    ],
    ids=["defaults", "other scores", "protected", "by hand", "line"],
)
def test_dumps_of_other_rules_have_the_new_settings(changes):
    rules = GTL(preset="tiny", **changes)
    dump = rules.model_dump(mode="json")
    assert dump.keys() >= NEW_SETTINGS
    assert GTL.model_validate(dump) == rules


def test_circuit_without_protection_has_the_dump_of_the_first_release():
    assert CircuitBaseline().model_dump(mode="json") == {"share": 0.2, "choose": "random"}
    saved = Learngene.load(GOLDEN / "circuit")
    assert saved.bound_method().model_dump(mode="json") == saved.settings
    protected = CircuitBaseline(protected_steps=4, inherited_rate=0.5)
    assert CircuitBaseline.model_validate(protected.model_dump(mode="json")) == protected


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tasks_per_gene": 4}, "tasks_per_gene=4 is more than critic_tasks=3"),
        ({"critic_tasks": 1}, "Set tasks_per_gene=1 or less"),
        ({"selection": "line", "fitness": "life"}, "judged by critics"),
        ({"scores": "per task"}, "scores"),
        ({"rules": "old"}, "rules"),
        ({"selection": "published"}, "selection"),
        ({"breeders": "all"}, "breeders"),
        ({"fitness": "accuracy"}, "fitness"),
        ({"critic_seeds": 0}, "critic_seeds"),
        ({"tasks_per_gene": 0}, "tasks_per_gene"),
        ({"protected_steps": -1}, "protected_steps"),
        ({"protected_steps": 0.5}, "protected_steps"),
        ({"inherited_rate": 1.5}, "inherited_rate"),
        ({"inherited_rate": -0.1}, "inherited_rate"),
        ({"inherited_rate": float("nan")}, "inherited_rate"),
    ],
)
def test_invalid_settings_are_refused(settings, message):
    with pytest.raises(SettingError, match=message):
        GTL(**settings)


@pytest.mark.parametrize("preset", ["full", "lab", "tiny"])
def test_line_has_as_many_steps_as_a_generation_within_one_life(preset):
    rules = GTL(preset=preset)
    steps = rules.lives_per_line * rules.life.steps + rules.critics_per_gene * rules.critic_steps
    assert 0 <= rules.steps_per_generation - steps < rules.life.steps
