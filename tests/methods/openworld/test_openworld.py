"""Open world: from a stream of tasks to an individual, on tiny real networks."""

from dataclasses import replace

import pytest
import torch

from germline.api import condense
from germline.architectures import VGG, Size
from germline.data import load_data, split_classes
from germline.errors import DataError, SettingError
from germline.methods.openworld.collective import TaskLoss
from germline.methods.openworld.method import OpenWorld
from germline.methods.openworld.windows import IMPORTANCE_PREFIX, inherited_tensors
from germline.registry import model_spec
from germline.training import CrossEntropy, Run, TrainSettings

TINY = {"preset": "tiny", "ways": 3}


def condense_stream(images, folder=None, seed=0, **settings):
    run = Run(folder, seed=seed, device="cpu", quiet=True)
    return OpenWorld(**{**TINY, **settings}).condense(None, images, run)


def assert_equal_tensors(one, other):
    assert one.tensors.keys() == other.tensors.keys()
    assert all(torch.equal(value, other.tensors[name]) for name, value in one.tensors.items())


@pytest.fixture(scope="module")
def full_gene(pico):
    """A gene with all units of the collective."""
    return condense_stream(pico, whole=True)


@pytest.fixture(scope="module")
def open_world(pico):
    """Seven known classes, and three unknown ones in a stream."""
    known, unknown = split_classes(pico, 0.3, 3, 0)
    return replace(known, roles={"stream": unknown})


def test_presets_fill_settings_and_dumps_are_complete():
    lab, full = OpenWorld(), OpenWorld(preset="full", training={"lr": 0.01})
    assert (lab.model, lab.individual, lab.tasks, lab.head) == ("collective_x0125", "individual_x0125", 21, "per-task")
    assert (full.training.lr, full.training.steps, full.dropout) == (0.01, 3125, 0.5)
    assert OpenWorld.model_validate(full.model_dump(mode="json")) == full
    with pytest.raises(SettingError, match="A task is counted in steps"):
        OpenWorld(training={"steps": None, "epochs": 2})
    with pytest.raises(SettingError, match="criterion=positive counts gradients above a number"):
        OpenWorld(criterion="positive")


def test_record_has_accuracies_heat_window_and_growth(full_gene):
    record, origin = full_gene.provenance.record["collective"], full_gene.provenance
    assert [len(row) for row in record["accuracies"]] == [1, 2, 3]
    assert (record["grown"], record["dead"]) == ((0, 2, 8), ())
    assert [len(epochs[0]) for epochs in record["heat"]] == [8, 8, 8]
    assert record["parameters"][0] < record["parameters"][1] < record["parameters"][2]
    assert record["windows"][record["window"][0]] == min(record["windows"])
    assert origin.training["samples"] == 3 * 2 * 8 == OpenWorld(**TINY).cost(full_gene.spec, 0, 0).samples
    assert origin.metrics["accuracy on all tasks in the end"] == pytest.approx(sum(record["accuracies"][-1]) / 3)
    assert full_gene.spec.widths == ((4,), (12,), (16, 16), (32, 32), (32, 34))


def test_gene_depends_only_on_the_seed(full_gene, pico):
    assert_equal_tensors(condense_stream(pico, whole=True), full_gene)
    other = condense_stream(pico, seed=1, whole=True)
    assert not torch.equal(other.tensors["unit.0.conv.weight"], full_gene.tensors["unit.0.conv.weight"])


@pytest.mark.parametrize("step", [1, 3, 5])
def test_killed_stream_resumes_to_the_same_gene(step, open_world, tmp_path, monkeypatch):
    settings = {"open_tasks": 2, "met": 0.0, "consolidation": 1.0, "training": {"checkpoint_every": 1}, "noise": 0.01}
    uninterrupted, calls, original = condense_stream(open_world, **settings), [], TaskLoss.before_step

    def before_step_until_killed(self, seed, name, at):
        calls.append(at)
        if len(calls) == 2 * step:
            raise KeyboardInterrupt
        original(self, seed, name, at)

    monkeypatch.setattr(TaskLoss, "before_step", before_step_until_killed)
    with pytest.raises(KeyboardInterrupt):
        condense_stream(open_world, tmp_path, **settings)
    resumed = condense_stream(open_world, tmp_path, **settings)
    assert_equal_tensors(resumed, uninterrupted)
    assert len(calls) <= 2 * 5 + 1  # only the killed step is repeated
    assert len(uninterrupted.provenance.record["collective"]["accuracies"]) == 5
    records = [dict(gene.provenance.record["collective"]) for gene in (resumed, uninterrupted)]
    assert torch.tensor(records[0]["heat"]).tolist() == torch.tensor(records[1]["heat"]).tolist()
    with pytest.raises(SettingError, match=r"was started with ways=3, now ways=2"):
        condense_stream(open_world, tmp_path, **{**settings, "ways": 2})


def test_new_classes_are_detected_and_become_tasks(open_world):
    gene = condense_stream(open_world, open_tasks=1, met=0.0)
    found = gene.provenance.record["collective"]["detection"]
    assert sorted(found["flagged"]) == sorted(open_world.roles["stream"].classes)
    assert len(gene.provenance.record["collective"]["accuracies"]) == 4
    assert gene.provenance.metrics["unknown images found"] == found["detection"]
    none = condense_stream(open_world, open_tasks=1, met=1.0, percentile=0.001)
    assert none.provenance.record["collective"]["detection"]["flagged"] == []
    assert len(none.provenance.record["collective"]["accuracies"]) == 3


def test_tasks_of_new_classes_do_not_grow_the_network(open_world):
    """The second step of growth is due before a third base task, which is not there."""
    gene = condense_stream(open_world, tasks=2, open_tasks=1, met=0.0)
    assert gene.provenance.record["collective"]["grown"] == (0, 2, 0)
    assert gene.inherit(classes=3).network.spec.widths == ((4,), (12,), (16, 16), (32, 32), (32, 32))


@pytest.mark.parametrize("head", ["shared", "class-incremental"])
def test_other_heads_support_disjoint_tasks(head, pico):
    gene = condense_stream(pico, head=head, overlap=False)
    assert len(gene.provenance.record["collective"]["accuracies"]) == 3
    with pytest.raises(DataError, match="4 disjoint 3-way tasks need 12"):
        condense_stream(pico, overlap=False, tasks=4)


def test_stream_can_have_several_data_sets():
    both = load_data("digits+glyphs/open")
    gene = condense_stream(both, tasks=2, ways=8)
    assert gene.provenance.data == "digits+glyphs/open"


def test_joint_control_trains_the_last_spec_once(pico):
    gene = condense_stream(pico, stream="joint", whole=True)
    method, record = OpenWorld(**TINY, stream="joint", whole=True), gene.provenance.record["collective"]
    assert gene.bound_method() == method
    # A joint training has no tasks of unknown classes, and no earlier network.
    changed = method.model_copy(update={"open_tasks": 2, "distillation": 1.0})
    cost, other = (one.cost(gene.spec, 0, 0) for one in (method, changed))
    assert cost.samples == other.samples == gene.provenance.training["samples"]
    assert cost.flops == other.flops
    assert [len(row) for row in record["accuracies"]] == [1]
    assert gene.spec.widths == ((4,), (12,), (16, 16), (32, 32), (32, 34))
    assert gene.provenance.training["steps"] == 6


def test_consolidation_keeps_weights_that_earlier_tasks_need(pico):
    def train_two_tasks(**settings):
        rules = OpenWorld(**TINY, growth="none", **settings)
        collective = rules.build_collective(pico, Run(device="cpu", quiet=True))
        first = collective.train_task(0, make_first_state(collective))
        return first, collective.train_task(1, first)

    def make_first_state(collective):
        from germline.methods.openworld.collective import CollectiveState

        return CollectiveState(collective.spec)

    name = "stages.4.blocks.1.conv.weight"
    first, last = train_two_tasks(consolidation=1e8)
    assert first.importance[name].shape == first.tensors[name].shape
    assert sum(float(value.sum()) for value in first.importance.values()) == pytest.approx(
        sum(value.numel() for value in first.importance.values()), rel=1e-3
    )
    changes = (last.tensors[name] - first.tensors[name]).abs()
    heavy = first.importance[name] > 0.1
    assert float(changes[heavy].max()) < 1e-6
    free_first, free_last = train_two_tasks()
    assert torch.equal(free_first.tensors[name], first.tensors[name])
    assert free_first.importance == {}
    assert float((free_last.tensors[name] - free_first.tensors[name]).abs()[heavy].max()) > 1e-5


def test_growth_keeps_the_outputs_of_earlier_tasks(pico):
    collective = OpenWorld(**TINY).build_collective(pico, Run(device="cpu", quiet=True))
    state = collective.train_all_tasks()
    before = collective.build_network(state)
    images = pico.val.images[:8].float() / 255
    larger = replace(collective, growth=(*collective.growth, (3, 5)))
    after, unit = larger.grow(3, state)
    assert unit == 3
    with torch.no_grad():
        expected = before.model.eval()(before.preprocess(images))
        assert torch.allclose(larger.build_network(after).model.eval()(before.preprocess(images)), expected, atol=1e-5)


def test_other_windows_and_anchors_are_derived_from_one_collective(full_gene, pico):
    manual = OpenWorld(**TINY, window=2, anchor="none")
    assert manual.derived_from() == OpenWorld(**TINY, whole=True)
    assert OpenWorld(**TINY).derived_from() is None
    gene = manual.derive(full_gene, torch.Generator())
    assert set(inherited_tensors(gene.tensors)) == {
        name for block in VGG.parts(full_gene.spec).blocks[1:4] for name in block.values()
    }
    first = VGG.parts(full_gene.spec).blocks[1]["conv.weight"]
    assert torch.equal(gene.tensors[first], full_gene.tensors["unit.1.conv.weight"])
    assert torch.equal(gene.tensors[f"{IMPORTANCE_PREFIX}{first}"], full_gene.tensors["unit.1.importance.conv.weight"])
    assert not [name for name in gene.tensors if name.startswith("unit.")]
    assert_equal_tensors(condense_stream(pico, window=2, anchor="none"), gene)
    start = full_gene.provenance.record["collective"]["window"][0]
    chosen = OpenWorld(**TINY, window=start + 1).derive(full_gene, torch.Generator())
    assert_equal_tensors(
        chosen, replace(full_gene, tensors={n: t for n, t in full_gene.tensors.items() if not n.startswith("unit.")})
    )


def test_windows_that_do_not_fit_are_refused(full_gene, pico):
    with pytest.raises(SettingError, match=r"window=7 does not fit into 'own'.*Use one of 1, 2, 3, 4, 5, 6"):
        OpenWorld(**TINY, window=7).condense_spec(None, pico)
    record = {**full_gene.provenance.record["collective"], "fitting": [0, 1]}
    dead = replace(full_gene, provenance=full_gene.provenance.model_copy(update={"record": {"collective": record}}))
    with pytest.raises(SettingError, match=r"window=3.*dead or.*Use one of 1, 2"):
        OpenWorld(**TINY, window=3).derive(dead, torch.Generator())
    with pytest.raises(SettingError, match=r"No window of 3 units fits into 'individual_x0125'"):
        OpenWorld(**TINY, individual="individual_x0125").condense_spec(None, pico)
    with pytest.raises(SettingError, match=r"method openworld cannot grow a resnet12"):
        OpenWorld(**TINY, individual="resnet12").condense_spec(None, pico)


def test_published_layout_has_the_last_units(pico):
    training, network = {"steps": 1, "batch_size": 4}, {"model": "collective_grown_x0125", "growth": "none", "tasks": 1}
    settings = {"preset": "lab", "training": training, "fisher_samples": 2, "window": 11, **network}
    gene = condense(OpenWorld(**settings), data=pico, run=Run(device="cpu", quiet=True))
    assert gene.spec == model_spec("individual_x0125", image_size=32, channels=1, classes=5)
    assert gene.provenance.record["collective"]["fitting"] == [8, 9, 10]
    child = gene.inherit(classes=5)
    assert {name.rsplit(".", 2)[0] for name in inherited_tensors(gene.tensors)} == {
        f"stages.3.blocks.{at}" for at in (1, 2, 3)
    }
    shares = child.ledger.totals()
    assert shares["copied"] == sum(tensor.numel() for tensor in inherited_tensors(gene.tensors).values())
    assert dict(gene.bound_method().cost(gene.spec, 0, 0).stored) == {n: t.numel() for n, t in gene.tensors.items()}
    wider = gene.inherit(Size(width1=5, depth2=2), classes=5, channels=3)
    assert torch.equal(wider.model.stages[3].blocks[2].conv.weight, child.model.stages[3].blocks[2].conv.weight)
    with pytest.raises(SettingError, match=r"method openworld cannot grow 'stages.3.blocks.1.conv.weight'"):
        gene.inherit(Size(width4=9), classes=5)


def train_individual(gene, pico, **settings):
    child = gene.inherit(classes=pico.classes)
    method = OpenWorld(**{**TINY, **settings})
    objective = method.objective(gene, child) or CrossEntropy()
    options = TrainSettings(steps=4, batch_size=20, optimizer="sgd", lr=0.02)
    Run(device="cpu", quiet=True).fit("child", child.network, objective, pico.train, options)
    return child.model.state_dict()


def test_anchor_reduces_the_distance_to_inherited_weights(full_gene, pico):
    inherited = inherited_tensors(full_gene.tensors)
    frozen, free = train_individual(full_gene, pico, strength="inf"), train_individual(full_gene, pico, anchor="none")
    assert all(torch.equal(frozen[name], value) for name, value in inherited.items())
    none = train_individual(full_gene, pico, strength=0.0)
    assert all(torch.equal(value, none[name]) for name, value in free.items())
    name = next(name for name in inherited if name.endswith("conv.weight"))
    distances = [
        float((tensors[name] - inherited[name]).norm())
        for tensors in (free, train_individual(full_gene, pico, strength=1e3))
    ]
    assert 0 < distances[1] < 0.5 * distances[0]
    epochs = train_individual(full_gene, pico, anchor="epoch", anchor_every=2, strength=1e8)
    assert not torch.equal(epochs[name], free[name])
