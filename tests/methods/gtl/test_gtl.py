"""GTL: an evolution from its first generation to its gene, on tiny real networks."""

import math
from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from germline.data import load_data, split_classes
from germline.errors import DataError, SettingError, UnknownNameError
from germline.methods.gtl.circuits import circuit_spec
from germline.methods.gtl.evolution import Evolution
from germline.methods.gtl.method import GTL
from germline.methods.gtl.population import Mutation, PopulationTrainer
from germline.training import Run, TrainSettings

TINY = {"preset": "tiny", "ways": 3}


def evolve(images, folder=None, seed=0, **settings):
    run = Run(folder, seed=seed, device="cpu", quiet=True)
    return GTL(**{**TINY, **settings}).condense(None, images, run)


def assert_equal_tensors(one, other):
    assert one.tensors.keys() == other.tensors.keys()
    assert all(torch.equal(value, other.tensors[name]) for name, value in one.tensors.items())


@pytest.fixture(scope="module")
def evolved(pico):
    return evolve(pico)


def test_given_settings_override_the_preset():
    lab, tiny = GTL(), GTL(preset="tiny", population=6, life={"lr": 0.2})
    assert (lab.preset, lab.model, lab.population, lab.life.optimizer) == ("lab", "vgg11_x025", 9, "sgd")
    assert (tiny.population, tiny.size, tiny.life.lr, tiny.life.steps) == (6, "width=4", 0.2, 3)
    assert GTL(preset="full").generations == 100
    assert GTL.model_validate(tiny.model_dump(mode="json")) == tiny
    assert GTL(life=TrainSettings(lr=0.5)).life.model_copy(update={"lr": 0.02}) == lab.life


def test_life_in_epochs_is_refused():
    with pytest.raises(SettingError, match="A life is counted in steps"):
        GTL(life={"steps": None, "epochs": 2})


def test_gene_has_only_the_tensors_of_the_circuit(evolved):
    narrow = circuit_spec(evolved.spec, 0.2)
    assert evolved.classes is None
    assert not [name for name in evolved.tensors if name.startswith("head")]
    first = evolved.tensors["stages.0.blocks.0.conv.weight"]
    assert tuple(first.shape) == (narrow.widths[0][0], 1, 3, 3)
    assert {name: tensor.numel() for name, tensor in evolved.tensors.items()} == dict(
        evolved.bound_method().cost(evolved.spec, 0, 0).stored
    )


def test_record_has_gene_tree_generations_and_heredity(evolved):
    record, origin = evolved.provenance.record, evolved.provenance
    tree, generations = record["gene_tree"], record["generations"]
    assert [row["id"] for row in tree] == list(range(4 * len(generations)))
    assert all(row["father"] is None for row in tree if row["generation"] == 0)
    assert all(row["father"] < row["id"] for row in tree if row["generation"] > 0)
    # Each generation has two tournaments of two genes with one winner each. Fathers are earlier winners.
    for number in range(len(generations)):
        assert sum(row["won"] for row in tree if row["generation"] == number) == 2
    won = {row["id"] for row in tree if row["won"]}
    assert {row["father"] for row in tree} - {None} <= won
    assert sum(row["final"] for row in tree) == 1
    assert [row["pool"] for row in tree if row["final"]] == [True]
    own = [row["fitness"] for row in tree if row["generation"] == 1]
    assert generations[1]["fitness"] == pytest.approx(sum(own) / 4)
    assert generations[1]["best"] == max(own)
    # In three generations four networks have three steps and four critics of two steps.
    # Two final critics follow. A step has eight images.
    images = 8 * (4 * 3 * (3 + 4 * 2) + 2 * 2 * 2)
    assert origin.training["samples"] == images == GTL(**TINY).cost(evolved.spec, 0, 0).samples
    assert origin.metrics["fitness on held-out tasks"] < 0
    assert 0 <= origin.metrics["accuracy on held-out tasks"] <= 1
    for row in tree:
        assert len(row["marks"]) == 4
        assert row["fitness"] == pytest.approx(sum(row["marks"]) / 4)
        assert row["score"] == pytest.approx(math.exp(row["fitness"]))
        assert (row["tournament"] in (0, 1), row["lives"]) == (True, 1)
    assert {entry["measure"] for entry in generations} == {"loss"}
    assert record["heredity"]["pairs"] == sum(row["father"] is not None for row in tree)
    assert record["heredity"]["images"] == images


def test_published_rules_record_fewer_fields(pico):
    gene = evolve(pico, rules="published")
    record, origin = gene.provenance.record, gene.provenance
    assert record.keys() == {"gene_tree", "generations"}
    assert not {"marks", "tournament", "lives", "accuracy"} & record["gene_tree"][0].keys()
    assert "measure" not in record["generations"][0]
    images = 8 * (4 * 3 * (3 + 2) + 2 * 2 * 2)
    assert origin.training["samples"] == images == GTL(**TINY, rules="published").cost(gene.spec, 0, 0).samples
    assert 0 <= origin.metrics["fitness on held-out tasks"] <= 1


@pytest.mark.parametrize(
    ("settings", "shared"), [({"scores": "raw"}, True), ({"scores": "global"}, True), ({"scores": "per-task"}, False)]
)
def test_compared_genes_have_the_same_critics(pico, monkeypatch, settings, shared):
    calls, original = [], PopulationTrainer.judge_genes

    def record_critics(trainer, genes, tasks, draws, **more):
        calls.append(list(zip(tasks, draws, strict=True)))
        return original(trainer, genes, tasks, draws, **more)

    monkeypatch.setattr(PopulationTrainer, "judge_genes", record_critics)
    tree = evolve(pico, generations=1, critic_tasks=3, **settings).provenance.record["gene_tree"]
    for number in (0, 1):
        rows = [row for row in tree if row["generation"] == number]
        critics = [[batch[index] for batch in calls[4 * number : 4 * number + 4]] for index in range(4)]
        for row, own in zip(rows, critics, strict=True):
            assert len(set(own)) == 4
            assert len({task for task, _ in own}) == 2
            assert own[0][0] == row["critic_task"]
            others = [other for other, theirs in zip(rows, critics, strict=True) if theirs == own]
            assert len(others) == (4 if shared else 2)
            assert shared or {other["tournament"] for other in others} == {row["tournament"]}
    # Shared tasks alternate: there are three tasks, and two are used at a time.
    if shared:
        turns = [batch[0][0] for batch in calls[:8:2]]
        assert turns[3] == turns[0] != turns[1] != turns[2] != turns[0]


def test_every_winner_is_a_breeder(pico, monkeypatch):
    pools, original = [], Evolution._update_state

    def record_breeders(evolution, state, genes, winners, samples):
        after = original(evolution, state, genes, winners, samples)
        pools.append((set(winners), set(after.scores), set(after.weights)))
        return after

    monkeypatch.setattr(Evolution, "_update_state", record_breeders)
    evolve(pico, population=6, generations=3, pool=2, patience=9)
    assert len(pools) == 4
    for winners, breeders, weights in pools:
        assert len(winners) == 3
        assert winners == breeders == weights
    pools.clear()
    evolve(pico, population=6, generations=3, pool=2, patience=9, breeders="pool")
    assert any(winners - breeders for winners, breeders, _ in pools)


@pytest.fixture(scope="module")
def line_gene(pico):
    return evolve(pico, selection="line")


def test_line_has_one_gene_and_as_many_images_as_an_evolution(line_gene):
    method = GTL(**TINY)
    tree, heredity = (line_gene.provenance.record[key] for key in ("gene_tree", "heredity"))
    assert [row["father"] for row in tree] == [None, 0, 1]
    # A generation has 4 (3 + 4 x 2) = 44 steps. Without 8 steps of critics, twelve lives of three steps are left.
    assert [row["lives"] for row in tree] == [12, 12, 12]
    assert heredity["line_lives"] == 36
    assert heredity["line_images"] == 36 * 3 * 8
    images = 8 * (3 * 44 + 2 * 2)
    assert (
        line_gene.provenance.training["samples"]
        == images
        == GTL(**TINY, selection="line").cost(line_gene.spec, 0, 0).samples
    )
    assert method.cost(line_gene.spec, 0, 0).samples - images == 8 * 2 * 2
    assert (heredity["spread"], heredity["heritability"], heredity["differential"]) == (None, None, 0.0)


@pytest.mark.parametrize("at", [13, 20, 49])
def test_killed_line_resumes_to_the_same_gene(line_gene, pico, tmp_path, monkeypatch, at):
    original, calls = Run.fit_population, []

    def fit_until_killed(*args, **keywords):
        calls.append(1)
        if len(calls) == at:
            raise KilledError
        return original(*args, **keywords)

    monkeypatch.setattr(Run, "fit_population", fit_until_killed)
    with pytest.raises(KilledError):
        evolve(pico, tmp_path, selection="line")
    monkeypatch.undo()
    assert_equal_tensors(line_gene, evolve(pico, tmp_path, selection="line"))


@pytest.mark.parametrize(
    "settings", [{"rules": "published"}, {"selection": "line"}, {"scores": "per-task"}, {"protected_steps": 2}]
)
def test_resume_with_other_rules_is_refused(pico, tmp_path, settings):
    evolve(pico, tmp_path, generations=0)
    with pytest.raises(SettingError, match="was started with"):
        evolve(pico, tmp_path, generations=0, **settings)


def test_inherited_rate_zero_protects_inherited_weights(pico):
    """With inherited_rate=0 a life changes only the statistics of a gene that does not mutate."""
    settings = {"mutation": 0.0, "inherited_rate": 0.0, "protected_steps": 0}
    trainer = GTL(**TINY, **settings).build_trainer(pico, Run(device="cpu", quiet=True))
    circuit = trainer.draw_gene("planted").circuit
    (network,), _ = trainer.train_generation(0, [0], [None], is_evaluated=False)
    gene = trainer.extract_gene(network, circuit, Mutation(0, 0, 0))
    (network,), _ = trainer.train_generation(1, [1], [gene], is_evaluated=False)
    after = trainer.extract_gene(network, circuit, Mutation(0, 0, 0))
    for name, tensor in gene.tensors.items():
        assert torch.equal(tensor, after.tensors[name]) == name.endswith(("weight", "bias"))
    unprotected = GTL(**TINY, **{**settings, "inherited_rate": 1.0}).build_trainer(pico, Run(device="cpu", quiet=True))
    (network,), _ = unprotected.train_generation(1, [1], [gene], is_evaluated=False)
    changed = unprotected.extract_gene(network, circuit, Mutation(0, 0, 0)).tensors
    assert not any(
        torch.equal(tensor, changed[name]) for name, tensor in gene.tensors.items() if name.endswith("weight")
    )


def test_gene_depends_only_on_the_seed(evolved, pico):
    assert_equal_tensors(evolved, evolve(pico))
    other = evolve(pico, seed=1)
    assert not torch.equal(
        other.tensors["stages.0.blocks.0.conv.weight"], evolved.tensors["stages.0.blocks.0.conv.weight"]
    )


class KilledError(Exception):
    """Simulates a killed process."""


@pytest.mark.parametrize("at", [1, 3, 5, 6])
def test_killed_evolution_resumes_to_the_same_gene(evolved, pico, tmp_path, monkeypatch, at):
    original, calls = Run.fit_population, []

    def fit_until_killed(*args, **keywords):
        calls.append(1)
        if len(calls) == at:
            raise KilledError
        return original(*args, **keywords)

    monkeypatch.setattr(Run, "fit_population", fit_until_killed)
    with pytest.raises(KilledError):
        evolve(pico, tmp_path)
    monkeypatch.undo()
    assert_equal_tensors(evolved, evolve(pico, tmp_path))
    # The next generation needs only the last one. One more is kept in case the last one is damaged.
    assert [path.name for path in sorted(tmp_path.glob("generation-*"))] == ["generation-001", "generation-002"]


def test_damaged_generation_is_repeated_from_the_previous_one(evolved, pico, tmp_path):
    evolve(pico, tmp_path)
    file = tmp_path / "generation-002" / "kept.safetensors"
    content = file.read_bytes()
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert_equal_tensors(evolved, evolve(pico, tmp_path))
    assert file.read_bytes() == content


def test_resume_with_other_settings_is_refused(pico, tmp_path):
    evolve(pico, tmp_path, generations=0)
    with pytest.raises(SettingError, match="was started with generations=0, now generations=1"):
        evolve(pico, tmp_path, generations=1)


def test_drift_draws_winners_with_equal_scores(pico):
    tree = evolve(pico, selection="drift", population=6, tournament=3).provenance.record["gene_tree"]
    assert {row["score"] for row in tree} == {1.0}
    groups = [[row for row in tree if row["generation"] == number] for number in range(3)]
    best = [max(group, key=lambda row: row["fitness"]) for group in groups]
    assert not all(row["won"] for row in best)


def test_drift_has_the_same_lives_and_critics_as_selection(evolved, pico):
    """The first generations of selection and drift are equal."""
    first, other = (
        [row for row in gene.provenance.record["gene_tree"] if row["generation"] == 0]
        for gene in (evolved, evolve(pico, selection="drift"))
    )
    assert [(row["fitness"], row["task"], row["critic_task"]) for row in first] == [
        (row["fitness"], row["task"], row["critic_task"]) for row in other
    ]


def test_fitness_from_lives_needs_only_the_final_critics(pico):
    gene = evolve(pico, fitness="life", generations=1)
    assert gene.provenance.training["samples"] == 8 * (4 * 2 * 3 + 2 * 2 * 2)
    assert gene.provenance.record["heredity"]["noise"] is None
    assert {entry["measure"] for entry in gene.provenance.record["generations"]} == {"accuracy"}
    assert all(row["critic_task"] == row["task"] for row in gene.provenance.record["gene_tree"])


def test_circuits_without_mutation_are_those_of_their_fathers(pico):
    tree = evolve(pico, mutation=0.0).provenance.record["gene_tree"]
    assert {row["similarity"] for row in tree} == {1.0}
    mutated = evolve(pico, mutation=1.0, mutation_rate=0.5).provenance.record["gene_tree"]
    later = [row["similarity"] for row in mutated if row["generation"] > 0]
    assert max(later) < 1
    assert {row["similarity"] for row in mutated if row["generation"] == 0} == {1.0}


def test_patience_ends_the_evolution(pico):
    # An evolution with patience=1 stops at the first generation that is not better.
    gene = evolve(pico, generations=6, patience=1)
    means = [entry["winners"] for entry in gene.provenance.record["generations"]]
    assert 2 <= len(means) < 7
    assert all(later > earlier for earlier, later in pairwise(means[:-1]))
    assert means[-1] <= means[-2]


def test_critics_have_other_classes_than_lives(pico):
    life_data, critic_data = split_classes(pico, 0.2, 3, 0)
    assert not set(life_data.classes) & set(critic_data.classes)
    assert len(life_data.classes) + len(critic_data.classes) == len(pico.classes) == 10
    assert len(critic_data.classes) == 3
    with pytest.raises(DataError, match="two parts of 6 are needed"):
        split_classes(pico, 0.2, 6, 0)
    trainer = GTL(**TINY).build_trainer(pico, Run(seed=3, device="cpu", quiet=True))
    used = {name for task in trainer.tasks for name in task.classes}
    assert not used & {name for task in trainer.critic_tasks for name in task.classes}


def test_held_out_classes_can_come_from_other_data():
    named = load_data("glyphs/base,held_out=glyphs/open")
    trainer = GTL(**TINY).build_trainer(named, Run(device="cpu", quiet=True))
    assert set(trainer.tasks[0].classes) <= set(named.classes)
    assert set(trainer.critic_tasks[0].classes) <= set(load_data("glyphs/open").classes)
    assert named.fingerprint() != load_data("glyphs/base").fingerprint()


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"model": "vit_pico"}, SettingError, "method gtl cannot evolve a vit"),
        ({"model": "vgg12"}, UnknownNameError, "vgg12"),
        ({"size": "depth=12"}, SettingError, "11, 13, 16 or 19"),
        ({"ways": 6}, DataError, "two parts of 6 are needed"),
    ],
)
def test_invalid_settings_are_refused(pico, settings, error, message):
    with pytest.raises(error, match=message):
        evolve(pico, **settings)


def test_trained_features_score_above_untrained_ones():
    """Critics prefer genes of trained networks to genes of untrained ones at the same channels.

    Three cases; benchmarks/gtl_planted.py has twenty.
    """
    rules = GTL(preset="tiny", size="width=8", life={"steps": 60, "lr": 0.1, "batch_size": 20}, critic_steps=15)
    for seed in range(3):
        trained = rules.build_trainer(load_data("digits"), Run(seed=seed, device="cpu", quiet=True))
        untrained = replace(trained, life=trained.life.model_copy(update={"steps": 0}))
        circuit = trained.draw_gene("planted").circuit
        networks = [
            trainer.train_generation(0, [0], [None], is_evaluated=False)[0][0] for trainer in (trained, untrained)
        ]
        genes = [trained.extract_gene(network, circuit, Mutation(0, 0, 0)) for network in networks]
        true, noise = (
            [result.accuracy for result in trained.judge_genes([gene] * 2, [0, 1], ["a", "b"])] for gene in genes
        )
        assert sum(true) > sum(noise)
