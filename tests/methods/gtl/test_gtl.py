"""An evolution from its first generation to its gene, on tiny real networks."""

from dataclasses import replace

import pytest
import torch
from pydantic import ValidationError

from germline.data import load_data, split_classes
from germline.errors import DataError, SettingError, UnknownNameError
from germline.methods.gtl.circuits import circuit_spec
from germline.methods.gtl.method import GTL
from germline.methods.gtl.population import Mutation
from germline.training import Run, TrainSettings

TINY = {"preset": "tiny", "ways": 3}


def evolve(images, folder=None, seed=0, **settings):
    run = Run(folder, seed=seed, device="cpu", quiet=True)
    return GTL(**{**TINY, **settings}).condense(None, images, run)


def same(one, other):
    assert one.tensors.keys() == other.tensors.keys()
    assert all(torch.equal(value, other.tensors[name]) for name, value in one.tensors.items())


@pytest.fixture(scope="module")
def evolved(pico):
    return evolve(pico)


def test_presets_are_filled_in_and_changed():
    lab, tiny = GTL(), GTL(preset="tiny", population=6, life={"lr": 0.2})
    assert (lab.preset, lab.model, lab.population, lab.life.optimizer) == ("lab", "vgg11_x025", 9, "sgd")
    assert (tiny.population, tiny.size, tiny.life.lr, tiny.life.steps) == (6, "width=4", 0.2, 3)
    assert GTL(preset="full").generations == 100
    assert GTL.model_validate(tiny.model_dump(mode="json")) == tiny
    assert GTL(life=TrainSettings(lr=0.5)).life.model_copy(update={"lr": 0.02}) == lab.life


def test_a_life_is_counted_in_steps():
    with pytest.raises(ValidationError, match="A life is counted in steps"):
        GTL(life={"steps": None, "epochs": 2})


def test_the_gene_is_the_circuit_alone(evolved):
    narrow = circuit_spec(evolved.spec, 0.2)
    assert evolved.classes is None
    assert not [name for name in evolved.tensors if name.startswith("head")]
    first = evolved.tensors["stages.0.blocks.0.conv.weight"]
    assert tuple(first.shape) == (narrow.widths[0][0], 1, 3, 3)
    assert {name: tensor.numel() for name, tensor in evolved.tensors.items()} == dict(
        evolved.bound_method().cost(evolved.spec, 0, 0).stored
    )


def test_the_record_of_an_evolution(evolved):
    record, origin = evolved.provenance.record, evolved.provenance
    tree, generations = record["gene_tree"], record["generations"]
    assert [row["id"] for row in tree] == list(range(4 * len(generations)))
    assert all(row["father"] is None for row in tree if row["generation"] == 0)
    assert all(row["father"] < row["id"] for row in tree if row["generation"] > 0)
    # Two tournaments of two a generation, each with one winner; fathers are winners of an earlier generation.
    for number in range(len(generations)):
        assert sum(row["won"] for row in tree if row["generation"] == number) == 2
    won = {row["id"] for row in tree if row["won"]}
    assert {row["father"] for row in tree} - {None} <= won
    assert sum(row["final"] for row in tree) == 1
    assert [row["pool"] for row in tree if row["final"]] == [True]
    own = [row["fitness"] for row in tree if row["generation"] == 1]
    assert generations[1]["fitness"] == pytest.approx(sum(own) / 4)
    assert generations[1]["best"] == max(own)
    # Four networks of three steps and as many critics of two, three generations; four last critics of two; eight each.
    assert (
        origin.training["samples"] == 8 * (4 * 3 * (3 + 2) + 2 * 2 * 2) == GTL(**TINY).cost(evolved.spec, 0, 0).samples
    )
    assert 0 <= origin.metrics["fitness on held-out tasks"] <= 1


def test_the_same_seed_gives_the_same_gene_and_another_another(evolved, pico):
    same(evolved, evolve(pico))
    other = evolve(pico, seed=1)
    assert not torch.equal(
        other.tensors["stages.0.blocks.0.conv.weight"], evolved.tensors["stages.0.blocks.0.conv.weight"]
    )


class KilledError(Exception):
    """Raised in place of a kill."""


@pytest.mark.parametrize("at", [1, 3, 5, 6])
def test_a_killed_evolution_resumes_to_the_same_gene(evolved, pico, tmp_path, monkeypatch, at):
    whole, calls = Run.fit_population, []

    def dying(*args, **keywords):
        calls.append(1)
        if len(calls) == at:
            raise KilledError
        return whole(*args, **keywords)

    monkeypatch.setattr(Run, "fit_population", dying)
    with pytest.raises(KilledError):
        evolve(pico, tmp_path)
    monkeypatch.undo()
    same(evolved, evolve(pico, tmp_path))
    # The next generation needs the last one alone; one more stays in case it is damaged.
    assert [path.name for path in sorted(tmp_path.glob("generation-*"))] == ["generation-001", "generation-002"]


def test_a_damaged_generation_is_made_again_from_the_one_before(evolved, pico, tmp_path):
    evolve(pico, tmp_path)
    held = tmp_path / "generation-002" / "kept.safetensors"
    held.write_bytes(held.read_bytes()[:-1] + b"\x01")
    same(evolved, evolve(pico, tmp_path))


def test_a_resume_with_other_settings_is_refused(pico, tmp_path):
    evolve(pico, tmp_path, generations=0)
    with pytest.raises(SettingError, match="was started with generations=0, now generations=1"):
        evolve(pico, tmp_path, generations=1)


def test_drift_draws_its_winners_with_equal_scores(pico):
    tree = evolve(pico, selection="drift", population=6, tournament=3).provenance.record["gene_tree"]
    assert {row["score"] for row in tree} == {1.0}
    groups = [[row for row in tree if row["generation"] == number] for number in range(3)]
    best = [max(group, key=lambda row: row["fitness"]) for group in groups]
    assert not all(row["won"] for row in best)


def test_lives_and_critics_are_the_same_under_drift(evolved, pico):
    """The first generations of selection and drift are equal to the bit."""
    first, other = (
        [row for row in gene.provenance.record["gene_tree"] if row["generation"] == 0]
        for gene in (evolved, evolve(pico, selection="drift"))
    )
    assert [(row["fitness"], row["task"], row["critic_task"]) for row in first] == [
        (row["fitness"], row["task"], row["critic_task"]) for row in other
    ]


def test_fitness_of_a_life_needs_no_critics_but_the_last(pico):
    gene = evolve(pico, fitness="life", generations=1)
    assert gene.provenance.training["samples"] == 8 * (4 * 2 * 3 + 2 * 2 * 2)
    assert all(row["critic_task"] == row["task"] for row in gene.provenance.record["gene_tree"])


def test_without_mutation_circuits_stay_those_of_their_fathers(pico):
    tree = evolve(pico, mutation=0.0).provenance.record["gene_tree"]
    assert {row["similarity"] for row in tree} == {1.0}
    mutated = evolve(pico, mutation=1.0, mutation_rate=0.5).provenance.record["gene_tree"]
    later = [row["similarity"] for row in mutated if row["generation"] > 0]
    assert max(later) < 1
    assert {row["similarity"] for row in mutated if row["generation"] == 0} == {1.0}


def test_patience_ends_it(pico):
    # An evolution without patience stops at the first generation that is not better.
    gene = evolve(pico, generations=6, patience=1)
    generations = gene.provenance.record["generations"]
    assert len(generations) <= 7
    means = [entry["winners"] for entry in generations]
    if len(means) < 7:
        assert means[-1] <= max(means[:-1])


def test_critics_are_other_classes_than_lives(pico):
    lived, judged = split_classes(pico, 0.2, 3, 0)
    assert not set(lived.classes) & set(judged.classes)
    assert len(lived.classes) + len(judged.classes) == len(pico.classes) == 10
    assert len(judged.classes) == 3
    with pytest.raises(DataError, match="two parts of 6 are needed"):
        split_classes(pico, 0.2, 6, 0)
    trainer = GTL(**TINY).build_trainer(pico, Run(seed=3, device="cpu", quiet=True))
    used = {name for task in trainer.tasks for name in task.classes}
    assert not used & {name for task in trainer.critic_tasks for name in task.classes}


def test_held_out_classes_may_be_data_of_their_own():
    named = load_data("glyphs/base,held_out=glyphs/open")
    trainer = GTL(**TINY).build_trainer(named, Run(device="cpu", quiet=True))
    assert set(trainer.tasks[0].classes) <= set(named.classes)
    assert set(trainer.critic_tasks[0].classes) <= set(load_data("glyphs/open").classes)
    assert named.fingerprint() != load_data("glyphs/base").fingerprint()


@pytest.mark.parametrize(
    ("settings", "error", "text"),
    [
        ({"model": "vit_pico"}, SettingError, "Gtl cannot evolve a vit"),
        ({"model": "vgg12"}, UnknownNameError, "vgg12"),
        ({"size": "depth=12"}, SettingError, "11, 13, 16 or 19"),
        ({"ways": 6}, DataError, "two parts of 6 are needed"),
    ],
)
def test_bad_settings_are_refused_before_anything_runs(pico, settings, error, text):
    with pytest.raises(error, match=text):
        evolve(pico, **settings)


def test_true_features_score_above_noise():
    """Critics prefer genes of trained networks to genes of untrained ones at the same channels.

    Three cases; benchmarks/gtl_planted.py has twenty.
    """
    rules = GTL(preset="tiny", size="width=8", life={"steps": 60, "lr": 0.1, "batch_size": 20}, critic_steps=15)
    for seed in range(3):
        lived = rules.build_trainer(load_data("digits"), Run(seed=seed, device="cpu", quiet=True))
        unborn = replace(lived, life=lived.life.model_copy(update={"steps": 0}))
        circuit = lived.draw_gene("planted").circuit
        networks = [trainer.train_generation(0, [0], [None], is_evaluated=False)[0][0] for trainer in (lived, unborn)]
        genes = [lived.extract_gene(network, circuit, Mutation(0, 0, 0)) for network in networks]
        true, noise = (
            [result.accuracy for result in lived.judge_genes([gene] * 2, [0, 1], ["a", "b"])] for gene in genes
        )
        assert sum(true) > sum(noise)
